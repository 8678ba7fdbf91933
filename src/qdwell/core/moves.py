"""The only place that changes memory: each move keeps the indexes true and writes down the
decision.

`Turn` lives for one instant. Handlers (reports, requests, timers, grants) say what moves; the turn
does it, and its
`out` is the list that the store commits and the engine acts on.
"""

from __future__ import annotations

from typing import Any

from qdwell.core.decisions import (
    Decision,
    ForgetGroup,
    Held,
    Note,
    PutCharge,
    PutGroup,
    PutJob,
    Stop,
)
from qdwell.core.group import Ending, Group, GroupState, group_moved
from qdwell.core.job import (
    BEFORE_QPU,
    CODE_RAN_TOO_LONG,
    RAN_TOO_LONG,
    Job,
    JobState,
    moved,
)
from qdwell.core.ledger import GIVEN_UP
from qdwell.core.records import changed
from qdwell.core.state import GroupWork, Lease, Machine, State


class Turn:
    """One instant of deciding: memory, the time, and the decisions so far."""

    def __init__(self, state: State, now: int) -> None:
        self.state = state
        self.now = now
        self.out: list[Decision] = []
        self.dirty: dict[str, None] = {}  #: machines on which something may start
        self.touched: dict[str, None] = {}  #: instances whose demand or waiting changed
        self.retimed: dict[str, None] = {}  #: jobs and groups whose deadlines may have changed

    # -- jobs

    def add_job(self, job: Job) -> None:
        """A job is accepted into the queue of its machine."""
        state, machine = self.state, self.state.machines[job.backend]
        state.jobs[job.id] = job
        state.instances[job.instance].pending += 1
        self.index_queued(job, machine)
        self.out.append(PutJob(job, None, "submitted", self.now))
        self._mark(job)

    def index_queued(self, job: Job, machine: Machine) -> None:
        """Put a Queued job into the lines in which it waits."""
        machine.queued_count += 1
        machine.everyone.push(job, self.now)
        if job.group is None:
            machine.job_mode.push(job, self.now)
        else:
            work = self.state.work[job.group]
            work.queued.append(job.id)
            work.queued_count += 1

    def move_job(self, job: Job, to: JobState, cause: str, **changes: Any) -> Job:
        """Move a job that stays live."""
        new = moved(job, to, **changes)
        self.state.jobs[job.id] = new
        self.out.append(PutJob(new, job.state, cause, self.now))
        machine = self.state.machines[job.backend]
        if job.state is JobState.QUEUED:
            self._leave_queue(job, machine)
            machine.running[job.id] = None
            if job.group is not None:
                self.state.work[job.group].running[job.id] = None
        if to is JobState.READY:
            machine.ready[job.id] = None
        else:
            machine.ready.pop(job.id, None)
        self._reserve(job, new)
        self._mark(new)
        return new

    def finish_job(self, job: Job, to: JobState, cause: str, **changes: Any) -> None:
        """Move a job to a final state and forget it. Its group's own state is `settle_group`'s
        matter.
        """
        new = moved(job, to, finished_at=self.now, **changes)
        state, machine = self.state, self.state.machines[job.backend]
        del state.jobs[job.id]
        self.out.append(PutJob(new, job.state, cause, self.now))
        if job.state is JobState.QUEUED:
            self._leave_queue(job, machine)
        else:
            machine.running.pop(job.id)
            machine.ready.pop(job.id, None)
            if job.group is not None:
                state.work[job.group].running.pop(job.id)
                self.put_group(state.groups[job.group], "job ended", last_job_completed=self.now)
        state.instances[job.instance].pending -= 1
        self._reserve(job, None)
        self._mark(new)

    def _leave_queue(self, job: Job, machine: Machine) -> None:
        machine.queued_count -= 1
        machine.everyone.settle(job.instance, self.now)
        if job.group is None:
            machine.job_mode.settle(job.instance, self.now)
        else:
            self.state.work[job.group].queued_count -= 1

    def _reserve(self, old: Job, new: Job | None) -> None:
        """Keep R_i of Q8 true across a move."""
        if not self.state.reserves(old):
            return
        instance = self.state.instances[old.instance]
        waiting = {JobState.PREPARING, JobState.READY}
        if old.state in waiting:
            instance.reserved_ms -= old.estimate_ms
        instance.executing.pop(old.id, None)
        if new is not None and new.state in waiting:
            instance.reserved_ms += new.estimate_ms
        elif new is not None and new.state is JobState.EXECUTING and new.executing_at is not None:
            instance.executing[new.id] = (new.estimate_ms, new.executing_at)
        self.state.books.touch(instance.id, self.now)

    def _mark(self, job: Job) -> None:
        self.dirty[job.backend] = None
        self.touched[job.instance] = None
        self.retimed[job.id] = None

    # -- the QPU

    def open_charge(self, job: Job) -> None:
        """A job-mode or batch job enters the QPU: its charge begins (U2, U3). A session's job has
        none (U6).
        """
        charge = self._job_charge(job, None, True)
        if charge is not None:
            self.state.books.ledger.open(job.instance, charge.id, charge.start)
            self._put_charge(charge)

    def close_charge(self, job: Job, end: int, charged: bool) -> None:
        """It leaves the QPU at `end`; a lost run or a system error is not charged (U8)."""
        charge = self._job_charge(job, end, charged)
        if charge is not None:
            self.state.books.ledger.close(job.instance, charge.id, end, charged)
            self._put_charge(charge)
            if charged and job.group is not None:
                group = self.state.groups[job.group]
                self.put_group(group, "charged", usage_ms=group.usage_ms + end - charge.start)

    def refund(self, job: Job) -> None:
        """A system error after the QPU: what was charged for the run is given back (U8)."""
        if not job.quantum_ms:
            return
        assert job.executing_at is not None
        end = job.executing_at + job.quantum_ms
        charge = self._job_charge(job, end, False)
        if charge is None:
            return
        self.state.books.ledger.refund(job.instance, charge.start, end)
        self._put_charge(charge)
        if job.group is not None:
            group = self.state.groups[job.group]
            self.put_group(group, "refunded", usage_ms=group.usage_ms - job.quantum_ms)

    def _job_charge(self, job: Job, end: int | None, charged: bool) -> PutCharge | None:
        group = self.state.group_of(job)
        if self.state.machines[job.backend].simulator or (group is not None and group.session):
            return None
        assert job.executing_at is not None
        return PutCharge(
            id=f"{job.id}:{job.executing_at}",
            instance=job.instance,
            backend=job.backend,
            kind=Held.BATCH if group is not None else Held.JOB,
            job=job.id,
            group=job.group,
            start=job.executing_at,
            end=end,
            charged=charged,
        )

    def _put_charge(self, charge: PutCharge) -> None:
        self.out.append(charge)
        self.state.books.touch(charge.instance, self.now)
        self.touched[charge.instance] = None

    def leave_qpu(self, job: Job, quantum_ms: int, charged: bool = True) -> None:
        """The run is over: close its charge and free the lease."""
        assert job.executing_at is not None
        self.close_charge(job, job.executing_at + quantum_ms, charged)
        self.free_lease(self.state.machines[job.backend])

    def free_lease(self, machine: Machine) -> None:
        """The QPU is free."""
        machine.lease = None
        self.dirty[machine.name] = None

    def abort_run(self, job: Job, quantum_ms: int) -> None:
        """A job in the QPU becomes final; the lease ends when the stop is confirmed (J14, J20)."""
        machine = self.state.machines[job.backend]
        assert job.executing_at is not None
        self.close_charge(job, job.executing_at + quantum_ms, True)
        if not machine.simulator:
            machine.lease = Lease(job.id, job.attempt, job.executing_at, stopping=True)
        self.out.append(Stop(job.id, job.attempt, job.backend, executing=True))

    def in_qpu_ms(self, job: Job) -> int:
        """Time in the QPU so far (U1)."""
        return job.in_qpu_ms(self.now)

    def take_out(self, job: Job, to: JobState, cause: str, code: int, reason: str) -> None:
        """End a live job in whatever stage it is, stopping its work (J18-J21, S27, S29)."""
        quantum_ms = job.quantum_ms
        if job.state is JobState.EXECUTING:
            quantum_ms = 0 if self.state.machines[job.backend].simulator else self.in_qpu_ms(job)
            self.abort_run(job, quantum_ms)
        elif job.running:
            self.out.append(Stop(job.id, job.attempt, job.backend, executing=False))
        self.finish_job(job, to, cause, code=code, reason=reason, quantum_ms=quantum_ms)

    def change_job(self, job: Job, cause: str, **changes: Any) -> Job:
        """Change fields of a live job that stays in its state."""
        new = changed(job, **changes)
        self.state.jobs[job.id] = new
        self.out.append(PutJob(new, job.state, cause, self.now))
        self._mark(new)
        return new

    def ran_too_long(self, job: Job) -> None:
        """The job has used its limit (J14, J15)."""
        quantum_ms = 0
        if not self.state.machines[job.backend].simulator:
            quantum_ms = job.limit_ms
        if job.state is JobState.EXECUTING:
            self.abort_run(job, quantum_ms)
        else:
            self.out.append(Stop(job.id, job.attempt, job.backend, executing=False))
        self.finish_job(
            job,
            JobState.CANCELLED,
            "ran too long",
            code=CODE_RAN_TOO_LONG,
            reason=RAN_TOO_LONG,
            quantum_ms=quantum_ms,
        )
        self.settle_group(job.group)

    # -- groups

    def add_group(self, group: Group) -> None:
        """A group is created (S2)."""
        self.state.groups[group.id] = group
        self.state.work[group.id] = GroupWork()
        self.state.instances[group.instance].groups[group.id] = None
        self.out.append(PutGroup(group, None, "created", self.now))
        self.retimed[group.id] = None
        self.touched[group.instance] = None

    def put_group(
        self, group: Group, cause: str, to: GroupState | None = None, **changes: Any
    ) -> Group:
        """Change fields of a group, and its state if `to` is given."""
        new = group_moved(group, to, **changes) if to else group.evolve(**changes)
        self.state.groups[group.id] = new
        self.out.append(PutGroup(new, group.state, cause, self.now))
        self.retimed[group.id] = None
        self.dirty[group.backend] = None
        return new

    def activate(self, group: Group) -> Group:
        """A job of the group starts in a new window (S16, S24)."""
        self.state.machines[group.backend].live_group = group.id
        started = self.now if group.started_at is None else group.started_at
        charging = self.now if group.session else None
        new = self.put_group(
            group,
            "first job of a window started",
            GroupState.ACTIVE,
            started_at=started,
            activated_at=self.now,
            charging_since=charging,
        )
        if new.session:
            self.charge_window(new)
        return new

    def charge_window(self, group: Group) -> None:
        """Open the charge of a session's window (U4)."""
        charge = self._window_charge(group, None, True)
        self.state.books.ledger.open(group.instance, charge.id, charge.start)
        self._put_charge(charge)

    def end_charge(self, group: Group, end: int) -> dict[str, Any]:
        """Close the charge of a session's window; return what that changes in the group."""
        if group.charging_since is None:
            return {}
        charge = self._window_charge(group, end, True)
        self.state.books.ledger.close(group.instance, charge.id, end)
        self._put_charge(charge)
        return {"usage_ms": group.usage_ms + end - charge.start, "charging_since": None}

    def _window_charge(self, group: Group, end: int | None, charged: bool) -> PutCharge:
        assert group.charging_since is not None
        return PutCharge(
            id=f"{group.id}:{group.charging_since}",
            instance=group.instance,
            backend=group.backend,
            kind=Held.SESSION,
            job=None,
            group=group.id,
            start=group.charging_since,
            end=end,
            charged=charged,
        )

    def note(self, subject: str, text: str) -> None:
        """Write a line into a story."""
        self.out.append(Note(subject, self.now, text))

    def give_up(self, machine: Machine) -> None:
        """The session that a machine drains for will not come (S19)."""
        assert machine.reservation is not None
        self.note(machine.reservation, GIVEN_UP)
        machine.reservation = None

    def leave_window(self, group: Group, to: GroupState, cause: str, **changes: Any) -> Group:
        """The group lets go of the machine (S23, S26-S29)."""
        machine = self.state.machines[group.backend]
        if machine.live_group == group.id:
            machine.live_group = None
        if machine.lock == group.id:
            machine.lock = None
        if machine.reservation == group.id and to is GroupState.CLOSED:
            self.give_up(machine)
        ended = self.end_charge(group, self.now)
        return self.put_group(group, cause, to, keep_alive_until=None, **changes, **ended)

    def close_group(self, group: Group, cause: str) -> None:
        """The group is closed for good, and forgotten (S10, S33)."""
        self.leave_window(group, GroupState.CLOSED, cause, accepting=False, closed_at=self.now)
        del self.state.groups[group.id], self.state.work[group.id]
        self.state.instances[group.instance].groups.pop(group.id)
        self.out.append(ForgetGroup(group.id, group.backend))

    def settle_group(self, group_id: str | None) -> None:
        """A job of the group has ended, or it stopped accepting: what follows from that (S22,
        S26-S28, S31).
        """
        if group_id is None:
            return
        group, work = self.state.groups[group_id], self.state.work[group_id]
        machine = self.state.machines[group.backend]
        if not work.queued_count and machine.reservation == group_id:
            self.give_up(machine)
        if group.state is GroupState.PENDING_CLOSED:
            if not work.running:
                self.close_group(group, "its last job ended")
        elif not work.pending and not group.accepting:
            self.close_group(group, "closed, and no job is left")
        elif group.state is GroupState.PENDING_INACTIVE and not work.running:
            idle = None if work.pending else self.now
            self.leave_window(group, GroupState.INACTIVE, "active TTL used up", idle_since=idle)
        elif not work.pending and group.idle_since is None:
            self.put_group(group, "idle", idle_since=self.now)

    def end_group(self, group: Group, ending: Ending, to: JobState, code: int, reason: str) -> None:
        """End a group now: waiting jobs become final, those in the QPU or behind it finish (S27,
        S29, I9).
        """
        self.put_group(group, f"ending: {ending}", accepting=False, ending=ending)
        work = self.state.work[group.id]
        for job_id in [*work.queued, *work.running]:
            job = self.state.jobs.get(job_id)
            if job is not None and job.state in BEFORE_QPU:
                self.take_out(job, to, f"its group ended: {ending}", code, reason)
        group = self.state.groups[group.id]
        if not work.running:
            self.close_group(group, f"ended: {ending}")
        elif group.state is not GroupState.PENDING_CLOSED:
            self.put_group(group, f"ended: {ending}; jobs still run", GroupState.PENDING_CLOSED)
