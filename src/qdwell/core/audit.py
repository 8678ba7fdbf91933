"""The auditor: hears every event and decision, keeps its own books, and compares.

It remembers what a store would (records by id, charges, machines), from decisions alone, and so it
can tell what no single state shows: that moves are legal and nothing is lost (P5 to P7), that bills
add up (P8), that the QPU and the windows are never in two hands over time (P2, P9, P10), and that
jobs of one instance start in order (P15). What it remembers is also a snapshot to start from again,
which is how tests restart a service without a database. P18 is the others, audited while jobs are
cancelled at any instant; P16 and P17 are about whole runs, and are tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from qdwell.core.decisions import (
    Decision,
    Held,
    PutBackendState,
    PutCharge,
    PutGroup,
    PutJob,
    Refusal,
    Refuse,
)
from qdwell.core.events import (
    CancelJob,
    Event,
    JobExecuted,
    JobFailed,
    JobLost,
    PutBackend,
    RunStopped,
    SubmitJob,
)
from qdwell.core.group import TRANSITIONS as GROUP_TRANSITIONS
from qdwell.core.group import Group, GroupState
from qdwell.core.invariants import check as check_state
from qdwell.core.invariants import require
from qdwell.core.job import (
    BEFORE_QPU,
    CODE_CANCELLED,
    CODE_LOST,
    CODE_SESSION_CLOSED,
    Job,
    JobState,
)
from qdwell.core.job import TRANSITIONS as JOB_TRANSITIONS
from qdwell.core.state import Settings, Snapshot, State

Story = tuple[object, ...]  # put into words only if a rule is broken
_LAST_WORDS = RunStopped | JobExecuted | JobFailed | JobLost  # any of them ends a stopped run


class Auditor:
    """Feed `observe` after each `decide`, then ask `check`; both raise `BrokenInvariant`."""

    def __init__(self, settings: Settings, snapshot: Snapshot | None = None) -> None:
        snapshot = snapshot or Snapshot()
        self.settings = settings
        self.jobs = {job.id: job for job in snapshot.jobs}
        self.groups = {group.id: group for group in snapshot.groups}
        self.backends = {record.backend: record for record in snapshot.backends}
        self.charges = {charge.id: charge for charge in snapshot.charges}
        self.machines: dict[str, PutBackend] = {}
        self._live = {job.id: job for job in snapshot.jobs}
        self._now: float = -inf
        self._qpu: dict[str, Job] = {}  # backend to whose run is in it, also while it is stopped
        self._window_end: dict[str, int] = {}  # backend to the end of its last session window
        self._used: dict[str, int] = {}  # job or group to its closed, charged milliseconds
        self._confirmed: set[tuple[str, int]] = set()
        self._cancelled: set[str] = set()
        self._touched: dict[str, None] = {}
        for charge in snapshot.charges:
            self._count(charge, 1)
        for group in snapshot.groups:
            # Charges that have left the window are not in a snapshot, but they are in the bill.
            self._used[group.id] = group.usage_ms
        for record in snapshot.backends:
            if record.lease_job is not None and record.lease_job in self.jobs:
                self._qpu[record.backend] = self.jobs[record.lease_job]

    # ---- hearing ---------------------------------------------------------------------------------

    def observe(self, events: Sequence[Event], decisions: Sequence[Decision], now: int) -> None:
        """Take in what happened and what was decided."""
        self._touched.clear()
        self._confirmed = {
            (event.job, event.attempt) for event in events if isinstance(event, _LAST_WORDS)
        }
        self._cancelled = {event.job for event in events if isinstance(event, CancelJob)}
        for event in events:
            if isinstance(event, PutBackend):
                self.machines[event.backend] = event
        for decision in decisions:
            if isinstance(decision, PutJob):
                self._hear_job(decision)
            elif isinstance(decision, PutGroup):
                self._hear_group(decision)
            elif isinstance(decision, PutCharge):
                self._hear_charge(decision)
            elif isinstance(decision, PutBackendState):
                self._advance(decision.at)
                self.backends[decision.backend] = decision
        for backend, job in list(self._qpu.items()):
            if job.final and (job.id, job.attempt) in self._confirmed:
                del self._qpu[backend]
        self._answered(events, decisions)
        require(self._now <= now, "C8", "a decision of", self._now, "was made at", now)
        self._bills_add_up()

    def _advance(self, at: int) -> None:
        """Decisions come in the order of their instants (C8)."""
        require(at >= self._now, "C8", "a decision of", at, "came after one of", self._now)
        self._now = at

    def _answered(self, events: Sequence[Event], decisions: Sequence[Decision]) -> None:
        """Each submission is accepted or refused, and not both (P6)."""
        refused = {
            each.subject
            for each in decisions
            # A repetition is refused because the first one was accepted.
            if isinstance(each, Refuse) and each.refusal is not Refusal.REPEATED_JOB
        }
        for event in events:
            if isinstance(event, SubmitJob):
                accepted = event.job.id in self.jobs
                story = ("submission of", event.job.id, "accepted", accepted)
                require(accepted != (event.job.id in refused), "P6", *story)

    def _hear_job(self, put: PutJob) -> None:
        self._advance(put.at)
        job, old = put.job, self.jobs.get(put.job.id)
        story = (put, "after", old)
        require(put.was == (old.state if old is not None else None), "P6", *story)
        if old is None:
            require(job.state is JobState.QUEUED, "J5", *story)
        else:
            legal = job.state is old.state or job.state in JOB_TRANSITIONS[old.state]
            require(legal and not old.final and job.attempt >= old.attempt, "J5", *story)
        stamps = [job.created, job.running_at, job.ready_at, job.executing_at]
        known = [stamp for stamp in [*stamps, job.finished_at] if stamp is not None]
        machine = self.machines.get(job.backend)
        if machine is None or not machine.simulator:
            require(job.finished_at is None or known == sorted(known), "J7", *story)
        require((job.finished_at is not None) == job.final, "J7", *story)
        if old is not None and old.state is JobState.QUEUED and job.running:
            self._hear_start(job, put.at, story)
        entered = old is not None and old.state is not JobState.EXECUTING
        if entered and job.state is JobState.EXECUTING:
            self._hear_grant(job, put.at, story)
        if old is not None and old.state is JobState.EXECUTING is not job.state:
            self._hear_leave(old, job, put.at, story)
        if job.final and old is not None:
            self._hear_end(old, job, story)
        self.jobs[job.id] = job
        if job.final:
            self._live.pop(job.id, None)
            self._touched[job.id] = None
        else:
            self._live[job.id] = job

    def _hear_start(self, job: Job, at: int, story: Story) -> None:
        """P2, P5, P15: a job becomes RUNNING."""
        machine = self.machines.get(job.backend)
        if machine is None or machine.simulator:
            return
        here = [each for each in self._live.values() if each.backend == job.backend]
        stopping = self._qpu.get(job.backend)
        held = sum(each.running for each in here) + bool(stopping and stopping.final)
        if stopping and (stopping.id, stopping.attempt) in self._confirmed:
            held -= stopping.final
        require(held < machine.lanes, "P2", held, "lanes are held;", *story)
        if job.group is not None:
            group = self.groups[job.group]
            require(group.state is GroupState.ACTIVE, "P5", group, *story)
            assert group.started_at is not None
            assert group.max_ttl_ms is not None
            require(at < group.started_at + group.max_ttl_ms, "P5", group, *story)
            return
        for other in here:
            before = other.group is None and other.state is JobState.QUEUED and other.seq < job.seq
            require(not (before and other.instance == job.instance), "P15", other, *story)

    def _hear_grant(self, job: Job, at: int, story: Story) -> None:
        """P9, P10: a run begins on the QPU."""
        machine = self.machines.get(job.backend)
        if machine is None or machine.simulator:
            return
        holder = self._qpu.get(job.backend)
        if holder is not None and (holder.id, holder.attempt) in self._confirmed:
            holder = None
        require(holder is None, "P9", "the QPU holds", holder, *story)
        for group in self.groups.values():
            foreign = group.live and group.session and group.backend == job.backend
            require(not (foreign and group.id != job.group), "P10", group, *story)
        require(job.executing_at == at, "U1", *story)
        self._qpu[job.backend] = job

    def _hear_leave(self, old: Job, job: Job, at: int, story: Story) -> None:
        """U1, P9: a run has ended, or is told to."""
        machine = self.machines.get(job.backend)
        if machine is None or machine.simulator:
            return
        assert old.executing_at is not None
        require(0 <= job.quantum_ms <= at - old.executing_at, "U1", *story)
        require(job.quantum_ms <= job.limit_ms, "J14", *story)
        if job.state is JobState.CANCELLED:
            self._qpu[job.backend] = job  # until its last word
        else:
            del self._qpu[job.backend]

    def _hear_end(self, old: Job, job: Job, story: Story) -> None:
        """P7, U8: a job becomes final."""
        began = old.state not in BEFORE_QPU
        if began:
            require(job.code != CODE_SESSION_CLOSED, "P7", *story)
            asked = job.code != CODE_CANCELLED or job.id in self._cancelled
            require(asked, "P7", *story)
        else:
            require(job.quantum_ms == 0, "U8", *story)
        require(job.code != CODE_LOST or job.quantum_ms == 0, "U8", *story)
        require((job.code is None) == (job.state is JobState.COMPLETED), "E22", *story)

    def _hear_group(self, put: PutGroup) -> None:
        self._advance(put.at)
        group, old = put.group, self.groups.get(put.group.id)
        story = (put, "after", old)
        require(put.was == (old.state if old is not None else None), "P6", *story)
        if old is None:
            require(group.state is GroupState.OPEN and group.accepting, "S2", *story)
        else:
            legal = group.state is old.state or group.state in GROUP_TRANSITIONS[old.state]
            require(legal and old.state is not GroupState.CLOSED, "S10", *story)
            require(old.accepting or not group.accepting, "S32", *story)
            require(old.started_at in (None, group.started_at), "S16", *story)
            if group.state is GroupState.ACTIVE and not old.live:
                self._hear_window(group, put.at, story)
        known = [group.started_at, group.activated_at, group.closed_at]
        stamps = [stamp for stamp in known if stamp is not None]
        require(stamps == sorted(stamps), "P12", *story)
        require((group.closed_at is not None) == (group.state is GroupState.CLOSED), "S33", *story)
        require(group.state is not GroupState.CLOSED or group.ending is not None, "I14", *story)
        self.groups[group.id] = group
        self._touched[group.id] = None

    def _hear_window(self, group: Group, at: int, story: Story) -> None:
        """P4, P10, S16: a window opens."""
        require(group.activated_at == at, "S16", *story)
        for other in self.groups.values():
            live = other.live and other.backend == group.backend and other.id != group.id
            require(not live, "P4", other, *story)
        if group.session:
            begun = self._window_end.get(group.backend, at)
            require(begun <= at, "P10", *story)
            holder = self._qpu.get(group.backend)
            if holder is not None and (holder.id, holder.attempt) not in self._confirmed:
                require(False, "P10", holder, "is in the QPU;", *story)

    def _hear_charge(self, charge: PutCharge) -> None:
        old = self.charges.get(charge.id)
        story = (charge, "after", old)
        require(charge.end is None or charge.end >= charge.start, "P8", *story)
        if old is not None and old.start == old.end and charge.end is None:
            old = None  # nothing was held, and it begins again within the millisecond
        if old is not None:
            require(old.start == charge.start and charge.end is not None, "P8", *story)
            refund = old.charged and not charge.charged
            require(old.end is None or (refund and old.end == charge.end), "P8", *story)
            self._count(old, -1)
        self._count(charge, 1)
        self.charges[charge.id] = charge
        if charge.kind is Held.SESSION and charge.end is not None:
            self._window_end[charge.backend] = charge.end

    def _count(self, charge: PutCharge, sign: int) -> None:
        if charge.charged and charge.end is not None:
            for subject in {charge.job, charge.group} - {None}:
                assert subject is not None
                used = self._used.get(subject, 0)
                self._used[subject] = used + sign * (charge.end - charge.start)

    def _bills_add_up(self) -> None:
        """P8: what a record says was used is the sum of its charged intervals."""
        for subject in self._touched:
            used = self._used.get(subject, 0)
            group, job = self.groups.get(subject), self.jobs.get(subject)
            if group is not None:
                require(group.usage_ms == used, "P8", used, "were charged to", group)
            elif job is not None:
                owner = self.groups[job.group] if job.group is not None else None
                if owner is None or not owner.session:
                    require(job.quantum_ms == used, "P8", used, "were charged to", job)

    # ---- comparing -------------------------------------------------------------------------------

    def check(self, state: State, now: int) -> None:
        """Compare with the memory of the scheduler, which must be sound in itself as well."""
        check_state(state, now)
        require(self._live == state.jobs, "P6", self._live, "are live and not", state.jobs)
        live = {group.id: group for group in self.groups.values() if group.closed_at is None}
        require(live == state.groups, "P6", live, "are live and not", state.groups)
        for name, machine in state.machines.items():
            record = self.backends.get(name)
            same = record is not None and machine.record(record.at) == record
            require(same, "P6", name, "was recorded as", record)
        for instance in state.instances:
            used, known = self.usage_ms(instance, now), state.usage_ms(instance, now)
            require(used == known, "U7", instance, "used", used, "and not", known)

    def usage_ms(self, instance: str, now: int) -> int:
        """U of Q8 by its definition: charged time within the window that ends now."""
        edge, used = now - self.settings.window_ms, 0
        for charge in self.charges.values():
            if charge.instance == instance and charge.charged:
                end = now if charge.end is None else min(charge.end, now)
                used += max(0, end - max(charge.start, edge))
        return used

    def snapshot(self, now: int) -> Snapshot:
        """Return what a store would give to a scheduler that starts at `now`."""
        edge = now - self.settings.window_ms
        return Snapshot(
            jobs=sorted(self._live.values(), key=lambda job: job.seq),
            groups=sorted(
                (group for group in self.groups.values() if group.state is not GroupState.CLOSED),
                key=lambda group: group.seq,
            ),
            backends=list(self.backends.values()),
            charges=[
                charge
                for charge in self.charges.values()
                if charge.charged and (charge.end is None or charge.end > edge)
            ],
        )
