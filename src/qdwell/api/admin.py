"""Backends by HTTP, for operators: who may use which, and their switches.

The operator is an administrator of an instance of the first account.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.backends import device_entry
from qdwell.api.edge import reply
from qdwell.api.operators import OperatorRoutes, taught
from qdwell.api.parts import BackendView, Parts
from qdwell.core.events import BackendMode
from qdwell.errors import UnknownBackend
from qdwell.store.people import People
from qdwell.wire.administration import BackendModeRequest


class Admin(OperatorRoutes[People]):
    """What only the operator may do with machines."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts, People)

    async def backends(self, request: Request) -> Response:
        """List the backends, with the instances that may use each."""
        views = [it for it in self._parts.engine.backends() if not it.mock]
        return await self._list(
            request, "backends", lambda book: _entries(self._parts, views, book.instances())
        )

    async def backend(self, request: Request, name: str) -> Response:
        """Show one backend, with the instances that may use it."""
        return await self._show(
            request, lambda book: _entries(self._parts, [self._view(name)], book.instances())[0]
        )

    async def set_mode(self, request: Request, name: str) -> Response:
        """Bring a backend online, pause it, or take it offline (I10, I11)."""
        engine = self._parts.engine
        book, asked = await self._asked(request, BackendModeRequest)
        view = self._view(name)
        await engine.set_backend_mode(view.name, BackendMode(asked.mode), asked.reason)
        await taught(lambda: book.note(f"backend {asked.mode}", view.name, reason=asked.reason))
        return reply(device_entry(self._view(name), view.name))

    def _view(self, name: str) -> BackendView:
        view = self._parts.engine.backend(name)
        if view is None:
            raise UnknownBackend(name, on_resource=True)
        return view


def _entries(
    parts: Parts, views: list[BackendView], instances: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    return [
        {
            "name": it.name,
            "mode": it.mode.value,
            "reason": it.mode_reason,
            "simulator": it.simulator,
            "qubits": it.qubits,
            "lanes": None if (now := parts.engine.machine_now(it.name)) is None else now.lanes,
            "queue_length": it.queue_length,
            "instances": [
                each["name"]
                for each in instances
                if each["backends"] is None or it.name in each["backends"]
            ],
        }
        for it in views
    ]
