"""What goes into the store beside the core's own records, and what comes out of it.

The core's records (`Job`, `Group`, ...) are stored as they are; what only the API and its users
need of a job is in `JobDetails` (known at submission) and `JobFacts` (known after its
preparation). Times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qdwell.core.group import Group
from qdwell.core.job import Job
from qdwell.core.state import Snapshot


@dataclass(frozen=True, slots=True)
class JobDetails:
    """What a job's user said at submission, beside what the scheduler needs (J33)."""

    job_id: str
    program_id: str
    params: str  #: hash of the input's blob, best as `Blobs.stage` gave it; "" once erased (J29)
    params_bytes: int
    user_id: str
    tags: tuple[str, ...] = ()  #: in the user's order, each once (J28)
    private: bool = False  #: J29
    runtime: str | None = None
    log_level: str | None = None
    cost_s: int | None = None  #: seconds, as asked; the limit that follows from it is the job's
    calibration_id: str | None = None
    caller: str | None = None  #: the client application's own name (J34)
    api_version: str | None = None


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What preparation and execution found out about a job (J34)."""

    executions: int | None = None
    num_circuits: int | None = None
    num_qubits: tuple[int, ...] = ()  #: one entry per circuit
    circuit_depths: tuple[int, ...] = ()  #: one entry per circuit
    estimate_ms: int | None = None
    qiskit_version: str | None = None
    cache_hits: int = 0  #: things that were found prepared in the cache of its group (S37)
    cache_misses: int = 0  #: things that had to be made
    timings: Mapping[str, float] = field(default_factory=dict)  #: stage to milliseconds


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """One run of an attempt on a device whose runs outlive the server (J5)."""

    job: str
    attempt: int
    n: int  #: its number within the attempt, from 0
    handle: str | None  #: what the device calls it; None: it is about to begin
    #: time in which the attempt had the QPU and the device did nothing for it, up to this run's
    #: begin or adoption; None: not known
    idle_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Extras:
    """What one commit writes beside its decisions. Hashes must be staged or stored already.

    `raw` is the raw data between execution and post-processing; it is dropped when the job is
    final. `runs` are the device's names of an attempt's runs; one without is about to begin. `logs`
    are appended. `group_users` names the user of each new group, `details` describe each new job.
    """

    details: tuple[JobDetails, ...] = ()
    facts: Mapping[str, JobFacts] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, str] = field(default_factory=dict)
    interim: tuple[tuple[str, int, str], ...] = ()  #: (job, number, hash) (R5)
    logs: Mapping[str, str] = field(default_factory=dict)
    group_users: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[DeviceRun, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the engine starts from."""

    snapshot: Snapshot
    next_seq: int  #: above every `seq` ever given, those of deleted jobs too
    alive_at: (
        int | None
    )  #: last instant at which a server is known to have run; None before the first


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as the API reads it."""

    job: Job
    details: JobDetails
    facts: JobFacts | None  #: None until its preparation has ended
    result: str | None  #: hash of the result's blob

    @property
    def params_erased(self) -> bool:
        """Whether its input has been erased, as a private job's is when it ends (J29)."""
        return self.details.params == ""

    @property
    def result_erased(self) -> bool:
        """Whether its result was there and has been read for the one time (J29)."""
        return self.details.private and self.job.state == "completed" and self.result is None


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One session or batch as the API reads it."""

    group: Group
    user_id: str


@dataclass(frozen=True, slots=True)
class WorkloadRow:
    """One row of the workload list (I14)."""

    id: str
    mode: str  #: job, session, or batch
    status: str  #: pending, in_progress, completed, canceled, or failed
    created: int
    ended: int | None
    backend: str
    instance: str
    user_id: str
    accepting_jobs: bool | None  #: None for a job
    tags: tuple[str, ...]
    usage_ms: int


@dataclass(frozen=True, slots=True)
class StoryRow:
    """One line of the story of a job or a group."""

    at: int
    what: str  #: job, group, or note
    before: str | None  #: state before; None when it was new, and for a note
    after: str | None  #: state after; None for a note
    cause: str
    attempt: int | None  #: a job's attempt after the move


@dataclass(frozen=True, slots=True)
class Retired:
    """How many jobs retention has deleted as a whole, and of how many more the content."""

    jobs: int
    results: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    where: str  #: the table, file, job, or group
    what: str
    harmless: bool = False  #: needs nobody; the next sweep or start deals with it
