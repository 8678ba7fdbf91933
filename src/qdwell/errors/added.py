"""Refusals of what qdwell adds to the dialect: turns, circuits by hash, repeats, keep-alive."""

from __future__ import annotations

from qdwell.errors.answers import RequestError


class TooManyAtOnce(RequestError):
    """A user has so many requests under way that the next would have to wait too long."""

    status = 429
    code = 1202

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(
            "You have too many requests under way for your share of the server.",
            solution=f"Send fewer at once; try again in {retry_after_seconds} s.",
        )


class TooManySessions(RequestError):
    """The instance has as many open sessions and batches as its plan allows: names the number."""

    status = 400
    code = "session_limit"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The limit of {limit} open sessions and batches is reached.",
            solution="Close one that is not needed any more.",
        )


class UnknownCircuit(RequestError):
    """A circuit was named by its hash, and this server does not have it for this instance."""

    status = 409
    code = "unknown_circuit"
    solution = "Send the circuit whole."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no circuit {name!r} here.", field="params")


class RepeatedJob(RequestError):
    """A submission with this key is being accepted already."""

    status = 409
    code = "repeated_job"
    solution = "Use a fresh Idempotency-Key for each job."

    def __init__(self, job_id: str) -> None:
        super().__init__(f"Job {job_id!r} is there already.")


class ReusedKey(RequestError):
    """What was sent with this `Idempotency-Key` before asked for something else."""

    status = 422
    code = "reused_key"
    solution = "Use a fresh Idempotency-Key for each job, session, and batch."

    def __init__(self, kind: str, made: str, differs: str) -> None:
        super().__init__(
            f"This Idempotency-Key made {kind} {made!r}, with another {differs}.",
            field="Idempotency-Key",
        )


class SessionNotActive(RequestError):
    """Only an active session holds a machine, so only that can be kept alive."""

    status = 409
    code = "session_not_active"
    solution = "Submit a job: it activates the session again."

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session {session_id!r} is not active.")


class SignInFailed(RequestError):
    """The identity provider's answer does not let anybody in: says what is wrong with it."""

    status = 403
    code = "sign_in_failed"
    solution = "Begin again from the sign-in page; if it repeats, tell the operator these words."


class IdentityUnknown(SignInFailed):
    """The provider knows somebody whom no user here belongs to."""

    code = "identity_unknown"

    def __init__(self, shown: str, subject: str) -> None:
        super().__init__(
            f"The identity provider knows you as {shown}, but no user here is linked to that.",
            solution=f"Ask the operator to run: qdwell user link USER {subject}",
        )


class ProviderUnavailable(RequestError):
    """The identity provider does not answer, or not as one: what depends on it failed."""

    status = 424
    code = "provider_unavailable"
    solution = "Try again in a moment, or sign in with an API token."
