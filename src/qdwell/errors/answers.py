"""Refusals over HTTP: one class for each row of the error table that is an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from qdwell.errors.inside import QdwellError


class RequestError(QdwellError):
    """A request is refused. The API turns it into both error shapes of semantics section 11."""

    status: int = 400  #: HTTP status
    code: int | str = 1208  #: number of the published registry, or a word where it has none
    solution: str = ""  #: what the user can do next
    field: str | None = None  #: path of the offending field in the body, if it is one field

    #: The row of semantics section 11, for the reference page.
    row: ClassVar[str] = ""

    def __init__(
        self, message: str, *, solution: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        if solution is not None:
            self.solution = solution
        if field is not None:
            self.field = field


class NotAuthenticated(RequestError):
    """The credentials are missing, malformed, expired, or unknown."""

    row = "E1"
    status = 401
    code = 1201
    solution = "Check the token, and that IAM_URL points at this server; `qdwell env` prints both."

    def __init__(self, message: str = "Invalid credentials.", *, solution: str | None = None):
        super().__init__(message, solution=solution)


class NotAllowed(RequestError):
    """The account is known, but may not do this in this instance."""

    row = "E2"
    status = 403
    code = 1200
    solution = "Use an instance of your own account, or ask the operator for access."

    def __init__(
        self,
        message: str = "Not authorised for this action in this instance.",
        *,
        field: str | None = None,
    ) -> None:
        super().__init__(message, field=field)


class TooManyRequests(RequestError):
    """Too many submissions within a minute: names the limit and when to try again."""

    row = "E3"
    status = 429
    code = 1202

    def __init__(self, limit: int, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(
            f"More than {limit} submissions within a minute.",
            solution=f"Lower the request rate; try again in {retry_after_seconds} s.",
        )


class BadInput(RequestError):
    """The body, the query, or an option is malformed: names the field, and what is accepted."""

    row = "E4"
    status = 400
    code = 1208
    solution = "Correct the named field and send the request again."


class LimitAboveMaxTtl(BadInput):
    """A job asks for more time than its session can live: names both values."""

    row = "E13"

    def __init__(self, limit_seconds: int, max_ttl_seconds: int) -> None:
        super().__init__(
            f"The job's limit of {limit_seconds} s is above its session's "
            f"max_ttl of {max_ttl_seconds} s.",
            solution="Lower max_execution_time, or open a session with a larger max_time.",
            field="cost",
        )


class MaxTtlOutOfRange(BadInput):
    """A session's max_ttl is outside what the plan allows: names the range."""

    row = "E14"

    def __init__(self, asked_seconds: int, most_seconds: int) -> None:
        super().__init__(
            f"max_ttl of {asked_seconds} s is out of range: 1 to {most_seconds} s on this plan.",
            solution=f"Ask for at most {most_seconds} s, or leave max_time out.",
            field="max_ttl",
        )


class WrongBackend(BadInput):
    """A job names another backend than its session: names both."""

    row = "E15"

    def __init__(self, asked: str, session_backend: str) -> None:
        super().__init__(
            f"The job names backend {asked!r}, but its session is on {session_backend!r}.",
            solution="Submit to the session's backend, or open a session on the other one.",
            field="backend",
        )


class NoGroupOnSimulator(BadInput):
    """Simulators have no queue, so there are no sessions or batches on them (S34)."""

    def __init__(self, backend: str) -> None:
        super().__init__(
            f"Backend {backend!r} is a simulator: it has no queue, and so no sessions or batches.",
            solution="Submit the jobs without a session; they start at once.",
            field="backend",
        )


class TooManyTags(RequestError):
    """A job has more tags than allowed: names the limit."""

    row = "E5"
    code = 1204

    def __init__(self, count: int, most: int) -> None:
        super().__init__(
            f"{count} tags are too many: at most {most} per job.",
            solution="Remove some tags.",
            field="tags",
        )


class TagTooLong(RequestError):
    """A tag is longer than allowed: names the limit."""

    row = "E5"
    code = 1205

    def __init__(self, tag: str, most: int) -> None:
        super().__init__(
            f"Tag {tag[:20]!r}... has {len(tag)} characters: at most {most} are allowed.",
            solution="Shorten the tag.",
            field="tags",
        )


class BodyTooLarge(RequestError):
    """The request body is larger than allowed: names the limit."""

    row = "E6"
    status = 413
    code = 1208

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The request body is larger than {limit_bytes} bytes.",
            solution="Split the work into several jobs.",
        )


