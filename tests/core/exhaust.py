"""Walks every history of a small world, event by event. Not a test; `test_exhaust` runs it.

The world: one machine with two lanes, instances A and B, a session of A and a batch of B, both made
before the first event, and a few jobs. An event is a submission, the end of any stage, the
confirmation of a stop, a cancellation, a close, or waiting for the next deadline (a millisecond if
there is none). All but waiting happen at one instant, so ties are everywhere.

Two histories that lead to states which no future can tell apart are walked on once: `canonical`
says what a future depends on. Times are kept relative to the present, since every rule is about
differences; order of acceptance as ranks; usage as the difference between the two instances, since
their allocations are equal and nothing leaves the window. The audit of a step looks at the state
before it and at the step, so it is complete although the way there is forgotten. How many
histories there are is counted along the graph, exactly.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from core.world import BACKEND, AuditedScheduler
from qdwell.core.decisions import Decision, Execute, Postprocess, Prepare, Refuse, Stop
from qdwell.core.events import (
    BackendMode,
    CancelGroup,
    CancelJob,
    CloseGroup,
    CreateGroup,
    Event,
    JobExecuted,
    JobPostprocessed,
    JobPrepared,
    PutBackend,
    PutInstance,
    RunStopped,
    SubmitJob,
)
from qdwell.core.fairshare import Share
from qdwell.core.group import Group, Mode
from qdwell.core.job import Job
from qdwell.core.state import Lease, Settings, Snapshot
from qdwell.core.timers import Timer

Step = tuple[str, str]  # what happens, and to whom
Node = tuple[int, bytes, tuple[Step, ...]]  # its number, the world, and the first way found there


@dataclass(frozen=True)
class Small:
    """The bounds of a small world."""

    lock_window: bool
    jobs: tuple[tuple[str, int], ...] = (("A", 1), ("B", 1), ("S", 2), ("T", 2))
    active_ttl_ms: int | None = None


class SmallWorld:
    """One state of the world: a scheduler with its auditor, and the stages under way."""

    def __init__(self, bounds: Small) -> None:
        self.bounds = bounds
        self.now = 0
        self.submitted = {owner: 0 for owner, _ in bounds.jobs}
        self.stages: dict[str, Event] = {}  # job to the report that ends its stage
        self.stopping: list[Event] = []
        self.seq = 2
        self.scheduler = AuditedScheduler(Settings(unused_close_ms=40))
        self._decide(PutBackend(BACKEND, False, 2, bounds.lock_window))
        for name in "AB":
            self._decide(PutInstance(name, name, 1000))
        self._decide(CreateGroup(self._group("S", 1, Mode.SESSION, "A", 3)))
        self._decide(CreateGroup(self._group("T", 2, Mode.BATCH, "B", 1)))

    def _group(self, name: str, seq: int, mode: Mode, instance: str, interactive: int) -> Group:
        return Group(
            id=name,
            seq=seq,
            mode=mode,
            instance=instance,
            backend=BACKEND,
            created=0,
            interactive_ttl_ms=interactive,
            max_ttl_ms=8,
            active_ttl_ms=self.bounds.active_ttl_ms,
        )

    def steps(self) -> Iterator[Step]:
        """Everything that can happen next."""
        for owner, most in self.bounds.jobs:
            if self.submitted[owner] < most:
                yield "submit", owner
        for job in self.stages:
            yield "end stage", job
        if self.stopping:
            yield "confirm stop", ""
        for job in self.scheduler.state.jobs:
            yield "cancel", job
        for group in self.scheduler.state.groups:
            yield "close", group
            yield "cancel group", group
        yield "wait", ""

    def take(self, step: Step) -> None:
        """Let it happen; raises `BrokenInvariant` if a rule breaks."""
        what, whom = step
        if what == "submit":
            self.submitted[whom] += 1
            self.seq += 1
            self._decide(SubmitJob(self._job(whom)))
        elif what == "end stage":
            self._decide(self.stages.pop(whom))
        elif what == "confirm stop":
            self._decide(self.stopping.pop(0))
        elif what == "cancel":
            self._decide(CancelJob(whom))
        elif what == "close":
            self._decide(CloseGroup(whom))
        elif what == "cancel group":
            self._decide(CancelGroup(whom))
        else:
            deadline = self.scheduler.next_deadline()
            self.now = self.now + 1 if deadline is None else deadline
            self._decide()

    def _job(self, owner: str) -> Job:
        return Job(
            id=f"{owner.lower()}{self.submitted[owner]}",
            seq=self.seq,
            instance={"S": "A", "T": "B"}.get(owner, owner),
            backend=BACKEND,
            created=self.now,
            group=owner if owner in "ST" else None,
            limit_ms=5,
            estimate_ms=2,
        )

    def _decide(self, *events: Event) -> None:
        for decision in self.scheduler.decide(events, self.now):
            self._act(decision)

    def _act(self, decision: Decision) -> None:
        match decision:
            case Prepare(job=job, attempt=attempt):
                self.stages[job] = JobPrepared(job, attempt)
            case Execute(job=job, attempt=attempt):
                self.stages[job] = JobExecuted(job, attempt)
            case Postprocess(job=job, attempt=attempt):
                self.stages[job] = JobPostprocessed(job, attempt)
            case Stop(job=job, attempt=attempt, executing=executing):
                self.stages.pop(job, None)
                if executing:
                    self.stopping.append(RunStopped(BACKEND, job, attempt))
            case Refuse():
                # Only a submission to a group that is closed or does not accept can be refused.
                assert decision.refusal in ("group_closed", "unknown_group"), decision

    def canonical(self) -> Hashable:
        """All that the future depends on."""
        state = self.scheduler.state
        now = self.now
        ranked = sorted(state.jobs.values(), key=lambda job: job.seq)
        ready = sorted(job.ready_at or 0 for job in ranked if job.state == "ready")
        jobs = tuple(
            (
                job.id,
                job.state.value,
                ready.index(job.ready_at or 0) if job.state == "ready" else None,
                since(job.executing_at, now) if job.state == "executing" else None,
            )
            for job in ranked
        )
        groups = tuple(
            (
                group.id,
                group.state.value,
                group.accepting,
                since(group.idle_since, now),
                since(group.started_at, now),
                since(group.activated_at, now),
            )
            for group in state.groups.values()
        )
        machine = state.machines[BACKEND]
        lease = machine.lease
        stopping = (lease.job if lease is not None and lease.stopping else None, len(self.stopping))
        ahead = state.usage_ms("A", now) - state.usage_ms("B", now)
        counts = tuple(self.submitted.values())
        return jobs, groups, machine.lock, machine.reservation, stopping, ahead, counts


class _Freezer(pickle.Pickler):
    """Copies worlds. Records cannot change, so copies share them: only their number is written."""

    dispatch_table: ClassVar[dict[type, Any]] = {}


_records: list[object] = []
_numbers: dict[int, int] = {}


def _record(number: int) -> object:
    return _records[number]


def _share(record: object) -> tuple[Any, ...]:
    number = _numbers.get(id(record))
    if number is None:
        number = _numbers[id(record)] = len(_records)
        _records.append(record)
    return _record, (number,)


_SHARED = (Job, Group, Small, Settings, Snapshot, Lease, Share, Timer, BackendMode)
for _kind in (*_SHARED, *get_args(Decision), *get_args(Event)):
    _Freezer.dispatch_table[_kind] = _share


def freeze(world: SmallWorld) -> bytes:
    """Return a copy that `pickle.loads` wakes."""
    buffer = io.BytesIO()
    _Freezer(buffer, -1).dump(world)
    return buffer.getvalue()


def since(at: int | None, now: int) -> int | None:
    """How long ago."""
    return None if at is None else now - at


@dataclass
class Walk:
    """What a walk has found."""

    depth: int
    states: int = 0
    steps: int = 0
    histories: int = 0
    after: dict[int, list[int]] = field(default_factory=dict)


def walk(bounds: Small, depth: int) -> Walk:
    """Walk every history of `depth` events; raises with the shortest story that breaks a rule."""
    found = Walk(depth)
    start = SmallWorld(bounds)
    numbers: dict[Hashable, int] = {start.canonical(): 0}
    level: list[Node] = [(0, freeze(start), ())]
    for _ in range(depth):
        following: list[Node] = []
        for number, frozen, story in level:
            children = found.after[number] = []
            woken: SmallWorld | None = pickle.loads(frozen)
            for step in list(woken.steps()):
                world, woken = woken or pickle.loads(frozen), None
                _take(world, step, story)
                found.steps += 1
                key = world.canonical()
                child = numbers.get(key)
                if child is None:
                    child = numbers[key] = len(numbers)
                    following.append((child, freeze(world), (*story, step)))
                children.append(child)
        level = following
    found.states = len(numbers)
    found.histories = _count(found.after, depth)
    return found


def _take(world: SmallWorld, step: Step, story: tuple[Step, ...]) -> None:
    try:
        world.take(step)
    except Exception as error:
        error.add_note(f"the story: {[*story, step]}")
        raise


def _count(after: dict[int, list[int]], depth: int) -> int:
    """Count the ways of `depth` steps from the start."""
    ways: dict[int, int] = {0: 1}
    for _ in range(depth):
        ways, before = {}, ways
        for number, count in before.items():
            for child in after.get(number, ()):
                ways[child] = ways.get(child, 0) + count
    return sum(ways.values())
