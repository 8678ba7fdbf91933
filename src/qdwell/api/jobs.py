"""Jobs: reading, listing, waiting, cancelling, results, logs, metrics, tags (wire-protocol 6).

A job of another instance is answered exactly like one that does not exist: every read names the
instance, and the store answers nothing for others' rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.auth import Caller, check_instance
from qdwell.api.body import Query, read_message
from qdwell.api.documents import (
    job_document,
    knows_codes,
    metrics_document,
    ran_too_long,
)
from qdwell.api.edge import JsonBytes, no_content, not_found, reply
from qdwell.api.hold import LastAnswers, hold_ms
from qdwell.api.older import as_known
from qdwell.api.outcomes import check_may_take
from qdwell.api.parts import Parts
from qdwell.api.submission import check_tags
from qdwell.api.turns import in_thread
from qdwell.core.job import SERVER_WORDS, JobState
from qdwell.errors import BadInput, JobNotFinal, StoreError, StoreUnavailable, UnknownJob
from qdwell.errors.inside import advised
from qdwell.store import JobRow
from qdwell.wire.messages import TagsRequest

log = structlog.get_logger("qdwell.api")

PAGE_MAX = 200  # J27
BODY_BYTES_MAX = 65_536
OFFSET_MAX = 10**9
SEARCH_TAG = (3, 100)  # J28: characters of a tag that is searched for
SEARCH_TAGS_MAX = 100  # more than any plan gives a job; a database cannot ask for thousands
LIST_QUERY = (
    "limit",
    "offset",
    "backend",
    "program",
    "pending",
    "tags",
    "session_id",
    "created_after",
    "created_before",
    "sort",
    "search",
    "exclude_params",
    "include_mocks",
    "provider",  # the instance, as older clients name it
)


class Jobs:
    """Everything about jobs but their submission."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._answers = LastAnswers()

    # ---- one job --------------------------------------------------------------------------------

    async def read(self, request: Request, job_id: str) -> Response:
        """Show a job; hold the answer if its end is near (see `hold`)."""
        caller = await self._parts.caller(request)
        shown = Query(request).flag("exclude_params") is not True
        row = await self._hold(caller, job_id) or self._row(caller, job_id)
        self._answers.told(job_id, self._parts.clock.now(), final=row.job.final)
        params = await self._params(caller, row) if shown else None
        document = job_document(row, with_codes=knows_codes(request.headers), params=params)
        return JsonBytes(orjson.dumps(document))

    async def _hold(self, caller: Caller, job_id: str) -> JobRow | None:
        """Wait as the rule says. The bound is short, so a client that has gone need not be seen.

        Returns the job, if it has ended meanwhile and need not be read.
        """
        parts = self._parts
        job = parts.engine.live_job(job_id)
        if job is None or job.instance != caller.instance.crn or parts.closing.is_set():
            return None
        now = parts.clock.now()
        bound = parts.config.server.status_hold_ms
        held = hold_ms(job, now, self._answers.get(job_id), bound)
        return await parts.engine.wait_final(job_id, now + held) if held else None

    def _row(self, caller: Caller, job_id: str) -> JobRow:
        row = self._parts.store.job(caller.instance.crn, job_id)
        if row is None:
            raise UnknownJob(job_id)
        return row

    async def _params(self, caller: Caller, row: JobRow) -> bytes:
        """The raw input of a job; a private one shows none (J29)."""
        if row.details.private or row.params_erased:
            return b"{}"
        crn = caller.instance.crn
        try:
            return await in_thread(self._parts.store.params, crn, row.job.id) or b"{}"
        except StoreUnavailable:
            raise
        except StoreError as error:  # lost, or damaged: the rest of the job can be shown
            log.error("input cannot be read", job=row.job.id, error=str(error))
            return b"{}"

    async def delete(self, request: Request, job_id: str) -> Response:
        """Delete a job that has ended; its usage stays (J30)."""
        caller = await self._parts.caller(request)
        row = self._row(caller, job_id)
        if not row.job.final:
            raise JobNotFinal(job_id, SERVER_WORDS[row.job.state])
        await in_thread(self._parts.store.delete_job, caller.instance.crn, job_id)
        return no_content()

    async def cancel(self, request: Request, job_id: str) -> Response:
        """Cancel a job that has not ended (J18-J22)."""
        caller = await self._parts.caller(request)
        await self._parts.engine.cancel_job(caller.instance.crn, job_id)
        return no_content()

    async def put_tags(self, request: Request, job_id: str) -> Response:
        """Replace the tags of a job (J28)."""
        caller = await self._parts.caller(request)
        self._row(caller, job_id)
        message = await read_message(request, TagsRequest, BODY_BYTES_MAX, 8)
        tags = check_tags(message.tags, self._parts.plan(caller))
        await in_thread(self._parts.store.set_tags, caller.instance.crn, job_id, tags)
        self._parts.engine.retagged(job_id, tags)
        return no_content()

    # ---- what it gave ---------------------------------------------------------------------------

    async def results(self, request: Request, job_id: str) -> Response:
        """The result of a completed job, the error text of a failed one, else nothing (J25)."""
        caller = await self._parts.caller(request)
        row = self._row(caller, job_id)
        job = row.job
        if job.state is JobState.FAILED or ran_too_long(job):
            return Response(error_text(row), media_type="text/plain; charset=utf-8")
        if job.state is not JobState.COMPLETED:
            return no_content()
        crn = caller.instance.crn
        store = self._parts.store
        if row.details.private:  # reading erases, which is a write
            check_may_take(caller, row)
            result = await in_thread(store.read_result, crn, job_id)
        else:
            result = store.read_result(crn, job_id)
        return no_content() if result is None else JsonBytes(self._known(request, result))

    async def interim_results(self, request: Request, job_id: str) -> Response:
        """The interim results so far, one for each finished PUB (R5)."""
        caller = await self._parts.caller(request)
        row = self._row(caller, job_id)
        if row.details.private:
            return JsonBytes(b"[]")
        found = await in_thread(self._parts.store.interim_results, caller.instance.crn, job_id)
        raw = b"[" + b",".join(content for _, content in found) + b"]"
        return JsonBytes(self._known(request, raw))

    def _known(self, request: Request, raw: bytes) -> bytes:
        """A result in the words of the client's release."""
        if not self._parts.config.server.old_clients:
            return raw
        return as_known(raw, request.headers)

    async def logs(self, request: Request, job_id: str) -> Response:
        """The log of a job that has ended (J31)."""
        caller = await self._parts.caller(request)
        row = self._row(caller, job_id)
        text = None
        if row.job.final:
            text = await in_thread(self._parts.store.logs, caller.instance.crn, job_id)
        if not text:
            raise not_found(f"Job {job_id!r} has no logs.", "Logs are there once a job has ended.")
        return Response(text, media_type="text/plain; charset=utf-8")

    async def metrics(self, request: Request, job_id: str) -> Response:
        """Times, usage, and place in the queue (J34)."""
        caller = await self._parts.caller(request)
        row = self._row(caller, job_id)
        forecast = None
        if row.job.state is JobState.QUEUED:
            forecast = self._parts.engine.forecast(job_id)
        return reply(metrics_document(row, forecast))

    # ---- many -----------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        """List jobs, newest first unless asked otherwise, with their exact number (J26, J27)."""
        caller = await self._parts.caller(request)
        query = Query(request)
        check_instance(caller, provider=query.text("provider"))
        limit = query.page("limit", PAGE_MAX, PAGE_MAX)
        offset = query.page("offset", 0, OFFSET_MAX, least=0)
        sort = (query.text("sort") or "DESC").upper()
        if sort not in ("ASC", "DESC"):
            raise BadInput("sort must be ASC or DESC.", field="sort")
        backend = query.text("backend")
        view = self._parts.engine.backend(backend) if backend else None
        rows, count = await in_thread(
            self._parts.store.jobs,
            caller.instance.crn,
            limit=limit,
            offset=offset,
            backend=view.name if view else backend,
            program=query.text("program"),
            pending=query.flag("pending"),
            tags=searched_tags(query),
            group=query.text("session_id"),
            created_after=query.instant("created_after"),
            created_before=query.instant("created_before"),
            ascending=sort == "ASC",
            search=query.text("search"),
            mocks=query.flag("include_mocks") is True,
        )
        with_params = query.flag("exclude_params") is False
        with_codes = knows_codes(request.headers)
        documents = [
            job_document(
                row,
                with_codes=with_codes,
                params=await self._params(caller, row) if with_params else None,
            )
            for row in rows
        ]
        count = counted(count, offset, request.headers)
        return reply({"jobs": documents, "count": count, "limit": limit, "offset": offset})


