"""Rules of instances, limits, and backends (I8-I11, L11, Q8, Q12)."""

from __future__ import annotations

from typing import Any

import pytest

from core.world import BACKEND, Row, World
from qdwell.core.decisions import Held, PutCharge, Refusal
from qdwell.core.events import (
    BackendMode,
    Event,
    PutBackend,
    SetBackendMode,
)
from qdwell.core.group import Ending, GroupState
from qdwell.core.state import Settings


def decide(world: World, at: float, *events: Event) -> list[Any]:
    """Tell the scheduler itself, with no replay in between."""
    return world.scheduler.decide(events, round(at * 1000))


def live(world: World, job: str) -> Any:
    return world.scheduler.state.jobs[job]


def test_i8_at_the_limit_running_work_and_active_sessions_go_on() -> None:
    world = World()
    world.instance("A", limit=10)
    world.session("S", "A", interactive=5)
    world.submit("A1", "S", (1, 8, 1), 0)
    world.submit("A2", "S", (1, 8, 1), 9)
    world.submit("J", "A", (1, 1, 1), 12)
    world.run(until=40)
    assert world.word("A2") == "Completed"
    assert world.word("J") == "Queued"
    assert world.refusals() == []
    world.instance("A", at=50, limit=1000)
    world.run(until=60)
    assert world.row("J").running == 50


def test_i9_at_the_spend_limit_groups_end_and_submissions_are_refused() -> None:
    world = World()
    world.instance("A", spend_limit=10)
    world.session("S", "A", interactive=60)
    world.submit("A1", "S", (1, 11, 2), 0)
    world.submit("A2", "S", (1, 8, 1), 0)
    world.submit("late", "A", (1, 1, 1), 10)
    world.session("T", "A", at=10.5)
    world.submit("other", "B", (1, 1, 1), 11)
    world.run(until=30)
    assert world.group("S", 10).state is GroupState.PENDING_CLOSED
    assert (world.job("A2").code, world.job("A2").finished_at) == (4001, 10_000)
    assert "usage limit" in (world.job("A2").reason or "")
    assert world.row("A1") == Row(0, 0, 1, (1, 12), 14)
    assert (world.group("S").closed_at, world.group("S").ending) == (14_000, Ending.USAGE_LIMIT)
    # The request of 10 s comes before the timer of 10 s, but the limit is reached by then.
    assert world.refusals() == [
        (10, "late", Refusal.SPEND_LIMIT),
        (10.5, "T", Refusal.SPEND_LIMIT),
    ]
    assert world.row("other").running == 14


def test_l11_pending_limit_counts_queued_and_running_jobs() -> None:
    world = World(lanes=1)
    world.instance("A", pending_max=2)
    for number in range(3):
        world.submit(f"J{number}", "A", (1, 1, 1), 0)
    world.submit("J3", "A", (1, 1, 1), 3)
    world.run()
    assert world.refusals() == [(0, "J2", Refusal.PENDING_LIMIT)]
    assert world.word("J3") == "Completed"


@pytest.mark.parametrize("mode", [BackendMode.PAUSED, BackendMode.OFFLINE])
def test_i11_what_runs_goes_on_and_nothing_new_starts(mode: BackendMode) -> None:
    world = World(lanes=2)
    world.submit("J1", "A", (5, 5, 1), 0)
    world.mode(mode, 1)
    world.submit("J2", "A", (1, 1, 1), 2)
    world.run(until=50)
    assert world.row("J1") == Row(0, 0, 5, (5, 10), 11)
    if mode is BackendMode.OFFLINE:
        assert world.refusals() == [(2, "J2", Refusal.BACKEND_OFFLINE)]
        return
    assert world.word("J2") == "Queued"
    world.mode(BackendMode.ONLINE, 60)
    world.run(until=70)
    assert world.row("J2").running == 60


def test_i11_an_active_session_goes_on_while_paused_and_a_batch_does_not() -> None:
    world = World()
    world.session("S", "A", interactive=5)
    world.submit("A1", "S", (1, 1, 1), 0)
    world.mode(BackendMode.PAUSED, 1)
    world.submit("A2", "S", (1, 1, 1), 4)
    world.submit("A3", "S", (1, 1, 1), 30)
    world.run(until=40)
    assert world.row("A2").running == 4
    assert world.row("A3").running is None
    world = World(lanes=1)
    world.batch("B", "A", interactive=5)
    world.submit("B1", "B", (1, 1, 1), 0)
    world.submit("B2", "B", (1, 1, 1), 0)
    world.submit("X", "C", (1, 1, 1), 0)
    world.mode(BackendMode.PAUSED, 1)
    world.run(until=40)
    assert [world.row(each).running for each in ("B1", "B2", "X")] == [0, None, None]


