"""Whose request is begun when: the busy wait for the others, and nobody waits alone."""

from __future__ import annotations

import asyncio

import pytest

from api.conftest import Site, User, as_if
from qdwell.api import turns
from qdwell.api.turns import BURST_NS, MS, WAIT_MS_MAX, Cost, Measured, Turns, in_thread
from qdwell.clock import settle
from qdwell.errors import TooManyAtOnce

SECOND = 1_000 * MS


class Watch:
    """A stopwatch that the test moves."""

    def __init__(self) -> None:
        self.at = 10 * SECOND

    def __call__(self) -> int:
        return self.at


def ask(line: Turns, watch: Watch, user: str, cost_ns: int) -> int:
    """One request, begun as soon as it may and done at once; how long it had to wait, in ns."""
    wait, expected = line.enter(user)
    watch.at += max(0, wait)
    line.charge(user, expected, cost_ns)
    watch.at += cost_ns
    return max(0, wait)


def test_alone_everybody_has_the_whole_loop() -> None:
    """Whoever asks without a pause, and is the only one, never waits."""
    watch = Watch()
    line = Turns(watch)
    assert [ask(line, watch, "a", 5 * MS) for _ in range(2_000)] == [0] * 2_000


def test_the_busy_leave_half_to_a_second_one() -> None:
    """Beside a user who works all the time too, each has a half; beside a quiet one, more."""
    watch = Watch()
    line = Turns(watch)
    for _ in range(100):
        ask(line, watch, "steady", 5 * MS)
    began, spent = watch.at, 0
    while watch.at < began + 20 * SECOND:
        line.charge("steady", *[line.enter("steady")[1], 0.0])  # it is here, and costs little
        wait, expected = line.enter("noisy")
        watch.at += max(0, wait)
        line.charge("noisy", expected, 5 * MS)
        line.charge("steady", 0.0, 4 * MS)
        spent += 5 * MS
        watch.at += 9 * MS
    share = spent / (watch.at - began)
    assert 0.3 < share < 0.6


def test_what_many_connections_send_waits_in_line() -> None:
    """A hundred requests at once beside another user: each waits for those before it."""
    watch = Watch()
    line = Turns(watch)
    for _ in range(60):
        ask(line, watch, "victim", 5 * MS)
    for _ in range(60):
        ask(line, watch, "noisy", 10 * MS)
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
    assert Cost(loop=MS, blocking=100 * MS).total == pytest.approx(801 * MS)
    assert Cost(loop=MS, threads=100 * MS).total == pytest.approx(101 * MS)
    assert Cost(loop=2 * MS, factor=3.0).total == pytest.approx(6 * MS)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_piece_is_counted_and_a_wait_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held requests cost nothing; threads are counted; a cancellation goes through."""
    watch = Watch()

    def reading() -> int:
        watch.at += MS  # each piece has two, and so takes a millisecond
        return watch.at

    monkeypatch.setattr(turns, "stopwatch_ns", reading)
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def held() -> int:
        await gate
        return await in_thread(sum, range(100))

    work = Measured(held())
    running = asyncio.ensure_future(_awaited(work))
    await settle()
    watch.at += 3_600 * SECOND
    gate.set_result(None)
    await running
    assert work.cost.loop <= 5 * MS
    assert work.cost.threads >= MS

    async def endless() -> None:
        await asyncio.Event().wait()

    task = asyncio.ensure_future(_awaited(Measured(endless())))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
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
