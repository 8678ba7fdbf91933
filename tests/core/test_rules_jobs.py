"""Rules of jobs and of the clock that the timelines do not reach (C7, C8, J5, J18-J21, U8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.world import BACKEND, Row, World
from qdwell.core.decisions import Note, PutJob, Refusal, Refuse, Stop
from qdwell.core.events import (
    CancelJob,
    DevicePresent,
    Event,
    JobExecuted,
    JobFailed,
    JobLost,
    JobPostprocessed,
    JobPrepared,
    RunStopped,
    SubmitJob,
)
from qdwell.core.group import Ending
from qdwell.core.job import JobState
from qdwell.core.scheduler import Scheduler


def decide(world: World, at: float, *events: Event) -> list[Any]:
    """Tell the scheduler itself, with no replay in between."""
    return world.scheduler.decide(events, round(at * 1000))


def live(world: World, job: str) -> Any:
    return world.scheduler.state.jobs[job]


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
    stops = [each for _, each in world.replay.trace if isinstance(each, Stop)]
    assert stops == [Stop("J", 1, BACKEND, executing=state is JobState.EXECUTING)]
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
    assert "not begun again" in (lost.reason or "")
    assert lost.solution


def test_j5_a_ready_job_that_is_lost_is_prepared_again() -> None:
    world = World()
    world.submit("first", "A", (0, 9, 0), 0)
    world.submit("J", "A", (1, 5, 1), 0)
    world.run(until=2)
    decide(world, 2, JobLost("J", 1, repeatable=False))
    assert (live(world, "J").state, live(world, "J").attempt) == (JobState.PREPARING, 2)


def test_j14_nobody_gets_the_qpu_before_the_device_is_there() -> None:
    """A run starts its limit and its bill; the start of a device's process is neither."""
    world = World()
    world.submit("J", "A", (1, 5, 1), 0)
    world.submit("K", "B", (1, 5, 1), 0)
    world.run(until=3)
    decide(world, 3, JobLost("J", 1, repeatable=True), DevicePresent(BACKEND, False))
    assert (live(world, "J").state, live(world, "K").state) == (JobState.READY, JobState.READY)
    assert world.scheduler.state.machines[BACKEND].lease is None
    decide(world, 60, DevicePresent(BACKEND, True))
    assert (live(world, "J").executing_at, live(world, "K").state) == (60_000, JobState.READY)
    decide(world, 62, JobExecuted("J", 2))
    assert live(world, "J").quantum_ms == 2000
    assert world.scheduler.state.usage_ms("A", 62_000) == 2000


def test_j14_a_machine_may_start_without_its_device() -> None:
    world = World()
    world.submit("J", "A", (1, 5, 1), 0)
    world.run(until=0.5)
    decide(world, 0.6, replace(world.scheduler.auditor.machines[BACKEND], present=False))
    decide(world, 1, JobPrepared("J", 1))
    assert live(world, "J").state is JobState.READY
    decide(world, 9, DevicePresent(BACKEND, True))
    assert live(world, "J").executing_at == 9000


@pytest.mark.parametrize("last_word", [RunStopped(BACKEND, "J", 1), JobLost("J", 1, False)])
def test_j20_a_lane_is_free_before_the_device_is_there_again(last_word: Event) -> None:
    world = World(lanes=2)
    world.submit("J", "A", (1, 5, 1), 0)
    world.submit("K", "B", (1, 5, 1), 0)
    world.submit("L", "B", (1, 5, 1), 0)
    world.run(until=3)
    decide(world, 3, CancelJob("J"))
    assert live(world, "L").state is JobState.QUEUED
    decide(world, 4, DevicePresent(BACKEND, False), last_word)
    assert (live(world, "L").state, live(world, "K").state) == (
        JobState.PREPARING,
        JobState.READY,
    )


def test_what_is_told_of_an_unknown_device_is_refused() -> None:
    (refuse,) = decide(World(), 0, DevicePresent("none", False))
    assert refuse.refusal is Refusal.UNKNOWN_BACKEND


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


def test_a_job_of_an_id_that_is_live_is_refused_and_changes_nothing() -> None:
    world = World(lanes=1)
    world.submit("A1", "A", (5, 1, 1), 0)
    world.run(until=1)
    before = live(world, "A1")
    assert decide(world, 1, SubmitJob(before)) == [Refuse(Refusal.REPEATED_JOB, "A1")]
    assert live(world, "A1") == before
