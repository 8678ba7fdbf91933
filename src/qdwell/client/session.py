"""Sessions and batches, as seed document 001 describes them.

A session on a simulator is none: simulators have no queue, so nothing is opened, `session_id` is
None, and jobs run as they come (S34). The object is the same, so code need not care.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from qdwell.client import display, driving
from qdwell.client.backend import Backend
from qdwell.client.decoding import TAGGED, Decoders, decoders_of
from qdwell.client.errors import (
    IBMError,
    IBMInputValueError,
    IBMRuntimeError,
    RequestsApiError,
)
from qdwell.client.keys import new_key
from qdwell.client.options import RuntimeOptions
from qdwell.client.submission import Submission, submit
from qdwell.client.transport import Request, path_of
from qdwell.client.values import dumps
from qdwell.client.words import session_status

if TYPE_CHECKING:
    from qdwell.client.driving import Operation
    from qdwell.client.job import Callback, RuntimeJob
    from qdwell.client.service import QiskitRuntimeService

S = TypeVar("S", bound="Session")
T = TypeVar("T")

_PART = re.compile(r"(\d+)\s*([dhms])")
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_current: ContextVar[Session | None] = ContextVar("qdwell_session", default=None)

#: Where each key of `details()` stands in the server's document (S36).
_DETAILS = {
    "id": "id",
    "backend_name": "backend_name",
    "interactive_timeout": "interactive_ttl",
    "max_time": "max_ttl",
    "active_timeout": "active_ttl",
    "state": "state",
    "accepting_jobs": "accepting_jobs",
    "last_job_started": "last_job_started",
    "last_job_completed": "last_job_completed",
    "started_at": "started_at",
    "closed_at": "closed_at",
    "activated_at": "activated_at",
    "mode": "mode",
    "usage_time": "elapsed_time",
    "timestamps": "timestamps",
    "cache": "cache",
    "keep_alive_until": "keep_alive_until",
}


class Session:
    """A window in which a machine is held for one workload.

    Args:
        service: default: the backend's, else `QiskitRuntimeService()`.
        backend: name, or object; default: the machine with the shortest queue.
        max_time: longest life, in seconds or as "2h 30m 40s"; default: the plan's.

    Raises:
        IBMInputValueError: an argument cannot be used; a ValueError too.
        RequestsApiError: the server refuses the session, for its plan or its `max_time`.
    """

    mode: ClassVar[str] = "dedicated"

    def __init__(
        self,
        service: QiskitRuntimeService | Backend | None = None,
        backend: str | Backend | None = None,
        max_time: int | str | None = None,
    ) -> None:
        if isinstance(service, Backend) and backend is None:
            service, backend = None, service  # the newer signature has the backend first
        self._service = service_of(service, backend)
        self._active = True
        self._token: Token[Session | None] | None = None
        self._session_id: str | None = None
        if not isinstance(backend, str | Backend | None):
            raise IBMInputValueError(
                f"backend must be a name or a backend of this service, not {backend!r}."
            )
        self._backend_name = backend.name if isinstance(backend, Backend) else backend
        seconds = seconds_of(max_time)
        if self._backend_name is None or not self._service.is_simulator(self._backend_name):
            self._run(self._open(seconds))

    def _open(self, seconds: int | None) -> Operation[None]:
        message: dict[str, Any] = {"mode": self.mode}
        if self._backend_name is not None:
            message["backend"] = self._backend_name
        if seconds:
            message["max_ttl"] = seconds
        # With a key of its own it may be sent twice, and is still one session.
        key = (("Idempotency-Key", new_key()),)
        asked = Request("POST", "/sessions", dumps(message), headers=key, repeat=True)
        document = (yield asked).json()
        self._session_id = str(document["id"])
        self._backend_name = str(document["backend_name"])

    @classmethod
    def from_id(
        cls: type[S],
        session_id: str,
        service: QiskitRuntimeService | None = None,
        backend: str | Backend | None = None,
    ) -> S:
        """The session of this id, which must exist; nothing is changed or opened.

        Args:
            session_id: of an existing session.
            service: default: the backend's, else `QiskitRuntimeService()`.
            backend: only for its service; the session knows its own backend (S35).

        Raises:
            IBMInputValueError: there is none, or it is a batch (a session).
        """
        chosen = service_of(service, backend)
        try:
            document = chosen.link.send(Request("GET", path_of("sessions", session_id))).json()
        except RequestsApiError as error:
            raise _unknown(error, session_id) from error
        if document["mode"] != cls.mode:
            kind = "batch" if document["mode"] == "batch" else "session"
            raise IBMInputValueError(f"{session_id!r} is a {kind}: use its own class.")
        return cls._of(chosen, document)

    @classmethod
    def _of(cls: type[S], service: QiskitRuntimeService, document: Mapping[str, Any]) -> S:
        """The session that the server describes."""
        made = cls.__new__(cls)
        made._service = service
        made._session_id = str(document["id"])
        made._backend_name = str(document["backend_name"])
        made._active = document["state"] != "closed"
        made._token = None
        return made

    # ---- who it is ------------------------------------------------------------------------------

    @property
    def service(self) -> QiskitRuntimeService:
        """The service that it belongs to."""
        return self._service

    @property
    def session_id(self) -> str | None:
        """Its id; None on a simulator."""
        return self._session_id

    def backend(self) -> str | None:
        """Name of its backend."""
        return self._backend_name

    # ---- working in it --------------------------------------------------------------------------

    def run(
        self,
        program_id: str,
        inputs: Mapping[str, Any],
        options: Mapping[str, Any] | RuntimeOptions | None = None,
        callback: Callback | None = None,
        result_decoder: Any = None,
    ) -> RuntimeJob:
        """Run a program in it, and return the job (R1-R5).

        Args:
            program_id: sampler, estimator.
            inputs: what the program takes.
            options: see `RuntimeOptions`; the session's backend stands.
            callback: called with the job's id and each interim result, then the final one.
            result_decoder: see `decoders_of`; default: the program's own.

        Raises:
            IBMRuntimeError: the session is closed, or the server refuses the job.
            RuntimeProgramNotFound: there is no such program.
        """
        chosen = RuntimeOptions.of(options)
        self._service.check_instance(chosen.instance)
        return self._run(
            self.submission(
                program_id,
                inputs,
                extra=chosen.body_fields(),
                callback=callback,
                decoders=decoders_of(program_id, result_decoder),
            )
        )

    def submission(
        self,
        program_id: str,
        params: Mapping[str, Any],
        *,
        extra: Mapping[str, Any],
        callback: Callback | None = None,
        decoders: Decoders = TAGGED,
    ) -> Operation[RuntimeJob]:
        """The steps of submitting a job to it."""
        if not self._active:
            raise IBMRuntimeError("The session is closed: it takes no more jobs. Open a new one.")
        return (
            yield from submit(
                self._service,
                Submission(
                    program_id,
                    params,
                    self._backend_name,
                    self._session_id,
                    decoders,
                    callback,
                    extra,
                ),
            )
        )

    # ---- its end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more jobs; those that are there run, and then it is over (S28)."""
        self._active = False
        if self._session_id is None:
            return
        body = dumps({"accepting_jobs": False})
        try:
            self._service.link.send(
                Request("PATCH", path_of("sessions", self._session_id), body, repeat=True)
            )
        except RequestsApiError as error:
            if error.status_code != 404:
                raise

    def cancel(self) -> None:
        """Take no more jobs, and cancel those that have not reached the QPU (S29)."""
        self._active = False
        if self._session_id is not None:
            self._service.link.send(
                Request("DELETE", path_of("sessions", self._session_id, "close"))
            )

    def keep_alive(self, seconds: int) -> dict[str, Any] | None:
        """Keep it active for so many seconds from now, though no job comes; it is charged.

        For a classical step that takes longer than `interactive_timeout`. The plan's limit on a
        window and `max_time` still hold. Returns `details()`.
        """
        if self._session_id is None:
            return None
        if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 1:
            raise IBMInputValueError(f"seconds must be an integer from 1 on, not {seconds!r}.")
        path = path_of("sessions", self._session_id, "keep_alive")
        answer = self._service.link.send(
            Request("POST", path, dumps({"seconds": seconds}), repeat=True)
        )
        return details_of(answer.json())

    def __enter__(self: S) -> S:
        self._token = _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None
        self.close()

    # ---- what is known of it --------------------------------------------------------------------

    def details(self) -> dict[str, Any] | None:
        """All that is known of it; None on a simulator.

        Keys: id, backend_name, interactive_timeout, max_time, active_timeout (seconds), state,
        accepting_jobs, last_job_started, last_job_completed, started_at, closed_at, activated_at
        (texts, None until then), mode, usage_time (seconds), timestamps (of each change of state),
        cache (hits and misses, S37).
        """
        return None if self._session_id is None else details_of(self._document())

    def status(self) -> str | None:
        """Its state in words; None on a simulator.

        Pending; In progress, accepting new jobs; In progress, not accepting new jobs; Closed.
        """
        details = self.details()
        if details is None:
            return None
        return session_status(details["state"], bool(details["accepting_jobs"]))

    def usage(self) -> float | None:
        """Usage in seconds so far; None before it has begun, and on a simulator."""
        details = self.details()
        return None if details is None else details["usage_time"]

    def _document(self) -> dict[str, Any]:
        assert self._session_id is not None
        try:
            answer = self._service.link.send(Request("GET", path_of("sessions", self._session_id)))
        except RequestsApiError as error:
            raise _unknown(error, self._session_id) from error
        document: dict[str, Any] = answer.json()
        return document

    def _run(self, operation: Operation[T]) -> T:
        return driving.run(operation, self._service.link)

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name}({self._session_id!r}, backend={self._backend_name!r})>"

    def _repr_html_(self) -> str:
        details: Mapping[str, Any] = {"id": self._session_id, "backend_name": self._backend_name}
        try:
            details = self.details() or {**details, "id": "none: a simulator"}
        except IBMError as error:  # what is shown must not fail
            details = {**details, "state": f"unknown: {error}"}
        shown = ("id", "backend_name", "state", "started_at", "closed_at", "usage_time")
        return display.table(
            f"qdwell {type(self).__name__.lower()}", {key: details.get(key) for key in shown}
        )


