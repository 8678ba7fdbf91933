"""The service goes down and comes up again: each deadline crossed, each stage lost (C8, J5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from core.world import BACKEND, AuditedScheduler, World
from qdwell.core.decisions import (
    AskDevice,
    Execute,
    Note,
    Postprocess,
    Prepare,
    PutBackendState,
    PutCharge,
    PutJob,
    Stop,
)
from qdwell.core.events import (
    BackendMode,
    CancelJob,
    Event,
    JobBegun,
    JobExecuted,
    JobLost,
    JobPrepared,
    PutBackend,
    PutInstance,
    RunAdopted,
    RunStopped,
    ServiceResumed,
)
from qdwell.core.group import Ending, GroupState
from qdwell.core.job import JobState
from qdwell.core.replay import Replay


class Later:
    """What the service is after an outage, with the same users and plan."""

    def __init__(
        self,
        world: World,
        down: float,
        up: float,
        *,
        announce: Sequence[Event] | None = None,
        work_lost: bool = True,
    ) -> None:
        world.run(until=down)
        auditor = world.scheduler.auditor
        self.scheduler = AuditedScheduler(auditor.settings, auditor.snapshot(round(down * 1000)))
        known = [*auditor.machines.values()] if announce is None else announce
        instances = [PutInstance(each, each, 1_000_000) for each in sorted(world._known)]
        first = self.scheduler.decide([*known, *instances], round(down * 1000))
        assert not [each for each in first if isinstance(each, PutBackendState)]
        self.decisions = self.decide(up, ServiceResumed(round(down * 1000), work_lost))
        self.world = world

    def decide(self, at: float, *events: Event) -> list[Any]:
        return self.scheduler.decide(events, round(at * 1000))

    def job(self, job: str) -> Any:
        ended_before = self.world.scheduler.auditor.jobs[job]
        return self.scheduler.auditor.jobs.get(job, ended_before)

    def group(self, group: str) -> Any:
        closed_before = self.world.scheduler.auditor.groups[group]
        return self.scheduler.auditor.groups.get(group, closed_before)

    def actions(self, *kinds: type) -> list[Any]:
        return [each for each in self.decisions if isinstance(each, kinds)]

    def uncharged(self) -> list[tuple[float, float]]:
        return [
            (each.start / 1000, (each.end or 0) / 1000)
            for each in self.decisions
            if isinstance(each, PutCharge) and not each.charged
        ]

    def run(self, down: float, up: float, until: float) -> Replay:
        replay = Replay(self.scheduler, lambda job: self.world.plan[job.id], round(up * 1000))
        replay.trace += [(round(up * 1000), each) for each in self.decisions]
        for each in self.decisions:
            replay._act(each, round(up * 1000))
        replay.run(round(until * 1000))
        return replay


def session_world(**ttl: Any) -> World:
    world = World()
    world.session("S", "A", **ttl)
    world.submit("A1", "S", (1, 2, 1), 0)
    return world


def test_interactive_ttl_passes_during_the_outage() -> None:
    later = Later(session_world(interactive=10), 6, 30)
    group = later.group("S")
    assert (group.state, group.usage_ms) == (GroupState.INACTIVE, 6000)
    # The window was to end at 14 s; from 6 s on nobody owed it.
    assert later.uncharged() == [(6, 14)]
    assert later.scheduler.state.usage_ms("A", 30_000) == 6000


def test_interactive_ttl_at_the_instant_of_coming_up() -> None:
    later = Later(session_world(interactive=10), 6, 14)
    assert later.group("S").state is GroupState.INACTIVE
    assert later.group("S").usage_ms == 6000
    assert later.uncharged() == [(6, 14)]


def test_a_window_that_outlives_the_outage_is_charged_again() -> None:
    later = Later(session_world(interactive=10), 6, 9)
    assert later.group("S").state is GroupState.ACTIVE
    assert later.uncharged() == [(6, 9)]
    later.decide(14)
    assert (later.group("S").state, later.group("S").usage_ms) == (GroupState.INACTIVE, 11_000)


def test_max_ttl_passes_during_the_outage() -> None:
    world = session_world(interactive=60, maximum=20)
    world.submit("A2", "S", (1, 50, 1), 0)
    world.submit("A3", "S", (1, 50, 1), 0)
    later = Later(world, 6, 30)
    # A2 was in the QPU when the service died, so it is not the session's end that takes it.
    assert later.job("A3").code == 4001
    assert later.job("A3").finished_at == 20_000
    assert later.job("A2").state is JobState.EXECUTING
    assert later.group("S").state is GroupState.PENDING_CLOSED
    assert later.actions(AskDevice) == [AskDevice("A2", 1, BACKEND)]
    assert later.uncharged() == [(6, 30)]
    replay = later.run(6, 30, 100)
    assert later.group("S").ending is Ending.MAX_TTL
    # 3 s to 53 s on the device, of which 24 s were our outage.
    assert later.job("A2").executing_at == 3000
    assert later.job("A2").quantum_ms == 26_000
    assert later.group("S").usage_ms == later.group("S").closed_at - 24_000
    assert replay.trace


def test_active_ttl_passes_during_the_outage() -> None:
    later = Later(session_world(interactive=60, active=20), 6, 30)
    assert (later.group("S").state, later.group("S").usage_ms) == (GroupState.INACTIVE, 6000)
    assert later.uncharged() == [(6, 20)]


def test_active_ttl_passes_with_a_job_under_way() -> None:
    world = session_world(interactive=60, active=20)
    world.submit("A2", "S", (1, 100, 1), 5)
    later = Later(world, 10, 30)
    assert later.group("S").state is GroupState.PENDING_INACTIVE
    assert later.uncharged() == [(10, 30)]


def test_unused_timer_passes_during_the_outage() -> None:
    world = World()
    world.session("S", "A")
    later = Later(world, 10, 4000)
    assert (later.group("S").ending, later.group("S").closed_at) == (Ending.UNUSED, 1_800_000)


def test_several_deadlines_pass_in_their_order() -> None:
    world = session_world(interactive=10, maximum=20)
    world.session("T", "B")
    world.submit("X", "B", (1, 1, 1), 5)
    later = Later(world, 6, 2000)
    assert later.group("S").closed_at == 20_000
    assert later.group("S").usage_ms == 6000
    assert later.group("T").closed_at == 1_800_000
    # X waited for the session; nothing starts while the service is down.
    assert later.job("X").running_at == 2_000_000


def test_a_deadline_missed_before_the_crash_is_applied_at_its_instant() -> None:
    world = session_world(interactive=10)
    world.run(until=6)
    auditor = world.scheduler.auditor
    # Alive until 16 s, but nobody looked at the clock since before 14 s.
    scheduler = AuditedScheduler(auditor.settings, auditor.snapshot(16_000))
    plan = PutInstance("A", "A", 1000)
    scheduler.decide([PutBackend(BACKEND, False, 5, True), plan], 16_000)
    scheduler.decide([ServiceResumed(16_000)], 20_000)
    assert scheduler.auditor.groups["S"].usage_ms == 14_000
    assert scheduler.auditor.groups["S"].state is GroupState.INACTIVE


# ---- work that was under way ---------------------------------------------------------------------


def one_job(at: float) -> Later:
    world = World()
    world.submit("J", "A", (2, 4, 2), 0)
    return Later(world, at, at + 10)


def test_lost_in_preparation() -> None:
    later = one_job(1)
    job = later.job("J")
    assert (job.state, job.attempt, job.prepare_tries) == (JobState.PREPARING, 2, 2)
    assert job.running_at == 0
    assert later.actions(Prepare, Execute, Postprocess, AskDevice) == [Prepare("J", 2, BACKEND)]


def test_lost_while_ready() -> None:
    world = World()
    world.submit("first", "B", (0, 9, 0), 0)
    world.submit("J", "A", (2, 4, 2), 0)
    later = Later(world, 5, 6)
    job = later.job("J")
    assert (job.state, job.attempt) == (JobState.PREPARING, 2)
    assert Prepare("J", 2, BACKEND) in later.decisions
    assert AskDevice("first", 1, BACKEND) in later.decisions


@pytest.mark.parametrize(("measured", "charged"), [(None, 2000), (1200, 1200), (12_000, 2000)])
def test_a_run_is_adopted_and_the_outage_is_not_paid(measured: int | None, charged: int) -> None:
    later = one_job(3)
    assert later.actions(AskDevice) == [AskDevice("J", 1, BACKEND)]
    notes = later.decide(13, RunAdopted("J", 1))
    assert [type(each) for each in notes] == [Note]
    assert later.job("J").state is JobState.EXECUTING
    later.decide(14, JobExecuted("J", 1, measured))
    assert later.job("J").quantum_ms == charged
    assert later.scheduler.state.usage_ms("A", 14_000) == charged
    assert later.job("J").downtime_ms == 10_000


def test_the_limit_of_an_adopted_run_does_not_count_the_outage() -> None:
    world = World()
    world.submit("J", "A", (2, 40, 2), 0, limit=5)
    later = Later(world, 3, 13)
    later.decide(13, RunAdopted("J", 1))
    later.decide(16.999)
    assert later.job("J").state is JobState.EXECUTING
    later.decide(17)
    assert (later.job("J").code, later.job("J").quantum_ms) == (1305, 5000)
    assert later.scheduler.state.usage_ms("A", 17_000) == 5000


def test_a_lost_run_that_may_be_repeated_is_executed_again() -> None:
    later = one_job(3)
    decisions = later.decide(13, JobLost("J", 1, repeatable=True))
    assert Execute("J", 2, BACKEND) in decisions
    job = later.job("J")
    assert (job.state, job.executing_at, job.execute_tries) == (JobState.EXECUTING, 13_000, 2)
    assert job.downtime_ms == 0
    later.decide(17, JobExecuted("J", 2))
    assert later.scheduler.state.usage_ms("A", 17_000) == 4000


def test_a_lost_run_that_may_not_be_repeated_fails() -> None:
    later = one_job(3)
    later.decide(13, JobLost("J", 1, repeatable=False))
    assert (later.job("J").code, later.job("J").quantum_ms) == (5203, 0)
    assert later.scheduler.state.usage_ms("A", 13_000) == 0


def test_lost_in_post_processing_starts_from_the_raw_data() -> None:
    later = one_job(7)
    job = later.job("J")
    assert (job.state, job.attempt, job.postprocess_tries) == (JobState.POSTPROCESSING, 2, 2)
    assert later.actions(Prepare, Execute, Postprocess) == [Postprocess("J", 2, BACKEND)]
    assert job.quantum_ms == 4000
    assert later.scheduler.state.usage_ms("A", 17_000) == 4000


def test_found_between_two_stages() -> None:
    world = World()
    world.submit("J", "A", (2, 4, 2), 0)
    world.run(until=7)
    auditor = world.scheduler.auditor
    job = next(
        each.job
        for _, each in world.replay.trace
        if isinstance(each, PutJob) and each.job.state is JobState.EXECUTED
    )
    auditor._live["J"] = auditor.jobs["J"] = job
    later = Later(world, 7, 8)
    assert later.actions(Postprocess) == [Postprocess("J", 1, BACKEND)]
    assert later.job("J").state is JobState.POSTPROCESSING


def test_queued_jobs_keep_their_place() -> None:
    world = World(lanes=1)
    world.submit("busy", "A", (0, 50, 0), 0)
    for name in ("J1", "J2", "J3"):
        world.submit(name, "A", (1, 1, 1), 0)
    later = Later(world, 5, 6)
    replay = later.run(5, 6, 200)
    started = [
        each.job.id
        for _, each in replay.trace
        if isinstance(each, PutJob) and each.job.state is JobState.PREPARING
    ]
    assert started == ["J1", "J2", "J3"]


def test_a_stop_that_was_awaited_is_asked_for_again() -> None:
    world = World()
    world.submit("J", "A", (0, 50, 0), 0)
    world.submit("next", "B", (0, 5, 0), 0)
    world.run(until=2)
    world.scheduler.decide([CancelJob("J")], 2000)
    later = Later(world, 2, 8)
    assert later.actions(Stop) == [Stop("J", 1, BACKEND, executing=True)]
    machine = later.scheduler.state.machines[BACKEND]
    assert machine.lease is not None
    assert machine.lease.stopping
    later.decide(8, JobPrepared("next", 2))
    assert later.job("next").state is JobState.READY
    later.decide(9, RunStopped(BACKEND, "J", 1))
    assert later.job("next").state is JobState.EXECUTING


def test_mode_reservation_and_lock_survive() -> None:
    world = World(lanes=2)
    world.batch("B", "A", interactive=60)
    world.submit("B1", "B", (0, 50, 0), 0)
    world.mode(BackendMode.PAUSED, 1)
    later = Later(world, 2, 3)
    machine = later.scheduler.state.machines[BACKEND]
    assert (machine.mode, machine.lock, machine.live_group) == (BackendMode.PAUSED, "B", "B")
    world = World(lanes=2)
    world.submit("busy", "C", (0, 50, 0), 0)
    world.session("S", "A")
    world.submit("A1", "S", (0, 50, 0), 1)
    later = Later(world, 2, 3)
    assert later.scheduler.state.machines[BACKEND].reservation == "S"


def test_only_memory_was_lost() -> None:
    world = World()
    world.submit("J", "A", (2, 4, 2), 0)
    later = Later(world, 1, 1, work_lost=False)
    assert not later.actions(Prepare, Execute, Postprocess, AskDevice, Stop)
    assert (later.job("J").attempt, later.job("J").state) == (1, JobState.PREPARING)
    later.decide(2, JobPrepared("J", 1))
    assert later.job("J").state is JobState.EXECUTING


def test_a_backend_that_left_the_configuration_is_offline() -> None:
    world = World()
    world.submit("J", "A", (2, 4, 2), 0)
    world.submit("K", "A", (2, 4, 2), 0)
    world.session("S", "A")
    later = Later(world, 3, 4, announce=[])
    machine = later.scheduler.state.machines[BACKEND]
    assert (machine.mode, machine.lanes) == (BackendMode.OFFLINE, 1)
    assert "configuration" in machine.mode_reason
    assert machine.lease is not None
    later.decide(5, CancelJob("J"))
    later.decide(6, RunStopped(BACKEND, "J", later.scheduler.auditor.jobs["J"].attempt))
    later.decide(7, JobPrepared("K", 2))
    assert (machine.lease, later.job("K").state) == (None, JobState.READY)


def test_an_instance_that_is_not_announced_keeps_its_work() -> None:
    world = World(lanes=1)
    world.submit("J", "A", (2, 4, 2), 0)
    world.submit("K", "A", (2, 4, 2), 0)
    world._known.clear()
    later = Later(world, 3, 4)
    instance = later.scheduler.state.instances["A"]
    assert (instance.account, instance.allocation_ms, instance.pending) == ("A", 36_000_000, 2)


def test_limits_of_a_simulators_jobs_do_not_count_the_outage() -> None:
    world = World(simulator=True)
    world.submit("prep", "A", (6, 1, 1), 0, limit=9)
    world.submit("post", "A", (1, 1, 50), 0, limit=9)
    later = Later(world, 4, 100)
    assert later.job("prep").executing_at is None
    later.decide(101, JobBegun("prep", 2))
    later.decide(104.999)
    assert later.job("post").state is JobState.POSTPROCESSING
    later.decide(105)
    assert later.job("post").code == 1305
    later.decide(109.999)
    assert later.job("prep").state is JobState.PREPARING
    later.decide(110)
    assert later.job("prep").code == 1305


@pytest.mark.parametrize("down", [2.5, 3, 4.5, 6.5, 10])
def test_everything_ends_after_an_outage_at_any_instant(down: float) -> None:
    world = World(lanes=2)
    world.session("S", "A", interactive=2)
    world.batch("B", "C", interactive=2)
    for name, owner in (("A1", "S"), ("B1", "B"), ("X", "D"), ("A2", "S"), ("B2", "B")):
        world.submit(name, owner, (1, 2, 1), 0)
    world.close("S", 1)
    world.close("B", 1)
    later = Later(world, down, down + 5)
    later.run(down, down + 5, 300)
    assert {later.job(name).state for name in world.plan} == {JobState.COMPLETED}
    assert {later.group(name).state for name in "SB"} == {GroupState.CLOSED}
