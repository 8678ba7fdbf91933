"""Machines: who holds each and until when, its queue, and its calibration as a picture."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.changes import set_mode
from qdwell.api.parts import BackendView, MachineNow
from qdwell.console.signin import Visitor
from qdwell.console.site import Site, back_to
from qdwell.core.events import BackendMode
from qdwell.core.group import Group
from qdwell.errors import BadInput, NotAllowed, UnknownBackend

if TYPE_CHECKING:
    from qdwell.console import coupling

REASON_MAX = 200


class MachinePages:
    """The pages about machines."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._drawn: dict[str, tuple[bytes, bytes | None, Any]] = {}

    async def list(self, request: Request, visitor: Visitor) -> Response:
        """All machines and simulators."""
        rows = [(view, self._holding(visitor, view)) for view in self._site.machines()]
        return self._site.page(request, "machines.html", visitor, rows=rows)

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """One machine."""
        view = self._view(request)
        calibration, picture = await self._picture(view)
        return self._site.page(
            request,
            "machine.html",
            visitor,
            view=view,
            held=self._holding(visitor, view),
            calibration=calibration,
            picture=picture,
            modes=[mode.value for mode in BackendMode],
        )

    async def set_mode(self, request: Request, visitor: Visitor) -> Response:
        """Pause, stop, or resume a machine; the operator's."""
        fields = await self._site.form(request, visitor)
        if not visitor.admin:
            raise NotAllowed
        if fields.get("mode") not in set(BackendMode):
            raise BadInput("mode must be online, paused, or offline.", field="mode")
        reason = fields.get("reason", "").strip()
        if len(reason) > REASON_MAX:
            raise BadInput(f"reason has at most {REASON_MAX} characters.", field="reason")
        name, owner = request.path_params["name"], visitor.caller.owner
        view = await set_mode(self._site.parts, owner, name, fields["mode"], reason)
        # The page that has the switch says so; without it, it is the machine's own.
        return back_to("/admin" if fields.get("from") == "admin" else f"/machines/{view.name}")

    def _view(self, request: Request) -> BackendView:
        name = request.path_params["name"]
        view = self._site.parts.engine.backend(name)
        if view is None:
            raise UnknownBackend(name, on_resource=True)
        return view

    def _holding(self, visitor: Visitor, view: BackendView) -> dict[str, Any]:
        """Who has the machine, as much as this visitor may know."""
        now = self._site.parts.engine.machine_now(view.name)
        told: dict[str, Any] = {"now": now, "words": "free", "group": None, "until": None}
        if now is None or view.simulator:
            told["words"] = "takes any number of jobs at once" if view.simulator else "starting"
            return told
        told["words"], told["group"] = holder(now, visitor)
        if now.group is not None:
            told["until"] = latest_end(now.group)
        return told

    async def _picture(self, view: BackendView) -> tuple[coupling.Calibration, Any]:
        """The calibration and its picture, drawn once for each description of the machine."""
        known = self._drawn.get(view.name)
        fresh = known is not None and known[:2] == (view.configuration, view.properties)
        if known is None or not fresh:
            from qdwell.console import coupling  # brings NumPy, which a start need not wait for

            calibration = coupling.read_calibration(view.properties)
            drawn = await asyncio.to_thread(
                coupling.draw, view.name, view.configuration, calibration
            )
            known = (view.configuration, view.properties, (calibration, drawn))
            self._drawn[view.name] = known
        calibration, drawn = known[2]
        return calibration, drawn


def holder(now: MachineNow, visitor: Visitor) -> tuple[str, Group | None]:
    """Who has a machine, in words; and the group if it is the visitor's."""
    group = now.group
    if group is not None:
        word = "session" if group.session else "batch"
        if group.instance == visitor.crn:
            return f"held by your {word}", group
        return f"held by a {word} of another instance", None
    if now.reservation is not None:
        return "drains: a session is next", None
    if now.lanes_used:
        return f"{now.lanes_used} of {now.lanes} lanes busy", None
    return "free", None


def latest_end(group: Group) -> int | None:
    """When the present window of a group ends at the latest."""
    ends = []
    if group.started_at is not None and group.max_ttl_ms is not None:
        ends.append(group.started_at + group.max_ttl_ms)
    if group.activated_at is not None and group.active_ttl_ms is not None:
        ends.append(group.activated_at + group.active_ttl_ms)
    return min(ends, default=None)
