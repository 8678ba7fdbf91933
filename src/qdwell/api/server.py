"""One process, one event loop: the HTTP server, the engine, and the store.

Order at the start: socket, store, `on_bound`, engine, routes; `on_ready` is called when `/healthz`
answers. At the end, in the other order: no new requests, held ones are answered, the engine stops
and leaves the queue on disk, the store closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from qdwell.api import listening, observe
from qdwell.api.houses import Alone, Extend, House, Watch
from qdwell.api.protocol import guarded, watch
from qdwell.clock import Clock, SystemClock
from qdwell.config import Config
from qdwell.engine.engine import Engine
from qdwell.engine.memory import Watcher
from qdwell.errors import ConfigError, StoreUnavailable
from qdwell.store import Place, Store, open_store

REQUESTS_GRACE_SECONDS = 5  # held requests are answered at once; others are short
KEEP_ALIVE_SECONDS = 75  # a client that thinks between two jobs finds its connection still open
BACKLOG = 2_048
# The store's thread lets go of the interpreter for each statement, and gets it back from a busy
# loop only after this time: with Python's 5 ms, ten statements would be 50 ms for a commit.
SWITCH_S = 0.000_5
COLLECT_AFTER = 20_000  # new objects; a request makes hundreds, and nearly all go by themselves
LOCK_FILE = "server.lock"
READY_SECONDS = 30  # a broken backend is shown as offline; the others are served

log = structlog.get_logger("qdwell.server")


class _Server(uvicorn.Server):
    """A server that leaves signals to us, so that an interrupt ends with status 0."""

    def __init__(
        self, config: uvicorn.Config, tls: ssl.SSLContext | None, handshake_seconds: int
    ) -> None:
        super().__init__(config)
        self._tls, self._handshake_seconds = tls, handshake_seconds
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and tell. With TLS, a handshake has its time, as headers have; the
        library's own start has no way to say so.
        """
        if self._tls is None:
            await super().startup(sockets)
        else:
            await self.lifespan.startup()
            self.servers = [
                await asyncio.get_running_loop().create_server(
                    self._connection,
                    sock=each,
                    ssl=self._tls,
                    ssl_handshake_timeout=self._handshake_seconds,
                    backlog=self.config.backlog,
                )
                for each in sockets or ()
            ]
            self.started = True
        self.listening.set()

    def _connection(self) -> asyncio.Protocol:
        make = cast(Callable[..., asyncio.Protocol], self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `_serve` has its own handlers."""
        yield


def serve(
    config: Config,
    data_dir: Path | str,
    on_bound: Callable[[str], None] | None = None,
    on_ready: Callable[[str], None] | None = None,
    extend: Callable[[FastAPI], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: settings; port 0 takes a free one.
        data_dir: folder of the database; made if need be.
        on_bound: called once, with the URL that was bound, before any request is answered: the
            store is up to date, and nobody else has the folder.
        on_ready: called once, with the same, when requests are answered.
        extend: given the application before it serves; the console adds its pages so.

    Raises:
        ConfigError: the address cannot be bound, or not without TLS; or the certificate is no good.
        StoreError: the database cannot be used, or another server has this folder.
    """
    _log_to_stderr(as_json=config.server.log_format == "json")
    tune()
    nothing: Callable[[Any], None] = lambda _: None  # noqa: E731
    told = (on_bound or nothing, on_ready or nothing)
    uvloop.run(_serve(config, Path(data_dir), *told, extend or nothing))


def tune() -> None:
    """Set what Python has for programs of one thread."""
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(COLLECT_AFTER)


class _Forgiving:
    """Stderr, where a line that cannot be written is lost: a full disk must not stop the server."""

    def write(self, text: str) -> None:
        """Write, or not."""
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush, or not."""
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def _log_to_stderr(*, as_json: bool) -> None:
    """Write the log beside what the command prints for users and scripts.

    Tracebacks are plain: the default shows the values of variables, and so would show tokens.
    """
    shown: list[Any] = [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]
    if as_json:
        shown = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    known: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    stream = cast(TextIO, _Forgiving())
    structlog.configure(
        processors=[*known, *shown],
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    # What libraries say, through Python's own logging, has the same form.
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=known,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Keep a second server off this folder: two engines would move the same jobs.

    The kernel drops the lock with the process, however it ends.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnavailable(
                f"another server uses {data_dir}; stop it, or name another folder with --data-dir"
            ) from None
        yield


async def _serve(
    config: Config,
    data_dir: Path,
    on_bound: Callable[[str], None],
    on_ready: Callable[[str], None],
    extend: Callable[[FastAPI], None],
) -> None:
    clock = SystemClock()
    tls = listening.context_of(config.server)
    listener = listening.bind(config.server)
    url = listening.url(config.server, listener)
    with (
        contextlib.closing(listener),
        _alone(data_dir),
        contextlib.closing(open_store(Place.of(config, data_dir))) as store,
    ):
        store.warm_up()
        await asyncio.to_thread(on_bound, url)  # may write by a connection of its own
        observed, end_traces = _observers(config)
        house = _house(config, store, clock, observed, extend, listener)
        try:
            app = await house.start()
            bounds = watch(config.server)
            bounds.start()
            server = _Server(
                uvicorn.Config(
                    app,
                    http=guarded(bounds),
                    loop="uvloop",
                    ws="websockets-sansio" if config.server.old_clients else "none",
                    lifespan="off",
                    proxy_headers=False,  # nothing here asks where a request came from
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    date_header=False,
                    timeout_keep_alive=KEEP_ALIVE_SECONDS,
                    timeout_graceful_shutdown=REQUESTS_GRACE_SECONDS,
                    backlog=BACKLOG,
                ),
                tls,
                config.server.header_seconds_max,
            )
            _renew_on_hangup(tls, config)
            await _run(server, house, listener, lambda: on_ready(url))
            bounds.stop()
        finally:
            await house.stop(config.server.stop_grace_seconds * 1000)
            await asyncio.to_thread(end_traces)


def _house(
    config: Config,
    store: Store,
    clock: Clock,
    observed: Watch,
    extend: Extend,
    listener: socket.socket,
) -> House:
    if config.store.database_url is None:
        return Alone(config, store, clock, observed, extend)
    from qdwell.api.sharing import Shared

    peer_url = listening.peer_url(config.server, listener)
    return Shared(config, store, clock, observed, extend, peer_url)


def _observers(config: Config) -> tuple[Watch, Callable[[], None]]:
    """How engines are watched, by the config: jobs logged and traced; and what sends the last."""
    watchers: list[Watcher] = [observe.log_change] if config.server.log_jobs else []
    end: Callable[[], None] = lambda: None  # noqa: E731
    if config.server.traces_url is not None:
        tracer, end = observe.tracer_to(config.server.traces_url)
        watchers.append(observe.trace_jobs(tracer))

    def watch(engine: Engine) -> None:
        for each in watchers:
            engine.watch(each)

    return watch, end


async def _ready(house: House, *ends: asyncio.Future[None]) -> None:
    """Wait until every backend is ready. One that does not start delays us, but not for ever."""
    ready = asyncio.ensure_future(house.ready())
    waits: set[asyncio.Future[None]] = {ready, *ends}
    await asyncio.wait(waits, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()


async def _run(
    server: _Server,
    house: House,
    listener: socket.socket,
    on_ready: Callable[[], None],
) -> None:
    """Serve until told to stop, and answer held requests then."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        house.close()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    broken = asyncio.ensure_future(house.broken())
    broken.add_done_callback(lambda _: stop())
    try:
        listening = asyncio.ensure_future(server.listening.wait())
        await asyncio.wait({listening, serving}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        await _ready(house, serving, broken)
        if not serving.done() and not broken.done():
            await asyncio.to_thread(on_ready)
        await serving
    finally:
        broken.cancel()
        house.close()
        server.should_exit = True
        if not serving.done():
            await serving
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _renew_on_hangup(tls: ssl.SSLContext | None, config: Config) -> None:
    """SIGHUP: read the certificate's files again, as after a renewal. Nobody is disconnected.

    Without TLS there is nothing to read again, and the server says so and goes on: left to itself
    the signal would end it, and a service manager takes that for an end in good order.
    """

    def renew() -> None:
        if tls is None:
            log.info("nothing to read again without TLS: the rest is read at the start")
            return
        try:
            listening.load_certificate(tls, config.server)
        except ConfigError as error:
            log.error("certificate not renewed", error=str(error))
        else:
            log.info("certificate renewed", file=config.server.tls_cert)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, renew)