class Batch(Session):
    """A bundle of jobs that are scheduled together (B1-B13); the machine is not held for it.

    Args, raises: as `Session`.
    """

    mode = "batch"


def details_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """`details()` of the server's document."""
    found = {key: document.get(wire) for key, wire in _DETAILS.items()}
    found["timestamps"] = found["timestamps"] or []
    return found


def _unknown(error: RequestsApiError, session_id: str) -> IBMInputValueError | RequestsApiError:
    if error.status_code == 404:
        return IBMInputValueError(f"There is no session {session_id!r} in this instance.")
    return error


def current() -> Session | None:
    """The session or batch whose `with` block we are in."""
    return _current.get()


def service_of(
    service: QiskitRuntimeService | Backend | None, backend: str | Backend | None
) -> QiskitRuntimeService:
    """The service that was given, else the backend's, else the default one."""
    if service is not None and not isinstance(service, Backend):
        if not hasattr(service, "link"):
            raise IBMInputValueError(f"service must be a QiskitRuntimeService, not {service!r}.")
        return service
    if isinstance(backend, Backend):
        return backend.service
    from qdwell.client.service import default_service

    return default_service()


def seconds_of(max_time: int | str | None) -> int | None:
    """A time as seconds; "2h 30m 40s" has parts of days, hours, minutes, seconds (S4).

    Raises:
        IBMInputValueError: it is neither a number nor such a text.
    """
    if max_time is None:
        return None
    if isinstance(max_time, str):
        rest = _PART.sub("", max_time).strip()
        parts = _PART.findall(max_time)
        if not parts or rest:
            raise IBMInputValueError(f"max_time must be like '2h 30m 40s', not {max_time!r}.")
        return sum(int(number) * _UNITS[unit] for number, unit in parts)
    if isinstance(max_time, bool) or not isinstance(max_time, int) or max_time < 0:
        raise IBMInputValueError(f"max_time must be seconds or a text, not {max_time!r}.")
    return max_time
