"""Jobs: the list with its filters, and one job with everything that is known of it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from qdwell.api.documents import metrics_document
from qdwell.api.jobs import error_text
from qdwell.clock import iso, parse_iso
from qdwell.console import circuits, plots, svg
from qdwell.console.signin import Visitor
from qdwell.console.site import HEADERS, Site, back_to
from qdwell.core.forecast import Forecast
from qdwell.core.job import RUNNING, Job, JobState
from qdwell.errors import BadInput, UnknownJob
from qdwell.store import JobRow, browse

PAGE = 50
SOON_MS = 2_000
STATES: dict[str, tuple[JobState, ...]] = {
    "queued": (JobState.QUEUED,),
    "running": tuple(sorted(RUNNING)),
    "completed": (JobState.COMPLETED,),
    "failed": (JobState.FAILED,),
    "cancelled": (JobState.CANCELLED,),
}
FILTERS = ("state", "backend", "session", "tag", "text", "after", "before")
_PHASES = (
    ("queued", "created", "running_at"),
    ("prepare", "running_at", "ready_at"),
    ("wait", "ready_at", "executing_at"),
    ("job", "executing_at", "executed_at"),
    ("prepare", "executed_at", "finished_at"),
)
_PHASE_WORDS = ("in the queue", "prepared", "waited for the QPU", "on the QPU", "post-processed")


class JobPages:
    """The pages about jobs."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def list(self, request: Request, visitor: Visitor) -> Response:
        """The list: newest first, filtered, by pages, alive."""
        query = {name: request.query_params.get(name, "").strip() for name in FILTERS}
        page = max(1, _whole(request.query_params.get("page", "1")))
        wanted = _wanted(query)
        rows, count = await asyncio.to_thread(
            browse.browse,
            self._site.parts.store,
            visitor.crn,
            wanted,
            limit=PAGE,
            offset=(page - 1) * PAGE,
        )
        return self._site.page(
            request,
            "jobs.html",
            visitor,
            rows=rows,
            count=count,
            count_max=browse.COUNT_MAX,
            page=page,
            size=PAGE,
            query=query,
            filtered=any(query.values()),
            states=list(STATES),
            backends=[it.name for it in self._site.machines()],
        )

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """One job."""
        job_id = request.path_params["job_id"]
        parts = self._site.parts
        row = self._row(visitor, job_id)
        forecast = None
        if row.job.state is JobState.QUEUED:
            forecast = parts.engine.forecast(job_id)
        story, logs = await asyncio.gather(
            asyncio.to_thread(parts.store.story, job_id),
            asyncio.to_thread(parts.store.logs, visitor.crn, job_id),
        )
        return self._site.page(
            request,
            "job.html",
            visitor,
            row=row,
            job=row.job,
            story=story,
            logs=logs if row.job.final else None,
            metrics=_flat(metrics_document(row, forecast)),
            waits=waits(forecast, row.job, parts.clock.now()),
            phases=phases(row.job, parts.clock.now()),
            problem=error_text(row) if row.job.state is JobState.FAILED else row.job.reason,
            code=python_of(row, visitor.caller.instance.name, self._origin(request)),
            pictured=request.query_params.get("picture") == "1",
            picture=await self._pictured(request, visitor, row),
        )

    async def picture(self, request: Request, visitor: Visitor) -> Response:
        """The part of the page that takes a worker: circuits, parameters, results."""
        row = self._row(visitor, request.path_params["job_id"])
        html = await self._picture(visitor, row)
        return HTMLResponse(html, headers=HEADERS)

    async def cancel(self, request: Request, visitor: Visitor) -> Response:
        """Cancel a job."""
        await self._site.form(request, visitor)
        job_id = request.path_params["job_id"]
        await self._site.parts.engine.cancel_job(visitor.crn, job_id)
        return back_to(f"/jobs/{job_id}")

    def _row(self, visitor: Visitor, job_id: str) -> JobRow:
        row = self._site.parts.store.job(visitor.crn, job_id)
        if row is None:
            raise UnknownJob(job_id)
        return row

    async def _pictured(self, request: Request, visitor: Visitor, row: JobRow) -> str:
        """The same within the page, for readers without scripts who asked for it."""
        if request.query_params.get("picture") != "1":
            return ""
        return await self._picture(visitor, row)

    async def _picture(self, visitor: Visitor, row: JobRow) -> str:
        """Circuits, parameters, and results as HTML; a private job shows none (J29)."""
        parts, job = self._site.parts, row.job
        told: dict[str, Any] = {"pubs": [], "count": 0, "note": "This job is private."}
        if not row.details.private:
            params, result = await asyncio.gather(
                asyncio.to_thread(parts.store.params, visitor.crn, job.id),
                self._result(visitor, row),
            )
            told = await parts.engine.pictures.of_job(
                job.id, row.details.program_id, params or b"{}", result
            )
        for pub in told["pubs"]:
            _draw(pub)
        template = self._site.templates.get_template("job_picture.html")
        return template.render(told=told, job=job)

    async def _result(self, visitor: Visitor, row: JobRow) -> bytes | None:
        if row.job.state is not JobState.COMPLETED or row.details.private:
            return None
        store = self._site.parts.store
        return await asyncio.to_thread(store.read_result, visitor.crn, row.job.id)

    def _origin(self, request: Request) -> str:
        public = self._site.parts.config.server.public_url
        return public or f"{request.url.scheme}://{request.url.netloc}"


