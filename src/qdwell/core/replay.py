"""Runs a scheduler forward through planned durations: what the engine does, without an engine.

The scheduler decides; here its actions take as long as the plan says, and their reports are fed
back through the same door. No time passes but from one instant with something to do to the next.
The golden timelines, the queue's forecast (Q7, Q30), and what-if questions all run on this.

C6 at one instant: reports that are due go in together with the requests of that instant. A phase of
no length that a decision has begun is fed back at the same instant, before time moves on. A stop is
confirmed at the instant at which it was asked for (J14, J20).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qdwell.core.decisions import AskDevice, Decision, Execute, Postprocess, Prepare, Stop
from qdwell.core.events import (
    Event,
    JobBegun,
    JobExecuted,
    JobLost,
    JobPostprocessed,
    JobPrepared,
    RunAdopted,
    RunStopped,
)
from qdwell.core.job import Job, JobState
from qdwell.core.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Phases:
    """How long the three stages of a job take, in milliseconds."""

    prep_ms: int
    qpu_ms: int
    post_ms: int


@dataclass(frozen=True, slots=True, order=True)
class _Due:
    """An event that waits for its instant; `order` keeps those of one instant as they came."""

    at: int
    order: int
    event: Event
    job: str | None = None  #: whose stage ends; None for requests and confirmed stops


class Replay:
    """A scheduler, a plan, and the time.

    `phases` tells how long each job takes; it is asked when a stage begins. `adopts`: whether the
    device still knows a run after a restart (J5); if not, the run is lost and may be repeated.
    `trace` holds every decision with its instant, in order.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        phases: Callable[[Job], Phases],
        now: int = 0,
        *,
        adopts: bool = True,
    ) -> None:
        self.scheduler = scheduler
        self.now = now
        self.trace: list[tuple[int, Decision]] = []
        self._phases = phases
        self._adopts = adopts
        self._due: list[_Due] = []
        self._order = itertools.count()
        self._stage_end: dict[str, int] = {}  # job to the order of the report that ends its stage

    def request(self, at: int, *events: Event) -> None:
        """Plan requests (or any other events) for an instant, in order of arrival."""
        for event in events:
            self._push(at, event)

    def resume(self) -> None:
        """Take up what is already under way in the scheduler, as if it had begun by the plan."""
        for job in list(self.scheduler.state.jobs.values()):
            phases = self._phases(job)
            if job.state is JobState.PREPARING:
                assert job.running_at is not None
                self._end_stage(job.running_at + phases.prep_ms, JobPrepared(job.id, job.attempt))
            elif job.state is JobState.EXECUTING:
                assert job.executing_at is not None
                self._end_stage(job.executing_at + phases.qpu_ms, JobExecuted(job.id, job.attempt))
            elif job.state is JobState.POSTPROCESSING:
                assert job.executed_at is not None
                at = job.executed_at + phases.post_ms
                self._end_stage(at, JobPostprocessed(job.id, job.attempt))
        for machine in self.scheduler.state.machines.values():
            if machine.lease is not None and machine.lease.stopping:
                lease = machine.lease
                self._push(self.now, RunStopped(machine.name, lease.job, lease.attempt))

    def run(self, until: int | None = None) -> None:
        """Go on until nothing is left to happen, or up to and including the instant `until`."""
        while True:
            at = self.next_at()
            if at is None or (until is not None and at > until):
                break
            self.step()
        if until is not None:
            self.now = max(self.now, until)

    def next_at(self) -> int | None:
        """Return the next instant at which anything happens, None if nothing will."""
        while self._due and self._stale(self._due[0]):
            heapq.heappop(self._due)
        instants = [self._due[0].at] if self._due else []
        deadline = self.scheduler.next_deadline()
        if deadline is not None:
            instants.append(deadline)
        return max(self.now, min(instants)) if instants else None

    def step(self) -> Sequence[Decision]:
        """Go to the next instant and settle it; return what was decided there."""
        at = self.next_at()
        if at is None:
            return ()
        self.now = at
        decided = len(self.trace)
        self._settle(at)
        while self._due and self._due[0].at <= at:
            self._settle(at)
        return [decision for _, decision in self.trace[decided:]]

    def _settle(self, at: int) -> None:
        events: list[Event] = []
        while self._due and self._due[0].at <= at:
            due = heapq.heappop(self._due)
            if not self._stale(due):
                events += self._taken(due)
        for decision in self.scheduler.decide(events, at):
            self.trace.append((at, decision))
            self._act(decision, at)

    def _taken(self, due: _Due) -> Iterator[Event]:
        yield due.event
        if due.job is not None:
            del self._stage_end[due.job]
        if isinstance(due.event, JobExecuted):
            # A post-processing of no length ends in the same step of C6 in which it begins.
            job = self.scheduler.state.jobs[due.event.job]
            if self._phases(job).post_ms == 0:
                yield JobPostprocessed(job.id, job.attempt)

    def _act(self, decision: Decision, at: int) -> None:
        match decision:
            case Stop(job=job_id, attempt=attempt, backend=backend, executing=executing):
                self._stage_end.pop(job_id, None)
                if executing:
                    self._push(at, RunStopped(backend, job_id, attempt))
            case Prepare(job=job_id) | Execute(job=job_id) | Postprocess(job=job_id):
                # What began and ended at this instant is no longer live.
                job = self.scheduler.state.jobs.get(job_id)
                if job is not None and job.attempt == decision.attempt:
                    self._begin(decision, job, at)
            case AskDevice(job=job_id, attempt=attempt):
                job = self.scheduler.state.jobs[job_id]
                if self._adopts:
                    self._push(at, RunAdopted(job_id, attempt))
                    began = at if job.executing_at is None else job.executing_at
                    end = max(at, began + self._phases(job).qpu_ms)
                    self._end_stage(end, JobExecuted(job_id, attempt))
                else:
                    self._push(at, JobLost(job_id, attempt, repeatable=True))

    def _begin(self, action: Prepare | Execute | Postprocess, job: Job, at: int) -> None:
        phases = self._phases(job)
        match action:
            case Prepare():
                if self.scheduler.state.machines[job.backend].simulator:
                    self._push(at, JobBegun(job.id, job.attempt))
                self._end_stage(at + phases.prep_ms, JobPrepared(job.id, job.attempt))
            case Execute():
                self._end_stage(at + phases.qpu_ms, JobExecuted(job.id, job.attempt))
            case Postprocess():
                self._end_stage(at + phases.post_ms, JobPostprocessed(job.id, job.attempt))

    def _end_stage(self, at: int, report: JobPrepared | JobExecuted | JobPostprocessed) -> None:
        self._stage_end[report.job] = self._push(max(at, self.now), report, report.job)

    def _push(self, at: int, event: Event, job: str | None = None) -> int:
        order = next(self._order)
        heapq.heappush(self._due, _Due(at, order, event, job))
        return order

    def _stale(self, due: _Due) -> bool:
        """Whether the stage it would end has been stopped."""
        return due.job is not None and self._stage_end.get(due.job) != due.order
