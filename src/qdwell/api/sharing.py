"""A server's inside, if it shares a PostgreSQL database with others: see `houses` and `door`.

The engine is made when leadership comes, and thrown away when it goes. It is a module of its own
because it brings PostgreSQL's driver and an HTTP client, which a server that is alone never needs.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp

from qdwell.api.app import build
from qdwell.api.door import Door
from qdwell.api.houses import Extend, Watch
from qdwell.api.parts import Parts
from qdwell.clock import Clock, pause_ms
from qdwell.config import Config
from qdwell.engine.engine import Engine
from qdwell.engine.stations import fork_server
from qdwell.errors import QdwellError, StoreError
from qdwell.store import Store, accounts
from qdwell.store.leadership import Leadership
from qdwell.store.postgres import PostgresDatabase

TRY_AGAIN_MS = 500  # to start the engine, while the database does not answer

log = structlog.get_logger("qdwell.server")


class Shared:
    """One of several servers on a PostgreSQL database. `url` is where the others reach it."""

    def __init__(
        self,
        config: Config,
        store: Store,
        clock: Clock,
        watch: Watch,
        extend: Extend,
        url: str,
    ) -> None:
        assert isinstance(store.database, PostgresDatabase)
        self._config, self._store, self._clock = config, store, clock
        self._watch, self._extend = watch, extend
        # Warm before it is needed: a takeover shall not wait for imports.
        self._forks = fork_server(config, store)
        self._loop = asyncio.get_running_loop()
        self._leadership = Leadership(
            store.database, url, lambda _: self._call(self._turned), self._announced
        )
        self._door = Door(config, clock, self._leadership)
        self._change = asyncio.Event()
        self._ready = asyncio.Event()
        self._engine: Engine | None = None
        self._epoch: int | None = None
        self._parts: Parts | None = None  # of the engine that is here
        self._keeping: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    async def start(self) -> ASGIApp:
        """Begin to follow or to lead; return the application."""
        await self._forks.warm()
        self._leadership.start()
        self._keeping = asyncio.create_task(self._keep(), name="standing")
        self._keeping.add_done_callback(self._failed)
        return self._door

    async def ready(self) -> None:
        """Return when this server leads with every device ready, or another one leads."""
        await self._ready.wait()
        if self._engine is not None:
            await self._engine.ready()

    def close(self) -> None:
        """Answer what is held; the server stops."""
        if self._parts is not None:
            self._parts.closing.set()

    async def stop(self, grace_ms: int) -> None:
        """Stop the engine, if it is here, and let a follower lead.

        Raises what made it impossible to lead.
        """
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._door.app = None
        if self._engine is not None:
            await self._engine.stop(grace_ms)
        if self._keeping is not None:
            await asyncio.to_thread(self._leadership.stop)
        await self._door.close()
        self._forks.close()
        if self._error is not None:
            raise self._error

    def _failed(self, keeping: asyncio.Task[None]) -> None:
        if not keeping.cancelled() and (error := keeping.exception()) is not None:
            log.error("this server cannot lead", error=str(error))
            self._error = error

    async def broken(self) -> None:
        """Return when this server had to lead and cannot: it must not keep others from it."""
        if self._keeping is not None:
            await asyncio.wait({self._keeping})

    # ---- as leadership comes and goes -----------------------------------------------------------

    def _call(self, work: Callable[[], None]) -> None:
        """From the leadership's thread: do it in the event loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    def _turned(self) -> None:
        self._change.set()
        self._door.turn()

    def _announced(self, what: str) -> None:
        if what == accounts.ACCOUNTS:
            self._call(self._read_accounts)

    def _read_accounts(self) -> None:
        if self._parts is not None and self._leadership.valid:
            self._parts.auth.forget()
            reading = asyncio.ensure_future(self._parts.engine.instances_changed())
            reading.add_done_callback(_logged)

    async def _keep(self) -> None:
        """Have an engine exactly while this server leads, one for each epoch."""
        while True:
            self._change.clear()
            standing = self._leadership.standing
            if self._epoch is not None and standing.mine != self._epoch:
                await self._step_down()
            if standing.mine is not None and self._epoch is None:
                await self._lead(standing.mine)
            if self._epoch is not None or standing.url is not None:
                self._ready.set()
            if self._epoch == standing.mine:
                await self._change.wait()

    async def _lead(self, epoch: int) -> None:
        self._store.lead(epoch)
        engine = Engine(self._config, self._store, self._clock, self._forks)
        self._watch(engine)
        try:
            await engine.start()
            app = build(self._config, self._store, engine, self._clock)
            # What is loaded by now stays: a collection need not look at a long queue each time.
            gc.collect()
            gc.freeze()
        except QdwellError as error:
            log.error("this server leads, but cannot start", error=str(error))
            await engine.abandon()
            if not isinstance(error, StoreError):
                raise  # the config lacks a plan, or the like: it would fail again
            await pause_ms(self._clock, TRY_AGAIN_MS)
            return
        self._extend(app)
        self._engine, self._epoch, self._parts = engine, epoch, app.state.parts
        self._door.app = app
        self._door.turn()

    async def _step_down(self) -> None:
        """Another server leads: nothing of what is in memory here counts any more."""
        self._door.app = None
        self.close()
        engine, self._engine, self._epoch, self._parts = self._engine, None, None, None
        if engine is not None:
            await engine.abandon()


def _logged(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("accounts not read", error=str(error))
