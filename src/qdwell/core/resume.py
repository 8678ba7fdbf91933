"""Going and coming back: memory from a snapshot, the deadlines that passed meanwhile, and the work
that was lost (C8, J5).

What counts as one of a job's tries. A try that a death cuts off counts, because nobody knows
whether the job was its cause. One that had ended well does not: a job that waits for the QPU is
prepared anew after a restart, on the try that it has. Nor does one that we cut off ourselves, in a
stop in good order. So jobs that wait live through any number of restarts.
"""

from __future__ import annotations

from qdwell.core.decisions import AskDevice, Held, PutBackendState, PutCharge, Stop
from qdwell.core.events import BackendMode, ServiceResumed
from qdwell.core.fairshare import Instance
from qdwell.core.group import Group
from qdwell.core.job import Job, JobState
from qdwell.core.moves import Turn
from qdwell.core.reports import lost, postprocess
from qdwell.core.state import GroupWork, Lease, Machine, Snapshot, State
from qdwell.core.timers import Timer, Timers, strike

_GONE = "not in the configuration any more"
_DEFAULT_ALLOCATION_MS = 36_000_000
_TRIES = {
    JobState.PREPARING: "prepare_tries",
    JobState.EXECUTING: "execute_tries",
    JobState.POSTPROCESSING: "postprocess_tries",
}


def load(turn: Turn, snapshot: Snapshot) -> None:
    """Build memory and its indexes. Backends and instances were announced before."""
    for charge in snapshot.charges:
        _load_charge(turn.state, charge)
    for record in snapshot.backends:
        _load_backend(turn.state, record)
    for group in snapshot.groups:
        _load_group(turn, group)
    for job in snapshot.jobs:
        _load_job(turn, job)
    for instance in turn.state.instances:
        turn.state.books.touch(instance, turn.now)
        turn.touched[instance] = None


def _load_charge(state: State, charge: PutCharge) -> None:
    if charge.end is None:
        state.books.ledger.open(charge.instance, charge.id, charge.start)
    elif charge.charged:
        state.books.ledger.add(charge.instance, charge.start, charge.end)


def _machine(state: State, name: str) -> Machine:
    """A backend with work that the configuration has lost stays known, and offline."""
    machine = state.machines.get(name)
    if machine is None:
        machine = state.machines[name] = Machine(name, False, 1, True, state)
        machine.mode, machine.mode_reason = BackendMode.OFFLINE, _GONE
    return machine


def _load_backend(state: State, record: PutBackendState) -> None:
    machine = _machine(state, record.backend)
    if machine.mode_reason != _GONE:
        machine.mode, machine.mode_reason = record.mode, record.mode_reason
    machine.reservation, machine.lock = record.reservation, record.lock
    if record.lease_job is not None:
        assert record.lease_attempt is not None
        assert record.lease_at is not None
        machine.lease = Lease(
            record.lease_job, record.lease_attempt, record.lease_at, record.lease_stopping
        )


def _instance(turn: Turn, instance_id: str) -> Instance:
    known = turn.state.instances.get(instance_id)
    if known is not None:
        return known
    new = Instance(instance_id, instance_id, _DEFAULT_ALLOCATION_MS)
    return turn.state.books.put(new, None, turn.now)


def _load_group(turn: Turn, group: Group) -> None:
    turn.state.groups[group.id] = group
    turn.state.work[group.id] = GroupWork()
    _instance(turn, group.instance).groups[group.id] = None
    machine = _machine(turn.state, group.backend)
    if group.live:
        machine.live_group = group.id
    turn.retimed[group.id] = None


def _load_job(turn: Turn, job: Job) -> None:
    state, machine = turn.state, _machine(turn.state, job.backend)
    state.jobs[job.id] = job
    instance = _instance(turn, job.instance)
    instance.pending += 1
    if job.state is JobState.QUEUED:
        turn.index_queued(job, machine)
        return
    machine.running[job.id] = None
    if job.group is not None:
        state.work[job.group].running[job.id] = None
    if job.state is JobState.READY:
        machine.ready[job.id] = None
    if state.reserves(job):
        if job.state in (JobState.PREPARING, JobState.READY):
            instance.reserved_ms += job.estimate_ms
        elif job.state is JobState.EXECUTING:
            assert job.executing_at is not None
            instance.executing[job.id] = (job.estimate_ms, job.executing_at)


def sleep(turn: Turn, down_since: int) -> dict[str, int]:
    """Stop charging open windows at the instant the service went down; return whose, and since when
    (C8).
    """
    asleep: dict[str, int] = {}
    for group in list(turn.state.groups.values()):
        if group.charging_since is not None:
            since = max(down_since, group.charging_since)
            turn.put_group(group, "service down", None, **turn.end_charge(group, since))
            asleep[group.id] = since
    return asleep


def oversleep(turn: Turn, timers: Timers, at: int) -> None:
    """Apply the timers that were due at `at` while the service was down; job limits wait for the
    device.
    """
    for timer, subject in timers.due(at):
        if timer is not Timer.JOB_LIMIT:
            strike(turn, timer, subject)


def note_downtime(turn: Turn, group: Group, since: int, until: int) -> None:
    """Write the held time that nobody owes into the ledger (C8)."""
    if until > since:
        charge = PutCharge(
            id=f"{group.id}:{since}:downtime",
            instance=group.instance,
            backend=group.backend,
            kind=Held.SESSION,
            job=None,
            group=group.id,
            start=since,
            end=until,
            charged=False,
        )
        turn.out.append(charge)


def wake(turn: Turn, asleep: dict[str, int], event: ServiceResumed) -> None:
    """Charge the windows that are still open again, and take up the work that was lost (J5)."""
    for group_id, since in asleep.items():
        group = turn.state.groups[group_id]
        note_downtime(turn, group, since, turn.now)
        turn.charge_window(turn.put_group(group, "service up", charging_since=turn.now))
    if not event.work_lost:
        return
    for machine in turn.state.machines.values():
        lease = machine.lease
        if lease is not None and lease.stopping:
            turn.out.append(Stop(lease.job, lease.attempt, machine.name, executing=True))
    for job in sorted(turn.state.jobs.values(), key=lambda job: job.seq):
        _take_up(turn, job, event.down_since)


def put_off(turn: Turn) -> None:
    """Give back the tries that a stop in good order cuts off (J5).

    A run that is adopted afterwards had it back all the same, and stays at none.
    """
    for job in sorted(turn.state.jobs.values(), key=lambda job: job.seq):
        tries = _TRIES.get(job.state)
        if tries is not None:
            turn.change_job(job, "service stops", **{tries: max(0, getattr(job, tries) - 1)})


def _take_up(turn: Turn, job: Job, down_since: int) -> None:
    simulated = turn.state.machines[job.backend].simulator
    if job.executing_at is not None and (simulated or job.state is JobState.EXECUTING):
        # The limit counts neither what the device nor what a simulator's pool slept through (C8).
        slept = max(0, turn.now - max(down_since, job.executing_at))
        job = turn.change_job(job, "service up", downtime_ms=job.downtime_ms + slept)
    if job.state is JobState.EXECUTING:
        turn.out.append(AskDevice(job.id, job.attempt, job.backend))
    elif job.state is JobState.EXECUTED:
        postprocess(turn, job)
    elif job.running:
        lost(turn, job, repeatable=True, failed=job.state is not JobState.READY)
