"""What the engine is asked for, and what it shows, in plain records.

The API has checked the shape of a request before it makes one of these: authentication, sizes,
options, and what the plan permits. The engine and the core check what can change under the
request's feet: the backend, the group, the limits (J9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qdwell.core.events import BackendMode
from qdwell.core.group import Group, Mode
from qdwell.errors import BackendOffline
from qdwell.store.records import JobDetails


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be submitted. `params` are the raw JSON bytes of the body's "params" (wire 10)."""

    instance: str
    backend: str  #: a backend's name, not an alias
    program_id: str
    params: bytes
    user_id: str
    group: str | None = None
    limit_ms: int = 10_800_000  #: already capped (J13)
    limit_asked: bool = False
    estimate_ms: int = 0  #: baseline of J35, refined when the job is prepared
    tags: tuple[str, ...] = ()
    private: bool = False
    runtime: str | None = None
    log_level: str | None = None
    cost_s: int | None = None  #: as asked, in seconds
    calibration_id: str | None = None
    caller: str | None = None
    api_version: str | None = None
    executions_max: int = 10_000_000  #: of the instance's plan (L14)
    job_id: str | None = None  #: None: the engine makes one (J6)

    def details(self, job_id: str, name: str) -> JobDetails:
        """What is stored of it under its id; `name` is that of its input."""
        return JobDetails(
            job_id=job_id,
            program_id=self.program_id,
            params=name,
            params_bytes=len(self.params),
            user_id=self.user_id,
            tags=self.tags,
            private=self.private,
            runtime=self.runtime,
            log_level=self.log_level,
            cost_s=self.cost_s,
            calibration_id=self.calibration_id,
            caller=self.caller,
            api_version=self.api_version,
        )


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A session or batch to be opened. Times as the plan and the user have set them (S5-S7)."""

    instance: str
    backend: str
    mode: Mode
    user_id: str
    interactive_ttl_ms: int
    max_ttl_ms: int | None  #: None: its first job fixes it (S5)
    max_ttl_cap_ms: int = 28_800_000  #: the plan's maximum; bounds what the first job fixes
    active_ttl_ms: int | None = None
    group_id: str | None = None  #: None: the engine makes one


@dataclass(frozen=True, slots=True)
class BackendView:
    """A backend as the API shows it: what its process said of it, and how it is now (I10)."""

    name: str
    aliases: tuple[str, ...]
    simulator: bool
    qubits: int
    mode: BackendMode
    mode_reason: str
    queue_length: int
    ready: bool  #: its process has described it; until then the bytes are empty
    starting: bool = False  #: it is not ready because the server has just started
    entry: Mapping[str, Any] = field(default_factory=dict)  #: fields of the device list (wire 5.1)
    configuration: bytes = b"{}"
    properties: bytes | None = None  #: None: it has none, as ideal simulators do
    version: str = ""
    mock: bool = False  #: the mock twin of a machine, for dry runs
    twin: str | None = None  #: name of its mock twin

    def refusal(self) -> BackendOffline:
        """What is answered to those who want it while it is offline."""
        return BackendOffline(self.name, self.mode_reason or None, starting=self.starting)


@dataclass(frozen=True, slots=True)
class MachineNow:
    """Who has a machine at this moment, for those who may be told; else only that it is taken."""

    lanes: int
    lanes_used: int
    queued: int
    lease_job: str | None  #: the job in the QPU
    lease_at: int | None
    group: Group | None  #: the session or batch that is active on it
    reservation: str | None  #: the session for which it drains (S19)
    locked: bool  #: whether an active batch keeps the QPU (B5)
