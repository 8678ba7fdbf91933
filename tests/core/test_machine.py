"""Dice in a larger world: P1-P15, P17, P18, whose turn it is, restarts, and late reports."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from core.large import SETTINGS, Large
from qdwell.core.events import (
    BackendMode,
    CancelGroup,
    CancelJob,
    CloseGroup,
    CreateGroup,
    DevicePresent,
    Event,
    JobFailed,
    JobLost,
    JobPrepared,
    SetBackendMode,
    SubmitJob,
)
from qdwell.core.group import Group, Mode
from qdwell.core.job import Job

INSTANCES = ("A1", "A2", "B", "C")
BACKENDS = ("narrow", "wide", "locked", "simulator")
MOMENTS = st.sampled_from((0, 0, 0, 1, 2, 5, 30, 120))
small = st.integers(0, 7)


class Dice(RuleBasedStateMachine):
    """One history of the larger world."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Large()
        self.seq = 0
        self.together: list[Event] | None = None  # events kept for one common instant

    def tell(self, *events: Event) -> None:
        if self.together is not None:
            self.together += events
        else:
            self.world.decide(*events)

    def pick(self, things: list[str], number: int) -> str:
        return things[number % len(things)]

    # ---- requests --------------------------------------------------------------------------------

    @rule(
        owner=st.integers(0, 30),
        backend=st.sampled_from(BACKENDS),
        estimate=st.sampled_from((0, 1, 10, 40)),
        limit=st.sampled_from((None, 1, 20, 60)),
    )
    def submit(self, owner: int, backend: str, estimate: int, limit: int | None) -> None:
        groups = list(self.world.scheduler.state.groups.values())
        group = groups[owner % len(groups)] if groups and owner % 3 else None
        self.seq += 1
        job = Job(
            id=f"j{self.seq}",
            seq=self.seq,
            instance=group.instance if group else self.pick(list(INSTANCES), owner),
            backend=group.backend if group else backend,
            created=self.world.now,
            group=group.id if group else None,
            limit_ms=1000 if limit is None else limit,
            limit_asked=limit is not None,
            estimate_ms=estimate,
        )
        self.tell(SubmitJob(job))

    @rule(
        mode=st.sampled_from(list(Mode)),
        instance=st.sampled_from(INSTANCES),
        backend=st.sampled_from(BACKENDS[:3]),
        interactive=st.sampled_from((1, 10, 40)),
        maximum=st.sampled_from((None, 30, 200)),
        active=st.sampled_from((None, None, 15)),
    )
    def create_group(
        self,
        mode: Mode,
        instance: str,
        backend: str,
        interactive: int,
        maximum: int | None,
        active: int | None,
    ) -> None:
        self.seq += 1
        group = Group(
            id=f"g{self.seq}",
            seq=self.seq,
            mode=mode,
            instance=instance,
            backend=backend,
            created=self.world.now,
            interactive_ttl_ms=interactive,
            max_ttl_ms=maximum,
            max_ttl_cap_ms=100,
            active_ttl_ms=active,
        )
        self.tell(CreateGroup(group))

    @precondition(lambda self: self.world.jobs)
    @rule(number=small)
    def cancel(self, number: int) -> None:
        self.tell(CancelJob(self.pick(list(self.world.jobs), number)))

    @precondition(lambda self: self.world.scheduler.state.groups)
    @rule(number=small, hard=st.booleans())
    def end_group(self, number: int, hard: bool) -> None:
        group = self.pick(list(self.world.scheduler.state.groups), number)
        self.tell(CancelGroup(group) if hard else CloseGroup(group))

    @rule(backend=st.sampled_from(BACKENDS), mode=st.sampled_from(list(BackendMode)))
    def set_mode(self, backend: str, mode: BackendMode) -> None:
        self.tell(SetBackendMode(backend, mode))

    @rule(instance=st.sampled_from(INSTANCES), limit=st.sampled_from((None, 30, 100)))
    def change_limit(self, instance: str, limit: int | None) -> None:
        plan = self.world.instances[instance]
        self.tell(type(plan)(plan.instance, plan.account, plan.allocation_ms, limit))

    @rule(backend=st.sampled_from(BACKENDS[:3]), lanes=st.integers(1, 5))
    def change_lanes(self, backend: str, lanes: int) -> None:
        self.tell(replace(self.world.backends[backend], lanes=lanes))

    @rule(backend=st.sampled_from(BACKENDS[:3]), present=st.booleans())
    def set_present(self, backend: str, present: bool) -> None:
        self.tell(DevicePresent(backend, present))

    # ---- reports ---------------------------------------------------------------------------------

    @precondition(lambda self: self.world.stages)
    @rule(number=small, estimate=st.sampled_from((None, None, 25)))
    def end_stage(self, number: int, estimate: int | None) -> None:
        report = self.world.stages.pop(self.pick(list(self.world.stages), number))
        if isinstance(report, JobPrepared):
            report = JobPrepared(report.job, report.attempt, estimate)
        self.tell(report)

    @precondition(lambda self: self.world.stages)
    @rule(number=small, system=st.booleans())
    def fail_stage(self, number: int, system: bool) -> None:
        job = self.pick(list(self.world.stages), number)
        attempt = self.world.jobs[job].attempt
        self.world.stages.pop(job)
        self.tell(JobFailed(job, attempt, 1517, "planted", system=system))

    @precondition(lambda self: self.world.stages)
    @rule(number=small, repeatable=st.booleans())
    def lose_worker(self, number: int, repeatable: bool) -> None:
        job = self.pick(list(self.world.stages), number)
        attempt = self.world.jobs[job].attempt
        self.world.stages.pop(job)
        self.tell(JobLost(job, attempt, repeatable))

    @precondition(lambda self: self.world.stopping)
    @rule()
    def confirm_stop(self) -> None:
        self.tell(self.world.stopping.pop(0))

    @precondition(lambda self: self.world.asked)
    @rule(known=st.booleans(), repeatable=st.booleans())
    def device_answers(self, known: bool, repeatable: bool) -> None:
        self.world.answer(next(iter(self.world.asked)), known, repeatable)

    @precondition(lambda self: self.world.reports)
    @rule(number=st.integers(0, 200))
    def repeat_a_report(self, number: int) -> None:
        report = self.world.reports[number % len(self.world.reports)]
        job = getattr(report, "job", "")
        if self.world.stages.get(job) != report and job not in self.world.asked:
            self.tell(report)

    # ---- time ------------------------------------------------------------------------------------

    @rule(passed=MOMENTS)
    def pass_time(self, passed: int) -> None:
        self.world.now += passed

    @rule()
    def wait(self) -> None:
        self.world.wait()

    @rule()
    def go_to_the_deadline(self) -> None:
        """Whatever comes next comes at the very instant at which a timer is due."""
        at = self.world.scheduler.next_deadline()
        if at is not None:
            self.world.now = max(self.world.now, at)

    @precondition(lambda self: self.together is None)
    @rule()
    def begin_together(self) -> None:
        self.together = []

    @precondition(lambda self: self.together is not None)
    @rule()
    def all_at_once(self) -> None:
        events, self.together = self.together or [], None
        self.world.decide(*events)

    # ---- the service -----------------------------------------------------------------------------

    @rule(down=MOMENTS)
    def restart(self, down: int) -> None:
        self.flush()
        self.world.restart(down)

    @precondition(lambda self: self.together is None)
    @rule()
    def fork(self) -> None:
        self.world.fork()

    def flush(self) -> None:
        if self.together is not None:
            self.all_at_once()

    def teardown(self) -> None:
        self.flush()
        self.world.replay_log()
        self.world.drain()


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

TestDice = Dice.TestCase
TestDice.settings = settings(
    max_examples=40,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=QUIET,
)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_more_dice() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Dice,
        settings=settings(
            max_examples=3000,
            stateful_step_count=120,
            deadline=None,
            suppress_health_check=QUIET,
        ),
    )


def test_the_world_is_small_enough_for_its_window_to_move() -> None:
    assert SETTINGS.window_ms < 1000
