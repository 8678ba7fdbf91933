"""Sessions and batches: the list, and one with its timers, its usage, and its jobs in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.console import svg
from qdwell.console.jobs import waits
from qdwell.console.signin import Visitor
from qdwell.console.site import Site, back_to
from qdwell.core.group import Group, GroupState
from qdwell.core.job import Job, JobState
from qdwell.core.ledger import Entry, Use
from qdwell.errors import UnknownSession
from qdwell.store import GroupRow, JobRow, browse
from qdwell.store.ledger import ledger

_USES = (  # what, in which colour (its own if empty), and in which words
    (Use.QPU, "", "on the QPU"),
    (Use.CLASSICAL, "prepare", "classical"),
    (Use.IDLE, "wait", "interactive idle"),
    (Use.DRAIN, "queued", "the machine drained for it (not charged)"),
    (Use.DOWNTIME, "barrier", "the service was down (not charged)"),
)
PAGE = 50
JOBS_SHOWN = 200
_OPEN: list[GroupState] = [state for state in GroupState if state is not GroupState.CLOSED]


class GroupPages:
    """The pages about sessions and batches."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def list(self, request: Request, visitor: Visitor) -> Response:
        """The list, newest first."""
        which = request.query_params.get("show", "")
        backend = request.query_params.get("backend", "")
        text = request.query_params.get("page", "1")
        page = max(1, int(text)) if text.isdecimal() and len(text) < 8 else 1
        states: list[GroupState] | None = _OPEN if which == "open" else None
        if which == "closed":
            states = [GroupState.CLOSED]
        rows, count = await asyncio.to_thread(
            self._site.parts.store.groups,
            visitor.crn,
            limit=PAGE,
            offset=(page - 1) * PAGE,
            backend=backend or None,
            states=states,
        )
        return self._site.page(
            request,
            "sessions.html",
            visitor,
            rows=[self._live(row) for row in rows],
            count=count,
            page=page,
            size=PAGE,
            which=which,
            backend=backend,
            backends=[it.name for it in self._site.machines() if not it.simulator],
        )

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """One session or batch."""
        group_id = request.path_params["group_id"]
        row = await self._row(visitor, group_id)
        store = self._site.parts.store
        now = self._site.parts.clock.now()
        since, until = row.group.created, row.group.closed_at or now
        rows, history, cache, entries = await asyncio.gather(
            asyncio.to_thread(browse.in_order, store, visitor.crn, group_id, limit=JOBS_SHOWN),
            asyncio.to_thread(store.story, group_id),
            asyncio.to_thread(store.cache_counts, group_id),
            asyncio.to_thread(ledger, store, visitor.crn, since, until, group_id),
        )
        queued = first_queued(rows)
        return self._site.page(
            request,
            "session.html",
            visitor,
            group=row.group,
            row=row,
            jobs=rows,
            jobs_shown=JOBS_SHOWN,
            history=history,
            timers=timers(row.group),
            waits=queued and waits(self._site.parts.engine.forecast(queued.id), queued, now),
            usage=usage_split(row.group, (it.entry for it in entries), now),
            cache=cache,
        )

    async def close(self, request: Request, visitor: Visitor) -> Response:
        """No new jobs; what was accepted runs (S28)."""
        return await self._end(request, visitor, self._site.parts.engine.close_group)

    async def cancel(self, request: Request, visitor: Visitor) -> Response:
        """No new jobs, and none that is not in the QPU yet (S29)."""
        return await self._end(request, visitor, self._site.parts.engine.cancel_group)

    async def _end(self, request: Request, visitor: Visitor, end: Any) -> Response:
        await self._site.form(request, visitor)
        group_id = request.path_params["group_id"]
        await end(visitor.crn, group_id)
        return back_to(f"/sessions/{group_id}")

    async def _row(self, visitor: Visitor, group_id: str) -> GroupRow:
        row = await asyncio.to_thread(self._site.parts.store.group, visitor.crn, group_id)
        if row is None:
            raise UnknownSession(group_id, on_resource=True)
        return self._live(row)

    def _live(self, row: GroupRow) -> GroupRow:
        """The row with the group as it is in memory, whose timers are of this moment."""
        live = self._site.parts.engine.live_group(row.group.id)
        return row if live is None else GroupRow(live, row.user_id)


def first_queued(rows: list[JobRow]) -> Job | None:
    """The oldest of these jobs that waits."""
    return next((row.job for row in rows if row.job.state is JobState.QUEUED), None)


def timers(group: Group) -> list[tuple[str, int, str]]:
    """Deadlines that run now: what ends, when, and what happens then."""
    found: list[tuple[str, int, str]] = []
    if group.closed_at is not None:
        return found
    if group.idle_since is not None and group.live:
        at = group.idle_since + group.interactive_ttl_ms
        if group.keep_alive_until is not None:
            at = max(at, group.keep_alive_until)
        found.append(("Interactive TTL", at, "without a new job it gives the machine back"))
    if group.activated_at is not None and group.live and group.active_ttl_ms is not None:
        at = group.activated_at + group.active_ttl_ms
        found.append(("Active TTL", at, "this window ends, and the session queues again"))
    if group.started_at is not None and group.max_ttl_ms is not None:
        at = group.started_at + group.max_ttl_ms
        found.append(("Maximum TTL", at, "it is closed; jobs that wait then fail"))
    return found


def usage_split(group: Group, entries: Iterable[Entry], now: int) -> dict[str, Any]:
    """What its time was used for, from the ledger, and a bar of it; the charged parts add up."""
    sums: dict[Use, int] = dict.fromkeys(Use, 0)
    for entry in entries:
        if entry.group == group.id:
            sums[entry.use] += entry.ms
    whose = "session" if group.session else "batch"
    parts = [(kind or whose, word, sums[use]) for use, kind, word in _USES if sums[use]]
    whole = sum(ms for _, _, ms in parts)
    x, boxes = 0.0, []
    for kind, word, ms in parts:
        width = 1000 * ms / whole
        boxes.append(svg.rect(x, 0, width, 22, f"run {kind}", f"{word}: {ms} ms"))
        x += width
    title = ", ".join(f"{word} {ms} ms" for _, word, ms in parts)
    bar = svg.picture(1000, 22, "Usage: " + title, *boxes, class_="phases") if whole else None
    return {"total": group.usage_at(now) or 0, "parts": parts, "bar": bar}