def _draw(pub: dict[str, Any]) -> None:
    """Put the pictures beside their numbers."""
    if pub.get("circuit") and "drawn" not in pub:
        pub["drawn"] = circuits.draw(pub["circuit"])
    result = pub.get("result")
    if result and "plots" not in result:
        result["plots"] = [
            (it, plots.sweep(it) if "sweep" in it else plots.counts(it))
            for it in result.get("counts", ())
        ]
        if "estimates" in result:
            result["plots"].append((result["estimates"], plots.estimates(result["estimates"])))


def _wanted(query: dict[str, str]) -> browse.Wanted:
    if query["state"] and query["state"] not in STATES:
        raise BadInput(f"There is no state {query['state']!r}.", field="state")
    return browse.Wanted(
        states=STATES.get(query["state"], ()),
        backend=query["backend"] or None,
        group=query["session"] or None,
        tag=query["tag"] or None,
        text=query["text"] or None,
        created_after=_instant(query["after"], "after"),
        created_before=_instant(query["before"], "before"),
    )


def _instant(text: str, field: str) -> int | None:
    """A date field of a form: a day, or a day with a time, in UTC."""
    if not text:
        return None
    try:
        return parse_iso(text if "T" in text else text + "T00:00")
    except ValueError as error:
        raise BadInput(str(error), field=field) from None


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else 1


def waits(forecast: Forecast | None, job: Job, now: int) -> dict[str, Any] | None:
    """Why a job waits, and until when as far as can be told."""
    if job.state is not JobState.QUEUED:
        return None
    if forecast is None:
        return {"reason": "it has just been accepted", "position": None}
    return {
        "reason": forecast.reason,
        "position": forecast.position,
        "start_at": forecast.start_at,
        "overdue": (forecast.latest_at or forecast.start_at or now + SOON_MS) < now + SOON_MS,
        "earliest_at": forecast.earliest_at,
        "latest_at": forecast.latest_at,
    }


def phases(job: Job, now: int) -> dict[str, Any] | None:
    """The job's time as one bar, and each part's length; None before it is anywhere."""
    found = []
    for (kind, begin, end), word in zip(_PHASES, _PHASE_WORDS, strict=True):
        start = getattr(job, begin)
        if start is None:
            break
        stop = getattr(job, end)
        if stop is None:
            stop = job.finished_at if job.finished_at is not None else now
            found.append((kind, word, max(0, stop - start)))
            break
        found.append((kind, word, stop - start))
    total = sum(ms for _, _, ms in found)
    if not total:
        return None
    x, boxes = 0.0, []
    for kind, word, ms in found:
        width = 1000 * ms / total
        boxes.append(svg.rect(x, 0, width, 22, f"run {kind}", f"{word}: {ms} ms"))
        x += width
    title = "Where the job's time went: " + ", ".join(f"{word} {ms} ms" for _, word, ms in found)
    return {"bar": svg.picture(1000, 22, title, *boxes, class_="phases"), "parts": found}


def _flat(document: dict[str, Any]) -> list[tuple[str, str]]:
    """The metrics as lines, inner names after a dot."""
    lines: list[tuple[str, str]] = []
    for name, value in document.items():
        if isinstance(value, dict):
            lines += [(f"{name}.{inner}", str(it)) for inner, it in value.items() if it is not None]
        elif value not in (None, "", []):
            lines.append((name, str(value)))
    return lines


def python_of(row: JobRow, instance: str, origin: str) -> str:
    """The lines that fetch this job, ready to be pasted: the token is the saved account's."""
    return (
        "from qdwell import QiskitRuntimeService\n\n"
        f"# With the account that you saved for {origin} (see Get started).\n"
        f"service = QiskitRuntimeService(instance={instance!r})\n"
        f"job = service.job({row.job.id!r})  # submitted {iso(row.job.created)}\n"
        "print(job.status())\n"
        "result = job.result()\n"
    )
