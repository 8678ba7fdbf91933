"""Waiting without asking again and again: the outcome of a job, and the feed of events.

Both are held open until there is something to say, for as long as the client asked and at most
`HELD_MS_MAX`; whoever stays longer asks anew. The first is for one job: state and result in one
answer. The second is for all jobs and sessions of an instance at once, as one JSON answer, or as a
stream of server-sent events if that is what the client accepts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from qdwell.api.auth import Caller
from qdwell.api.body import Query
from qdwell.api.documents import job_document
from qdwell.api.edge import JsonBytes, reply
from qdwell.api.feed import Feed
from qdwell.api.parts import Parts
from qdwell.core.job import JobState
from qdwell.errors import StoreError, UnknownJob
from qdwell.store import JobRow

HELD_MS_MAX = 60_000
STREAM_PULSE_MS = 15_000  # a comment keeps proxies from closing a quiet stream


class Push:
    """Held requests."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._feed = Feed(parts.engine, parts.closing, parts.clock.now())

    async def outcome(self, request: Request, job_id: str) -> Response:
        """Show a job, and its result if it has completed; held until then, or for `wait_ms`."""
        parts = self._parts
        caller = await parts.caller(request)
        query = Query(request, ("wait_ms", "result"))
        held = query.page("wait_ms", 0, HELD_MS_MAX, least=0)
        crn = caller.instance.crn
        job = parts.engine.live_job(job_id)
        if held and job is not None and job.instance == crn:
            await self._feed.wait_final(job_id, held)
        row = parts.store.job(crn, job_id)
        if row is None:
            raise UnknownJob(job_id)
        answer: dict[str, Any] = {"job": job_document(row, with_codes=True, params=None)}
        if row.job.state is JobState.COMPLETED and query.flag("result") is not False:
            if row.details.private and await request.is_disconnected():
                return Response(status_code=499)  # it can be read once, and nobody is there
            result = await self._result(crn, row)
            answer["result"] = None if result is None else orjson.Fragment(result)
        return JsonBytes(orjson.dumps(answer))

    async def _result(self, crn: str, row: JobRow) -> bytes | None:
        store = self._parts.store
        if row.details.private:  # reading erases, which is a write
            return await asyncio.to_thread(store.read_result, crn, row.job.id)
        if row.result is None:
            return None
        try:
            return store.blobs.get(row.result)
        except StoreError:  # the job was deleted while we looked
            return store.read_result(crn, row.job.id)

    async def events(self, request: Request) -> Response:
        """What has changed since the cursor `after`, held until something has, or for `wait_ms`.

        With `Accept: text/event-stream` a stream of server-sent events, each with its cursor as id;
        `Last-Event-ID` resumes it.
        """
        caller = await self._parts.caller(request)
        query = Query(request, ("after", "wait_ms"))
        await self._feed.start()
        after = query.text("after") or request.headers.get("last-event-id")
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(
                self._stream(caller, after),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            )
        held = query.page("wait_ms", 0, HELD_MS_MAX, least=0)
        cursor, changes, reset = self._feed.since(after, caller.instance.crn)
        if held and after is not None and not changes and not reset:
            await self._feed.wait_change(caller.instance.crn, held)
            cursor, changes, reset = self._feed.since(after, caller.instance.crn)
        told = [entry for _, entry in changes]
        return reply({"cursor": cursor, "changes": told, "reset": reset})

    async def _stream(self, caller: Caller, after: str | None) -> AsyncIterator[bytes]:
        cursor, _, _ = self._feed.since(None, caller.instance.crn)
        cursor = after or cursor
        yield f"retry: 500\nid: {cursor}\n\n".encode()
        while not self._parts.closing.is_set():
            cursor, changes, reset = self._feed.since(cursor, caller.instance.crn)
            if reset:
                yield f"id: {cursor}\nevent: reset\ndata: {{}}\n\n".encode()
            for number, change in changes:
                data = orjson.dumps(change).decode()
                head = f"id: {self._feed.cursor(number)}\nevent: {change['kind']}"
                yield f"{head}\ndata: {data}\n\n".encode()
            if not changes and not reset:
                await self._feed.wait_change(caller.instance.crn, STREAM_PULSE_MS)
                yield b":\n\n"
