"""A server's inside: the engine with its application. This one is alone on its store.

A house gives the HTTP server one application, and is told when to hold no request any longer.
`Alone` has its engine for as long as the server runs; `sharing.Shared` has one while it leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp

from qdwell.api.app import build
from qdwell.api.parts import Parts
from qdwell.clock import Clock, pause_ms
from qdwell.config import Config
from qdwell.engine.engine import Engine
from qdwell.errors import QdwellError
from qdwell.store import Store, book

HEED_MS = 1_000  # how soon what a command has changed has effect

log = structlog.get_logger("qdwell.server")
Extend = Callable[[FastAPI], None]
Watch = Callable[[Engine], None]


class House(Protocol):
    """What the HTTP server asks of its inside."""

    async def start(self) -> ASGIApp:
        """Begin; return the application."""
        ...

    async def ready(self) -> None:
        """Return when `/healthz` may say that all is well."""
        ...

    async def broken(self) -> None:
        """Return when it cannot go on."""
        ...

    def close(self) -> None:
        """Answer what is held; the server stops."""
        ...

    async def stop(self, grace_ms: int) -> None:
        """Stop the engine."""
        ...


class Alone:
    """One server, one engine."""

    def __init__(
        self, config: Config, store: Store, clock: Clock, watch: Watch, extend: Extend
    ) -> None:
        self._engine = Engine(config, store, clock)
        watch(self._engine)
        self._config, self._store, self._clock, self._extend = config, store, clock, extend
        self._closing: asyncio.Event | None = None
        self._heeding: asyncio.Task[None] | None = None

    async def start(self) -> ASGIApp:
        """Start the engine; return the application.

        Raises:
            StoreError: the store cannot be read or written.
        """
        await self._engine.start()
        app = build(self._config, self._store, self._engine, self._clock)
        self._extend(app)
        self._closing = app.state.parts.closing
        self._heeding = asyncio.create_task(_heed(app.state.parts), name="accounts")
        return app

    async def ready(self) -> None:
        """Return when every backend's device has answered."""
        await self._engine.ready()

    async def broken(self) -> None:
        """Return never: an engine that runs goes on."""
        await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Answer what is held; the server stops."""
        if self._closing is not None:
            self._closing.set()

    async def stop(self, grace_ms: int) -> None:
        """Stop the engine."""
        if self._heeding is not None:
            self._heeding.cancel()
            await asyncio.gather(self._heeding, return_exceptions=True)
        await self._engine.stop(grace_ms)


async def _heed(parts: Parts) -> None:
    """Take up what commands beside the server change; each is a line in the audit log."""
    seen: int | None = None
    while True:
        try:
            newest = await asyncio.to_thread(book.revision, parts.store)
            if seen is not None and newest != seen:
                parts.auth.forget()
                await parts.engine.instances_changed()
            seen = newest
        except QdwellError as error:  # the next look will do
            log.warning("accounts not read", error=str(error))
        await pause_ms(parts.clock, HEED_MS)
