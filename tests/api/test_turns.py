"""Whose request is begun when: the busy wait for the others, and nobody waits alone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.conftest import Site, User, as_if
from qdwell.api.turns import (
    ADDRESS,
    BURST_NS,
    COMPANY_NS,
    MS,
    WAIT_MS_MAX,
    Cost,
    Measured,
    Turns,
    blocking,
    in_thread,
)
from qdwell.clock import ManualClock, settle
from qdwell.errors import TooManyAtOnce


def ask(line: Turns, clock: ManualClock, user: str, cost_ms: int) -> int:
    """One request, begun as soon as it may and done at once; how long it had to wait, in ns."""
    wait, expected = line.enter(user)
    clock.advance(-(-wait // MS))
    line.charge(user, expected, cost_ms * MS)
    clock.advance(cost_ms)
    return max(0, wait)


def test_alone_everybody_has_the_whole_loop(clock: ManualClock) -> None:
    """Whoever asks without a pause, and is the only one, never waits."""
    line = Turns(clock)
    assert [ask(line, clock, "a", 5) for _ in range(2_000)] == [0] * 2_000


def test_the_busy_leave_half_to_a_second_one(clock: ManualClock) -> None:
    """Beside a user who works all the time too, each has a half; beside a quiet one, more."""
    line = Turns(clock)
    for _ in range(100):
        ask(line, clock, "steady", 5)
    began, spent = clock.now(), 0
    while clock.now() < began + 20_000:
        line.charge("steady", *[line.enter("steady")[1], 0.0])  # it is here, and costs little
        wait, expected = line.enter("noisy")
        clock.advance(-(-wait // MS))
        line.charge("noisy", expected, 5 * MS)
        line.charge("steady", 0.0, 4 * MS)
        spent += 5
        clock.advance(9)
    share = spent / (clock.now() - began)
    assert 0.3 < share < 0.6


def test_what_many_connections_send_waits_in_line(clock: ManualClock) -> None:
    """A hundred requests at once beside another user: each waits for those before it."""
    line = Turns(clock)
    for _ in range(60):
        ask(line, clock, "victim", 5)
    for _ in range(60):
        ask(line, clock, "noisy", 10)
    waits = [line.enter("noisy")[0] for _ in range(100)]
    assert waits == sorted(waits)
    assert waits[-1] - waits[0] >= 900 * MS
    assert line.enter("victim")[0] < BURST_NS
    with pytest.raises(TooManyAtOnce, match="too many requests under way") as refused:
        for _ in range(100_000):
            line.enter("noisy")
    assert refused.value.status == 429
    assert refused.value.retry_after_seconds >= WAIT_MS_MAX // 1_000


def test_long_work_that_blocks_counts_for_more() -> None:
    """A tenth of a second in which the loop stands is as dear as most of a second."""
    assert Cost(int, loop=MS, blocking=100 * MS).total == pytest.approx(801 * MS)
    assert Cost(int, loop=MS, threads=100 * MS).total == pytest.approx(101 * MS)
    cost = Cost(int, loop=2 * MS, factor=3.0)
    assert (cost.total, cost.later) == pytest.approx((2 * MS, 4 * MS))


def test_what_a_request_leads_to_counts_beside_others_only(clock: ManualClock) -> None:
    """Nobody is slowed for the sake of nobody; an address that asked for something is nobody."""
    line = Turns(clock)

    def crowd(user: str) -> list[int]:
        waits = []
        for _ in range(200):
            wait, expected = line.enter(user)
            clock.advance(-(-wait // MS))
            line.charge(user, expected, 2 * MS, 4 * MS)
            clock.advance(2)
            waits.append(max(0, wait))
        return waits

    line.enter(f"{ADDRESS}10.0.0.7")
    assert crowd("a") == [0] * 200
    line.enter("b")
    assert crowd("a")[-1] > MS
    clock.advance(COMPANY_NS // MS + 1)
    assert crowd("a") == [0] * 200


@pytest.mark.asyncio(loop_scope="session")
async def test_a_piece_is_counted_and_a_wait_is_not(clock: ManualClock) -> None:
    """Held requests cost nothing; threads are counted; a cancellation goes through."""
    loop = asyncio.get_running_loop()
    gate: asyncio.Future[None] = loop.create_future()

    def takes(ms: int, waits: threading.Event) -> None:
        assert waits.wait(30), "the loop never came to its next turn"
        clock.advance(ms)

    async def held() -> None:
        clock.advance(3)
        await gate
        clock.advance(4)
        for where, ms in ((in_thread, 5), (blocking, 6)):
            waits = threading.Event()
            loop.call_soon(waits.set)  # the piece that began the thread has ended by then
            await where(takes, ms, waits)

    work = Measured(held(), clock)
    running = asyncio.ensure_future(_awaited(work))
    await settle()
    clock.advance(3_600_000)
    gate.set_result(None)
    await running
    cost = work.cost
    assert (cost.loop, cost.threads, cost.blocking) == (7 * MS, 5 * MS, 6 * MS)

    async def endless() -> None:
        await asyncio.Event().wait()

    task = asyncio.ensure_future(_awaited(Measured(endless(), clock)))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio(loop_scope="session")
async def test_a_turn_comes_when_the_clock_says(clock: ManualClock) -> None:
    """Not a moment before: it sleeps by the clock that it reads."""
    line = Turns(clock)
    for _ in range(60):
        ask(line, clock, "victim", 5)
    for _ in range(60):
        ask(line, clock, "noisy", 10)
    wait, _ = line.enter("noisy")
    assert wait > MS
    task = asyncio.ensure_future(line.wait("noisy"))
    await settle()
    woken_at = clock.next_wake()
    assert woken_at is not None
    assert woken_at >= clock.now() + wait // MS
    clock.advance(woken_at - clock.now() - 1)
    await settle()
    assert not task.done()
    clock.advance(1)
    await task


async def _awaited(work: object) -> None:
    await work  # type: ignore[misc]


@pytest.mark.asyncio(loop_scope="session")
async def test_only_a_known_token_names_a_user(site: Site, user: User) -> None:
    """Others are known by their address, so that nobody makes users by making up tokens."""
    who = site.app.state.parts.auth.who

    def scope(asker: User) -> dict[str, object]:
        headers = [(k.lower().encode(), v.encode()) for k, v in asker.headers.items()]
        return {"headers": headers, "client": ("10.0.0.7", 1)}

    await user.get("/jobs")
    assert who(scope(user)) == user.credentials.user_id
    assert who(scope(as_if(user, Authorization="Bearer made-up"))) == "at 10.0.0.7"
    assert who(scope(as_if(user, Authorization=""))) == "at 10.0.0.7"
