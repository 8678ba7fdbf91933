"""What follows from a request (step 2 of C6). A refusal changes nothing."""

from __future__ import annotations

from qdwell.core.decisions import Refusal, Refuse
from qdwell.core.events import (
    BackendMode,
    CancelGroup,
    CancelJob,
    CloseGroup,
    CreateGroup,
    DevicePresent,
    KeepAlive,
    PutBackend,
    PutInstance,
    Request,
    ServiceResumed,
    ServiceStops,
    SetBackendMode,
    SubmitJob,
)
from qdwell.core.fairshare import Instance
from qdwell.core.group import Ending, Group, GroupState
from qdwell.core.job import CODE_CANCELLED, Job, JobState
from qdwell.core.moves import Turn
from qdwell.core.resume import put_off
from qdwell.core.state import Machine


def request(turn: Turn, event: Request) -> None:
    """Take one request."""
    if isinstance(event, SubmitJob):
        _submit(turn, event.job)
    elif isinstance(event, CancelJob):
        _cancel_job(turn, event.job)
    elif isinstance(event, CreateGroup):
        _create_group(turn, event.group)
    elif isinstance(event, CloseGroup):
        _close_group(turn, event.group)
    elif isinstance(event, CancelGroup):
        _cancel_group(turn, event.group)
    elif isinstance(event, KeepAlive):
        _keep_alive(turn, event)
    elif isinstance(event, SetBackendMode):
        _set_mode(turn, event)
    elif isinstance(event, DevicePresent):
        _set_present(turn, event)
    elif isinstance(event, PutBackend):
        _put_backend(turn, event)
    elif isinstance(event, PutInstance):
        _put_instance(turn, event)
    elif isinstance(event, ServiceStops):
        put_off(turn)
    else:
        assert isinstance(event, ServiceResumed)  # applied before everything else, see `resume`


def _submit(turn: Turn, job: Job) -> None:
    refuse = refusal(turn, job)
    if refuse is not None:
        turn.out.append(refuse)
        return
    if job.group is not None:
        group = turn.state.groups[job.group]
        max_ttl = group.max_ttl_ms
        if max_ttl is None:
            max_ttl = min(group.max_ttl_cap_ms, job.limit_ms)  # S5: the first job fixes it
        if group.idle_since is not None or max_ttl != group.max_ttl_ms:
            turn.put_group(group, "job submitted", idle_since=None, max_ttl_ms=max_ttl)
    turn.add_job(job)


def refusal(turn: Turn, job: Job) -> Refuse | None:
    """J9: backend, session, pending limit, instance policy, in this order; the first one wins."""
    state = turn.state
    if job.id in state.jobs:
        return Refuse(Refusal.REPEATED_JOB, job.id)
    machine = state.machines.get(job.backend)
    if machine is None:
        return Refuse(Refusal.UNKNOWN_BACKEND, job.id)
    if machine.mode is BackendMode.OFFLINE:
        return Refuse(Refusal.BACKEND_OFFLINE, job.id)
    refuse = _group_refusal(turn, job, machine) if job.group is not None else None
    if refuse is not None:
        return refuse
    instance = state.instances[job.instance]
    if instance.pending_max is not None and instance.pending >= instance.pending_max:
        return Refuse(Refusal.PENDING_LIMIT, job.id, limit=instance.pending_max)
    if _spent(turn, instance.id):
        return Refuse(Refusal.SPEND_LIMIT, job.id, limit=instance.spend_limit_ms)
    return None


def _spent(turn: Turn, instance_id: str) -> bool:
    """Whether the instance has reached its spend limit (I9)."""
    limit = turn.state.instances[instance_id].spend_limit_ms
    return limit is not None and turn.state.usage_ms(instance_id, turn.now) >= limit


def _group_refusal(turn: Turn, job: Job, machine: Machine) -> Refuse | None:
    if machine.simulator:
        return Refuse(Refusal.NO_GROUP_ON_SIMULATOR, job.id)
    group = turn.state.groups.get(job.group or "")
    if group is None or group.instance != job.instance:
        return Refuse(Refusal.UNKNOWN_GROUP, job.id)
    if not group.accepting:
        return Refuse(Refusal.GROUP_CLOSED, job.id)
    if group.backend != job.backend:
        return Refuse(Refusal.WRONG_BACKEND, job.id)
    limit = group.max_ttl_cap_ms if group.max_ttl_ms is None else group.max_ttl_ms
    if job.limit_asked and job.limit_ms > limit:
        return Refuse(Refusal.LIMIT_ABOVE_MAX_TTL, job.id, limit=limit, asked=job.limit_ms)
    return None


