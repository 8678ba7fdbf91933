"""The words for states, of jobs and of sessions, and what is said of a waiting job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qiskit.providers import JobStatus

from qdwell.client.errors import IBMInputValueError

CODE_RAN_TOO_LONG = 1305


class Status(str):
    """A job's state: the word of the V2 interface, equal to the `JobStatus` of the V1 interface."""

    __slots__ = ()

    INITIALIZING: Status
    QUEUED: Status
    RUNNING: Status
    DONE: Status
    CANCELLED: Status
    ERROR: Status

    @property
    def name(self) -> str:
        """The word."""
        return str(self)

    @property
    def value(self) -> str:
        """The sentence of `JobStatus`."""
        return str(JobStatus[str(self)].value)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JobStatus):
            return bool(str(self) == other.name)
        return isinstance(other, str) and str(self) == str(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


for _word in ("INITIALIZING", "QUEUED", "RUNNING", "DONE", "CANCELLED", "ERROR"):
    setattr(Status, _word, Status(_word))

FINAL = (Status.DONE, Status.CANCELLED, Status.ERROR)

_JOB_WORDS = {
    "QUEUED": Status.QUEUED,
    "RUNNING": Status.RUNNING,
    "COMPLETED": Status.DONE,
    "FAILED": Status.ERROR,
    "CANCELLED": Status.CANCELLED,
}


def status_of(state: Mapping[str, Any]) -> Status:
    """A job's state from the server's words (J2)."""
    word = str(state["status"]).upper()
    code = state.get("reason_code", state.get("reasonCode"))
    if word == "CANCELLED" and code == CODE_RAN_TOO_LONG:
        return Status.ERROR
    return _JOB_WORDS.get(word) or Status(word)


def session_status(state: str, accepting: bool) -> str:
    """A session's state in the words of its documentation (S8)."""
    if state in ("open", "inactive"):
        return "Pending"
    if state in ("active", "pending_inactive", "pending_closed"):
        takes = accepting or state == "pending_inactive"
        return f"In progress, {'' if takes else 'not '}accepting new jobs"
    return state.capitalize()


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """Why and how long a job waits.

    Attributes:
        position: its place in the backend's queue; 1 is next.
        position_in_provider: its place among the jobs of its own instance.
        estimated_start_time, estimated_complete_time: as simulated from the queue now.
        reason: why it waits, in a sentence; None if the server does not say.
        reason_code: the same for programs, e.g. `session_active`.
        earliest_start_time, latest_start_time: the range in which it starts four times in five;
            None where it is too far ahead to tell.
    """

    position: int | None
    position_in_provider: int | None
    estimated_start_time: datetime | None
    estimated_complete_time: datetime | None
    reason: str | None = None
    reason_code: str | None = None
    earliest_start_time: datetime | None = None
    latest_start_time: datetime | None = None

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> QueueInfo | None:
        """What a job's metrics say; None if it does not wait."""
        if metrics.get("position_in_queue") is None:
            return None
        return cls(
            metrics["position_in_queue"],
            metrics.get("position_in_provider"),
            _instant(metrics.get("estimated_start_time")),
            _instant(metrics.get("estimated_completion_time")),
            metrics.get("queue_reason"),
            metrics.get("queue_reason_code"),
            _instant(metrics.get("estimated_start_earliest")),
            _instant(metrics.get("estimated_start_latest")),
        )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone()


def asked_instant(name: str, moment: datetime | str | None) -> str | None:
    """An instant as the API reads it; without a zone it is local time.

    Raises:
        IBMInputValueError: it is neither a datetime nor an ISO-8601 text.
    """
    if moment is None:
        return None
    try:
        known = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return known.astimezone().isoformat()
    except (AttributeError, ValueError) as error:
        raise IBMInputValueError(
            f"{name} is a datetime, or a text such as 2026-11-21T07:00:00Z, not {moment!r}."
        ) from error
