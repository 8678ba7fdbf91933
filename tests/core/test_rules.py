"""Rules that the timelines of section 13 do not reach, one test each."""

from __future__ import annotations

from typing import Any

import pytest

from core.world import BACKEND, Row, World
from qdwell.core.decisions import ForgetGroup, Held, Note, PutCharge, PutJob, Refusal, Refuse, Stop
from qdwell.core.events import (
    BackendMode,
    CancelJob,
    Event,
    JobExecuted,
    JobFailed,
    JobLost,
    JobPostprocessed,
    JobPrepared,
    PutBackend,
    RunStopped,
    SetBackendMode,
)
from qdwell.core.group import Ending, GroupState
from qdwell.core.job import JobState
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings


def decide(world: World, at: float, *events: Event) -> list[Any]:
    """Tell the scheduler itself, with no replay in between."""
    return world.scheduler.decide(events, round(at * 1000))


def live(world: World, job: str) -> Any:
    return world.scheduler.state.jobs[job]


# ---- C7, C8 --------------------------------------------------------------------------------------


def test_c7_a_queued_job_whose_lane_frees_at_the_max_ttl_fails() -> None:
    world = World(lanes=1)
    world.session("S", "A", maximum=10)
    world.submit("A1", "S", (1, 8, 1), 0)
    world.submit("A2", "S", (1, 1, 1), 0)
    world.run()
    assert world.word("A1") == "Completed"
    assert (world.job("A2").code, world.job("A2").running_at) == (4001, None)


def test_c8_what_was_due_before_is_applied_at_its_own_instant_and_in_order() -> None:
    world = World()
    world.session("S", "A", interactive=2, maximum=20)
    world.submit("A1", "S", (0, 1, 0), 0)
    world.submit("X", "B", (0, 1, 0), 0)
    world.run(until=1)
    decisions = decide(world, 30)
    started = [(each.at, each.job.id) for each in decisions if isinstance(each, PutJob)]
    assert started == [(3000, "X")]
    group = world.scheduler.auditor.groups["S"]
    assert (group.closed_at, group.usage_ms, group.ending) == (20_000, 3000, Ending.MAX_TTL)


def test_c8_a_clock_that_steps_back_is_held() -> None:
    world = World()
    world.submit("J", "A", (5, 1, 1), 2)
    world.run(until=2)
    decisions = Scheduler.decide(world.scheduler, [JobPrepared("J", 1)], 1000)
    assert {each.at for each in decisions if isinstance(each, PutJob)} == {2000}


# ---- jobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "state", "quantum"),
    [
        (0.5, JobState.PREPARING, 0),
        (2.5, JobState.READY, 0),
        (6.5, JobState.EXECUTING, 500),
        (11, JobState.POSTPROCESSING, 4000),
    ],
)
def test_cancel_in_each_stage(at: float, state: JobState, quantum: int) -> None:
    world = World(lanes=2)
    world.submit("first", "B", (0, 6, 0), 0)
    world.submit("J", "A", (2, 4, 2), 0)
    world.submit("next", "C", (0, 1, 0), 0.1)
    world.cancel("J", at)
    world.run(until=at - 0.001)
    assert live(world, "J").state is state
    world.run()
    gone = world.job("J")
    assert (gone.state, gone.code, gone.quantum_ms) == (JobState.CANCELLED, 5202, quantum)
    assert gone.finished_at == at * 1000
    assert "cancelled" in (gone.reason or "")
    assert world.usage("A") == quantum / 1000
    assert world.row("next").running == min(at, 6)


def test_j18_cancel_of_a_queued_job() -> None:
    world = World(lanes=1)
    world.submit("first", "A", (0, 6, 0), 0)
    world.submit("J", "A", (2, 4, 2), 0)
    world.cancel("J", 1)
    world.run()
    assert world.row("J") == Row(0, None, None, None, 1)
    assert not [each for _, each in world.replay.trace if isinstance(each, Stop)]
    assert world.usage("A") == 6


