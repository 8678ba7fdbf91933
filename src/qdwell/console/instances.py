"""Instances: what each used of what it may, by day and by kind."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.config import Plan
from qdwell.console import plots
from qdwell.console.signin import Visitor
from qdwell.console.site import Site, back_to
from qdwell.errors import NotAllowed
from qdwell.store import history

DAY_MS = 86_400_000


class InstancePages:
    """The page about the user's instances."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The present instance in full, the others by name."""
        parts = self._site.parts
        now, window = parts.clock.now(), parts.config.scheduler.window_days
        first = (now // DAY_MS - window + 1) * DAY_MS
        found = await asyncio.to_thread(
            history.usage_by_day, parts.store, visitor.crn, first, now + 1
        )
        rows: list[tuple[int, dict[str, int]]] = []
        for day in range(first, now + 1, DAY_MS):
            kinds = {kind.value: ms for (at, kind), ms in found.items() if at == day}
            rows.append((day, kinds))
        kinds_total: dict[str, int] = {}
        for _, kinds in rows:
            for kind, ms in kinds.items():
                kinds_total[kind] = kinds_total.get(kind, 0) + ms
        plan = parts.plan(visitor.caller)
        used = parts.engine.usage_ms(visitor.crn)
        return self._site.page(
            request,
            "instances.html",
            visitor,
            instance=visitor.caller.instance,
            others=[it for it in visitor.caller.owner.instances if it.crn != visitor.crn],
            plan=plan,
            used=used,
            bound=_bound(plan, used),
            kinds=kinds_total,
            pending=parts.engine.pending(visitor.crn),
            window_days=window,
            picture=plots.days(rows),
            any_usage=bool(kinds_total),
        )

    async def choose(self, request: Request, visitor: Visitor) -> Response:
        """Look at another instance of one's own."""
        fields = await self._site.form(request, visitor, changes=False)
        wanted = fields.get("instance")
        owner = visitor.caller.owner
        instance = next((it for it in owner.instances if it.crn == wanted), None)
        if instance is None:
            raise NotAllowed
        response = back_to("/jobs")
        self._site.sign_in.set_cookie(response, owner, instance.crn)
        return response


def _bound(plan: Plan, used: int) -> dict[str, Any] | None:
    """What the usage is measured against: a limit before an allocation."""
    limits = [it for it in (plan.usage_limit_seconds, plan.spend_limit_seconds) if it is not None]
    if limits:
        return _measured("limit", min(limits), used)
    if plan.usage_allocation_seconds is not None:
        return _measured("allocation", plan.usage_allocation_seconds, used)
    return None


def _measured(word: str, seconds: int, used: int) -> dict[str, Any]:
    return {"word": word, "seconds": seconds, "share": min(1.0, used / (seconds * 1000))}
