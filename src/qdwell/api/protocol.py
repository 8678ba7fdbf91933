"""HTTP at the socket: uvicorn's protocol, with bounds on what a connection may take.

The framework under us parses HTTP well, but waits for ever: for headers that never end, for a body
that comes byte by byte, for a reader that does not read. A few hundred such connections would keep
everybody out. So each connection is looked at twice a second, and closed when it has made too
little progress:

    headers    must be whole within `header_seconds_max`, and at most `header_bytes_max` long
    body       must not pause for `idle_seconds_max`, and after that long must come at
               `BODY_RATE_MIN` at least
    answer     something of it must be taken within `idle_seconds_max`
    all        at most `connections_max`; beyond that the one that has said nothing for longest goes

A request that is answered late (a held status request) is not slow: only waiting for the client
counts. Errors are answered in the API's own form, with `Connection: close`.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from qdwell.api.edge import SHORT_OF_MEMORY, Headers, guards_of
from qdwell.config import Server
from qdwell.errors import Internal, RequestError

LOOKS_PER_SECOND = 2
BODY_RATE_MIN = 1_000  # bytes a second; a slow mobile line has a hundred times that
FILES_SPARE = 200  # descriptors for workers, database, and blobs
FILES_WANTED = 65_536
JOINED_BYTES_MAX = 65_536  # what is longer is not copied for this

_MALFORMED = "The request is not valid HTTP."
_WORDS = {
    400: _MALFORMED,
    408: "The request did not arrive in time.",
    431: "The request's line and headers are too long.",
    503: SHORT_OF_MEMORY,
}


@dataclass(eq=False)
class Watch:
    """All connections of a server, and how long each may take."""

    header_bytes: int
    header_looks: int
    idle_looks: int
    connections: int
    guards: Headers  #: of the answers made here
    waiting: dict[Guarded, None] = field(default_factory=dict)  #: between requests, oldest first
    open: set[Guarded] = field(default_factory=set)
    _timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look at all of them now, and again and again."""
        for connection in list(self.open):
            connection.look()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(1 / LOOKS_PER_SECOND, self.start)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def admit(self, connection: Guarded) -> None:
        """Take one in; if there are too many, the one that was silent longest goes."""
        self.open.add(connection)
        self.waiting[connection] = None
        if len(self.open) > self.connections:
            next(iter(self.waiting)).abandon()

    def forget(self, connection: Guarded) -> None:
        """It is closed."""
        self.open.discard(connection)
        self.waiting.pop(connection, None)