def test_i11_the_lock_does_not_keep_ready_jobs_out_of_a_paused_machine() -> None:
    world = World(lanes=2)
    world.batch("B", "A")
    world.submit("B1", "B", (0, 5, 0), 0)
    world.submit("B2", "B", (1, 1, 1), 1)
    world.submit("X", "C", (1, 1, 1), 0)
    world.mode(BackendMode.PAUSED, 0.5)
    world.run(until=40)
    assert world.row("X").qpu == (5, 6)


def test_refusals_by_name() -> None:
    world = World()
    world.instance("B")
    world.session("S", "A")
    world.submit("nowhere", "A", (1, 1, 1), 0, backend="other")
    world.submit("stranger", "B", (1, 1, 1), 0, group="S")
    world.submit("unknown", "A", (1, 1, 1), 0, group="none")
    world.cancel("nobody", 0)
    world.close("none", 0)
    world.cancel_group("none", 0)
    world.request(0, SetBackendMode("other", BackendMode.PAUSED))
    world.request(0, PutBackend("second", False, 1, True))
    world.submit("elsewhere", "A", (1, 1, 1), 0, group="S", backend="second")
    world.run(until=1)
    assert [(subject, why) for _, subject, why in world.refusals()] == [
        ("nowhere", Refusal.UNKNOWN_BACKEND),
        ("stranger", Refusal.UNKNOWN_GROUP),
        ("unknown", Refusal.UNKNOWN_GROUP),
        ("nobody", Refusal.UNKNOWN_JOB),
        ("none", Refusal.UNKNOWN_GROUP),
        ("none", Refusal.UNKNOWN_GROUP),
        ("other", Refusal.UNKNOWN_BACKEND),
        ("elsewhere", Refusal.WRONG_BACKEND),
    ]


def test_q12_a_held_instance_goes_on_at_the_first_millisecond_below_its_limit() -> None:
    window = 100_000
    old = PutCharge("old:0", "A", BACKEND, Held.JOB, "old", None, 30_000 - window, 50_000 - window)
    world = World(settings=Settings(window_ms=window), charges=[old])
    world.instance("A", limit=15)
    world.resume()
    world.submit("J", "A", (1, 1, 1), 0)
    world.run(until=60)
    # 20 s are charged; from 30 s on they leave the window, and 14.999 s are left at 35.001 s.
    assert world.row("J").running == 35.001


def test_q8_shares_of_accounts_come_before_those_of_instances() -> None:
    world = World(lanes=1)
    world.instance("A1", account="A", allocation=100)
    world.instance("A2", account="A", allocation=100)
    world.instance("B1", account="B", allocation=100, account_allocation=400)
    world.submit("used", "A1", (0, 10, 0), 0)
    world.submit("half", "B1", (0, 15, 0), 0)
    for name in ("A1", "A2", "B1"):
        world.submit(f"of {name}", name, (0, 1, 0), 1)
    world.run()
    # At 25 s: A has used 10 of 200, B 15 of 400; B1's own 15 of 100 does not matter between them.
    starts = {name: world.row(f"of {name}").running for name in ("A1", "A2", "B1")}
    assert starts == {"B1": 25, "A2": 26, "A1": 27}


def test_i9_usage_that_leaves_the_window_puts_the_spend_limit_off() -> None:
    window = 100_000
    old = PutCharge("old:0", "A", BACKEND, Held.JOB, "old", None, 5000 - window, 15_000 - window)
    world = World(settings=Settings(window_ms=window), charges=[old])
    world.instance("A", spend_limit=20)
    world.resume()
    world.session("S", "A", interactive=60)
    world.submit("A1", "S", (1, 50, 1), 0)
    world.submit("A2", "S", (1, 1, 1), 0)
    world.run(until=30)
    # 10 s were there; from 5 s to 15 s as much leaves as comes, so 20 s are reached at 20 s.
    assert world.group("S", 19.999).state is GroupState.ACTIVE
    assert world.group("S", 20).state is GroupState.PENDING_CLOSED
    assert world.job("A2").finished_at == 20_000
