"""Backends: the list, and what their processes said of themselves, all from memory.

A backend that has further names is shown under each of them, so that a client finds it by any.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.auth import api_version, check_instance
from qdwell.api.body import Query
from qdwell.api.edge import JsonBytes, reply
from qdwell.api.parts import Parts
from qdwell.engine.requests import BackendView
from qdwell.errors import BadInput, UnknownBackend

OBJECTS_FROM = "2025-05-01"  # wire-protocol 5.1: names before, objects from then on
# By the last three older clients name their instance, and the one strategy there is.
BACKENDS_QUERY = ("include_mocks", "provider", "instance", "channel_strategy")
CIRCUITS_MAX = 10_000  # of one V1 job
STATUS_ACTIVE = "active"  # any other word on an operational backend makes the client warn (I12)


class Backends:
    """What users see of the machines."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._renamed: dict[tuple[str, str], tuple[bytes, bytes]] = {}

    async def list(self, request: Request) -> Response:
        """List the backends: as objects, or as names for older clients."""
        caller = await self._parts.caller(request)
        query = Query(request)
        check_instance(caller, provider=query.text("provider"), instance=query.text("instance"))
        query.choice("channel_strategy", ["default"])
        mocks = query.flag("include_mocks") is True
        entries = [
            device_entry(view, name)
            for view in self._parts.engine.backends()
            for name in (view.name, *view.aliases)
            if (mocks or not view.mock) and self._parts.may_use(caller, view)
        ]
        if (api_version(request.headers) or "") >= OBJECTS_FROM:
            return reply({"devices": entries})
        return reply({"devices": [entry["name"] for entry in entries]})

    async def configuration(self, request: Request, name: str) -> Response:
        """What the backend is."""
        view = await self._view(request, name)
        if not view.ready:
            raise view.refusal()
        if name == view.name and not self._parts.config.server.old_clients:
            return JsonBytes(view.configuration)
        return JsonBytes(self._under(name, view))

    async def properties(self, request: Request, name: str) -> Response:
        """How well it works; `{}` if nothing is known, as of ideal simulators."""
        view = await self._view(request, name)
        # Only today's are known. An older date is asked for just to show them, and to answer with
        # nothing would leave the client's copy of the machine without properties.
        return JsonBytes(view.properties if view.properties is not None else b"{}")

    async def status(self, request: Request, name: str) -> Response:
        """Whether it works, and how long its queue is. Asked before every submission."""
        view = await self._view(request, name)
        return reply(status_document(view))

    async def _view(self, request: Request, name: str) -> BackendView:
        caller = await self._parts.caller(request)
        view = self._parts.backend(caller, name)
        if view is None:
            raise UnknownBackend(name, on_resource=True)
        refuse_calibration(request.query_params.get("calibration_id"))
        return view

    def _under(self, name: str, view: BackendView) -> bytes:
        """The configuration under another name, so that the client's object has that name; and
        with what older clients read of every backend."""
        kept = self._renamed.get((view.name, name))
        if kept is None or kept[0] is not view.configuration:
            document = orjson.loads(view.configuration) | {"backend_name": name}
            if self._parts.config.server.old_clients:
                document["max_experiments"] = CIRCUITS_MAX
            kept = (view.configuration, orjson.dumps(document))
            self._renamed[view.name, name] = kept
        return kept[1]


def refuse_calibration(calibration_id: str | None) -> None:
    """Backends have one calibration, which has no id: to take an id would be to ignore it.

    Raises:
        BadInput: an id was given.
    """
    if calibration_id is not None:
        raise BadInput(
            f"Calibration {calibration_id!r} not found: backends here have one, without an id.",
            field="calibration_id",
            solution="Leave calibration_id out.",
        )


def device_entry(view: BackendView, name: str) -> dict[str, Any]:
    """One entry of the list (wire-protocol 5.1)."""
    status: dict[str, str] = {"name": view.mode.value}
    if view.mode_reason:
        status["reason"] = view.mode_reason
    return {
        **view.entry,
        "name": name,
        "status": status,
        "queue_length": view.queue_length,
        "qubits": view.qubits,
        "physical_qubits": view.qubits,
        # A twin is checked and compiled for like the machine; only the queue tells it apart.
        "is_simulator": view.simulator and not view.mock,
    }


def status_document(view: BackendView) -> dict[str, Any]:
    """State of a backend (wire-protocol 5.4, I10)."""
    online = view.mode.value == "online"
    return {
        "state": view.mode.value != "offline",
        "status": STATUS_ACTIVE if online else (view.mode_reason or view.mode.value),
        "message": view.mode_reason,
        "length_queue": view.queue_length,
        "backend_version": view.version,
    }
