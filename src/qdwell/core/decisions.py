"""Everything that can be decided: changes, which the store keeps in one transaction, and actions,
which the engine
performs after that. The order of the list is the order of what happened; a job may appear in it
more than once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qdwell.core.events import BackendMode
from qdwell.core.group import Group, GroupState
from qdwell.core.job import Job, JobState


class Held(StrEnum):
    """What a charged interval was held for (U1-U4)."""

    JOB = "job"  # quantum time of a job-mode job
    BATCH = "batch"  # quantum time of a job in a batch
    SESSION = "session"  # a window of a session


class Refusal(StrEnum):
    """Why a request was refused; the API maps each to a row of semantics section 11."""

    UNKNOWN_BACKEND = "unknown_backend"  # E8
    BACKEND_OFFLINE = "backend_offline"  # E9
    UNKNOWN_GROUP = "unknown_group"  # E11
    GROUP_CLOSED = "group_closed"  # E10
    GROUP_NOT_ACTIVE = "group_not_active"  # nothing is held that could be kept
    WRONG_BACKEND = "wrong_backend"  # E15
    LIMIT_ABOVE_MAX_TTL = "limit_above_max_ttl"  # E13
    PENDING_LIMIT = "pending_limit"  # E16
    SPEND_LIMIT = "spend_limit"  # E17
    REPEATED_JOB = "repeated_job"  # a job of this id is there already
    UNKNOWN_JOB = "unknown_job"  # E19 or E20: not a live job
    NO_GROUP_ON_SIMULATOR = "no_group_on_simulator"  # S34


# -- changes


@dataclass(frozen=True, slots=True)
class PutJob:
    """A job is new (`was` None) or has moved. Its write is guarded by `was` and by the attempt."""

    job: Job
    was: JobState | None
    cause: str  #: a few words for the job's story, e.g. "lane granted"
    at: int


@dataclass(frozen=True, slots=True)
class PutGroup:
    """A group is new (`was` None) or has changed; `was` equals its state if only a field did."""

    group: Group
    was: GroupState | None
    cause: str
    at: int


@dataclass(frozen=True, slots=True)
class PutBackendState:
    """What must survive a restart of one backend: mode, lease, reservation, and lock."""

    backend: str
    mode: BackendMode
    mode_reason: str
    lease_job: str | None  #: who holds the QPU, also while a stop is awaited (J20)
    lease_attempt: int | None
    lease_at: int | None
    lease_stopping: bool  #: the job is final, the device's confirmation is awaited
    reservation: str | None  #: the session for which the backend drains (S19)
    lock: str | None  #: the batch that holds the QPU lock (B5)
    at: int


@dataclass(frozen=True, slots=True)
class PutCharge:
    """One interval of held time. The same `id` is written when it opens (`end` None) and when it
    ends.

    `charged` false: system time, kept in the ledger and owed by nobody (U8, C8).
    """

    id: str  #: `<job or group id>:<start>`
    instance: str
    backend: str
    kind: Held
    job: str | None
    group: str | None
    start: int
    end: int | None
    charged: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the story of a job or group that changes nothing, e.g. a late report that was
    dropped.
    """

    subject: str
    at: int
    text: str


# -- actions


@dataclass(frozen=True, slots=True)
class Prepare:
    """Start the classical preparation of a job."""

    job: str
    attempt: int
    backend: str


@dataclass(frozen=True, slots=True)
class Execute:
    """Run a prepared job on the device: it now holds the lease (or, on a simulator, needs none)."""

    job: str
    attempt: int
    backend: str


@dataclass(frozen=True, slots=True)
class Postprocess:
    """Make the result from the stored raw data."""

    job: str
    attempt: int
    backend: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop what this attempt is doing; nothing of it is wanted. `executing`: answer with
    `RunStopped`.
    """

    job: str
    attempt: int
    backend: str
    executing: bool


@dataclass(frozen=True, slots=True)
class AskDevice:
    """After a restart: find out if the device still knows this run. Answer: `RunAdopted` or
    `JobLost`.
    """

    job: str
    attempt: int
    backend: str


@dataclass(frozen=True, slots=True)
class ForgetGroup:
    """The group has closed: empty its cache (S37)."""

    group: str
    backend: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request was refused; nothing changed. `limit` and `asked` are numbers for the message."""

    refusal: Refusal
    subject: str  #: id of the job or group that was asked for
    limit: int | None = None
    asked: int | None = None


Change = PutJob | PutGroup | PutBackendState | PutCharge | Note
Action = Prepare | Execute | Postprocess | Stop | AskDevice | ForgetGroup
Decision = Change | Action | Refuse
