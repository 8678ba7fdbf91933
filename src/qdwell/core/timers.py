"""Every deadline of the rules, in one heap (step 3 of C6), and what happens when one strikes.

A deadline is a function of the state; the heap only remembers what that function said last. An
entry that no longer
agrees is skipped, so nobody has to cancel a timer.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from enum import IntEnum, auto

from qdwell.core.group import Ending, Group, GroupState
from qdwell.core.job import CODE_SESSION_CLOSED, Job, JobState
from qdwell.core.moves import Turn
from qdwell.core.state import State

_MAX_TTL_REASON = "The session of this job reached its maximum time before the job was on the QPU."
USAGE_REASON = "The instance reached its usage limit before the job was on the QPU."


class Timer(IntEnum):
    """The kinds, in the order in which C6 applies those of one instant."""

    JOB_LIMIT = auto()  # J14, J15
    MAX_TTL = auto()  # S27
    ACTIVE_TTL = auto()  # S26
    INTERACTIVE_TTL = auto()  # S22, S23
    UNUSED = auto()  # S31
    SPEND = auto()  # I9
    HOLD = auto()  # Q12


OF_GROUPS = (Timer.MAX_TTL, Timer.ACTIVE_TTL, Timer.INTERACTIVE_TTL, Timer.UNUSED)
OF_INSTANCES = (Timer.SPEND, Timer.HOLD)


def job_deadline(state: State, job: Job) -> int | None:
    """When the job's limit strikes: quantum time, or on a simulator time since its start."""
    if job.executing_at is None:
        return None
    if not state.machines[job.backend].simulator and job.state is not JobState.EXECUTING:
        return None
    return job.executing_at + job.downtime_ms + job.limit_ms


def group_deadline(state: State, group: Group, timer: Timer) -> int | None:
    """When one of the four timers of a group strikes, None while it does not run."""
    if timer is Timer.MAX_TTL:
        if group.started_at is None or group.state is GroupState.PENDING_CLOSED:
            return None
        assert group.max_ttl_ms is not None
        return group.started_at + group.max_ttl_ms
    if timer is Timer.UNUSED:
        if group.state is not GroupState.OPEN or group.idle_since is None:
            return None
        return group.idle_since + state.settings.unused_close_ms
    if group.state is not GroupState.ACTIVE:
        return None
    if timer is Timer.ACTIVE_TTL:
        assert group.activated_at is not None
        return None if group.active_ttl_ms is None else group.activated_at + group.active_ttl_ms
    if group.idle_since is None or not group.accepting:
        return None
    return max(group.idle_since + group.interactive_ttl_ms, group.keep_alive_until or 0)


def instance_deadline(state: State, instance_id: str, timer: Timer, now: int) -> int | None:
    """When an instance's spend limit strikes (I9), or its hold ends (Q12)."""
    instance = state.instances[instance_id]
    ledger = state.books.ledger
    if timer is Timer.SPEND:
        if instance.spend_limit_ms is None:
            return None
        groups = (state.groups[each] for each in instance.groups)
        if all(group.state is GroupState.PENDING_CLOSED for group in groups):
            return None
        return ledger.reaches(instance_id, instance.spend_limit_ms, now)
    if instance.hold_ms is None or not instance.pending or not state.books.held(instance, now):
        return None
    return ledger.falls_below(instance_id, instance.hold_ms, now)


class Timers:
    """The heap of deadlines."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Timer, int, str]] = []
        self._at: dict[tuple[Timer, str], int] = {}

    def retime(self, turn: Turn) -> None:
        """Ask again for the deadlines of all that the turn has changed."""
        state = turn.state
        for subject in turn.retimed:
            job, group = state.jobs.get(subject), state.groups.get(subject)
            if job is not None:
                self._put(Timer.JOB_LIMIT, subject, job_deadline(state, job), job.seq)
            elif group is not None:
                for timer in OF_GROUPS:
                    self._put(timer, subject, group_deadline(state, group, timer), group.seq)
            else:
                self._forget(subject)
        for instance in turn.touched:
            for timer in OF_INSTANCES:
                self._put(timer, instance, instance_deadline(state, instance, timer, turn.now), 0)
        turn.retimed.clear()
        turn.touched.clear()

    def _put(self, timer: Timer, subject: str, at: int | None, seq: int) -> None:
        if at is None:
            self._at.pop((timer, subject), None)
        elif self._at.get((timer, subject)) != at:
            self._at[timer, subject] = at
            heapq.heappush(self._heap, (at, timer, seq, subject))

    def _forget(self, subject: str) -> None:
        for timer in (Timer.JOB_LIMIT, *OF_GROUPS):
            self._at.pop((timer, subject), None)

    def _clean(self) -> None:
        while self._heap and self._at.get((self._heap[0][1], self._heap[0][3])) != self._heap[0][0]:
            heapq.heappop(self._heap)

    def next(self) -> int | None:
        """Return the next deadline, None if there is none."""
        self._clean()
        return self._heap[0][0] if self._heap else None

    def due(self, until: int) -> Iterator[tuple[Timer, str]]:
        """Take the timers that are due at `until` or before, one by one, in order."""
        while (at := self.next()) is not None and at <= until:
            _, timer, _, subject = heapq.heappop(self._heap)
            del self._at[timer, subject]
            yield timer, subject


def strike(turn: Turn, timer: Timer, subject: str) -> None:
    """Apply one timer at its deadline, which is the turn's instant."""
    state = turn.state
    if timer is Timer.JOB_LIMIT:
        turn.ran_too_long(state.jobs[subject])
    elif timer is Timer.SPEND:
        _spent(turn, subject)
    elif timer is Timer.HOLD:
        turn.dirty.update(dict.fromkeys(state.machines))
    elif timer is Timer.MAX_TTL:
        _end_in_failure(turn, state.groups[subject], Ending.MAX_TTL, _MAX_TTL_REASON)
    elif timer is Timer.ACTIVE_TTL:
        _use_up_window(turn, state.groups[subject])
    elif timer is Timer.INTERACTIVE_TTL:
        group = state.groups[subject]
        turn.leave_window(group, GroupState.INACTIVE, "interactive TTL passed")
    else:
        group = turn.put_group(state.groups[subject], "unused", ending=Ending.UNUSED)
        turn.close_group(group, "unused for too long")


def _end_in_failure(turn: Turn, group: Group, ending: Ending, reason: str) -> None:
    if group.state is not GroupState.PENDING_CLOSED:
        turn.end_group(group, ending, JobState.FAILED, CODE_SESSION_CLOSED, reason)


def _spent(turn: Turn, instance_id: str) -> None:
    """The spend limit is reached (I9), unless usage has left the window meanwhile: then later."""
    instance = turn.state.instances[instance_id]
    turn.touched[instance_id] = None
    assert instance.spend_limit_ms is not None
    if turn.state.usage_ms(instance_id, turn.now) >= instance.spend_limit_ms:
        for group_id in list(instance.groups):
            _end_in_failure(turn, turn.state.groups[group_id], Ending.USAGE_LIMIT, USAGE_REASON)


def _use_up_window(turn: Turn, group: Group) -> None:
    """The active TTL is used up: what runs may finish, nothing more starts in this window (S26)."""
    if turn.state.work[group.id].running:
        turn.put_group(group, "active TTL used up; jobs still run", GroupState.PENDING_INACTIVE)
    else:
        turn.leave_window(group, GroupState.INACTIVE, "active TTL used up")