def test_j20_the_qpu_and_the_lane_are_free_only_when_the_stop_is_confirmed() -> None:
    world = World(lanes=2)
    world.submit("J", "A", (0, 50, 0), 0)
    world.submit("next", "B", (0, 1, 0), 0)
    world.submit("third", "C", (0, 1, 0), 0)
    world.run(until=0)
    stopped = decide(world, 3, CancelJob("J"))
    assert [each for each in stopped if isinstance(each, Stop)] == [Stop("J", 1, BACKEND, True)]
    machine = world.scheduler.state.machines[BACKEND]
    assert machine.lease is not None
    assert machine.lease.stopping
    assert live(world, "third").state is JobState.QUEUED
    assert live(world, "next").state is JobState.READY
    decide(world, 4, RunStopped(BACKEND, "J", 2))  # of another attempt
    assert machine.lease.job == "J"
    decide(world, 5, RunStopped(BACKEND, "J", 1))
    assert machine.lease is not None
    assert machine.lease.job == "next"
    assert live(world, "third").state is JobState.PREPARING
    assert world.scheduler.auditor.jobs["J"].quantum_ms == 3000


@pytest.mark.parametrize(
    "last_word", [JobExecuted("J", 1), JobFailed("J", 1, 1, "x"), JobLost("J", 1, False)]
)
def test_j20_any_last_word_about_a_stopped_run_frees_the_qpu(last_word: Event) -> None:
    world = World()
    world.submit("J", "A", (0, 50, 0), 0)
    world.run(until=0)
    decide(world, 3, CancelJob("J"))
    decisions = decide(world, 4, last_word)
    assert world.scheduler.state.machines[BACKEND].lease is None
    assert [each for each in decisions if isinstance(each, Note)]
    assert world.scheduler.auditor.jobs["J"].state is JobState.CANCELLED


def test_reports_of_an_old_attempt_or_another_stage_are_dropped() -> None:
    world = World()
    world.submit("J", "A", (5, 5, 5), 0)
    world.run(until=0)
    for report in (
        JobPrepared("J", 0),
        JobPrepared("J", 2),
        JobExecuted("J", 1),
        JobPostprocessed("J", 1),
        JobPrepared("nobody", 1),
    ):
        decisions = decide(world, 1, report)
        assert [type(each) for each in decisions] == [Note]
        assert live(world, "J").state is JobState.PREPARING


@pytest.mark.parametrize("stage", ["prep", "qpu", "post"])
def test_j5_three_attempts_at_a_stage_and_then_5203(stage: str) -> None:
    world = World()
    world.submit("J", "A", (5, 5, 5), 0)
    world.run(until={"prep": 1, "qpu": 6, "post": 11}[stage])
    at = world.replay.now / 1000
    for attempt in (1, 2):
        at += 1
        before = live(world, "J").state
        decide(world, at, JobLost("J", attempt, repeatable=True))
        assert live(world, "J").attempt == attempt + 1
        assert live(world, "J").state is before
        assert world.scheduler.state.machines[BACKEND].running == {"J": None}
    decide(world, at + 1, JobLost("J", 3, repeatable=True))
    lost = world.scheduler.auditor.jobs["J"]
    assert (lost.state, lost.code, lost.quantum_ms) == (JobState.FAILED, 5203, 0)
    assert world.scheduler.state.usage_ms("A", round(at * 1000 + 1000)) == 0


def test_j5_a_run_that_cannot_be_repeated_fails_at_once() -> None:
    world = World()
    world.submit("J", "A", (1, 5, 1), 0)
    world.run(until=3)
    decide(world, 3, JobLost("J", 1, repeatable=False))
    lost = world.scheduler.auditor.jobs["J"]
    assert (lost.state, lost.code, lost.quantum_ms) == (JobState.FAILED, 5203, 0)
    assert lost.solution


