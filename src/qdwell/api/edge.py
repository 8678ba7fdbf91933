"""The edge of the application: what every answer has in common.

`Edge` wraps all routes. It gives each request a trace id, which is in the header `uber-trace-id` of
the answer (the stock client shows the bare message only if that header is there) and in our log.
It serves the same routes under `/experimental/api/v1`, because the stock client leaves a URL alone
only if it contains that word. And it is the last to catch: what nobody expected is logged with its
trace id and answered as E29, never with a traceback.

Every answer also carries what keeps a browser from harm: it guesses no types, runs and frames
nothing, tells no other site where it was, and keeps no copy. A page says more exactly what it
needs, by a header of its own, which wins.

Error bodies have two shapes at once: `errors` and `trace` as the current service writes them, and
`error`, which the stock client reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qdwell.api.asked import Asked
from qdwell.api.turns import Measured, Turns
from qdwell.clock import Clock
from qdwell.config import Server
from qdwell.errors import (
    Internal,
    MethodNotAllowed,
    QdwellError,
    RequestError,
    StoreUnavailable,
    TooManyAtOnce,
    TooManyRequests,
    UnknownRoute,
)
from qdwell.errors.inside import advised
from qdwell.store.ids import new_trace

EXPERIMENTAL = "/experimental"
_TRACE = "qdwell.trace"
Headers = Sequence[tuple[bytes, bytes]]

GUARDS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
#: With TLS only: a browser that was here once comes back encrypted, for half a year.
STRICT = ((b"strict-transport-security", b"max-age=15552000"),)
CODE = "qdwell.code"  # where the code of an error answer is kept for the metrics
SHORT_OF_MEMORY = "The server is short of memory at the moment; send the request again later."

log = structlog.get_logger("qdwell.api")


class JsonBytes(Response):
    """An answer whose JSON bytes are ready."""

    media_type = "application/json"


def reply(value: Any, status: int = 200) -> Response:
    """Answer with a value as JSON."""
    return JsonBytes(orjson.dumps(value), status)


def no_content() -> Response:
    """Answer 204."""
    return Response(status_code=204)


def not_found(message: str, solution: str) -> RequestError:
    """An error for something that is missing without being an unknown id, such as absent logs."""
    error = RequestError(message, solution=solution)
    error.status = 404
    error.code = "not_found"
    return error


Endpoint = Callable[..., Awaitable[Response]]
Told = Callable[[int, int | str | None, int], None]  #: status, code if it is an error, nanoseconds


@dataclass(frozen=True, slots=True)
class Hot:
    """A route that is asked so often that its way through the framework's layers would show.

    It is the same endpoint as the one that the application has and describes, called directly.
    """

    method: str
    segments: tuple[str, ...]  #: of the path; one in braces is a parameter
    endpoint: Endpoint

    @property
    def fixed(self) -> bool:
        """Whether its path has no parameter."""
        return not any(it.startswith("{") for it in self.segments)

    def match(self, method: str, segments: list[str]) -> dict[str, str] | None:
        """Return the parameters if a request is for this route."""
        if method != self.method or len(segments) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for wanted, given in zip(self.segments, segments, strict=True):
            if wanted.startswith("{"):
                found[wanted[1:-1]] = given
            elif wanted != given:
                return None
        return found if all(found.values()) else None


class Edge:
    """The ASGI application around all routes."""

    def __init__(
        self,
        app: ASGIApp,
        who: Callable[[Scope], str],
        clock: Clock,
        hot: Sequence[Hot] = (),
        told: Told | None = None,
        guards: Headers = GUARDS,
    ) -> None:
        self.app = app
        self._who = who
        self._clock = clock
        self._turns = Turns(clock)
        self._guards = guards
        self._told = told
        # By what is asked, where that has no parameter; the others are tried one by one.
        self._fixed = {(it.method, "/".join(it.segments)): it.endpoint for it in hot if it.fixed}
        self._hot = [it for it in hot if not it.fixed]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace = new_trace()
        scope[_TRACE] = trace
        if scope["path"].startswith(EXPERIMENTAL + "/"):
            scope["path"] = scope["path"][len(EXPERIMENTAL) :]
            scope["raw_path"] = scope["path"].encode()
        header = (b"uber-trace-id", trace.encode())
        begun = False
        status, began = 500, self._clock.stopwatch_ns()

        async def traced(message: Message) -> None:
            nonlocal begun, status
            if message["type"] == "http.response.start":
                begun, status = True, message["status"]
                message["headers"] = [*guarded(message["headers"], self._guards), header]
            await send(message)

        try:
            await self._in_turn(scope, receive, traced)
        except ClientDisconnect:
            log.info("client left", trace=trace)
        except TooManyAtOnce as error:
            scope[CODE] = error.code
            await error_response(trace, error)(scope, receive, traced)
        except Exception as error:
            log.exception("request failed", trace=trace, path=scope["path"])
            if begun:
                raise
            answer = unexpected(error, trace)
            scope[CODE] = answer.code
            await error_response(trace, answer)(scope, receive, traced)
        finally:
            if self._told is not None:
                self._told(status, scope.get(CODE), self._clock.stopwatch_ns() - began)

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer when it is the user's turn, and count what it costs."""
        user = self._who(scope)
        expected = await self._turns.wait(user)
        work = Measured(self._answer(scope, receive, send), self._clock)
        try:
            await work
        finally:
            self._turns.charge(user, expected, work.cost.total, work.cost.later)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint, parameters = self._found(scope["method"], scope["path"])
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        request = Asked(scope, receive)
        try:
            response = await endpoint(request, **parameters)
        except QdwellError as error:
            response = await on_request_error(request, error)
        await response(scope, receive, send)

    def _found(self, method: str, path: str) -> tuple[Endpoint | None, dict[str, str]]:
        """The hot route that is asked for, if it is one, and the parameters of the path."""
        endpoint = self._fixed.get((method, path))
        if endpoint is not None:
            return endpoint, {}
        segments = path.split("/")
        for route in self._hot:
            parameters = route.match(method, segments)
            if parameters is not None:
                return route.endpoint, parameters
        return None, {}


