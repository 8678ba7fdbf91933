"""A small world to tell timelines in: seconds in, seconds out, every decision audited.

Not a test. `World` runs the real scheduler through `Replay`; requests are made by name, and what
became of them is read back as the tables of semantics section 13 state it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qdwell.core.audit import Auditor
from qdwell.core.decisions import Decision, PutCharge, PutGroup, PutJob, Refusal, Refuse
from qdwell.core.events import (
    BackendMode,
    CancelGroup,
    CancelJob,
    CloseGroup,
    CreateGroup,
    Event,
    PutBackend,
    PutInstance,
    ServiceResumed,
    SetBackendMode,
    SubmitJob,
)
from qdwell.core.forecast import Forecast, forecast
from qdwell.core.group import REPORTED, Group, Mode
from qdwell.core.job import SERVER_WORDS, Job
from qdwell.core.replay import Phases, Replay
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings, Snapshot
from qdwell.core.timers import OF_GROUPS, OF_INSTANCES, group_deadline, job_deadline

BACKEND = "machine"


class AuditedScheduler(Scheduler):
    """A scheduler that is held to the invariants after every decision."""

    def __init__(self, settings: Settings, snapshot: Snapshot | None = None) -> None:
        super().__init__(settings, snapshot)
        self.auditor = Auditor(settings, snapshot)
        self._loaded = snapshot is None

    def decide(self, events: Sequence[Event], now: int) -> list[Decision]:
        decisions = super().decide(events, now)
        self.auditor.observe(events, decisions, now)
        self._loaded = self._loaded or any(isinstance(each, ServiceResumed) for each in events)
        if self._loaded:
            self.auditor.check(self.state, now)
            check_timers(self)
        return decisions


def check_timers(scheduler: Scheduler) -> None:
    """No deadline of a job or group is forgotten, and none is remembered that is not due."""
    state = scheduler.state
    due = [job_deadline(state, job) for job in state.jobs.values()]
    for group in state.groups.values():
        due += [group_deadline(state, group, timer) for timer in OF_GROUPS]
    known = {key: at for key, at in scheduler._timers._at.items() if key[0] not in OF_INSTANCES}
    assert sorted(known.values()) == sorted(at for at in due if at is not None), (known, due)


def ms(seconds: float) -> int:
    """Whole milliseconds."""
    return round(seconds * 1000)


def seconds(at: int | None) -> float | None:
    """Seconds, as the tables state them."""
    return None if at is None else at / 1000


@dataclass(frozen=True)
class Row:
    """One line of a timeline's table, in seconds."""

    created: float | None
    running: float | None
    ready: float | None
    qpu: tuple[float, float] | None
    finished: float | None


