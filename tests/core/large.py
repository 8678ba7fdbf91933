"""A larger world, for dice: three machines, four instances, every kind of event, and restarts.

Not a test. `Large` plays the engine and the store: it keeps which stages are under way, answers
the scheduler's actions, and can lose its memory. The auditor plays the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.oracle import Oracle
from core.world import check_timers
from qdwell.core.decisions import (
    AskDevice,
    Decision,
    Execute,
    Held,
    Note,
    Postprocess,
    Prepare,
    PutBackendState,
    PutCharge,
    PutGroup,
    PutJob,
    Stop,
)
from qdwell.core.events import (
    BackendMode,
    CloseGroup,
    DevicePresent,
    Event,
    JobBegun,
    JobExecuted,
    JobLost,
    JobPostprocessed,
    JobPrepared,
    PutBackend,
    PutInstance,
    RunAdopted,
    RunStopped,
    ServiceResumed,
    SetBackendMode,
)
from qdwell.core.job import Job
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings, Snapshot

SETTINGS = Settings(window_ms=400, unused_close_ms=50)
BACKENDS = (
    PutBackend("narrow", simulator=False, lanes=1, lock_window=True),
    PutBackend("wide", simulator=False, lanes=4, lock_window=False),
    PutBackend("locked", simulator=False, lanes=3, lock_window=True),
    PutBackend("simulator", simulator=True, lanes=1, lock_window=True),
)
INSTANCES = (
    PutInstance("A1", "A", 1000),
    PutInstance("A2", "A", 500, limit_ms=60),
    PutInstance("B", "B", 1000, spend_limit_ms=150),
    PutInstance("C", "C", 700, pending_max=4, account_allocation_ms=2000),
)
Log = list[tuple[tuple[Event, ...], int, list[Decision]]]


class Large:
    """The world: call `decide` with events, `restart` for an outage; raises what breaks."""

    def __init__(self) -> None:
        self.now = 0
        self.backends = {each.backend: each for each in BACKENDS}
        self.instances = {each.instance: each for each in INSTANCES}
        self.oracle = Oracle(SETTINGS)
        self.scheduler = Scheduler(SETTINGS)
        self.began: Snapshot | None = None  # what the present scheduler was made from
        self.log: Log = []  # what it was told, and what it decided
        self.twin: Scheduler | None = None  # made from a snapshot; must decide the same
        self.stages: dict[str, Event] = {}  # job to the report that ends its stage
        self.asked: dict[str, int] = {}  # job to attempt of which the device was asked
        self.stopping: list[RunStopped] = []
        self.reports: list[Event] = []  # all that were ever due, to be repeated late
        self.decide(*BACKENDS, *INSTANCES)

    @property
    def jobs(self) -> dict[str, Job]:
        """Live jobs."""
        return self.scheduler.state.jobs

    def decide(self, *events: Event) -> list[Decision]:
        """Tell the scheduler, and hold it to the rules."""
        for event in events:
            if isinstance(event, PutBackend):
                self.backends[event.backend] = event
            elif isinstance(event, DevicePresent):
                known = self.backends[event.backend]
                self.backends[event.backend] = replace(known, present=event.present)
            elif isinstance(event, PutInstance):
                self.instances[event.instance] = event
        decisions = self.scheduler.decide(events, self.now)
        self.log.append((events, self.now, decisions))
        self._audit(events, decisions)
        if self.twin is not None:
            again = self.twin.decide(events, self.now)
            assert alike(decisions) == alike(again)
        for decision in decisions:
            self._act(decision)
        return decisions

    def _audit(self, events: Sequence[Event], decisions: Sequence[Decision]) -> None:
        self.oracle.observe(events, decisions, self.now)
        self.oracle.check(self.scheduler.state, self.now)
        check_timers(self.scheduler)

    def _act(self, decision: Decision) -> None:
        match decision:
            case Prepare(job=job, attempt=attempt, backend=backend):
                if self.backends[backend].simulator:
                    self.reports.append(JobBegun(job, attempt))
                self._begin(job, JobPrepared(job, attempt))
            case Execute(job=job, attempt=attempt):
                self._begin(job, JobExecuted(job, attempt))
            case Postprocess(job=job, attempt=attempt):
                self._begin(job, JobPostprocessed(job, attempt))
            case AskDevice(job=job, attempt=attempt):
                self.asked[job] = attempt
            case Stop(job=job, attempt=attempt, backend=backend, executing=executing):
                self.stages.pop(job, None)
                self.asked.pop(job, None)
                if executing and not self.backends[backend].simulator:
                    self.stopping.append(RunStopped(backend, job, attempt))
            case PutJob(job=job) if job.final:
                self.stages.pop(job.id, None)
                self.asked.pop(job.id, None)

    def _begin(self, job: str, report: Event) -> None:
        self.stages[job] = report
        self.reports.append(report)

    def answer(self, job: str, known: bool, repeatable: bool) -> None:
        """The device answers whether it still knows a run (J5)."""
        attempt = self.asked.pop(job)
        if known:
            self.decide(RunAdopted(job, attempt))
            if job in self.jobs:
                self._begin(job, JobExecuted(job, attempt))
        else:
            self.decide(JobLost(job, attempt, repeatable))

    def restart(self, down_ms: int) -> None:
        """The service dies and comes up again: memory and work under way are gone (C8, J5)."""
        down_since = self.now
        self.now += down_ms
        self.twin = None
        self.stages.clear()
        self.asked.clear()
        self.stopping.clear()
        self.began = self.oracle.snapshot(down_since)
        self.scheduler = Scheduler(SETTINGS, self.began)
        self.log = []
        announced = (*self.backends.values(), *self.instances.values())
        decisions = self.scheduler.decide(announced, down_since)
        self.log.append((announced, down_since, decisions))
        resumed = ServiceResumed(down_since)
        more = self.scheduler.decide([resumed], self.now)
        self.log.append(((resumed,), self.now, more))
        # One transaction, as the engine commits it.
        self._audit((*announced, resumed), decisions + more)
        for decision in decisions + more:
            self._act(decision)

    def fork(self) -> None:
        """Load a second scheduler from the disk; from now on both must decide the same."""
        self.decide()  # what is due now is applied before the disk is read
        self.twin = Scheduler(SETTINGS, self.oracle.snapshot(self.now))
        self.twin.decide((*self.backends.values(), *self.instances.values()), self.now)
        self.twin.decide([ServiceResumed(self.now, work_lost=False)], self.now)

    def wait(self) -> bool:
        """Go to the next deadline; return whether there was one."""
        at = self.scheduler.next_deadline()
        if at is None:
            return False
        self.now = max(self.now, at)
        self.decide()
        return True

    def drain(self) -> None:
        """Let everything end: whatever happened, no job and no group is stuck (P6)."""
        for name in self.backends:
            self.decide(SetBackendMode(name, BackendMode.ONLINE), DevicePresent(name, True))
        for plan in list(self.instances.values()):
            self.decide(replace(plan, limit_ms=None, spend_limit_ms=None))
        for group in list(self.scheduler.state.groups):
            self.decide(CloseGroup(group))
        for _ in range(2000):
            if self.asked:
                self.answer(next(iter(self.asked)), known=False, repeatable=True)
            elif self.stopping:
                self.decide(self.stopping.pop(0))
            elif self.stages:
                self.now += 1
                self.decide(self.stages.pop(next(iter(self.stages))))
            elif not self.jobs and not self.scheduler.state.groups:
                break
            else:
                assert self.wait(), "stuck: nothing is under way and nothing is due"
        assert not self.jobs
        assert not self.scheduler.state.groups

    def replay_log(self) -> None:
        """P17: told the same again, a scheduler decides the same again."""
        again = Scheduler(SETTINGS, self.began)
        for events, now, decisions in self.log:
            assert again.decide(events, now) == decisions


def alike(decisions: Sequence[Decision]) -> list[Decision]:
    """Drop what a reload may change: how a window's charge is cut, and repeated records."""
    kept: list[Decision] = []
    for decision in decisions:
        if isinstance(decision, PutCharge) and decision.kind is Held.SESSION:
            continue
        if isinstance(decision, PutBackendState | Note):
            continue
        if isinstance(decision, PutGroup):
            group = decision.group.evolve(usage_ms=0, charging_since=None)
            kept.append(replace(decision, group=group))
        else:
            kept.append(decision)
    return kept
