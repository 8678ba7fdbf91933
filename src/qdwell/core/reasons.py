"""Why a job waits, in one sentence for its user: Q10 told backwards.

The sentence names no other user, and no job or session of one: what others run is theirs.
"""

from __future__ import annotations

from qdwell.core.events import BackendMode
from qdwell.core.group import Group, GroupState
from qdwell.core.job import Job, JobState
from qdwell.core.state import Machine, State


def why_waiting(state: State, job: Job, now: int) -> str | None:
    """Return why a Queued job has not started; None if it is not Queued."""
    if job.state is not JobState.QUEUED:
        return None
    machine = state.machines[job.backend]
    if machine.mode is not BackendMode.ONLINE:
        told = f": {machine.mode_reason}" if machine.mode_reason else ""
        return f"{machine.name} is {machine.mode.value}{told}"
    if state.books.held(state.instances[job.instance], now):
        return "the instance has used up its time; jobs start again when time frees up"
    live = state.live_group(machine)
    own = live is not None and live.id == job.group
    if live is not None and not own and live.session:
        return f"a session has {machine.name} to itself"
    if live is not None and not own and job.group is not None:
        return f"a batch is active on {machine.name}, and only one group at a time can be"
    return _behind(machine, job, live if own else None)


def _behind(machine: Machine, job: Job, own: Group | None) -> str:
    """Why it waits though its kind of job may start."""
    if own is not None and own.state is not GroupState.ACTIVE:
        return "its session has used up its active time, and waits for its running jobs"
    if machine.reservation is not None:
        if machine.reservation == job.group:
            return "its session is next; it starts when all running jobs have ended"
        return f"a session is next on {machine.name}, and waits for all running jobs to end"
    if machine.lanes_used >= machine.lanes:
        return f"all {machine.lanes} lanes of {machine.name} are taken"
    return "other jobs are before it by fair share"
