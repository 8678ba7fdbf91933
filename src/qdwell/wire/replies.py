"""The replies of the HTTP API, for its description. `messages` holds the requests.

Times are ISO-8601 in UTC with a `Z`. Seconds are whole unless a field says otherwise.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Reply(BaseModel):
    """What the server answers."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class ErrorItem(Reply):
    """One error, in the current shape."""

    code: int | str
    message: str
    solution: str = Field(description="What to do next.")
    more_info: str
    field: str | None = Field(None, description="The offending field, if it is one field.")


class FirstError(Reply):
    """The first error again, in the shape that the stock client reads."""

    message: str
    code: int | str


class ErrorBody(Reply):
    """Every answer of 400 and above."""

    errors: list[ErrorItem]
    trace: str = Field(description="Finds the request in the server's log; also `uber-trace-id`.")
    error: FirstError


class Token(Reply):
    """An access token: a signed JWT with integer `iat` and `exp`."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int
    expiration: int
    scope: str


class SearchItem(Reply):
    """One instance of the owner of the token."""

    crn: str
    name: str
    service_plan_unique_id: str
    doc: dict[str, Any]
    tags: list[str]


class SearchPage(Reply):
    """All instances; there is never a second page."""

    items: list[SearchItem]
    limit: int
    search_cursor: str | None = None


class CatalogEntry(Reply):
    """A plan, in the few fields that the stock client reads."""

    id: str
    name: str
    overview_ui: dict[str, Any]
    metadata: dict[str, Any]


class DeviceStatus(Reply):
    """Whether a device takes work (I10)."""

    name: str = Field(description="online, paused, or offline")
    reason: str | None = None


class Device(Reply):
    """One entry of the list of backends."""

    name: str
    status: DeviceStatus
    queue_length: int
    physical_qubits: int
    qubits: int


class DeviceList(Reply):
    """Objects with `IBM-API-Version` 2025-05-01 or later; before that, or without it, names."""

    devices: list[Device] | list[str]


class BackendStatus(Reply):
    """State of one backend."""

    state: bool = Field(description="operational; false when offline")
    status: str = Field(description="`active`, or why it is not")
    message: str
    length_queue: int = Field(description="number of Queued jobs")
    backend_version: str


class Accepted(Reply):
    """A job is accepted, and durable."""

    id: str
    backend: str


class JobState(Reply):
    """State of a job, one of five words (J1)."""

    status: str
    reason: str | None = None
    reason_code: int | None = None
    reasonCode: int | None = None  # noqa: N815  the wire's word
    reason_solution: str | None = None


class JobDocument(Reply):
    """A job (J33). Fields without a value are left out."""

    id: str
    backend: str
    state: JobState
    status: str = Field(description="as `state.status`, or `Cancelled - Ran too long` (J14)")
    program: dict[str, str]
    created: str
    tags: list[str]
    user_id: str
    usage: dict[str, float]
    params: dict[str, Any] | None = None
    runtime: str | None = None
    cost: int | None = None
    session_id: str | None = None
    private: bool | None = None
    estimated_running_time_seconds: float | None = None
    calibration_id: str | None = None
    log_level: str | None = None


class JobList(Reply):
    """A page of jobs; `count` is the exact number of matches."""

    jobs: list[JobDocument]
    count: int
    limit: int
    offset: int


class JobTimestamps(Reply):
    """Instants of a job (J7); null until reached."""

    created: str
    running: str | None
    finished: str | None


class JobMetrics(Reply):
    """Metrics of a job (J34)."""

    timestamps: JobTimestamps
    usage: dict[str, Any]
    bss: dict[str, int]
    circuits_execution_time_ns: int
    executions: int | None = None
    num_circuits: int | None = None
    num_qubits: list[int] | None = None
    circuit_depths: list[int] | None = None
    qiskit_version: str | None = None
    cache: dict[str, int] | None = Field(
        None, description="hits and misses of what was prepared for its session or batch (S37)"
    )
    estimated_start_time: str | None
    estimated_completion_time: str | None
    position_in_queue: int | None
    estimated_start_earliest: str | None = Field(
        description="with the next: the range in which it starts four times in five"
    )
    estimated_start_latest: str | None
    queue_reason: str | None = Field(description="why it waits, as a sentence; null if not queued")
    queue_reason_code: str | None = Field(description="the same for programs")
    position_in_provider: int | None
    caller: str


class Outcome(Reply):
    """A job, and its result once it has completed."""

    job: JobDocument
    result: Any = Field(None, description="Left out before the end; null if it has been erased.")


class QueueEntry(Reply):
    """A job that waits or runs, as operators see it."""

    id: str
    backend: str
    status: str
    instance: str
    instance_name: str
    session_id: str | None
    created: str
    position: int | None = Field(description="its turn; null if it runs, or is too far away")
    estimated_start_time: str | None


class QueueList(Reply):
    """The jobs of all instances that wait or run."""

    jobs: list[QueueEntry]
    count: int


class EventPage(Reply):
    """What has changed since a cursor."""

    cursor: str = Field(description="To be given as `after` the next time.")
    changes: list[dict[str, Any]] = Field(description="Of jobs, sessions, and interim results.")
    reset: bool = Field(description="Some changes cannot be told any more: look for yourself.")


class SessionTimestamp(Reply):
    """One change of the reported state (S11)."""

    status: str
    timestamp: str


class SessionDocument(Reply):
    """A session or batch (S36). Times and `elapsed_time` are null until reached."""

    id: str
    backend_name: str
    mode: str
    state: str
    accepting_jobs: bool
    interactive_ttl: int
    max_ttl: int | None
    active_ttl: int | None
    started_at: str | None
    activated_at: str | None
    last_job_started: str | None
    last_job_completed: str | None
    closed_at: str | None
    keep_alive_until: str | None = Field(description="until when it stays active without work")
    cache: dict[str, int] | None = Field(
        None, description="hits and misses of its jobs (S37); left out of lists"
    )
    elapsed_time: float | None = Field(description="usage so far in seconds (U5)")
    timestamps: list[SessionTimestamp]


class SessionList(Reply):
    """A page of sessions and batches; `count` is the exact number of matches."""

    sessions: list[SessionDocument]
    count: int
    limit: int
    offset: int


class Usage(Reply):
    """Usage of the instance (I4); fields that do not apply are left out."""

    instance_id: str
    plan_id: str
    usage_period: dict[str, str]
    usage_consumed_seconds: float
    usage_limit_seconds: int | None = None
    usage_allocation_seconds: int | None = None
    usage_limit_reached: bool | None = None


class UsageByInstance(Reply):
    """The classic form of usage (I5)."""

    period: dict[str, str]
    byInstance: list[dict[str, Any]]  # noqa: N815  the wire's word


class UsageLedger(Reply):
    """What was held of the machines, and for what."""

    period: dict[str, str]
    entries: list[dict[str, Any]] = Field(
        description="intervals that do not overlap on a machine; with `by`, sums instead"
    )
    totals: dict[str, int] = Field(description="milliseconds of each use, and those charged")


class InstanceList(Reply):
    """The instances that the token may use."""

    instances: list[dict[str, str]]


class Workload(Reply):
    """A job-mode job, a session, or a batch (I14)."""

    id: str
    created: str
    ended: str | None
    backend: str
    instance: str
    user_id: str
    mode: str
    status: str
    accepting_jobs: bool | None = None
    tags: list[str]
    usage_seconds: float


class WorkloadList(Reply):
    """A page of workloads; `next` and `previous` are cursors, left out at the ends."""

    workloads: list[Workload]
    total_count: int
    limit: int
    next: str | None = None
    previous: str | None = None


class Health(Reply):
    """How the server is: 200 if it answers requests, or passes them on; else 503."""

    status: str = Field(
        description="ok; starting: its backends still start, or no server leads; standby: another "
        "server leads, and requests are passed on to it; unreachable: they cannot be."
    )
    version: str
    backends: dict[str, str]
    leader: str | None = Field(None, description="Where the server is that leads, at the others.")
    reason: str | None = Field(None, description="Why a server that does not lead is not well.")