def guards_of(server: Server) -> Headers:
    """What the answers of a server carry besides."""
    return GUARDS + STRICT if server.encrypted else GUARDS


def guarded(headers: Headers, guards: Headers) -> list[tuple[bytes, bytes]]:
    """An answer's headers, with those of ours that it does not have itself."""
    own = {name for name, _ in headers}
    return [*headers, *(it for it in guards if it[0] not in own)]


def unexpected(error: Exception, trace: str) -> RequestError:
    """The answer to an error that no route meant to give."""
    answer = Internal(trace)
    if isinstance(error, StoreUnavailable):
        # Nothing was committed, so the client's own repetition of the request is right.
        answer.status = 503
        # The cause is for the log: it names places of the server's own.
        answer.message = (
            f"The server cannot write to its store, or read it, at the moment; trace {trace}."
        )
    elif isinstance(error, MemoryError):
        answer.status, answer.message = 503, f"{SHORT_OF_MEMORY} Trace {trace}."
    return answer


def error_response(trace: str, error: RequestError) -> Response:
    """Both shapes of an error."""
    item: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "solution": error.solution,
        "more_info": "/docs",
    }
    if error.field is not None:
        item["field"] = error.field
    shown = advised(error.message, error.solution)
    body = {
        "errors": [item],
        "trace": trace,
        "error": {"message": shown, "code": error.code},
    }
    headers = {}
    if isinstance(error, TooManyRequests | TooManyAtOnce):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)  # RFC 9110, 15.5.6
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JsonBytes(orjson.dumps(body), error.status, headers=headers)


async def on_request_error(request: Request, error: Exception) -> Response:
    """Answer an error that was raised on purpose."""
    trace = request.scope[_TRACE]
    if not isinstance(error, RequestError):
        log.error("unexpected error", trace=trace, error=repr(error))
        error = unexpected(error, trace)
    if error.status >= 500:
        log.error("server error", trace=trace, path=request.url.path, message=error.message)
    request.scope[CODE] = error.code
    return error_response(trace, error)


def _methods(request: Request) -> list[str]:
    """The methods of all routes at the request's path."""
    found: set[str] = set()
    for route in request.app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the router itself refuses: an unknown path or method."""
    path = request.url.path
    status = error.status_code if isinstance(error, HTTPException) else 500
    answer: RequestError
    if status == 405:
        answer = MethodNotAllowed(request.method, path, _methods(request))
    elif status == 404:
        answer = UnknownRoute(path)
    else:
        answer = RequestError(str(getattr(error, "detail", error)))
        answer.status = status
    request.scope[CODE] = answer.code
    return error_response(request.scope[_TRACE], answer)


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Answer what nobody meant to raise, in the shape of errors; `Edge` logs it."""
    trace = request.scope[_TRACE]
    answer = unexpected(error, trace)
    request.scope[CODE] = answer.code
    return error_response(trace, answer)


HANDLERS: dict[Any, Any] = {
    Exception: on_unexpected,
    RequestError: on_request_error,
    QdwellError: on_request_error,
    HTTPException: on_http_exception,
}
