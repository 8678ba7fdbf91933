"""Rules of sessions and batches that the timelines do not reach (S5, S26-S31, B4-B6)."""

from __future__ import annotations

from typing import Any

import pytest

from core.world import BACKEND, World
from qdwell.core.decisions import ForgetGroup, Note, Refusal, Refuse
from qdwell.core.events import (
    Event,
)
from qdwell.core.group import Ending, GroupState


def decide(world: World, at: float, *events: Event) -> list[Any]:
    """Tell the scheduler itself, with no replay in between."""
    return world.scheduler.decide(events, round(at * 1000))


def live(world: World, job: str) -> Any:
    return world.scheduler.state.jobs[job]


def test_s5_the_first_job_fixes_the_max_ttl() -> None:
    world = World()
    world.session("S", "A", interactive=5, maximum=None)
    world.session("T", "A", interactive=5, maximum=None)
    world.session("U", "A", interactive=5, maximum=50)
    world.session("V", "A", interactive=5, maximum=None, cap=600)
    world.submit("A1", "S", (1, 1, 1), 0, limit=20)
    world.submit("A2", "S", (1, 1, 1), 0, limit=30)
    world.submit("A3", "T", (1, 1, 1), 0)
    world.submit("A4", "U", (1, 1, 1), 0, limit=20)
    world.submit("A5", "V", (1, 1, 1), 0, limit=601)
    world.submit("A6", "V", (1, 1, 1), 0)
    world.run()
    assert world.group("S").max_ttl_ms == 20_000
    above = Refusal.LIMIT_ABOVE_MAX_TTL
    assert world.refusals() == [(0, "A2", above), (0, "A5", above)]
    refused = [each for _, each in world.replay.trace if isinstance(each, Refuse)]
    asked = [(each.limit, each.asked) for each in refused]
    assert asked == [(20_000, 30_000), (600_000, 601_000)]
    assert world.group("T").max_ttl_ms == 10_800_000
    assert world.group("U").max_ttl_ms == 50_000  # it was named
    assert world.group("V").max_ttl_ms == 600_000  # the plan's
    assert world.group("S").closed_at == 20_000


def test_j17_an_asked_limit_equal_to_the_max_ttl_is_allowed() -> None:
    world = World()
    world.session("S", "A", maximum=100)
    world.submit("equal", "S", (1, 1, 1), 0, limit=100)
    world.submit("above", "S", (1, 1, 1), 0, limit=100.001)
    world.submit("not asked", "S", (1, 1, 1), 0)
    world.run(until=0)
    assert world.refusals() == [(0, "above", Refusal.LIMIT_ABOVE_MAX_TTL)]


def test_s26_active_ttl_of_an_idle_session_ends_its_window() -> None:
    world = World()
    world.session("S", "A", interactive=60, active=20)
    world.submit("A1", "S", (1, 1, 1), 0)
    world.run(until=20)
    assert world.group("S", 19.999).state is GroupState.ACTIVE
    assert world.group("S", 20).state is GroupState.INACTIVE
    assert world.windows("S") == [(0, 20)]


def test_s26_queued_jobs_wait_in_the_normal_queue_while_the_window_ends() -> None:
    world = World(lanes=2)
    world.session("S", "A", active=5, interactive=60)
    world.submit("A1", "S", (1, 9, 0), 0)
    world.submit("A2", "S", (1, 3, 0), 6)
    world.submit("X", "B", (1, 3, 0), 6)
    world.run(until=30)
    assert world.row("X").running == 10
    assert world.row("A2").running == 14
    assert world.windows("S")[0] == (0, 10)


def test_s26_a_session_that_was_closed_closes_when_its_window_ends() -> None:
    world = World(lanes=1)
    world.session("S", "A", active=5)
    world.submit("A1", "S", (1, 9, 1), 0)
    world.close("S", 7)
    world.run()
    assert world.group("S", 6).state is GroupState.PENDING_INACTIVE
    assert (world.group("S").state, world.group("S").closed_at) == (GroupState.CLOSED, 11_000)


def test_s26_a_batch_that_used_up_its_window_lets_others_have_the_qpu() -> None:
    world = World(lanes=2)
    world.batch("B", "A", active=5)
    world.submit("B1", "B", (1, 9, 5), 0)
    world.submit("B2", "B", (1, 3, 0), 6)
    world.submit("X", "C", (1, 3, 0), 6)
    world.run(until=40)
    assert world.row("X").qpu == (10, 13)
    assert world.row("B2").running == 15


@pytest.mark.parametrize("cancelled", [True, False])
def test_s31_an_open_group_without_jobs_is_closed(cancelled: bool) -> None:
    world = World(lanes=1)
    world.submit("busy", "B", (1, 5000, 1), 0)
    world.session("S", "A")
    if cancelled:
        world.submit("A1", "S", (1, 1, 1), 100)
        world.cancel("A1", 200)
    world.run(until=3000)
    ends = 2000 if cancelled else 1800
    assert (world.group("S").closed_at, world.group("S").ending) == (ends * 1000, Ending.UNUSED)
    assert world.group("S").started_at is None
    assert any(isinstance(each, ForgetGroup) for _, each in world.replay.trace)


def test_s31_never_closes_an_inactive_group() -> None:
    world = World()
    world.session("S", "A", interactive=5, maximum=20_000)
    world.submit("A1", "S", (1, 1, 1), 0)
    world.run(until=19_999)
    assert world.group("S").state is GroupState.INACTIVE
    world.run(until=20_000)
    assert world.group("S").ending is Ending.MAX_TTL


