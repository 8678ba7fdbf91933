"""Everything that can happen. `Scheduler.decide` takes a batch of these that share one instant.

Reports carry the attempt that they speak of; a report of an old attempt, or one for a stage that
the job has left,
is dropped and noted in the job's story. C6 orders the events of one instant: reports by job
sequence, then requests
in arrival order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qdwell.core.group import Group
from qdwell.core.job import Job


class BackendMode(StrEnum):
    """Whether a backend takes work (I10, I11)."""

    ONLINE = "online"
    PAUSED = "paused"  # accepts jobs, starts none but an active session's
    OFFLINE = "offline"  # refuses jobs; what runs goes on


# -- reports of stages (step 1 of C6)


@dataclass(frozen=True, slots=True)
class JobBegun:
    """A pool took up a job of a simulator: the start of its execution, from which its limit counts
    (J15).
    """

    job: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobPrepared:
    """Preparation has ended well. `estimate_ms` refines the expected quantum time (J35)."""

    job: str
    attempt: int
    estimate_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JobExecuted:
    """The run has ended and its raw data is stored.

    `quantum_ms` is the device's own measure; None means the whole interval since the grant (U1).
    """

    job: str
    attempt: int
    quantum_ms: int | None = None


@dataclass(frozen=True, slots=True)
class JobPostprocessed:
    """The result is stored."""

    job: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The stage reported an error. `system` errors are not charged (U8)."""

    job: str
    attempt: int
    code: int
    reason: str
    solution: str | None = None
    system: bool = False


@dataclass(frozen=True, slots=True)
class JobLost:
    """The worker or the device's process died under the job. `repeatable`: the run may be done
    again (J5).
    """

    job: str
    attempt: int
    repeatable: bool


@dataclass(frozen=True, slots=True)
class RunAdopted:
    """After a restart the device still knows the run of this attempt: it goes on (J5)."""

    job: str
    attempt: int


@dataclass(frozen=True, slots=True)
class RunStopped:
    """The executor confirms that a run which was told to stop has stopped: the lease ends (J14,
    J20).
    """

    backend: str
    job: str
    attempt: int


Report = (
    JobBegun
    | JobPrepared
    | JobExecuted
    | JobPostprocessed
    | JobFailed
    | JobLost
    | RunAdopted
    | RunStopped
)

# -- requests (step 2 of C6)


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """A user submits a job. Answered by its QUEUED record or by a `Refuse`."""

    job: Job


@dataclass(frozen=True, slots=True)
class CancelJob:
    """A user cancels one job (J18-J22)."""

    job: str


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """A user opens a session or a batch (S1, S2)."""

    group: Group


@dataclass(frozen=True, slots=True)
class CloseGroup:
    """No new jobs; those accepted run (S28)."""

    group: str


@dataclass(frozen=True, slots=True)
class CancelGroup:
    """No new jobs; those not yet in the QPU are cancelled (S29)."""

    group: str


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A user keeps an active session active until an instant, though no job comes. The other TTLs
    stand; the time is charged like any other of the window (U4).
    """

    group: str
    until: int


@dataclass(frozen=True, slots=True)
class SetBackendMode:
    """An operator pauses, stops, or resumes a backend (I11)."""

    backend: str
    mode: BackendMode
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DevicePresent:
    """The process that holds a machine's device is there, or has gone: nobody gets the QPU until it
    is there again, so its start is no job's time (J14, U1).
    """

    backend: str
    present: bool


@dataclass(frozen=True, slots=True)
class PutBackend:
    """A backend appears or its settings change. Its mode, lease, and groups stay as they are."""

    backend: str
    simulator: bool
    lanes: int
    lock_window: bool  #: B5 `window` if true, B6 `priority` if false
    present: bool = True  #: as in `DevicePresent`


@dataclass(frozen=True, slots=True)
class PutInstance:
    """An instance appears or its plan changes. Milliseconds of use per window (Q8, I7-I9)."""

    instance: str
    account: str
    allocation_ms: int
    limit_ms: int | None = None  #: I8: at this usage its queued jobs are held
    spend_limit_ms: int | None = None  #: I9: at this usage submissions are refused and groups end
    pending_max: int | None = None  #: L11
    account_allocation_ms: int | None = None  #: None: the sum over its instances (Q8)


@dataclass(frozen=True, slots=True)
class ServiceResumed:
    """The first event after a restart: the service was down from `down_since` until now (C8, J5).

    `work_lost` false: only memory was loaded again (a commit failed); what runs goes on under its
    attempts.
    """

    down_since: int
    work_lost: bool = True


@dataclass(frozen=True, slots=True)
class ServiceStops:
    """The last event before a stop in good order: what is under way is cut off by us, and a try
    that ends so is not the job's (J5).
    """


Request = (
    SubmitJob
    | CancelJob
    | CreateGroup
    | CloseGroup
    | CancelGroup
    | KeepAlive
    | SetBackendMode
    | DevicePresent
    | PutBackend
    | PutInstance
    | ServiceResumed
    | ServiceStops
)
Event = Report | Request
