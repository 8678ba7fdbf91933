"""Usage, and the list of workloads (I4, I5, I14).

`GET /instances/usage` is asked before every submission: it is answered from memory.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.auth import Caller
from qdwell.api.body import Query
from qdwell.api.documents import optional_iso, seconds
from qdwell.api.edge import reply
from qdwell.api.jobs import searched_tags
from qdwell.api.parts import Parts
from qdwell.api.turns import in_thread
from qdwell.clock import iso
from qdwell.errors import BadInput
from qdwell.store import WorkloadRow

DAY_MS = 86_400_000
WORKLOADS_DEFAULT = 10  # L18
WORKLOADS_MAX = 50
STATUSES = ("pending", "in_progress", "completed", "canceled", "failed")
MODES = ("job", "session", "batch")
SORTS = ("createdAt", "-createdAt")
WORKLOAD_QUERY = (
    "user",
    "sort",
    "limit",
    "previous",
    "next",
    "backend",
    "search",
    "status",
    "mode",
    "created_after",
    "created_before",
    "tags",
    "include_mocks",
)


class UsageRoutes:
    """What was used, and for what."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def instance(self, request: Request) -> Response:
        """Usage of the instance in the present window (I4)."""
        caller = await self._parts.caller(request)
        return reply(self._usage(caller))

    async def classic(self, request: Request) -> Response:
        """The same in the classic form (I5)."""
        caller = await self._parts.caller(request)
        usage = self._usage(caller)
        plan = self._parts.plan(caller)
        entry = {
            "instance": caller.instance.crn,
            "quota": plan.usage_limit_seconds or plan.usage_allocation_seconds or 0,
            "usage": usage["usage_consumed_seconds"],
            "pendingJobs": self._parts.engine.pending(caller.instance.crn),
            "maxPendingJobs": plan.pending_jobs_max or 0,
        }
        start, end = usage["usage_period"].values()
        return reply({"period": {"start": start, "end": end}, "byInstance": [entry]})

    def _usage(self, caller: Caller) -> dict[str, Any]:
        parts = self._parts
        plan = parts.plan(caller)
        now = parts.clock.now()
        used = parts.engine.usage_ms(caller.instance.crn)
        window = parts.config.scheduler.window_days * DAY_MS
        document: dict[str, Any] = {
            "instance_id": caller.instance.crn,
            "plan_id": caller.instance.plan,
            "usage_period": {"start_time": iso(max(0, now - window)), "end_time": iso(now)},
            "usage_consumed_seconds": seconds(used),
        }
        # I8 and I9 are both limits to a user; the lower one is met first.
        limits = [
            it for it in (plan.usage_limit_seconds, plan.spend_limit_seconds) if it is not None
        ]
        if plan.usage_allocation_seconds is not None:
            document["usage_allocation_seconds"] = plan.usage_allocation_seconds
        if limits:
            document["usage_limit_seconds"] = min(limits)
            document["usage_limit_reached"] = used >= min(limits) * 1000
        return document

    async def workloads(self, request: Request) -> Response:
        """List jobs in job mode, sessions, and batches (I14)."""
        caller = await self._parts.caller(request)
        query = Query(request)
        limit = query.page("limit", WORKLOADS_DEFAULT, WORKLOADS_MAX)
        offset = _offset(query.text("next") or query.text("previous"))
        backend = query.text("backend")
        view = self._parts.engine.backend(backend) if backend else None
        rows, count = await in_thread(
            self._parts.store.workloads,
            caller.instance.crn,
            limit=limit,
            offset=offset,
            now=self._parts.clock.now(),
            backend=view.name if view else backend,
            search=query.text("search"),
            mocks=query.flag("include_mocks") is True,
            user=query.text("user"),
            statuses=_statuses(query),
            mode=query.choice("mode", MODES),
            created_after=query.instant("created_after"),
            created_before=query.instant("created_before"),
            tags=searched_tags(query),
            ascending=query.choice("sort", SORTS) == "createdAt",
        )
        document: dict[str, Any] = {
            "workloads": [workload_document(row) for row in rows],
            "total_count": count,
            "limit": limit,
        }
        if offset + limit < count:
            document["next"] = _cursor(offset + limit)
        if offset:
            document["previous"] = _cursor(max(0, offset - limit))
        return reply(document)


def workload_document(row: WorkloadRow) -> dict[str, Any]:
    """One row of the list (I14)."""
    document: dict[str, Any] = {
        "id": row.id,
        "created": iso(row.created),
        "ended": optional_iso(row.ended),
        "backend": row.backend,
        "instance": row.instance,
        "user_id": row.user_id,
        "mode": row.mode,
        "status": row.status,
        "tags": list(row.tags),
        "usage_seconds": seconds(row.usage_ms),
    }
    if row.accepting_jobs is not None:
        document["accepting_jobs"] = row.accepting_jobs
    return document


def _statuses(query: Query) -> tuple[str, ...]:
    """The statuses to list; none means all.

    Raises:
        BadInput: one is not among `STATUSES`.
    """
    wanted = tuple(dict.fromkeys(query.texts("status")))
    if not set(wanted) <= set(STATUSES):
        raise BadInput(f"status must be one of {', '.join(STATUSES)}.", field="status")
    return wanted


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"o{offset}".encode()).decode()


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode("ascii")
        if not text.startswith("o") or not text[1:].isdecimal() or len(text) > 12:
            raise ValueError
        return int(text[1:])
    except (ValueError, binascii.Error):
        raise BadInput("The cursor is not one of ours.", field="next") from None