@pytest.mark.parametrize("kind", ["session", "batch"])
def test_s28_close_of_a_group_without_jobs_closes_in_any_state(kind: str) -> None:
    world = World()
    make = getattr(world, kind)
    make("open", "A")
    world.close("open", 1)
    make("paused", "A", at=1, interactive=2)
    world.submit("J", "paused", (1, 1, 1), 1)
    world.close("paused", 10)
    make("idle", "A", at=11, interactive=60)
    world.submit("K", "idle", (1, 1, 1), 11)
    world.close("idle", 20)
    world.run()
    closed = {each: world.group(each).closed_at for each in ("open", "paused", "idle")}
    assert closed == {"open": 1000, "paused": 10_000, "idle": 20_000}


def test_s28_an_open_session_with_queued_jobs_stays_pending_when_closed() -> None:
    world = World(lanes=1)
    world.submit("busy", "B", (1, 9, 0), 0)
    world.session("S", "A")
    world.submit("A1", "S", (1, 1, 1), 1)
    world.close("S", 2)
    world.close("S", 3)
    world.run()
    assert world.reported("S", 5) == ("open", "Pending", False, None)
    assert world.reported("S", 11)[0] == "active"
    assert world.group("S").closed_at == 13_000
    assert world.refusals() == []


def test_s29_cancel_takes_prepared_jobs_but_not_those_behind_the_qpu() -> None:
    world = World()
    world.session("S", "A")
    world.submit("post", "S", (0, 1, 9), 0)
    world.submit("qpu", "S", (0, 9, 0), 0)
    world.submit("ready", "S", (0, 1, 0), 0)
    world.submit("prep", "S", (9, 1, 0), 0)
    world.cancel_group("S", 2)
    world.cancel_group("S", 3)
    world.run()
    states = {name: world.word(name) for name in world.plan}
    assert states == {
        "post": "Completed",
        "qpu": "Completed",
        "ready": "Cancelled",
        "prep": "Cancelled",
    }
    assert world.group("S").closed_at == 10_000
    assert world.group("S").ending is Ending.CANCEL
    assert world.refusals() == []


def test_a_batch_that_is_cancelled_says_batch() -> None:
    world = World(lanes=1)
    world.batch("B", "A")
    world.submit("busy", "C", (0, 9, 0), 0)
    world.submit("B1", "B", (1, 1, 1), 1)
    world.cancel_group("B", 2)
    world.run()
    assert "batch" in (world.job("B1").reason or "")


def test_a_reservation_is_dropped_when_its_last_queued_job_goes() -> None:
    world = World(lanes=2)
    world.submit("long", "B", (0, 50, 0), 0)
    world.session("S", "A", at=1)
    world.submit("A1", "S", (1, 1, 1), 1)
    world.submit("X", "C", (1, 1, 1), 2)
    world.cancel("A1", 5)
    world.run(until=6)
    assert world.row("X").running == 5
    assert world.scheduler.state.machines[BACKEND].reservation is None
    assert any(isinstance(each, Note) and "reserved" in each.text for _, each in world.replay.trace)


def test_q11_jobs_of_an_instance_go_in_order_whether_in_a_group_or_not() -> None:
    world = World(lanes=1)
    world.submit("busy", "A", (0, 9, 0), 0)
    world.submit("J1", "A", (0, 1, 0), 1)
    world.batch("B", "A", at=2)
    world.submit("B1", "B", (0, 1, 0), 2)
    world.submit("J2", "A", (0, 1, 0), 3)
    world.run()
    assert [world.row(each).running for each in ("J1", "B1", "J2")] == [9, 10, 11]


def test_b4_while_a_batch_is_active_no_other_group_starts() -> None:
    world = World()
    world.batch("B", "A", interactive=5)
    world.submit("B1", "B", (1, 1, 1), 0)
    world.session("S", "C", at=1)
    world.batch("T", "D", at=1)
    world.submit("S1", "S", (1, 1, 1), 1)
    world.submit("T1", "T", (1, 1, 1), 1)
    world.submit("J", "D", (1, 1, 1), 2)
    world.run(until=40)
    assert world.row("J").running == 2
    assert world.group("B", 8).state is GroupState.INACTIVE
    assert world.row("S1").running == 8
    assert world.row("T1").running is None


def test_b5_and_b6_differ_in_who_fills_a_gap() -> None:
    order = {}
    for window in (True, False):
        world = World(lock_window=window)
        world.batch("B", "A")
        world.submit("B1", "B", (0, 1, 0), 0)
        world.submit("B2", "B", (5, 1, 0), 0)
        world.submit("X", "C", (2, 1, 0), 0)
        world.run(until=20)
        order[window] = world.row("X").qpu
    assert order == {True: (6, 7), False: (2, 3)}


def test_b6_a_ready_batch_job_goes_before_an_earlier_one_of_others() -> None:
    world = World(lock_window=False)
    world.batch("B", "A")
    world.submit("B1", "B", (0, 5, 0), 0)
    world.submit("B2", "B", (4, 1, 0), 0)
    world.submit("X", "C", (1, 1, 0), 0)
    world.run(until=20)
    assert (world.row("B2").qpu, world.row("X").qpu) == ((5, 6), (6, 7))
