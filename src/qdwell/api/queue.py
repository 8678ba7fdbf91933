"""The operator's view of the queues: every live job of every instance, in the order of its turn."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.body import Query
from qdwell.api.documents import optional_iso
from qdwell.api.edge import reply
from qdwell.api.parts import Parts
from qdwell.api.turns import in_thread
from qdwell.clock import iso
from qdwell.core.job import SERVER_WORDS, Job, JobState
from qdwell.errors import UnknownBackend
from qdwell.store import accounts

JOBS_MAX = 1_000
FORECASTS_MAX = 250  # beyond this, a turn is too far away to be told


class QueueRoutes:
    """What only the operator may look at."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def queue(self, request: Request) -> Response:
        """List the jobs of all instances that run or wait, running ones first, then by turn."""
        parts = self._parts
        await parts.auth.operator(request)
        name = Query(request).text("backend")
        view = parts.engine.backend(name) if name else None
        if name and view is None:
            raise UnknownBackend(name, on_resource=True)
        instances = await in_thread(accounts.all_instances, parts.store)
        names = {it.crn: it.name for it in instances}
        found: list[dict[str, Any]] = []
        for each in parts.engine.backends():
            if view is None or each.name == view.name:
                jobs = parts.engine.live_jobs(each.name)
                found += [self._entry(job, at, names) for at, job in enumerate(jobs[:JOBS_MAX])]
        found.sort(key=lambda it: (it["backend"], it["status"] == "Queued", it["position"] or 0))
        return reply({"jobs": found[:JOBS_MAX], "count": len(found)})

    def _entry(self, job: Job, at: int, names: dict[str, str]) -> dict[str, Any]:
        queued = job.state is JobState.QUEUED and at < FORECASTS_MAX
        forecast = self._parts.engine.forecast(job.id) if queued else None
        return {
            "id": job.id,
            "backend": job.backend,
            "status": SERVER_WORDS[job.state],
            "instance": job.instance,
            "instance_name": names.get(job.instance, ""),
            "session_id": job.group,
            "created": iso(job.created),
            "position": forecast.position if forecast else None,
            "estimated_start_time": optional_iso(forecast.start_at if forecast else None),
        }