def _cancel_job(turn: Turn, job_id: str) -> None:
    job = turn.state.jobs.get(job_id)
    if job is None:
        turn.out.append(Refuse(Refusal.UNKNOWN_JOB, job_id))
        return
    turn.take_out(
        job, JobState.CANCELLED, "cancelled", CODE_CANCELLED, "Job was cancelled by its user."
    )
    turn.settle_group(job.group)


def _create_group(turn: Turn, group: Group) -> None:
    machine = turn.state.machines.get(group.backend)
    if machine is None:
        turn.out.append(Refuse(Refusal.UNKNOWN_BACKEND, group.id))
    elif machine.simulator:
        turn.out.append(Refuse(Refusal.NO_GROUP_ON_SIMULATOR, group.id))
    elif _spent(turn, group.instance):
        limit = turn.state.instances[group.instance].spend_limit_ms
        turn.out.append(Refuse(Refusal.SPEND_LIMIT, group.id, limit=limit))
    else:
        turn.add_group(group.evolve(idle_since=turn.now))


def _close_group(turn: Turn, group_id: str) -> None:
    group = turn.state.groups.get(group_id)
    if group is None:
        turn.out.append(Refuse(Refusal.UNKNOWN_GROUP, group_id))
    elif group.accepting:
        turn.put_group(group, "closed by its user", accepting=False, ending=Ending.CLOSE)
        turn.settle_group(group_id)


def _cancel_group(turn: Turn, group_id: str) -> None:
    group = turn.state.groups.get(group_id)
    if group is None:
        turn.out.append(Refuse(Refusal.UNKNOWN_GROUP, group_id))
    else:
        reason = f"The {'session' if group.session else 'batch'} of this job was cancelled."
        turn.end_group(group, Ending.CANCEL, JobState.CANCELLED, CODE_CANCELLED, reason)


def _keep_alive(turn: Turn, event: KeepAlive) -> None:
    group = turn.state.groups.get(event.group)
    if group is None:
        turn.out.append(Refuse(Refusal.UNKNOWN_GROUP, event.group))
    elif group.state is not GroupState.ACTIVE or not group.accepting or not group.session:
        turn.out.append(Refuse(Refusal.GROUP_NOT_ACTIVE, event.group))
    elif event.until > (group.keep_alive_until or 0):
        turn.put_group(group, "kept alive by its user", keep_alive_until=event.until)


def _set_mode(turn: Turn, event: SetBackendMode) -> None:
    machine = turn.state.machines.get(event.backend)
    if machine is None:
        turn.out.append(Refuse(Refusal.UNKNOWN_BACKEND, event.backend))
        return
    machine.mode, machine.mode_reason = event.mode, event.reason
    turn.dirty[machine.name] = None


def _set_present(turn: Turn, event: DevicePresent) -> None:
    machine = turn.state.machines.get(event.backend)
    if machine is None:
        turn.out.append(Refuse(Refusal.UNKNOWN_BACKEND, event.backend))
        return
    machine.present = event.present
    turn.dirty[machine.name] = None


def _put_backend(turn: Turn, event: PutBackend) -> None:
    machine = turn.state.machines.get(event.backend)
    if machine is None:
        machine = Machine(
            event.backend, event.simulator, event.lanes, event.lock_window, turn.state
        )
        turn.state.machines[event.backend] = machine
    machine.lanes, machine.lock_window = event.lanes, event.lock_window
    machine.present = event.present
    turn.dirty[event.backend] = None


def _put_instance(turn: Turn, event: PutInstance) -> None:
    new = Instance(
        id=event.instance,
        account=event.account,
        allocation_ms=event.allocation_ms,
        limit_ms=event.limit_ms,
        spend_limit_ms=event.spend_limit_ms,
        pending_max=event.pending_max,
    )
    turn.state.books.put(new, event.account_allocation_ms, turn.now)
    turn.touched[event.instance] = None
    turn.dirty.update(dict.fromkeys(turn.state.machines))
