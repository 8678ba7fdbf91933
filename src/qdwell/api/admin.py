"""Backends by HTTP, for operators: who may use which, and their switches.

The operator is an administrator of an instance of the first account.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.backends import device_entry
from qdwell.api.body import read_message
from qdwell.api.changes import set_mode
from qdwell.api.edge import reply
from qdwell.api.operators import BODY_BYTES_MAX, OperatorRoutes
from qdwell.api.parts import BackendView, Parts
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
        owner = await self._parts.auth.operator(request)
        asked = await read_message(request, BackendModeRequest, BODY_BYTES_MAX, 4)
        view = await set_mode(self._parts, owner, name, asked.mode, asked.reason)
        return reply(device_entry(view, view.name))

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
