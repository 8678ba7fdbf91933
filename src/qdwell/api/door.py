"""The door of a server that shares its database: answer, if it leads; else ask the one that does.

Every server answers the whole API. The leader does it itself; a follower passes each request on to
the leader, and its answer back, so that what a user reads is never older than what they wrote,
whichever server they ask. While nobody leads, requests wait here, and are answered by the next
leader, which may be this server.

A leader may die, or stop, when it has a request and has not answered. Then the request is sent to
the next one. That is safe: reading twice is, and what would be done twice is made recognisable
first. A submission or a new session gets an `Idempotency-Key`, if the client gave none, so that the
second sending finds what the first one made.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

import httpx
import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qdwell import __version__
from qdwell.api.body import read_body
from qdwell.api.edge import Headers, error_response, guarded, guards_of, reply
from qdwell.api.repeats import FOLLOWER, KEYED_BY_US, LEADER
from qdwell.clock import Clock, passed_ms, pause_ms
from qdwell.config import Config
from qdwell.errors import Internal, RequestError
from qdwell.store import new_id
from qdwell.store.leadership import Leadership

PATIENCE_MS = 20_000  # for a leader; the stock client gives up later
LOOK_AGAIN_MS = 250
CONNECT_SECONDS = 3.0
HEALTH_SECONDS = 1.5  # of each step of asking the leader; load balancers wait no longer
TRY_LATER = 1_013  # how a websocket is closed (RFC 6455 registry)
WHOLE_BYTES_MAX = 8_388_608  # an answer up to this is read to its end before it is passed on
FORWARDED = b"x-qdwell-forwarded"
NOT_LEADER = b"x-qdwell-not-leader"
KEY = b"idempotency-key"
DISTRUST = "This server does not trust the certificate of the one that leads."
_KEYED = ("/jobs", "/sessions")  # POST there makes something
#: Of one connection, not of the request (RFC 9110, 7.6.1).
_HOP = {
    *(b"connection", b"keep-alive", b"te", b"expect"),
    *(b"trailer", b"transfer-encoding", b"upgrade"),
}

log = structlog.get_logger("qdwell.door")


@dataclass(frozen=True, slots=True)
class Held:
    """A request that was read to its end, so that it can be sent more than once."""

    scope: Scope
    headers: list[tuple[bytes, bytes]]
    body: bytes
    gone: asyncio.Future[None]  #: done when the client hangs up

    def again(self) -> tuple[Scope, Receive]:
        """The request from its beginning, for an application of ours."""
        message: Message = {"type": "http.request", "body": self.body, "more_body": False}
        rest = iter([message])

        async def receive() -> Message:
            if (first := next(rest, None)) is not None:
                return first
            await asyncio.shield(self.gone)
            return {"type": "http.disconnect"}

        return {**self.scope, "headers": self.headers}, receive


class Door:
    """The ASGI application of a server that shares its database."""

    def __init__(self, config: Config, clock: Clock, leadership: Leadership) -> None:
        self.app: ASGIApp | None = None  #: while this server leads
        self._most = config.server.body_bytes_max
        self._guards = guards_of(config.server)
        self._clock = clock
        self._leadership = leadership
        self._turned = asyncio.Event()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        self._distrusted = 0  #: the last epoch whose leader's certificate was not believed
        # A leader with TLS is believed as clients believe it: the system's authorities, and those
        # of SSL_CERT_FILE.
        self._http = httpx.AsyncClient(
            limits=limits, timeout=timeout, trust_env=False, verify=ssl.create_default_context()
        )

    def turn(self) -> None:
        """Tell those who wait that another server leads, or this one does."""
        self._turned.set()
        self._turned = asyncio.Event()

    async def close(self) -> None:
        """End every connection to a leader."""
        await self._http.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        send = _guarded(send, self._guards)
        if scope["method"] == "GET" and (app := self._leading()) is not None:
            # Most requests. One that is overtaken by a change of leader is answered 503.
            await app(scope, receive, send)
            return
        forwarded = any(name == FORWARDED for name, _ in scope["headers"])
        if forwarded and self._leading() is None:
            answer = self._unavailable("This server does not lead.")
            await answer(scope, receive, _with_header(send, (NOT_LEADER, b"1")))
            return
        if scope["path"] == "/healthz" and self._leading() is None:
            await (await self._health())(scope, receive, send)
            return
        try:
            body = await read_body(Request(scope, receive), self._most)
        except RequestError as error:
            await error_response("door", error)(scope, receive, send)
            return
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            headers = _prepared(scope, FOLLOWER if self._leading() is None else LEADER)
            await self._answer(Held(scope, headers, body, gone), send)
        finally:
            gone.cancel()

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A websocket of a client before 0.25: the leader's; a follower asks it to try later."""
        if (app := self._leading()) is not None:
            await app(scope, receive, send)
        elif (await receive())["type"] == "websocket.connect":
            await send({"type": "websocket.close", "code": TRY_LATER})

    def _leading(self) -> ASGIApp | None:
        return self.app if self._leadership.valid else None

    def _elsewhere(self) -> str | None:
        """Where the leader is, if it is another server."""
        standing = self._leadership.standing
        return standing.url if standing.mine is None else None

    async def _answer(self, held: Held, send: Send) -> None:
        """By the leader, whoever that is, as soon as there is one."""
        until = passed_ms(self._clock) + PATIENCE_MS
        while not held.gone.done():
            turned = self._turned
            epoch = self._leadership.standing.epoch
            if (app := self._leading()) is not None:
                if await self._by_ourselves(app, held, send):
                    return
            elif (url := self._elsewhere()) and await self._by(url, epoch, held, send):
                return
            if passed_ms(self._clock) >= until:
                await self._unavailable("No server leads now.")(*held.again(), send)
                return
            await _first(turned.wait(), pause_ms(self._clock, LOOK_AGAIN_MS))

    async def _by_ourselves(self, app: ASGIApp, held: Held, send: Send) -> bool:
        """Answer; False if we turned out not to lead, and nothing was done."""
        deposed = False

        async def passed(message: Message) -> None:
            nonlocal deposed
            if message["type"] == "http.response.start" and message["status"] == 503:
                deposed = not self._leadership.valid
            if not deposed:
                await send(message)

        await app(*held.again(), passed)
        return not deposed

    async def _by(self, url: str, epoch: int, held: Held, send: Send) -> bool:
        """Pass the request on; False if that leader is gone and the client has heard nothing."""
        scope = held.scope
        target = httpx.URL(url).copy_with(raw_path=_target(scope))
        request = self._http.build_request(
            scope["method"], target, headers=[*held.headers, (FORWARDED, b"1")], content=held.body
        )
        sending = asyncio.ensure_future(self._http.send(request, stream=True))
        try:
            await self._while_it_leads(sending, epoch, held)
            if not sending.done():
                return False
            async with _closing(sending.result()) as answer:
                if NOT_LEADER.decode() in answer.headers:
                    return False
                return await self._pass_back(answer, epoch, held, send)
        except httpx.HTTPError as error:
            if (why := _distrust(error)) is None:
                log.info("the leader did not answer", url=url, error=repr(error))
                return False
            # That does not pass by itself, as a takeover does: nobody waits for it.
            self._tell_distrust(url, epoch, why)
            await self._unavailable(DISTRUST)(*held.again(), send)
            return True
        finally:
            sending.cancel()

    def _tell_distrust(self, url: str, epoch: int, why: str) -> None:
        """Say it once for each leader, and not for each request."""
        if self._distrusted != epoch:
            self._distrusted = epoch
            log.error(
                "the leader's certificate is not trusted; no request is passed on to it",
                url=url,
                error=why,
                solution="Set SSL_CERT_FILE to the authority that signed it, and server.peer_url "
                "of the leader to a name that is in it; then restart.",
            )

    async def _pass_back(self, answer: httpx.Response, epoch: int, held: Held, send: Send) -> bool:
        headers = [(name.lower(), it) for name, it in answer.headers.raw]
        headers = [(name, it) for name, it in headers if name not in _HOP]
        start = {"type": "http.response.start", "status": answer.status_code, "headers": headers}
        length = answer.headers.get("content-length", "")
        if length.isdigit() and int(length) <= WHOLE_BYTES_MAX:
            # If the leader ends in the middle of this, the client has heard nothing yet.
            reading = asyncio.ensure_future(answer.aread())
            try:
                await self._while_it_leads(reading, epoch, held)
                if not reading.done():
                    return False
                body = reading.result()
            finally:
                reading.cancel()
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return True
        await send(start)
        async for chunk in answer.aiter_raw():
            if held.gone.done():
                return True
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return True

    async def _while_it_leads(
        self, work: asyncio.Future[httpx.Response] | asyncio.Future[bytes], epoch: int, held: Held
    ) -> None:
        """Wait for the work, but not beyond the leader's time, nor the client's."""
        while not work.done() and not held.gone.done():
            if self._leadership.standing.epoch != epoch:
                return
            turned = asyncio.ensure_future(self._turned.wait())
            try:
                await asyncio.wait({work, turned, held.gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                turned.cancel()

    async def _health(self) -> ASGIApp:
        """What `/healthz` says here: well, if a request can be passed on to a leader."""
        standing = self._leadership.standing
        url = self._elsewhere()
        why = "No server leads now." if url is None else await self._cut_off(url, standing.epoch)
        status = "starting" if url is None else "standby" if why is None else "unreachable"
        body: dict[str, Any] = {
            "status": status,
            "version": __version__,
            "backends": {},
            "leader": url,
            "reason": why,
        }
        return reply(body, 200 if why is None else 503)

    async def _cut_off(self, url: str, epoch: int) -> str | None:
        """Why nothing can be passed on to a leader now; None: it answers, whatever it says."""
        request = self._http.build_request(
            "GET",
            httpx.URL(url).copy_with(raw_path=b"/healthz"),
            headers=[(FORWARDED, b"1")],
            timeout=HEALTH_SECONDS,
        )
        try:
            answer = await self._http.send(request)
        except httpx.HTTPError as error:
            if (why := _distrust(error)) is None:
                return f"The server that leads does not answer: {error or type(error).__name__}."
            self._tell_distrust(url, epoch, why)
            return DISTRUST
        led = NOT_LEADER.decode() not in answer.headers
        return None if led else "The address of the server that leads is one that does not."

    def _unavailable(self, why: str) -> ASGIApp:
        error = Internal("door")
        error.status, error.message = 503, why
        return error_response("door", error)


def _distrust(error: BaseException | None) -> str | None:
    """Why a certificate was not believed, if that is behind an error; else None."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None


def _prepared(scope: Scope, keyed_by: str) -> list[tuple[bytes, bytes]]:
    """The headers to pass on, with a key for what must not be done twice, and who has given it."""
    headers = [(name, it) for name, it in scope["headers"] if name not in _HOP]
    path = scope["path"].rstrip("/")
    makes = scope["method"] == "POST" and path.endswith(_KEYED)
    if makes and not any(name == KEY for name, _ in headers):
        headers += [(KEY, new_id().encode()), (KEYED_BY_US.encode(), keyed_by.encode())]
    return headers


def _target(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string") or b""
    return path + b"?" + query if query else path


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = {asyncio.ensure_future(it) for it in waits}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in tasks:
            each.cancel()


def _guarded(send: Send, guards: Headers) -> Send:
    async def passed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = guarded(message["headers"], guards)
        await send(message)

    return passed


def _with_header(send: Send, header: tuple[bytes, bytes]) -> Send:
    async def passed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], header]
        await send(message)

    return passed


@contextlib.asynccontextmanager
async def _closing(answer: httpx.Response) -> AsyncIterator[httpx.Response]:
    try:
        yield answer
    finally:
        await answer.aclose()
