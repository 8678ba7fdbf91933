"""The timeline: one machine, any stretch from a second to a month, alive at its right end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cached_property

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.parts import BackendView
from qdwell.console import svg
from qdwell.console.signin import Visitor
from qdwell.console.site import HEADERS, Site
from qdwell.console.timeline_sums import Sums, grid
from qdwell.console.timeline_svg import LANES_DRAWN_MAX, Scene, draw, lanes_of
from qdwell.core.group import Mode
from qdwell.errors import BadInput, UnknownBackend
from qdwell.store import history, occupancy

SPANS = (
    (60_000, "1 min"),
    (600_000, "10 min"),
    (3_600_000, "1 h"),
    (21_600_000, "6 h"),
    (86_400_000, "1 day"),
    (604_800_000, "7 days"),
    (2_592_000_000, "30 days"),
)
SPAN_MIN, SPAN_MAX = 1_000, 32 * 86_400_000
DETAIL_MOST = 500  # jobs that can still be told apart on a screen
WINDOWS_MOST = 400


class TimelinePages:
    """The page, and the picture alone."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @cached_property
    def _sums(self) -> Sums:
        return Sums(self._site.parts.store)

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The page around the picture."""
        scene = await self._scene(request, visitor)
        span = scene.end - scene.start
        live = "to" not in request.query_params
        return self._site.page(
            request,
            "timeline.html",
            visitor,
            scene=scene,
            span=span,
            spans=SPANS,
            live=live,
            picture=draw(scene),
            machines=[it.name for it in self._machines()],
        )

    async def export(self, request: Request, visitor: Visitor) -> Response:
        """The picture as a file of its own."""
        scene = replace(await self._scene(request, visitor), links=False)
        name = f"timeline-{scene.machine}.svg"
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        headers["Content-Security-Policy"] = svg.standalone_policy()
        return Response(svg.standalone(draw(scene)), media_type="image/svg+xml", headers=headers)

    def _machines(self) -> list[BackendView]:
        views = self._site.machines()
        return [it for it in views if not it.simulator] or views

    def _machine(self, request: Request) -> BackendView:
        """The machine that was asked for, or the busiest."""
        name = request.query_params.get("machine")
        if not name:
            return max(self._machines(), key=lambda it: it.queue_length)
        view = self._site.parts.engine.backend(name)
        if view is None:
            raise UnknownBackend(name, on_resource=True)
        return view

    async def _scene(self, request: Request, visitor: Visitor) -> Scene:
        view, now = self._machine(request), self._site.parts.clock.now()
        start, end = _range(request, now)
        return await asyncio.to_thread(self._look, view.name, visitor.crn, start, end, now)

    def _look(self, name: str, crn: str, start: int, end: int, now: int) -> Scene:
        """What there is to draw: jobs and windows one by one, or columns where they are many."""
        store = self._site.parts.store
        machine = self._site.parts.engine.machine_now(name)
        columns = grid(start, end)
        least = 2 * columns.width
        spans = history.job_spans(store, name, start, end, DETAIL_MOST)
        windows, all_drawn = history.windows(store, name, start, end, WINDOWS_MOST, least)
        scene = Scene(
            machine=name,
            start=start,
            end=end,
            now=now,
            lanes=machine.lanes if machine else 5,
            spans=spans or (),
            windows=windows,
            own=crn,
        )
        if spans is not None and len(lanes_of(spans)) <= LANES_DRAWN_MAX and all_drawn:
            return scene
        sessions = [it.group for it in windows if it.mode is Mode.SESSION and _long(it, end, least)]
        held: list[occupancy.Held] = []
        if not all_drawn:
            steps = columns.last - columns.first
            held = occupancy.held(store, name, crn, columns.start, columns.end, steps, now)
        return replace(
            scene,
            spans=(),
            grid=columns,
            occupied=self._sums.occupied(name, crn, columns, now),
            held=held,
            gaps=occupancy.gaps(store, sessions, columns.width, min(now, end)),
        )


def _long(window: history.WindowSpan, end: int, least_ms: int) -> bool:
    return (end if window.end is None else window.end) - window.start >= least_ms


def _range(request: Request, now: int) -> tuple[int, int]:
    """The stretch that was asked for: `span` ms up to now, or `from` to `to`.

    Raises:
        BadInput: one of them is not a number of milliseconds, or they are the wrong way round.
    """

    def number(name: str, default: int) -> int:
        text = request.query_params.get(name, "")
        if not text:
            return default
        if not text.isdecimal() or len(text) > 14:
            raise BadInput(f"{name} must be milliseconds.", field=name)
        return int(text)

    span = min(max(number("span", 600_000), SPAN_MIN), SPAN_MAX)
    end = number("to", now + span // 25)
    start = number("from", end - span)
    if end <= start:
        raise BadInput("The stretch ends before it begins.", field="to")
    return max(start, end - SPAN_MAX), max(end, start + SPAN_MIN)
