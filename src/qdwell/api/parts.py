"""What every group of routes is given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from starlette.requests import Request

from qdwell.api.auth import Auth, Caller
from qdwell.clock import Clock
from qdwell.config import Config, Plan
from qdwell.engine.engine import Engine
from qdwell.engine.requests import BackendView, MachineNow
from qdwell.errors import BackendOffline, UnknownBackend
from qdwell.store import Store
from qdwell.store.accounts import Instance

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
    _announced: dict[str, Instance] = field(default_factory=dict)  #: as the engine knows them

    async def caller(self, request: Request) -> Caller:
        """Return who asks, or raise the 401, 403, or 400."""
        caller = await self.auth.caller(request)
        instance = caller.instance
        last = self._announced.get(instance.crn)
        if last is not instance:
            if last is None or replace(instance, role="") != replace(last, role=""):
                # A command in another process may have made or changed it since the engine started.
                await self.engine.instances_changed()
            self._announced[instance.crn] = instance
        return caller

    def plan(self, caller: Caller) -> Plan:
        """The plan of the caller's instance; one that is no more is `default`."""
        plans = self.engine.plans
        plan = plans.get(caller.instance.plan) or plans["default"]
        return caller.instance.terms(plan)

    def backend(self, caller: Caller, name: str) -> BackendView | None:
        """A backend that the caller's instance may use; others are not there for it."""
        view = self.engine.backend(name)
        return view if view is not None and self.may_use(caller, view) else None

    def may_use(self, caller: Caller, view: BackendView) -> bool:
        """Whether the caller's instance may use a backend, or the twin of one that it may use."""
        named = caller.instance.backends
        if named is None or view.name in named:
            return True
        machines = [self.engine.backend(name) for name in named]
        return view.mock and any(it is not None and it.twin == view.name for it in machines)

    def online(self, caller: Caller, name: str | None) -> BackendView:
        """The backend of a name, or the least busy (S3, J11); raises the 400 or 503 if there is
        none, or it is offline.
        """
        view = self._least_busy(caller) if name is None else self.backend(caller, name)
        if view is None:
            if name is not None:
                raise UnknownBackend(name)
            raise BackendOffline("any", starting=any(it.starting for it in self.engine.backends()))
        if view.mode.value == "offline":
            raise view.refusal()
        return view

    def _least_busy(self, caller: Caller) -> BackendView | None:
        """The backend with the shortest queue: online machines first, then paused ones, and a
        simulator only if there is no machine (J11). Ties by the order of the config."""
        views = [
            it
            for it in self.engine.backends()
            if it.mode.value != "offline" and not it.mock and self.may_use(caller, it)
        ]
        return min(
            views,
            key=lambda it: (it.simulator, it.mode.value != "online", it.queue_length),
            default=None,
        )
