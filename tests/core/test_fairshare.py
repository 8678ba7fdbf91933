"""Usage in the rolling window, and fair shares over long runs (Q3, Q8, P16)."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from core.world import World
from qdwell.core.decisions import Held, PutCharge, PutJob
from qdwell.core.fairshare import Share, SortedKeys
from qdwell.core.job import JobState
from qdwell.core.state import Settings
from qdwell.core.usage import Ledger

W = 100


# ---- the ledger ----------------------------------------------------------------------------------


def test_a_closed_charge_counts_while_it_is_in_the_window() -> None:
    ledger = Ledger(W)
    ledger.add("A", 10, 30)
    for now, used in ((30, 20), (110, 20), (111, 19), (129, 1), (130, 0), (500, 0)):
        ledger.advance(now)
        assert ledger.used("A", now) == used
    assert ledger.used("nobody", 30) == 0


def test_asking_later_without_a_turn_in_between_is_right_too() -> None:
    ledger = Ledger(W)
    ledger.add("A", 10, 30)
    ledger.add("A", 40, 45)
    ledger.advance(50)
    for now, used in ((110, 25), (111, 24), (120, 15), (130, 5), (142, 3), (200, 0)):
        assert ledger.used("A", now) == used


def test_an_open_charge_grows_and_leaves_no_trace_if_it_is_not_charged() -> None:
    ledger = Ledger(W)
    ledger.open("A", "x", 10)
    assert ledger.used("A", 15) == 5
    assert ledger.used("A", 150) == 100
    ledger.close("A", "x", 20, charged=False)
    assert ledger.used("A", 20) == 0
    ledger.open("A", "y", 20)
    ledger.close("A", "y", 25)
    assert ledger.used("A", 30) == 5
    ledger.add("A", 30, 30)
    ledger.add("A", 30, 29)
    assert ledger.used("A", 30) == 5


@pytest.mark.parametrize("now", [40, 115])
def test_a_refund_takes_back_what_is_still_counted(now: int) -> None:
    ledger = Ledger(W)
    ledger.add("A", 10, 30)
    ledger.add("A", 12, 14)
    ledger.add("A", 50, 55)
    ledger.advance(now)
    before = ledger.used("A", now)
    ledger.refund("A", 10, 30)
    assert ledger.used("A", now) == before - (20 if now == 40 else 15)
    ledger.refund("A", 10, 30)  # there is nothing to take any more
    assert ledger.used("A", now) == (7 if now == 40 else 5)
    ledger.advance(149)
    assert ledger.used("A", 149) == 5
    ledger.advance(152)
    assert ledger.used("A", 152) == 3


spans = st.lists(
    st.tuples(st.integers(0, 150), st.integers(0, 60)).map(lambda x: (x[0], x[0] + x[1])),
    max_size=6,
)


@settings(max_examples=300, derandomize=True, database=None)
@given(spans, st.lists(st.integers(0, 150), max_size=2), st.integers(1, 60), st.integers(0, 60))
def test_limits_are_met_at_the_exact_millisecond(
    closed: list[tuple[int, int]], open_: list[int], limit: int, later: int
) -> None:
    ledger = Ledger(W)
    now = max([end for _, end in closed] + open_, default=0) + later
    for start, end in closed:
        ledger.add("A", start, end)
    for start in open_:
        ledger.open("A", f"o{start}{len(ledger.of('A').open)}", start)
    ledger.advance(now)

    def used(at: int) -> int:
        edge = at - W
        spent = sum(max(0, end - max(start, edge)) for start, end in closed)
        return spent + sum(at - max(start, edge) for start in open_)

    assert ledger.used("A", now) == used(now)
    part = ledger.part(["A", "B"], now + 30)
    for at in range(now, now + 31):
        part.advance(at)
        assert part.used("A", at) == used(at)
    ahead = range(now + 1, now + 400)
    below = next((at for at in ahead if used(at) < limit), None)
    if used(now) >= limit:
        assert ledger.falls_below("A", limit, now) == below
    reached = ledger.reaches("A", limit, now)
    if used(now) >= limit:
        assert reached == now
    elif not open_:
        assert reached is None
    else:
        # The window's edge may push it back: it is a time to look again, never too late.
        true = next((at for at in ahead if used(at) >= limit), None)
        assert reached is not None
        assert true is None or reached <= true
        if not ledger.of("A").leaving and all(start + W > now + 200 for start, _ in closed):
            assert reached == true


# ---- the order -----------------------------------------------------------------------------------


def test_shares_are_compared_exactly() -> None:
    assert Share(1, 3) < Share(2, 5)
    assert not Share(2, 6) < Share(1, 3)
    assert Share(2, 6) == Share(1, 3)
    assert Share(10**18, 3 * 10**18 + 1) < Share(1, 3)
    with pytest.raises(TypeError, match="no hash"):
        hash(Share(1, 2))


def test_sorted_keys_hold_one_key_for_each() -> None:
    keys = SortedKeys()
    assert keys.first() is None
    first, second = (Share(1, 2), 5, 1, "a"), (Share(1, 2), 4, 2, "b")
    keys.put(first)
    keys.put(second)
    keys.put(second)
    assert keys.first() == second
    moved = (Share(2, 1), 4, 2, "b")
    keys.put(moved)
    assert keys.first() == first
    keys.discard("a")
    keys.discard("a")
    assert keys.first() == moved
    keys.discard("b")
    assert keys.first() is None


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=4, max_size=12),
    st.integers(1, 3),
)
def test_p16_neither_falls_behind_by_more_than_one_charge(
    allocations: tuple[int, int], lengths: list[tuple[int, int]], lanes: int
) -> None:
    world = World(lanes=lanes)
    world.instance("A", allocation=allocations[0])
    world.instance("B", allocation=allocations[1])
    for number, (a, b) in enumerate(lengths):
        world.submit(f"a{number}", "A", (0, a, 0), 0)
        world.submit(f"b{number}", "B", (0, b, 0), 0)
    largest = max(max(pair) for pair in lengths) * 1000
    bound = Fraction(largest, min(allocations) * 1000)
    world.run()
    started = [
        decision.job
        for _, decision in world.replay.trace
        if isinstance(decision, PutJob) and decision.job.state is JobState.PREPARING
    ]
    demand = {"A": 0, "B": 0}
    left = {"A": len(lengths), "B": len(lengths)}
    for job in started:
        shares = [
            Fraction(demand[name], allocation * 1000)
            for name, allocation in zip("AB", allocations, strict=True)
        ]
        if all(left.values()):
            assert abs(shares[0] - shares[1]) <= bound
        demand[job.instance] += job.estimate_ms
        left[job.instance] -= 1
    for one, two in pairwise(started):
        assert (one.running_at or 0) <= (two.running_at or 0)


# ---- the window's edge and the order (Q9) --------------------------------------------------------


def test_an_instance_moves_while_the_edge_is_in_one_of_its_charges() -> None:
    ledger = Ledger(W)
    ledger.add("A", 10, 30)
    ledger.add("B", 20, 21)
    usage = ledger.of("A")
    story = []
    for now in (109, 110, 120, 121, 129, 130, 131):
        met = ledger.advance(now)
        story.append((now, sorted(met), usage.moving, usage.settled_ms, len(usage.leaving)))
    assert story == [
        (109, [], False, 20, 0),
        (110, ["A"], True, 0, 1),
        (120, ["B"], True, 0, 1),
        (121, ["B"], True, 0, 1),
        (129, [], True, 0, 1),
        (130, ["A"], False, 0, 0),
        (131, [], False, 0, 0),
    ]
    ledger.open("A", "x", 131)
    assert usage.moving
    ledger.close("A", "x", 131)
    assert not usage.moving
    assert not usage.inside


def test_a_part_for_a_forecast_moves_at_the_same_instants() -> None:
    ledger = Ledger(W)
    for start, end in ((50, 60), (10, 30), (40, 45), (30, 35)):
        ledger.add("A", start, end)
    ledger.add("C", 15, 18)
    ledger.advance(115)
    part = ledger.part(["nobody", "A", "C"], 145)
    assert part.of("A").inside == [(30, 35), (40, 45)]
    assert part.of("A").leaving == [(10, 30)]
    for now in (116, 118, 129, 130, 134, 135, 140, 145):
        met = part.advance(now)
        assert met == ledger.advance(now)
        assert part.of("A").moving == ledger.of("A").moving
        assert part.used("A", now) == ledger.used("A", now)
        assert part.used("C", now) == ledger.used("C", now)


def test_when_a_limit_is_met_with_charges_that_run_on() -> None:
    ledger = Ledger(W)
    ledger.open("A", "x", 0)
    assert ledger.reaches("A", 10, 5) == 10
    assert ledger.reaches("A", 4, 5) == 5
    ledger.open("A", "y", 5)
    assert ledger.reaches("A", 10, 5) == 8
    assert ledger.reaches("A", 11, 5) == 8
    assert ledger.reaches("A", 12, 5) == 9
    assert ledger.falls_below("A", 1, 5) is None
    ledger = Ledger(W)
    ledger.add("A", 0, 20)
    ledger.open("A", "x", 20)
    ledger.advance(30)
    # 30 ms are used; from 100 ms on as much leaves as comes, then the open charge stands still.
    assert ledger.falls_below("A", 100, 30) is not None
    assert ledger.falls_below("A", 30, 30) is None
    ledger = Ledger(W)
    ledger.add("A", 0, 20)
    ledger.add("A", 10, 30)
    ledger.advance(40)
    # Two charges overlap: both leave from 110 ms on, two milliseconds in each.
    assert ledger.falls_below("A", 40, 40) == 101
    assert ledger.falls_below("A", 29, 40) == 111
    assert ledger.falls_below("A", 27, 40) == 112


@pytest.mark.parametrize(("ends", "first"), [(104, "c"), (108, "a"), (130, "a")])
def test_the_order_follows_the_window_while_nobody_looks(ends: int, first: str) -> None:
    def old(name: str, start: float, end: float) -> PutCharge:
        window = [round(start * 1000), round(end * 1000)]
        return PutCharge(f"{name}:0", name, "machine", Held.JOB, name, None, *window)

    # The window is 100 s. A has used 10 s, which leave between 100 s and 110 s; C 5 s, which stay.
    charges = [old("A", 0, 10), old("C", 90, 95)]
    world = World(lanes=1, settings=Settings(window_ms=100_000), charges=charges)
    for name in "ABC":
        world.instance(name)
    world.resume(at=96)
    world.submit("busy", "B", (0, ends - 96, 0), 96)
    world.submit("a", "A", (0, 1, 0), 97)
    world.submit("c", "C", (0, 1, 0), 97)
    world.run()
    assert world.row(first).running == ends
