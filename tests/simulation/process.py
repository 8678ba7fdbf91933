"""One server process of a simulated world: the real store, engine, and API, from start to death.

Faults are injected at the store's border, where its transactions begin and end, and where reports
enter the engine's inbox; everything between is the product.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from qdwell.api.app import build
from qdwell.clock import SystemClock
from qdwell.config import Config
from qdwell.engine import engine as engine_module
from qdwell.engine import loop as engine_loop
from qdwell.engine.engine import Engine
from qdwell.engine.inbox import Item
from qdwell.errors import StoreUnavailable
from qdwell.store import open_store
from simulation.books import Life, listening
from simulation.loop import Died, SimLoop, SimThread

if TYPE_CHECKING:
    from simulation.world import World


START_MS = 1_767_225_600_000


class SimClock(SystemClock):
    """The wall clock of the machine: the world's time, set forward or back by hand (C8)."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def now(self) -> int:
        wall = START_MS + round(self._world.time.now * 1000) + self._world.clock_offset
        self._last = max(self._last, wall)
        return self._last


@contextmanager
def simulated(life: Life) -> Iterator[None]:
    """Engines made here have audited schedulers, and no thread of their own."""
    thread, scheduler = engine_module.OneThread, engine_loop.Scheduler
    engine_module.OneThread = SimThread  # type: ignore[misc, assignment]
    engine_loop.Scheduler = listening(life)  # type: ignore[misc]
    try:
        yield
    finally:
        engine_module.OneThread = thread  # type: ignore[misc]
        engine_loop.Scheduler = scheduler  # type: ignore[misc]


class Process:
    """A server on the world's data folder."""

    def __init__(self, world: World, config: Config, folder: Path) -> None:
        self.world = world
        self.loop = SimLoop(world.time, self._thread_delay)
        self.clock = SimClock(world)
        self._config = config
        self._folder = folder
        self._dice = random.Random(world.count.starts)
        self._committed = False
        self.app: Any = None
        self.up = asyncio.Event()
        self.store = open_store(folder)
        self._watch_store()
        self.engine = Engine(config, self.store, self.clock, world.server)  # type: ignore[arg-type]
        self._watch_reports()

    async def start(self) -> None:
        """Come up, and compare what is loaded with what was stored."""
        self.world.life.compare(self.store, self.clock.now(), self.world.window_ms)
        await self.engine.start()
        await self.engine.ready()
        self.app = build(self._config, self.store, self.engine, self.clock)
        self.up.set()

    def bury(self) -> None:
        """The process is gone: nothing of it runs any more."""
        self.loop.bury()
        self.store.close()

    def _thread_delay(self) -> float:
        if self.world.slow_until > self.world.time.now:
            return self._dice.uniform(0.2, 4)
        return self._dice.choice((0.0002, 0.001, 0.004))

    # ---- faults of the store -----------------------------------------------------------------

    def _watch_store(self) -> None:
        database: Any = self.store.database
        writing, commit = database.writing, self.store.commit
        reading, glancing = database.reading, database.glancing

        @contextmanager
        def faulty_writing() -> Iterator[Any]:
            self._refuse_if_gone()
            fault = self.world.take_commit_fault()
            if fault == "before":
                raise StoreUnavailable("injected: the database is locked")
            if fault == "die_before":
                raise Died
            with writing() as connection:
                yield connection
                if fault == "torn":
                    raise StoreUnavailable("injected: the disk is full")
                if fault == "die_torn":
                    raise Died
            self._committed = True
            if fault == "after":
                raise self.world.unknown_outcome()
            if fault == "die_after":
                raise Died

        @contextmanager
        def faulty_reading() -> Iterator[Any]:
            self._refuse_if_gone()
            with reading() as connection:
                yield connection

        @contextmanager
        def faulty_glancing() -> Iterator[Any]:
            self._refuse_if_gone()
            with glancing() as connection:
                yield connection

        def heard_commit(decisions: Any, *more: Any) -> None:
            self._committed = False
            try:
                commit(decisions, *more)
            finally:
                if self._committed:
                    self.world.life.stored(decisions)

        database.writing, database.reading = faulty_writing, faulty_reading
        database.glancing = faulty_glancing
        self.store.commit = heard_commit  # type: ignore[method-assign]

    def _refuse_if_gone(self) -> None:
        if self.world.gone_until > self.world.time.now:
            self.world.count.faults += 1
            raise StoreUnavailable("injected: the database is gone")

    # ---- reports that come late, or twice ----------------------------------------------------

    def _watch_reports(self) -> None:
        inbox = self.engine._inbox
        post = inbox.post

        def posted(item: Item) -> None:
            fault = None
            if item.answer is None and item.event is not None and hasattr(item.event, "attempt"):
                fault = self.world.take_report_fault()
            if fault is None:
                post(item)
                return
            pause = fault["ms"] / 1000
            if fault["how"] == "twice":
                post(item)
            again = Item(item.at, item.event, item.findings)
            self.loop.call_later(pause, post, again if fault["how"] == "twice" else item)

        inbox.post = posted  # type: ignore[method-assign]

    # ---- requests ----------------------------------------------------------------------------

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> tuple[int, Any]:
        """One HTTP request through the whole application; its status and JSON."""
        await self.up.wait()
        self.world.count.requests += 1
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(key.lower().encode(), it.encode()) for key, it in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        told = False
        status, parts = 0, []

        async def receive() -> dict[str, Any]:
            nonlocal told
            if told:
                await asyncio.Event().wait()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self.app(scope, receive, send)
        text = b"".join(parts)
        return status, orjson.loads(text) if text[:1] in (b"{", b"[") else text
