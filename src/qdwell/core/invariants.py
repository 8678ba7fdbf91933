"""What must hold at every instant, checked from the records alone.

`check` recounts everything by brute force and compares it with what the scheduler keeps: the rules
that can be seen in one state (P1, P3, P4, P11 to P14), and that each index agrees with the records.
Rules about the order of things are in `audit`. Tests, simulations, and the operator's doctor run
it; it is slow on purpose, because a check that shares the scheduler's shortcuts shares its faults.

P2 is a rule about starting (`audit`): an operator who takes lanes away does not stop jobs.
"""

from __future__ import annotations

from collections.abc import Iterable

from qdwell.core.events import BackendMode
from qdwell.core.group import Group, GroupState
from qdwell.core.job import Job, JobState
from qdwell.core.state import Machine, State
from qdwell.errors import BrokenInvariant


def require(holds: bool, rule: str, *story: object) -> None:
    """Raise `BrokenInvariant` with the rule and the story, put into words, unless it holds."""
    if not holds:
        raise BrokenInvariant(f"{rule} does not hold: {' '.join(map(str, story))}")


def check(state: State, now: int) -> None:
    """Raise `BrokenInvariant` if the memory of a scheduler, at rest at `now`, is not sound."""
    on: dict[str, list[Job]] = {name: [] for name in state.machines}
    for job in state.jobs.values():
        require(not job.final, "P6", "final job", job.id, "is still held in memory")
        on[job.backend].append(job)
    for group in state.groups.values():
        _check_group(state, group, [job for job in on[group.backend] if job.group == group.id])
    for name, machine in state.machines.items():
        _check_indexes(machine, on[name])
        if not machine.simulator:
            _check_qpu(state, machine, on[name])
            _check_live_group(state, machine, on[name])
            _check_lanes_used(state, machine, on[name], now)
    _check_instances(state)


def _ids(jobs: Iterable[Job], *states: JobState) -> set[str]:
    return {job.id for job in jobs if job.state in states}


def _check_indexes(machine: Machine, jobs: list[Job]) -> None:
    running = {job.id for job in jobs if job.running}
    queued = _ids(jobs, JobState.QUEUED)
    ready = _ids(jobs, JobState.READY)
    name = machine.name
    require(set(machine.running) == running, "index", name, "running", machine.running)
    require(set(machine.ready) == ready, "index", name, "ready", machine.ready)
    require(
        machine.queued_count == len(queued),
        "index",
        *(name, "counts", machine.queued_count, "queued jobs of", len(queued)),
    )


def _check_group(state: State, group: Group, jobs: list[Job]) -> None:
    work = state.work[group.id]
    queued = _ids(jobs, JobState.QUEUED)
    running = {job.id for job in jobs if job.running}
    story = (group, "with queued", queued, "and running", running)
    require(group.state is not GroupState.CLOSED, "P6", "closed group held in memory:", *story)
    require(work.queued_count == len(queued), "index", work.queued_count, "queued of", *story)
    require(queued <= set(work.queued), "index", "line", work.queued, "of", *story)
    require(set(work.running) == running, "index", work.running, "running of", *story)
    require((group.idle_since is None) == bool(queued or running), "P13", *story)
    require(group.live or not running, "S10", "jobs run though it is not live:", *story)
    pending = group.state in (GroupState.PENDING_CLOSED, GroupState.PENDING_INACTIVE)
    require(not pending or bool(running), "S10", "nothing is left to wait for:", *story)
    closed = group.state is GroupState.PENDING_CLOSED
    require(not closed or not (group.accepting or queued), "S27", *story)
    require(group.accepting or bool(queued or running), "S28", "should have closed:", *story)
    charged = group.live and group.session
    require((group.charging_since is not None) == charged, "U4", *story)
    never = group.state is GroupState.OPEN
    require((group.started_at is None) == never, "P12", *story)
    require((group.last_job_started is None) == never, "P12", *story)
    if group.started_at is not None:
        activated = group.activated_at
        require(activated is not None and group.started_at <= activated, "P12", *story)


