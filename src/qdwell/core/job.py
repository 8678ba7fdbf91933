"""The job machine: one table of legal moves, and the record that moves through it.

A waiting state stands before each working state, so that lost work has an obvious place to go back
to (J5).
Outside, users see the five words of J1; `SERVER_WORDS` maps to them. A lane is held from PREPARING
to the end
(C3); the lease on the QPU is held in EXECUTING and belongs to the backend, because it can outlive a
cancelled job
(J20).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qdwell.core.records import changed
from qdwell.errors import IllegalMove


class JobState(StrEnum):
    """Where a job is. The comment of each state says who moves it on."""

    QUEUED = "queued"  # waits for a lane; the scheduler's lane grant (Q10) moves it on
    PREPARING = "preparing"  # a worker compiles it; the worker's report moves it on
    READY = "ready"  # waits for the QPU and keeps its lane; the QPU grant (Q20) moves it on
    EXECUTING = "executing"  # holds the lease; the executor's report moves it on
    EXECUTED = "executed"  # raw data is stored; moves on at once to the next worker
    POSTPROCESSING = "postprocessing"  # a worker makes the result; its report moves it on
    COMPLETED = "completed"  # final, with a result
    FAILED = "failed"  # final, with a code
    CANCELLED = "cancelled"  # final: by its user, with its session, or because it ran too long


_S = JobState

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    _S.QUEUED: frozenset({_S.PREPARING, _S.FAILED, _S.CANCELLED}),
    _S.PREPARING: frozenset({_S.READY, _S.PREPARING, _S.FAILED, _S.CANCELLED}),
    _S.READY: frozenset({_S.EXECUTING, _S.PREPARING, _S.FAILED, _S.CANCELLED}),
    _S.EXECUTING: frozenset({_S.EXECUTED, _S.READY, _S.FAILED, _S.CANCELLED}),
    _S.EXECUTED: frozenset({_S.POSTPROCESSING, _S.FAILED, _S.CANCELLED}),
    _S.POSTPROCESSING: frozenset({_S.COMPLETED, _S.EXECUTED, _S.FAILED, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}

FINAL = frozenset(state for state, after in TRANSITIONS.items() if not after)
RUNNING = frozenset(set(JobState) - FINAL - {_S.QUEUED})  # J4: what users see as Running
# What the end of a session takes away (S27, S29).
BEFORE_QPU = frozenset({_S.QUEUED, _S.PREPARING, _S.READY})

SERVER_WORDS: dict[JobState, str] = {
    _S.QUEUED: "Queued",
    _S.PREPARING: "Running",
    _S.READY: "Running",
    _S.EXECUTING: "Running",
    _S.EXECUTED: "Running",
    _S.POSTPROCESSING: "Running",
    _S.COMPLETED: "Completed",
    _S.FAILED: "Failed",
    _S.CANCELLED: "Cancelled",
}

TRIES_MAX = 3  # attempts at one stage before the job fails with 5203 (J5)
CODE_CANCELLED = 5202  # E24
CODE_LOST = 5203  # E28
CODE_RAN_TOO_LONG = 1305  # E23
CODE_SESSION_CLOSED = 4001  # E22
RAN_TOO_LONG = "Ran too long"  # J16: old clients compare this text, ignoring case


@dataclass(frozen=True, slots=True)
class Job:
    """What the scheduler knows of one job. Times are milliseconds since the epoch, None until
    reached.
    """

    id: str
    seq: int  #: order of acceptance over the whole server; breaks every tie
    instance: str
    backend: str
    created: int
    group: str | None = None  #: the session or batch it belongs to, None in job mode
    limit_ms: int = 10_800_000  #: quantum time allowed, already capped (J13)
    limit_asked: bool = (
        False  #: whether the user asked for that limit (J17 looks only at asked ones)
    )
    estimate_ms: int = 0  #: expected quantum time (J35); refined when it is prepared
    state: JobState = JobState.QUEUED
    attempt: int = 0  #: rises each time work is started again; a report of an older one is dropped
    prepare_tries: int = 0  #: attempts at preparation so far (J5)
    execute_tries: int = 0  #: attempts at execution so far
    postprocess_tries: int = 0  #: attempts at post-processing so far
    running_at: int | None = None  #: entry to PREPARING (J7)
    ready_at: int | None = None
    executing_at: int | None = (
        None  #: the QPU grant; on a simulator the start of its execution (J15)
    )
    executed_at: int | None = None  #: end of its time in the QPU
    finished_at: int | None = None
    quantum_ms: int = 0  #: charged time in the QPU; 0 until it has left the QPU
    downtime_ms: int = 0  #: part of its time in the QPU in which the service was down (C8)
    code: int | None = None  #: reason code of a failed or cancelled job (semantics section 11)
    reason: str | None = None
    solution: str | None = None

    @property
    def final(self) -> bool:
        """Whether no further move is possible."""
        return self.state in FINAL

    @property
    def running(self) -> bool:
        """Whether users see it as Running (J4), which is when it holds a lane (C3)."""
        return self.state in RUNNING

    def in_qpu_ms(self, now: int) -> int:
        """Time in the QPU so far, without what the service slept through (U1, C8)."""
        assert self.executing_at is not None
        return max(0, now - self.executing_at - self.downtime_ms)


def moved(job: Job, to: JobState, **changes: Any) -> Job:
    """Return the job in state `to`; raise `IllegalMove` if the table has no such move."""
    if to not in TRANSITIONS[job.state]:
        raise IllegalMove(f"job {job.id} cannot go from {job.state} to {to}")
    return changed(job, state=to, **changes)
