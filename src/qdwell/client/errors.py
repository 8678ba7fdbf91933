"""What the client raises, under the names that users of the stock client know.

    IBMError                              everything here; a QdwellError too
    ├── IBMInputValueError                an argument cannot be used; a ValueError too
    ├── InvalidAccountError               settings that do not make an account
    │   └── AccountNotFoundError          no saved account, and nothing in the environment
    ├── IBMNotAuthorizedError             the token, or the right to the instance, is missing (401)
    ├── IBMApiError
    │   └── RequestsApiError              the server refused a request; status_code, code, solution
    │       └── ServerUnreachable         no answer within the client's patience
    └── IBMRuntimeError                   a job, session, or program
        ├── RuntimeProgramNotFound
        ├── RuntimeJobNotFound
        ├── RuntimeInvalidStateError      the job is in a state that does not allow this
        ├── RuntimeJobTimeoutError        the caller's own timeout passed
        └── RuntimeJobFailureError        the job failed
            └── RuntimeJobMaxTimeoutError it ran too long

A docstring is the sense of the message. Backends that are not there raise Qiskit's own
`QiskitBackendNotFoundError`.
"""

from __future__ import annotations

from qiskit.providers.exceptions import QiskitBackendNotFoundError

from qdwell.errors import QdwellError

__all__ = [
    "AccountNotFoundError",
    "IBMApiError",
    "IBMError",
    "IBMInputValueError",
    "IBMNotAuthorizedError",
    "IBMRuntimeError",
    "InvalidAccountError",
    "QiskitBackendNotFoundError",
    "RequestsApiError",
    "RuntimeInvalidStateError",
    "RuntimeJobFailureError",
    "RuntimeJobMaxTimeoutError",
    "RuntimeJobNotFound",
    "RuntimeJobTimeoutError",
    "RuntimeProgramNotFound",
    "ServerUnreachable",
]


class IBMError(QdwellError):
    """Something that the client was asked for cannot be done."""


class IBMInputValueError(IBMError, ValueError):
    """An argument cannot be used: says which, and what is accepted."""


class InvalidAccountError(IBMError):
    """The settings do not make an account: says which one is missing or wrong."""


class AccountNotFoundError(InvalidAccountError):
    """There is no saved account of this name, and none in the environment."""


class IBMNotAuthorizedError(IBMError):
    """The server does not know the token, or the instance is not the user's."""


class IBMApiError(IBMError):
    """Talking to the server failed."""


class RequestsApiError(IBMApiError):
    """The server refused a request.

    Attributes:
        status_code: HTTP status; -1 if there was no answer.
        code: the number or word of the error table, or None.
        solution: what to do next, as the server says.
    """

    def __init__(
        self,
        message: str,
        status_code: int = -1,
        *,
        code: int | str | None = None,
        solution: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.code = code
        self.solution = solution


class ServerUnreachable(RequestsApiError):
    """The server did not answer within the client's patience."""


class IBMRuntimeError(IBMError):
    """A job, a session, or a program cannot do this."""


class RuntimeProgramNotFound(IBMRuntimeError):
    """The server has no program of this id."""


class RuntimeJobNotFound(IBMRuntimeError):
    """There is no job of this id in this instance."""


class RuntimeInvalidStateError(IBMRuntimeError):
    """The job is in a state that does not allow this."""


class RuntimeJobTimeoutError(IBMRuntimeError):
    """The job did not end within the timeout that the caller gave."""


class RuntimeJobFailureError(IBMRuntimeError):
    """The job failed: carries the server's reason."""


class RuntimeJobMaxTimeoutError(RuntimeJobFailureError):
    """The job used up its time limit and was stopped."""
