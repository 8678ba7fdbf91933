"""Whose turn it is: for a lane (Q10), and for the QPU (Q20), on one machine. Granting repeats to a
fixed point (C6).
"""

from __future__ import annotations

from qdwell.core.decisions import Execute, Prepare
from qdwell.core.events import BackendMode
from qdwell.core.group import Group, GroupState
from qdwell.core.job import Job, JobState
from qdwell.core.ledger import RESERVED
from qdwell.core.moves import Turn
from qdwell.core.state import Lease, Machine, State

_HOLDS_LOCK = frozenset({JobState.PREPARING, JobState.READY, JobState.EXECUTING})


def fill(turn: Turn, machine: Machine) -> None:
    """Start all that may start on a machine now (C6 step 4)."""
    if machine.simulator:
        _fill_simulator(turn, machine)
    else:
        release_lock(turn.state, machine)
        _grant_qpu(turn, machine)  # once is enough: no lane grant makes a job READY
        while _grant_lane(turn, machine):
            pass


def release_lock(state: State, machine: Machine) -> None:
    """Drop the batch's QPU lock when nothing that it was taken for is left (B5).

    Queued jobs keep it only while they can start: a paused machine, or a batch past its active TTL,
    would
    otherwise keep the READY jobs of others from finishing (I11).
    """
    if machine.lock is None:
        return
    group, work = state.groups[machine.lock], state.work[machine.lock]
    can_start = group.state is GroupState.ACTIVE and machine.mode is BackendMode.ONLINE
    if work.queued_count and can_start:
        return
    if not any(state.jobs[each].state in _HOLDS_LOCK for each in work.running):
        machine.lock = None


def _fill_simulator(turn: Turn, machine: Machine) -> None:
    """A simulator has no queue: all that wait start at once, side by side (C5)."""
    while machine.mode is BackendMode.ONLINE:
        job = machine.everyone.pick(turn.now)
        if job is None:
            break
        _start(turn, job)
    for job_id in list(machine.ready):
        job = turn.state.jobs[job_id]
        begun = turn.now if job.executing_at is None else job.executing_at
        _execute(turn, job, begun)


# -- the QPU, by Q20


def next_for_qpu(state: State, machine: Machine) -> Job | None:
    """Return the READY job that takes the QPU next, None if none may (Q20, B5, B6)."""
    ready = [state.jobs[each] for each in machine.ready]
    if machine.lock is not None:
        ready = [job for job in ready if job.group == machine.lock]
    elif not machine.lock_window and machine.live_group is not None:
        ready = [job for job in ready if job.group == machine.live_group] or ready
    return min(ready, key=lambda job: (job.ready_at, job.created, job.seq), default=None)


def _grant_qpu(turn: Turn, machine: Machine) -> None:
    free = machine.lease is None and machine.present
    job = next_for_qpu(turn.state, machine) if free else None
    if job is None:
        return
    machine.lease = Lease(job.id, job.attempt, turn.now)
    group = turn.state.group_of(job)
    if machine.lock_window and group is not None and not group.session:
        machine.lock = group.id
    turn.open_charge(_execute(turn, job, turn.now))


def _execute(turn: Turn, job: Job, at: int) -> Job:
    tries = job.execute_tries + 1
    cause = "QPU granted"
    new = turn.move_job(job, JobState.EXECUTING, cause, executing_at=at, execute_tries=tries)
    turn.out.append(Execute(job.id, job.attempt, job.backend))
    return new


# -- lanes, by Q10


def _grant_lane(turn: Turn, machine: Machine) -> bool:
    state = turn.state
    if machine.mode is BackendMode.OFFLINE or machine.lanes_used >= machine.lanes:
        return False
    live = state.live_group(machine)
    if live is not None and live.session:
        job = state.oldest_queued(live.id) if live.state is GroupState.ACTIVE else None
        return job is not None and _start(turn, job)
    if machine.mode is BackendMode.PAUSED:
        return False
    if live is not None and live.state is GroupState.ACTIVE:
        job = state.oldest_queued(live.id)
        if job is not None:
            return _start(turn, job)
    if machine.reservation is not None and _reservation_held(turn, machine.reservation):
        turn.give_up(machine)
    if machine.reservation is not None:
        job = state.oldest_queued(machine.reservation)
        return job is not None and not machine.lanes_used and _start(turn, job)
    line = machine.everyone if live is None else machine.job_mode
    return _start_or_reserve(turn, machine, line.pick(turn.now))


def _reservation_held(turn: Turn, group_id: str) -> bool:
    """Whether the instance of a reserved session is held now (I8): nobody waits for it then."""
    instance = turn.state.instances[turn.state.groups[group_id].instance]
    return turn.state.books.held(instance, turn.now)


def _start_or_reserve(turn: Turn, machine: Machine, job: Job | None) -> bool:
    group = turn.state.group_of(job) if job is not None else None
    if group is not None and group.session and machine.lanes_used:
        machine.reservation = group.id  # S19: from now on the machine drains
        turn.note(group.id, f"{RESERVED}: waits until all lanes are empty")
        job = None
    return job is not None and _start(turn, job)


def _start(turn: Turn, job: Job) -> bool:
    """The job becomes RUNNING; a group that is not live becomes active with it (S16, B2)."""
    group = turn.state.group_of(job)
    if group is not None:
        group = _open_window(turn, group)
        turn.put_group(group, "job started", last_job_started=turn.now)
    turn.move_job(
        job,
        JobState.PREPARING,
        "lane granted",
        running_at=turn.now,
        attempt=job.attempt + 1,
        prepare_tries=1,
    )
    turn.out.append(Prepare(job.id, job.attempt + 1, job.backend))
    return True


def _open_window(turn: Turn, group: Group) -> Group:
    if group.live:
        return group
    machine = turn.state.machines[group.backend]
    if machine.reservation == group.id:
        machine.reservation = None
    return turn.activate(group)
