"""Every request and reply of the HTTP API, typed.

The models of requests validate: they are strict (`true` is not a number, `"3"` is not 3) and know
every field; a field that they do not know is refused, because what is accepted and then ignored
misleads. What only older clients send is declared, and checked: it must say what holds anyway.

The models of replies only describe: hot routes write their bytes themselves, and the API
description is generated from here. A field that is optional in a reply is left out when it has no
value, except where null is a value of its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qdwell.wire.replies import (
    Accepted,
    BackendStatus,
    CatalogEntry,
    Device,
    DeviceList,
    ErrorBody,
    EventPage,
    Health,
    InstanceList,
    JobDocument,
    JobList,
    JobMetrics,
    Outcome,
    QueueList,
    Reply,
    SearchPage,
    SessionDocument,
    SessionList,
    Token,
    Usage,
    UsageByInstance,
    UsageLedger,
    WorkloadList,
)

__all__ = [
    "Accepted",
    "BackendStatus",
    "CatalogEntry",
    "Device",
    "DeviceList",
    "ErrorBody",
    "EventPage",
    "Health",
    "InstanceList",
    "JobDocument",
    "JobList",
    "JobMetrics",
    "JobRequest",
    "KeepAliveRequest",
    "Outcome",
    "QueueList",
    "Reply",
    "SearchPage",
    "SearchRequest",
    "SessionChange",
    "SessionDocument",
    "SessionList",
    "SessionRequest",
    "TagsRequest",
    "Token",
    "Usage",
    "UsageByInstance",
    "UsageLedger",
    "WorkloadList",
]

ID = r"^[A-Za-z0-9_-]{1,36}$"  # J6
BACKEND = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
IMAGE = r"^[a-zA-Z0-9]+([/.\-_][a-zA-Z0-9]+)*:[a-zA-Z0-9]+([.\-_][a-zA-Z0-9]+)*$"  # R2

JobId = Annotated[str, Field(pattern=ID)]
BackendName = Annotated[str, Field(pattern=BACKEND)]


class Request(BaseModel):
    """A body that a user sends."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class JobRequest(Request):
    """Body of `POST /jobs` (wire-protocol 6.1)."""

    program_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    params: dict[str, Any] = Field(description="Input of the program, in the tagged encoding.")
    backend: BackendName | None = Field(
        None, description="Without one, the machine with the shortest queue is taken (J11)."
    )
    session_id: JobId | None = Field(None, description="The session or batch to run in.")
    tags: list[str] | None = Field(None, description="At most 8, of at most 86 characters (J28).")
    cost: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Limit of quantum time in seconds; above the system's it is cut (J13)."
    )
    log_level: Literal["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"] | None = None
    runtime: Annotated[str, Field(pattern=IMAGE, max_length=128)] | None = Field(
        None, description="Name of an image, `name:tag`; noted with the job."
    )
    private: bool | None = Field(None, description="Erase inputs, show the result once (J29).")
    calibration_id: Annotated[str, Field(max_length=128)] | None = None
    start_session: bool | None = Field(
        None, description="The implicit session of clients up to 0.19: refused if true (S1)."
    )
    session_time: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Belongs to start_session."
    )
    hub: str | None = Field(None, description="The instance, as older clients name it.")
    group: str | None = Field(None, description="Goes with hub.")
    project: str | None = Field(None, description="Goes with hub.")
    channel_strategy: Literal["default"] | None = Field(
        None, description="Of clients up to 0.31; there is one."
    )


class SessionRequest(Request):
    """Body of `POST /sessions` (wire-protocol 7.1)."""

    mode: Literal["dedicated", "batch"] = Field(
        "dedicated", description="dedicated = a session, batch = a batch."
    )
    backend: BackendName | None = Field(
        None, description="Without one, the machine with the shortest queue is taken (S3)."
    )
    instance: str | None = Field(
        None, description="If given, the same instance as in the Service-CRN header."
    )
    max_ttl: int | None = Field(None, description="Longest life in seconds (S6).")
    max_session_ttl: int | None = Field(None, description="Older name of max_ttl.")


class SessionChange(Request):
    """Body of `PATCH /sessions/{id}` (S28, S32)."""

    accepting_jobs: bool


class LoginRequest(Request):
    """Body of the sign-in of the channel ibm_quantum (wire-protocol 14.3)."""

    apiToken: str = Field(max_length=1_000, description="An API token.")  # noqa: N815  its own word


class KeepAliveRequest(Request):
    """Body of `POST /sessions/{id}/keep_alive`."""

    seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        description="For how long from now it stays active without work; it is charged."
    )


class TagsRequest(Request):
    """Body of `PUT /jobs/{id}/tags`: replaces all tags; an empty list clears them (J28)."""

    tags: list[str]


class SearchRequest(BaseModel):
    """Body of `POST /v3/resources/search`; only the owner of the token decides what is found."""

    query: str | None = None
    fields: list[str] | None = None
    search_cursor: str | None = None