class UnknownProgram(RequestError):
    """There is no program of this id: names the ones there are."""

    row = "E7"
    status = 404
    code = "not_found"

    def __init__(self, program_id: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(
            f"Program {program_id!r} not found.",
            solution=f"Programs here: {', '.join(known)}." if known else "Check the program id.",
            field="program_id",
        )


class UnknownBackend(RequestError):
    """There is no backend of this name, or this instance may not use it."""

    row = "E8"
    code = 1007

    def __init__(self, name: str, *, on_resource: bool = False) -> None:
        # A 404 on submission would read as "program not found" in the stock client.
        self.status = 404 if on_resource else 400
        super().__init__(
            f"Backend {name!r} not found.",
            solution="List the backends with service.backends().",
            field=None if on_resource else "backend",
        )


class BackendOffline(RequestError):
    """The backend is offline and takes no jobs now (I11); 503 while its device starts."""

    row = "E9"
    code = 1004

    def __init__(self, name: str, reason: str | None = None, *, starting: bool = False) -> None:
        super().__init__(
            f"Backend {name!r} is offline{': ' + reason if reason else ''}.",
            solution="Use another backend, or wait until it is online.",
            field="backend",
        )
        if starting:  # clients repeat a 503, and by then it is online
            self.status = 503
            self.solution = "Try again in a moment."


class SessionClosed(RequestError):
    """The session or batch is closed, or accepts no more jobs."""

    row = "E10"
    code = 1217
    solution = "Open a new session."

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session {session_id!r} has been closed.", field="session_id")


class SessionNotReopened(SessionClosed):
    """A session that stopped accepting jobs cannot be opened again (S32)."""

    row = "E30"

    def __init__(self, session_id: str) -> None:
        RequestError.__init__(
            self, f"Session {session_id!r} cannot be reopened.", field="accepting_jobs"
        )


class UnknownSession(RequestError):
    """There is no session of this id in this instance (S13)."""

    row = "E11"
    code: int | str = 1208

    def __init__(self, session_id: str, *, on_resource: bool = False) -> None:
        if on_resource:
            self.status = 404
            self.code = "not_found"
        super().__init__(
            f"Session {session_id!r} not found.",
            solution="Check the session id and the instance.",
            field=None if on_resource else "session_id",
        )


class SessionNotInPlan(RequestError):
    """The plan of this instance does not allow this execution mode (I3)."""

    row = "E12"
    code = 1352

    def __init__(self, plan: str, mode: str = "session") -> None:
        super().__init__(
            f"You are not authorised to run a {mode} on the {plan} plan.",
            solution="Use job mode or a mode that the plan allows.",
            field="mode",
        )


class PendingLimit(RequestError):
    """The instance has as many queued and running jobs as its plan allows: names the number."""

    row = "E16"
    code = 3458

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The limit of {limit} pending jobs is reached.",
            solution="Wait for a job to finish, or cancel one.",
        )


class SpendLimitReached(RequestError):
    """The usage of the instance exceeds its spend limit (I9)."""

    row = "E17"
    status = 409
    code = "usage_limit_reached"

    def __init__(self, used_seconds: int, limit_seconds: int) -> None:
        super().__init__(
            f"Usage of {used_seconds} s exceeds the instance's limit of {limit_seconds} s.",
            solution="Ask the operator to raise the limit.",
        )


class UnknownJob(RequestError):
    """There is no job of this id in this instance."""

    row = "E19"
    status = 404
    code = "not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"Job {job_id!r} not found.", solution="Check the job id and the instance."
        )


class JobIsFinal(RequestError):
    """The job has ended already, so it cannot be cancelled."""

    row = "E20"
    status = 409
    code = "not_cancellable"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(
            f"Job {job_id!r} is {state.lower()} and cannot be cancelled.",
            solution="Nothing is left to cancel.",
        )


class JobNotFinal(RequestError):
    """The job has not ended yet, so it cannot be deleted."""

    row = "E21"
    code = "not_final"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(
            f"Job {job_id!r} is {state.lower()} and cannot be deleted.",
            solution="Cancel it first, or wait until it has ended.",
        )


class UnknownRoute(RequestError):
    """There is nothing at this path."""

    status = 404
    code = "not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"There is no {path!r} here.", solution="See /openapi.json.")


class MethodNotAllowed(RequestError):
    """This path does not take this method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__(
            f"{path!r} does not take {method}, but {', '.join(allowed)}.",
            solution="See /openapi.json.",
        )


class Internal(RequestError):
    """Something failed on our side; the trace id finds it in the server's log."""

    row = "E29"
    status = 500
    code = 9999

    def __init__(self, trace: str) -> None:
        super().__init__(
            f"Internal error, trace {trace}.",
            solution="Try again; if it stays, give the trace to the operator.",
        )