def _check_qpu(state: State, machine: Machine, jobs: list[Job]) -> None:
    """P1, P11, B7, and the QPU's half of P14."""
    lease = machine.lease
    executing = [job for job in jobs if job.state is JobState.EXECUTING]
    story = (machine.name, "with", lease, "and lock", machine.lock, "executes", executing)
    if lease is None or lease.stopping:
        require(not executing, "P1", *story)
        require(lease is None or lease.job not in state.jobs, "J20", *story)
    else:
        expected = [(lease.job, lease.attempt, lease.at)]
        held = [(job.id, job.attempt, job.executing_at) for job in executing]
        require(held == expected, "P1", *story)
    if machine.lock is not None:
        holder = state.groups.get(machine.lock)
        sound = holder is not None and holder.live and not holder.session
        require(sound, "B5", "the lock's batch is", holder, *story)
        require(all(job.group == machine.lock for job in executing), "P11", *story)
    if lease is None and machine.present:
        ready = [job for job in jobs if job.state is JobState.READY]
        if machine.lock is not None:
            ready = [job for job in ready if job.group == machine.lock]
        require(not ready, "P14", "the QPU is free for", ready, *story)


def _check_live_group(state: State, machine: Machine, jobs: list[Job]) -> None:
    """P3, P4, and that a reservation is for a session that can still use it (S19)."""
    groups = [group for group in state.groups.values() if group.backend == machine.name]
    live = [group for group in groups if group.live]
    story = (machine.name, "has live", live, "and remembers", machine.live_group)
    remembered = [] if machine.live_group is None else [machine.live_group]
    require([group.id for group in live] == remembered, "P4", *story)
    if live and live[0].session:
        foreign = [job.id for job in jobs if job.running and job.group != live[0].id]
        require(not foreign, "P3", foreign, "run beside it:", *story)
    if machine.reservation is not None:
        reserved = state.groups.get(machine.reservation)
        sound = (
            reserved is not None
            and reserved.session
            and not reserved.live
            and any(job.group == reserved.id for job in jobs if job.state is JobState.QUEUED)
        )
        require(sound and not live, "S19", "reserved for", reserved, *story)


def _check_lanes_used(state: State, machine: Machine, jobs: list[Job], now: int) -> None:
    """The lanes' half of P14: nobody waits who could start."""
    stopping = machine.lease is not None and machine.lease.stopping
    used = stopping + sum(job.running for job in jobs)
    if used >= machine.lanes or machine.mode is BackendMode.OFFLINE:
        return
    waiting = [job for job in jobs if job.state is JobState.QUEUED]
    live = state.live_group(machine)
    story = (machine.name, "has used", used, "lanes of", machine.lanes, live, machine.mode)
    own = [job for job in waiting if live is not None and job.group == live.id]
    active = live is not None and live.state is GroupState.ACTIVE
    if live is not None and live.session:
        require(not (active and own), "P14", own, *story)
        return
    if machine.mode is BackendMode.PAUSED:
        return
    require(not (active and own), "P14", own, *story)
    if machine.reservation is not None:
        require(used > 0, "S19", machine.reservation, *story)
        return
    free = [job for job in waiting if not _held(state, job.instance, now)]
    if live is not None:
        free = [job for job in free if job.group is None]
    require(not free, "P14", free, *story)


def _held(state: State, instance: str, now: int) -> bool:
    """Whether an instance's queued jobs wait for usage to leave the window (I8, I9)."""
    plan = state.instances[instance]
    used = state.usage_ms(instance, now)
    return any(
        limit is not None and used >= limit for limit in (plan.limit_ms, plan.spend_limit_ms)
    )


def _check_instances(state: State) -> None:
    """Counters of instances against their jobs (L11, R of Q8)."""
    for name, instance in state.instances.items():
        jobs = [job for job in state.jobs.values() if job.instance == name]
        require(instance.pending == len(jobs), "L11", name, "counts", instance.pending, "pending")
        counted = [job for job in jobs if _reserves(state, job)]
        waiting = [
            job.estimate_ms for job in counted if job.state in (JobState.PREPARING, JobState.READY)
        ]
        require(instance.reserved_ms == sum(waiting), "Q8", name, "reserves", instance)
        executing = _ids(counted, JobState.EXECUTING)
        require(set(instance.executing) == executing, "Q8", name, "executes", instance)


def _reserves(state: State, job: Job) -> bool:
    session = job.group is not None and state.groups[job.group].session
    return not session and not state.machines[job.backend].simulator