def test_j5_a_ready_job_that_is_lost_is_prepared_again() -> None:
    world = World()
    world.submit("first", "A", (0, 9, 0), 0)
    world.submit("J", "A", (1, 5, 1), 0)
    world.run(until=2)
    decide(world, 2, JobLost("J", 1, repeatable=False))
    assert (live(world, "J").state, live(world, "J").attempt) == (JobState.PREPARING, 2)


@pytest.mark.parametrize("system", [True, False])
def test_u8_a_users_error_in_the_qpu_is_paid_and_a_system_error_is_not(system: bool) -> None:
    world = World()
    world.batch("B", "A")
    world.submit("J", "B", (1, 5, 1), 0)
    world.run(until=3)
    decide(world, 4, JobFailed("J", 1, 6000, "why", "do this", system=system))
    failed = world.scheduler.auditor.jobs["J"]
    paid = 0 if system else 3000
    assert (failed.code, failed.reason, failed.solution) == (6000, "why", "do this")
    assert failed.quantum_ms == paid
    assert world.scheduler.state.usage_ms("A", 4000) == paid
    assert world.scheduler.state.groups["B"].usage_ms == paid
    kept = [each for each in world.scheduler.auditor.charges.values() if each.job == "J"]
    assert [(each.start, each.end, each.charged) for each in kept] == [(1000, 4000, not system)]


@pytest.mark.parametrize("group", [None, "B", "S"])
@pytest.mark.parametrize("system", [True, False])
def test_u8_a_failure_after_the_qpu(system: bool, group: str | None) -> None:
    world = World()
    world.batch("B", "A")
    world.session("S", "A")
    world.submit("J", group or "A", (1, 5, 9), 0)
    world.run(until=7)
    decide(world, 8, JobFailed("J", 1, 9999, "why", system=system))
    paid = 0 if system else 5000
    assert world.scheduler.auditor.jobs["J"].quantum_ms == paid
    assert world.scheduler.state.usage_ms("A", 8000) == (8000 if group == "S" else paid)
    if group == "B":
        assert world.scheduler.state.groups["B"].usage_ms == paid


def test_u1_the_devices_own_measure_counts_within_the_interval() -> None:
    for told, counted in ((1500, 1500), (9999, 2000), (-5, 0), (None, 2000)):
        world = World()
        world.submit("J", "A", (1, 50, 1), 0)
        world.run(until=1)
        decide(world, 3, JobExecuted("J", 1, quantum_ms=told))
        assert live(world, "J").quantum_ms == counted
        assert world.scheduler.state.usage_ms("A", 3000) == counted


def test_an_estimate_is_refined_when_the_job_is_prepared() -> None:
    world = World()
    world.submit("J", "A", (1, 5, 1), 0, estimate=100)
    world.submit("K", "A", (1, 5, 1), 0, estimate=100)
    world.run(until=0)
    decide(world, 1, JobPrepared("J", 1, estimate_ms=7000), JobPrepared("K", 1))
    assert (live(world, "J").estimate_ms, live(world, "K").estimate_ms) == (7000, 100_000)


# ---- groups --------------------------------------------------------------------------------------


def test_s5_the_first_job_fixes_the_max_ttl() -> None:
    settings = Settings(session_ttl_first_job=True)
    world = World(settings=settings)
    world.session("S", "A", interactive=5)
    world.session("T", "A", interactive=5)
    world.submit("A1", "S", (1, 1, 1), 0, limit=20)
    world.submit("A2", "S", (1, 1, 1), 0, limit=30)
    world.submit("A3", "T", (1, 1, 1), 0)
    world.batch("B", "A", maximum=77)
    world.run()
    assert world.group("S").max_ttl_ms == 20_000
    assert world.refusals() == [(0, "A2", Refusal.LIMIT_ABOVE_MAX_TTL)]
    refused = [each for _, each in world.replay.trace if isinstance(each, Refuse)]
    assert (refused[0].limit, refused[0].asked) == (20_000, 30_000)
    assert world.group("T").max_ttl_ms == 10_800_000
    assert world.group("B").max_ttl_ms == 77_000
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


# ---- instances and backends ----------------------------------------------------------------------


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
