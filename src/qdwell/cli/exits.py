"""How commands end: one line on standard error, and a status that programs can tell apart.

| status | means |
|---|---|
| 0 | done |
| 1 | refused by the server, or could not be done |
| 2 | the command line is wrong |
| 3 | not signed in: no account, an unknown token, or no right to this |
| 4 | there is no such job, session, or backend |
| 5 | the server cannot be reached |
| 6 | the job that was waited for failed or was cancelled |
| 130 | interrupted |
"""

from __future__ import annotations

from typing import Any

import typer
import typer.core

from qdwell.errors import QdwellError
from qdwell.errors.inside import advised

REFUSED, NOT_SIGNED_IN, NOT_FOUND, UNREACHABLE, JOB_FAILED, INTERRUPTED = 1, 3, 4, 5, 6, 130

# By name: the classes are the client's, which most commands do not load.
_BY_NAME = {
    "ServerUnreachable": UNREACHABLE,
    "IBMNotAuthorizedError": NOT_SIGNED_IN,
    "InvalidAccountError": NOT_SIGNED_IN,
    "AccountNotFoundError": NOT_SIGNED_IN,
    "RuntimeJobNotFound": NOT_FOUND,
    "QiskitBackendNotFoundError": NOT_FOUND,
    "RuntimeJobFailureError": JOB_FAILED,
    "RuntimeJobMaxTimeoutError": JOB_FAILED,
    "RuntimeInvalidStateError": JOB_FAILED,
}
_BY_STATUS = {401: NOT_SIGNED_IN, 403: NOT_SIGNED_IN, 404: NOT_FOUND}


def status_of(error: BaseException) -> int:
    """The exit status that an error means."""
    for cls in type(error).__mro__:
        if cls.__name__ in _BY_NAME:
            return _BY_NAME[cls.__name__]
    return _BY_STATUS.get(getattr(error, "status_code", 0), REFUSED)


def said(error: BaseException) -> str:
    """The error in one line, with what to do next if it is known."""
    # Qiskit's own errors put themselves in quotes.
    told = getattr(error, "message", error) if _is_qiskits(error) else error
    text = " ".join(str(told).split())
    solution = " ".join(str(getattr(error, "solution", "") or "").split())
    return text if solution in text else advised(text, solution)


def _is_qiskits(error: BaseException) -> bool:
    return type(error).__module__.startswith("qiskit.")


class Teaching(typer.core.TyperGroup):
    """Ends with one line on standard error, never a traceback, for what is raised on purpose."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has seen enough, as `head` does
            raise typer.Exit(0) from None
        except Exception as error:
            meant = isinstance(error, QdwellError | OSError) or status_of(error) != REFUSED
            if not meant:
                raise
            typer.echo(f"qdwell: {said(error)}", err=True)
            raise typer.Exit(status_of(error)) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