def watch(settings: Server) -> Watch:
    """The bounds of the settings, within what this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return Watch(
        header_bytes=settings.header_bytes_max,
        header_looks=settings.header_seconds_max * LOOKS_PER_SECOND,
        idle_looks=settings.idle_seconds_max * LOOKS_PER_SECOND,
        connections=min(settings.connections_max, max(most - FILES_SPARE, 16)),
        guards=guards_of(settings),
    )


class Joining:
    """A transport that sends the head of an answer together with the first of its body.

    uvicorn writes them apart, and each write is a call of the system that wakes the client: that
    costs more than anything else in a small answer. A head that nothing follows at once, as that of
    a stream of events, is sent in the event loop's next step.
    """

    __slots__ = ("_head", "_transport", "is_closing")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing  # asked several times for each request

    def write(self, data: bytes) -> None:
        """Send, or keep what looks like a head. If it was a body, it has only been kept."""
        if self.is_closing():
            return  # cut off, and uvicorn not told yet: uvloop would raise
        if self._head:
            head, self._head = self._head, b""
            if len(data) <= JOINED_BYTES_MAX:
                data = head + data
            else:
                self._transport.write(head)
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
            self._head = data
            asyncio.get_running_loop().call_soon(self._flush)
            return
        self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            if not self.is_closing():
                self._transport.write(head)

    def close(self) -> None:
        """Close it when all is sent."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Guarded(HttpToolsProtocol):
    """One connection."""

    watch: Watch

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._in_head = False
        self._in_body = False
        self._begun = 0  # requests so far
        self._head_bytes = 0
        self._body_bytes = 0
        self._looks = 0  # since the present phase began, or since the last progress in it
        self._body_looks = 0  # of a body in all
        self._unsent: int | None = None  # bytes that the client did not take yet
        self._refusal = 400

    # ---- the connection

    def connection_made(self, transport: Any) -> None:
        """It is there."""
        super().connection_made(transport)
        self.transport = Joining(transport)  # type: ignore[assignment]
        self.watch.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.watch.forget(self)
        super().connection_lost(exc)

    def abandon(self) -> None:
        """Close it without a word."""
        self.watch.forget(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.watch.waiting.pop(self, None)
        if self.parser is None or self.transport.is_closing():
            return
        if self._in_body:
            self._looks = 0
            self._body_bytes += len(data)
        begun = self._begun
        super().data_received(data)
        if not self._in_head or self.transport.is_closing() or self._begun != begun:
            return  # a piece in which a head begins may hold requests before it that are whole
        self._head_bytes += len(data)
        if self._head_bytes > self.watch.header_bytes:
            self._refuse(431)

    def look(self) -> None:
        """Count the time without progress, and end what has had enough."""
        if self._unsent is not None:
            left = self.transport.get_write_buffer_size()
            self._looks = 0 if left < self._unsent else self._looks + 1
            self._unsent = left
            if self._looks > self.watch.idle_looks:
                self.abandon()
        elif self._in_body:
            self._look_at_body()
        elif self._in_head or self.parser_is_fresh:
            self._looks += 1
            if self._looks > self.watch.header_looks:
                self._refuse(408) if self._in_head else self.abandon()

    @property
    def parser_is_fresh(self) -> bool:
        """Whether nothing has been asked here yet; between requests uvicorn's own timer runs."""
        return self.cycle is None

    def _look_at_body(self) -> None:
        if self.flow.read_paused:
            return  # it is we who do not read
        self._looks += 1
        self._body_looks += 1
        idle = self.watch.idle_looks
        owed = (self._body_looks - idle) / LOOKS_PER_SECOND * BODY_RATE_MIN
        if self._looks > idle or self._body_bytes < owed:
            self._refuse(408)

    # ---- the parser

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._in_body = True, False
        self._begun += 1
        self._head_bytes = self._looks = 0

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        self._head_bytes += len(url)
        if self._head_bytes > self.watch.header_bytes:
            self._too_long()
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of it, or a trailer."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.watch.header_bytes:
            self._too_long()
        HttpToolsProtocol.on_header(self, name, value)  # `super` shows with every header

    def _too_long(self) -> NoReturn:
        self._refusal = 431
        raise ValueError  # the parser stops, and `send_400_response` is called

    def on_headers_complete(self) -> None:
        """Its headers are whole."""
        self._in_head, self._in_body = False, True
        self._looks = self._body_looks = self._body_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it has come."""
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered."""
        super().on_response_complete()
        if not self.pipeline and not self._in_head:
            self.watch.waiting[self] = None

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than we make it."""
        super().pause_writing()
        self._looks, self._unsent = 0, self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._looks, self._unsent = 0, None

    # ---- refusals

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser cannot read, or for what there is no room."""
        fault = sys.exc_info()[1]
        short = fault is not None and isinstance(fault.__context__, MemoryError)
        self._refuse(503 if short else self._refusal)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: whoever asks for a websocket is answered as if they had not."""

    def _refuse(self, status: int) -> None:
        cycle = self.cycle
        busy = cycle is not None and not cycle.response_complete
        silent = busy and (cycle.response_started or bool(self.pipeline))
        if busy:
            cycle.disconnected = True  # its handler learns that no more is coming
            cycle.message_event.set()
        if not silent:
            code = RequestError.code if status < 500 else Internal.code
            error = {"code": code, "message": _WORDS[status], "solution": "", "more_info": "/docs"}
            shown = {"message": _WORDS[status], "code": code}
            body = orjson.dumps({"errors": [error], "trace": "", "error": shown})
            own = ((b"content-type", b"application/json"), (b"connection", b"close"))
            lines = b"".join(b"%s: %s\r\n" % it for it in (*own, *self.watch.guards))
            length = b"content-length: %d\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + lines + length + body)
        self.transport.close()


def guarded(bounds: Watch) -> type[Guarded]:
    """The class of a server's connections."""
    return type("Guarded", (Guarded,), {"watch": bounds})
