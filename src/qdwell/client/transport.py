"""One request out, one response in: the client's only door to the network.

`Transport.send` is the seam: everything above it is the same for a real server, an application in
process, and a test double. It blocks; `driving` says how asyncio uses it all the same.

Connections are kept alive in a stack and taken from its top, so a program with one thread uses one
connection, whatever it does. `http.client` is the HTTP library: in this dialect (small JSON, known
lengths, one host) it takes 0.6 of urllib3's and 0.4 of httpx's time, and it is in the standard
library.

A request is repeated after a broken connection or a passing 5xx only if the server will see the
repetition as one: reads, and writes that carry their own id. A connection that was refused has
seen nothing, so anything may be repeated then: this is how a restart of the server is waited out.
"""

from __future__ import annotations

import http.client
import select
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import orjson

from qdwell.client.connection import Connection, TlsConnection
from qdwell.client.errors import (
    IBMNotAuthorizedError,
    InvalidAccountError,
    RequestsApiError,
    ServerUnreachable,
)
from qdwell.client.forks import watch
from qdwell.client.tail import Tail, first_line
from qdwell.client.trust import distrust, trusted
from qdwell.clock import stopwatch_ns

API_VERSION = "2026-04-15"  # the newest dialect: objects for devices, all fields of metrics
CONNECT_S = 10.0
READ_S = 120.0
PATIENCE_S = 60.0  # a restart of the server takes seconds
PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
PASSING = frozenset({502, 503, 504})
GRANT = "urn:ibm:params:oauth:grant-type:apikey"
TOKEN_SHARE = 0.8  # of its life, after which an access token is renewed


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `path` is below the API's base, or the whole path if it starts with `//`."""

    method: str
    path: str
    body: bytes | None = None
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    read_s: float = READ_S  #: how long to wait for the answer; held requests say more
    repeat: bool | None = None  #: may be sent twice; None: if its method only reads or replaces
    patience_s: float | None = None  #: for a server that is away, if less than the transport's own
    tail_s: int = 0  #: of a submission: the outcome may follow within so long, see `Tail`


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered; a status of 400 and above was raised instead."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    tail: Tail | None = None  #: what may follow, if it was asked for

    def json(self) -> Any:
        """The value of the body, None if it is empty."""
        return loads(self.body) if self.body else None


class Sends(Protocol):
    """What carries requests."""

    def send(self, request: Request) -> Response:
        """Send, and return the answer.

        Raises:
            RequestsApiError: it was refused; ServerUnreachable if there was no answer.
            IBMNotAuthorizedError: 401.
        """
        ...


def loads(body: bytes) -> Any:
    """The value of a JSON text; `NaN` and `Infinity` as Python writes them are read too."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        import json

        return json.loads(body)


def path_of(*parts: str) -> str:
    """A path of these parts, each one escaped."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


@dataclass(slots=True)
class _Token:
    text: str = field(default="", repr=False)
    renew_at_ns: int = 0