def counted(count: int, offset: int, headers: Mapping[str, str]) -> int:
    """The number of matches, as whoever asks can use it.

    The stock client asks for pages until it has `count - skip` jobs. Past the end that is less than
    none, and it would ask for ever: because it skipped too many, or because jobs were deleted
    between two pages. It is told `offset` instead, which means to it that nothing is left.
    """
    if offset > count and headers.get("x-qx-client-application"):
        return offset
    return count


def searched_tags(query: Query) -> tuple[str, ...]:
    """The tags of a search; a job must carry all of them.

    Raises:
        BadInput: one is shorter or longer than can be searched for (J28), or there are too many.
    """
    least, most = SEARCH_TAG
    tags = tuple(dict.fromkeys(query.texts("tags")))
    if len(tags) > SEARCH_TAGS_MAX:
        raise BadInput(
            f"At most {SEARCH_TAGS_MAX} tags can be searched for at once, not {len(tags)}.",
            field="tags",
        )
    for tag in tags:
        if not least <= len(tag) <= most:
            raise BadInput(
                f"A tag to search for has {least} to {most} characters, not {len(tag)}.",
                field="tags",
            )
    return tags


def error_text(row: JobRow) -> str:
    """What the stock client prints of a failed job."""
    job = row.job
    text = job.reason or "The job failed."
    if job.code is not None:
        text = f"Error code {job.code}; {text}"
    return advised(text, job.solution)
