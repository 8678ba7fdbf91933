"""Why a job waits, as a code and in words for its user: Q10 told backwards.

The words name no other user, and no job or session of one: what others run is theirs. Of a session
of another instance it is told that there is one, and until when it can hold the machine; of other
instances' jobs that are first, how many.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qdwell.core.events import BackendMode
from qdwell.core.group import Group, GroupState
from qdwell.core.job import Job, JobState
from qdwell.core.state import Machine, State


class Reason(StrEnum):
    """Why a job waits, for programs."""

    BACKEND_PAUSED = "backend_paused"
    BACKEND_OFFLINE = "backend_offline"
    INSTANCE_HELD = "instance_held"  # I8, I9
    SESSION_ACTIVE = "session_active"  # S18
    BATCH_ACTIVE = "batch_active"  # B4
    WINDOW_USED_UP = "window_used_up"  # S26, of its own session or batch
    SESSION_STARTS = "session_starts"  # S19, its own
    SESSION_RESERVED = "session_reserved"  # S19, another's
    LANES_TAKEN = "lanes_taken"  # C3
    FAIR_SHARE = "fair_share"  # Q8


_MODES = {
    BackendMode.PAUSED: Reason.BACKEND_PAUSED,
    BackendMode.OFFLINE: Reason.BACKEND_OFFLINE,
}


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job waits: for programs, and for people."""

    code: Reason
    words: str


def why_waiting(state: State, job: Job, now: int, ahead: tuple[int, int] = (0, 0)) -> Why | None:
    """Return why a Queued job has not started; None if it is not Queued.

    `ahead`: how many jobs come before it, and how many of those are of its own instance.
    """
    if job.state is not JobState.QUEUED:
        return None
    why = _first(state, job, now)
    then = _then(state, job, ahead)
    return Why(why.code, f"{why.words}; then {then}") if then else why


def _first(state: State, job: Job, now: int) -> Why:
    machine = state.machines[job.backend]
    if machine.mode in _MODES:
        told = f": {machine.mode_reason}" if machine.mode_reason else ""
        return Why(_MODES[machine.mode], f"{machine.name} is {machine.mode.value}{told}")
    if state.books.held(state.instances[job.instance], now):
        words = "the instance has used up its time; jobs start again when time frees up"
        return Why(Reason.INSTANCE_HELD, words)
    live = state.live_group(machine)
    if live is not None and live.id != job.group:
        if live.session:
            whose = f"{machine.name} is held by {_whose(live, job)} {_until(live)}"
            return Why(Reason.SESSION_ACTIVE, whose)
        if job.group is not None:
            words = (
                f"a batch is active on {machine.name} {_until(live)},"
                " and only one group at a time can be"
            )
            return Why(Reason.BATCH_ACTIVE, words)
    return _behind(machine, job, live if live is not None and live.id == job.group else None)


def _whose(group: Group, job: Job) -> str:
    mine = group.instance == job.instance
    return f"a session of {'the same' if mine else 'another'} instance"


def _until(group: Group) -> str:
    """The latest end of its window by the rules: its TTLs, then what runs may finish (S26, S27)."""
    if group.window_end is None:
        return "until its running jobs have ended"
    return f"until {_clock(group.window_end)} at the latest, or the end of what runs then"


def _clock(at: int) -> str:
    minutes = at // 60_000
    return f"{minutes // 60 % 24:02}:{minutes % 60:02} UTC"


def _behind(machine: Machine, job: Job, own: Group | None) -> Why:
    """Why it waits though its kind of job may start."""
    if own is not None and own.state is not GroupState.ACTIVE:
        words = "its session has used up its active time, and waits for its running jobs"
        return Why(Reason.WINDOW_USED_UP, words)
    if machine.reservation is not None:
        if machine.reservation == job.group:
            words = "its session is next; it starts when all running jobs have ended"
            return Why(Reason.SESSION_STARTS, words)
        words = f"a session is next on {machine.name}, and waits for all running jobs to end"
        return Why(Reason.SESSION_RESERVED, words)
    if machine.lanes_used >= machine.lanes:
        taken = "the lane" if machine.lanes == 1 else f"all {machine.lanes} lanes"
        verb = "is" if machine.lanes == 1 else "are"
        return Why(Reason.LANES_TAKEN, f"{taken} of {machine.name} {verb} taken")
    return Why(Reason.FAIR_SHARE, "other jobs are before it by fair share")


def _then(state: State, job: Job, ahead: tuple[int, int]) -> str:
    """Who comes first after that. The live group's own jobs are part of what was said before."""
    everyone, mine = ahead
    others = everyone - mine
    live = state.live_group(state.machines[job.backend])
    if live is not None and live.id != job.group:
        if live.instance == job.instance:
            mine -= state.work[live.id].queued_count
        else:
            others -= state.work[live.id].queued_count
    told = []
    if others > 0:
        told.append(f"{_jobs(others)} of instances that have used less of their share")
    if mine > 0:
        told.append(f"{_jobs(mine)} of its own instance")
    return " and ".join(told)


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
