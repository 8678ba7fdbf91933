"""What every group of routes is given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.requests import Request

from qdwell.api.auth import Auth, Caller
from qdwell.clock import Clock
from qdwell.config import Config, Plan
from qdwell.engine.engine import Engine
from qdwell.engine.requests import BackendView, MachineNow
from qdwell.store import Store

__all__ = ["BackendView", "MachineNow", "Parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """The server's parts; one of each."""

    config: Config
    store: Store
    engine: Engine
    clock: Clock
    auth: Auth
    closing: asyncio.Event = field(default_factory=asyncio.Event)  #: set when the server stops
    _announced: set[str] = field(default_factory=set)  #: instances that the engine knows of

    async def caller(self, request: Request) -> Caller:
        """Return who asks, or raise the 401, 403, or 400."""
        caller = await self.auth.caller(request)
        if caller.instance.crn not in self._announced:
            # An account command in another process may have made it since the engine started.
            await self.engine.instances_changed()
            self._announced.add(caller.instance.crn)
        return caller

    def plan(self, caller: Caller) -> Plan:
        """The plan of the caller's instance; one that the config no longer has is `default`."""
        return self.config.plans.get(caller.instance.plan) or self.config.plans["default"]

    def least_busy(self) -> BackendView | None:
        """The backend with the shortest queue: online machines first, then paused ones, and a
        simulator only if there is no machine (J11). Ties by the order of the config."""
        views = [it for it in self.engine.backends() if it.mode.value != "offline" and not it.mock]
        return min(
            views,
            key=lambda it: (it.simulator, it.mode.value != "online", it.queue_length),
            default=None,
        )