class Transport:
    """Talks to one server for one instance. Safe to use from several threads at once.

    Args:
        url: origin of the server, with the prefix of a proxy if there is one.
        token: the API token.
        instance: CRN or name; None until it is known.
        application: who asks, for the server's records.
        patience_s: how long a server that cannot be reached is waited for.
    """

    def __init__(
        self,
        url: str,
        token: str,
        instance: str | None = None,
        *,
        application: str = "",
        patience_s: float = PATIENCE_S,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidAccountError(f"The URL must be http(s)://host[:port], not {url!r}.")
        self.url = url.rstrip("/")
        self.instance = instance
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._tls = trusted() if parts.scheme == "https" else None
        self._api_token = token
        self._application = application
        self.patience_s = patience_s
        self._idle: list[http.client.HTTPConnection] = []
        # A user who closes nothing, or whose program ends, leaves no open socket behind.
        weakref.finalize(self, _close_all, self._idle)
        self._tails: weakref.WeakSet[Tail] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._token_lock = threading.Lock()
        self._token = _Token()
        self._closed = threading.Event()
        watch(self)

    def after_fork(self) -> None:
        """See `forks`: the connections are the parent's, the token serves both."""
        closed = self._closed.is_set()
        self._lock, self._token_lock = threading.Lock(), threading.Lock()
        self._closed = threading.Event()
        if closed:
            self._closed.set()
        _close_all(self._idle)  # our ends only; the parent's stay open
        for tail in list(self._tails):
            tail.after_fork()

    # ---- sending --------------------------------------------------------------------------------

    def send(self, request: Request) -> Response:
        """Send with the token and the instance, and return the answer; see `Sends`."""
        patience_s = request.patience_s
        token = self._access(patience_s)
        response = self._patiently(request, self._headers(request, token))
        if response.status == 401:
            # It may have been revoked, or the server may have a new key: once, with a new one.
            token = self._access(patience_s, renew=token)
            response = self._patiently(request, self._headers(request, token))
        return _checked(response)

    def close(self) -> None:
        """Close the idle connections, and wait for no server any more."""
        self._closed.set()
        with self._lock:
            _close_all(self._idle)
            tails = list(self._tails)
        for tail in tails:
            tail.drop()

    def _headers(self, request: Request, token: str) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {token}",
            "IBM-API-Version": API_VERSION,
            "X-Qx-Client-Application": self._application,
        }
        if self.instance is not None:
            headers["Service-CRN"] = self.instance
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.tail_s:
            headers["Prefer"] = f"wait={request.tail_s}"
        headers.update(request.headers)
        return headers

    def _patiently(self, request: Request, headers: Mapping[str, str]) -> Response:
        """Send until there is an answer, within our patience."""
        repeat = request.repeat
        if repeat is None:
            repeat = request.method in ("GET", "PUT", "DELETE")
        own_s = self.patience_s
        patience_s = own_s if request.patience_s is None else min(own_s, request.patience_s)
        end = stopwatch_ns() + int(patience_s * 1e9)
        pauses = _pauses()
        failure: BaseException
        while True:
            wait: float | None = None
            try:
                response = self._once(request, headers)
            except _NotSent as error:
                failure, passing = error.__cause__ or error, True
            except (OSError, http.client.HTTPException) as error:
                failure, passing = error, repeat
            else:
                wait = _retry_after(response) if repeat else None
                if wait is None and not (repeat and response.status in PASSING):
                    return response
                failure, passing = _passing(response), True
            pause = max(next(pauses), wait or 0.0)
            left = (end - stopwatch_ns()) / 1e9
            if patience_s < own_s and left > 0:
                pause = min(pause, left)  # a caller's own time: none of it is given away
            if not passing or self._closed.is_set() or pause > left:
                what = f"No answer from {self.url} to {request.method} {request.path}: "
                if isinstance(failure, RequestsApiError):
                    raise ServerUnreachable(f"{what}{failure}") from failure
                why = failure or type(failure).__name__
                raise ServerUnreachable(f"{what}{why}. Is the server running?") from failure
            self._closed.wait(pause)

    def _once(self, request: Request, headers: Mapping[str, str]) -> Response:
        connection = self._take()
        whole, tail = False, None
        try:
            if connection.sock is None:
                try:
                    connection.connect()
                except OSError as error:
                    if (why := distrust(error, self.url)) is not None:
                        raise ServerUnreachable(why) from error
                    raise _NotSent from error
            connection.sock.settimeout(request.read_s)
            connection.request(request.method, self._target(request), request.body, dict(headers))
            answer = connection.getresponse()
            if request.tail_s and answer.getheader("preference-applied") == "wait":
                body, rest = first_line(answer)
                tail = Tail(connection, answer, rest, self._give_back)
                with self._lock:
                    self._tails.add(tail)
            else:
                body = answer.read()
                if answer.will_close:
                    connection.close()
            whole = True
        finally:
            if not whole:
                connection.close()  # an answer may still be under way on it
            elif tail is None:
                self._give_back(connection)
        headers = {k.lower(): v for k, v in answer.getheaders()}
        return Response(answer.status, headers, body, tail)

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append(connection)
        if self._closed.is_set():
            self.close()

    def _target(self, request: Request) -> str:
        if request.path.startswith("//"):
            path = self._prefix + request.path[1:]
        else:
            path = f"{self._prefix}/api/v1{request.path}"
        return f"{path}?{urlencode(request.query)}" if request.query else path

    def _take(self) -> http.client.HTTPConnection:
        """The connection used last, if it is still alive; else a new one."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            if connection.sock is None or not _readable(connection.sock):
                return connection
            connection.close()  # something to read before we asked: the server has hung up
        if self._tls is not None:
            return TlsConnection(self._host, self._port, timeout=CONNECT_S, context=self._tls)
        return Connection(self._host, self._port, timeout=CONNECT_S)

    # ---- the token ------------------------------------------------------------------------------

    def _access(self, patience_s: float | None, renew: str | None = None) -> str:
        """The access token; a new one if it is nearly over, or if it is the one to `renew`."""
        token = self._token
        if token.text != (renew or "") and stopwatch_ns() < token.renew_at_ns:
            return token.text
        with self._token_lock:
            token = self._token
            if token.text != (renew or "") and stopwatch_ns() < token.renew_at_ns:
                return token.text
            form = {"grant_type": GRANT, "apikey": self._api_token, "response_type": "cloud_iam"}
            asked = Request(
                "POST",
                "//identity/token",
                urlencode(form).encode(),
                repeat=True,
                patience_s=patience_s,
            )
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            given = _checked(self._patiently(asked, kind)).json()
            life_ns = int(given["expires_in"]) * 1_000_000_000
            self._token = _Token(
                str(given["access_token"]), stopwatch_ns() + int(life_ns * TOKEN_SHARE)
            )
            return self._token.text


class _NotSent(Exception):
    """The server cannot have seen the request."""


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def _pauses() -> Iterator[float]:
    yield from PAUSES_S
    while True:
        yield PAUSES_S[-1]


def _retry_after(response: Response) -> float | None:
    text = response.headers.get("retry-after", "")
    if response.status in (429, 503) and text.isdigit():
        return float(text)
    return None


def _readable(sock: Any) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _passing(response: Response) -> RequestsApiError:
    """What a server said that cannot serve now, or the proxy before it."""
    try:
        _checked(response)
    except RequestsApiError as error:
        return RequestsApiError(f"status {response.status}. {error}", response.status)
    return RequestsApiError(f"status {response.status}", response.status)


def _checked(response: Response) -> Response:
    """The response, or what its error body says."""
    if response.status < 400:
        return response
    try:
        body = loads(response.body)
        item = body["errors"][0]
        message, code = str(item["message"]), item.get("code")
        solution = str(item.get("solution") or "")
    except (ValueError, KeyError, IndexError, TypeError):
        told = response.body[:500].decode("utf-8", "replace")
        message, code, solution = told or f"The server answered {response.status}.", None, ""
    shown = f"{message} {solution}".strip() + (f" Error code: {code}." if code else "")
    if response.status == 401:
        raise IBMNotAuthorizedError(shown)
    raise RequestsApiError(shown, response.status, code=code, solution=solution)