class World:
    """One backend, its users, and what they ask for."""

    def __init__(
        self,
        *,
        lanes: int = 5,
        lock_window: bool = True,
        simulator: bool = False,
        settings: Settings | None = None,
        charges: Sequence[PutCharge] = (),
    ) -> None:
        snapshot = Snapshot(charges=charges) if charges else None
        self.scheduler = AuditedScheduler(settings or Settings(), snapshot)
        self.plan: dict[str, Phases] = {}
        self.replay = Replay(self.scheduler, lambda job: self.plan[job.id])
        self._seq = 0
        self._known: set[str] = set()
        self._group_instance: dict[str, str] = {}
        self.scheduler.decide([PutBackend(BACKEND, simulator, lanes, lock_window)], 0)

    # ---- asking ----------------------------------------------------------------------------------

    def request(self, at: float, *events: Event) -> None:
        """Plan any events for an instant, in order."""
        self.replay.request(ms(at), *events)

    def instance(
        self, name: str, *, at: float | None = None, account: str | None = None, **plan: Any
    ) -> str:
        """Announce an instance, now or at an instant; allocations and limits are in seconds."""
        self._known.add(name)
        limit, spend = plan.get("limit"), plan.get("spend_limit")
        shared = plan.get("account_allocation")
        event = PutInstance(
            instance=name,
            account=account or f"account of {name}",
            allocation_ms=ms(plan.get("allocation", 36_000)),
            limit_ms=None if limit is None else ms(limit),
            spend_limit_ms=None if spend is None else ms(spend),
            pending_max=plan.get("pending_max"),
            account_allocation_ms=None if shared is None else ms(shared),
        )
        if at is None:
            self.scheduler.decide([event], 0)
        else:
            self.request(at, event)
        return name

    def resume(self, at: float = 0, down_since: float | None = None) -> None:
        """The service comes up again with what its snapshot says (C8, J5)."""
        since = at if down_since is None else down_since
        self.request(at, ServiceResumed(ms(since)))

    def session(self, name: str, instance: str, at: float = 0, **ttl: Any) -> str:
        """Create a session; `interactive`, `maximum`, `active`, and `cap` are in seconds."""
        return self._group(Mode.SESSION, name, instance, at, ttl, interactive=60)

    def batch(self, name: str, instance: str, at: float = 0, **ttl: Any) -> str:
        """Create a batch; times as for a session."""
        return self._group(Mode.BATCH, name, instance, at, ttl, interactive=1)

    def _group(
        self, mode: Mode, name: str, instance: str, at: float, ttl: dict[str, Any], interactive: int
    ) -> str:
        self._introduce(instance)
        self._group_instance[name] = instance
        self._seq += 1
        maximum, active = ttl.get("maximum", 28_800), ttl.get("active")
        group = Group(
            id=name,
            seq=self._seq,
            mode=mode,
            instance=instance,
            backend=BACKEND,
            created=ms(at),
            interactive_ttl_ms=ms(ttl.get("interactive", interactive)),
            max_ttl_ms=None if maximum is None else ms(maximum),
            max_ttl_cap_ms=ms(ttl.get("cap", 28_800)),
            active_ttl_ms=None if active is None else ms(active),
        )
        self.request(at, CreateGroup(group))
        return name

    def submit(
        self,
        name: str,
        owner: str,
        phases: tuple[float, float, float],
        at: float = 0,
        **job: Any,
    ) -> str:
        """Submit a job of an instance, or of a group: (prep, qpu, post) in seconds."""
        group = owner if owner in self._group_instance else None
        instance = self._group_instance.get(owner, owner)
        self._introduce(instance)
        prep, qpu, post = phases
        self.plan[name] = Phases(ms(prep), ms(qpu), ms(post))
        self._seq += 1
        limit = job.get("limit")
        record = Job(
            id=name,
            seq=self._seq,
            instance=instance,
            backend=job.get("backend", BACKEND),
            created=ms(at),
            group=job.get("group", group),
            limit_ms=10_800_000 if limit is None else ms(limit),
            limit_asked=limit is not None,
            estimate_ms=ms(job.get("estimate", qpu)),
        )
        self.request(at, SubmitJob(record))
        return name

    def _introduce(self, instance: str) -> None:
        if instance not in self._known:
            self.instance(instance)

    def close(self, group: str, at: float) -> None:
        """The user closes a group (S28)."""
        self.request(at, CloseGroup(group))

    def cancel_group(self, group: str, at: float) -> None:
        """The user cancels a group (S29)."""
        self.request(at, CancelGroup(group))

    def cancel(self, job: str, at: float) -> None:
        """The user cancels a job (J18-J22)."""
        self.request(at, CancelJob(job))

    def mode(self, mode: BackendMode, at: float) -> None:
        """The operator changes the backend's mode (I11)."""
        self.request(at, SetBackendMode(BACKEND, mode))

    def run(self, until: float | None = None) -> None:
        """Let it happen."""
        self.replay.run(None if until is None else ms(until))

    # ---- reading ---------------------------------------------------------------------------------

    def history(self, job: str) -> list[tuple[int, Job]]:
        """Every record of a job with its instant."""
        return [
            (at, decision.job)
            for at, decision in self.replay.trace
            if isinstance(decision, PutJob) and decision.job.id == job
        ]

    def job(self, job: str, at: float | None = None) -> Job:
        """Return a job's record, now or as it was after instant `at`."""
        return [record for when, record in self.history(job) if at is None or when <= ms(at)][-1]

    def word(self, job: str, at: float | None = None) -> str:
        """Return the state that users see (J1)."""
        return SERVER_WORDS[self.job(job, at).state]

    def row(self, job: str) -> Row:
        """Return its line of the table."""
        last = self.job(job)
        qpu = None
        if last.executing_at is not None:
            qpu = (last.executing_at / 1000, (last.executing_at + last.quantum_ms) / 1000)
        return Row(
            created=seconds(last.created),
            running=seconds(last.running_at),
            ready=seconds(last.ready_at),
            qpu=qpu,
            finished=seconds(last.finished_at),
        )

    def group_history(self, group: str) -> list[tuple[int, Group]]:
        """Every record of a group with its instant."""
        return [
            (at, decision.group)
            for at, decision in self.replay.trace
            if isinstance(decision, PutGroup) and decision.group.id == group
        ]

    def group(self, group: str, at: float | None = None) -> Group:
        """Return a group's record, now or as it was after instant `at`."""
        return [
            record for when, record in self.group_history(group) if at is None or when <= ms(at)
        ][-1]

    def reported(self, group: str, at: float) -> tuple[str, str, bool, float | None]:
        """Return what its owner is told at an instant: state, status(), accepting, elapsed (S8)."""
        record = self.group(group, at)
        state = REPORTED[record.state]
        words = {"open": "Pending", "inactive": "Pending", "closed": "Closed"}
        ing = "accepting new jobs" if record.accepting else "not accepting new jobs"
        status = words.get(state, f"In progress, {ing}")
        return state, status, record.accepting, seconds(record.usage_at(ms(at)))

    def windows(self, group: str) -> list[tuple[float, float]]:
        """Return the charged windows of a session, in seconds."""
        return [
            (each.start / 1000, each.end / 1000)
            for _, each in self.replay.trace
            if isinstance(each, PutCharge) and each.group == group and each.end is not None
        ]

    def refusals(self) -> list[tuple[float, str, Refusal]]:
        """Return what was refused, when, and why."""
        return [
            (at / 1000, decision.subject, decision.refusal)
            for at, decision in self.replay.trace
            if isinstance(decision, Refuse)
        ]

    def usage(self, instance: str) -> float:
        """Return an instance's charged seconds up to the present instant (Q8, U7)."""
        return self.scheduler.state.usage_ms(instance, self.replay.now) / 1000

    def forecast(self, now: float) -> dict[str, Forecast]:
        """Return positions and estimates of the queue, without their ranges; run the world up to
        `now` first (Q30).
        """
        told = forecast(self.scheduler, BACKEND, ms(now))
        return {job: replace(each, earliest_at=None, latest_at=None) for job, each in told.items()}
