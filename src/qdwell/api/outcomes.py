"""The outcome of a job: the job as it is, and its result once it has completed, in one answer.

It is told in two ways. `GET /jobs/{id}/outcome` asks for it, and is held until the job has ended.
And a submission with `Prefer: wait=N` (RFC 7240) is answered in two lines: the first is the usual
answer, sent when the job is durable; the second is the outcome, sent when the job has ended or
after N seconds. So a step of a loop that submits and waits is one request, not two, and the client
knows the job's id as early as ever. A line is missing if there is nothing to say: the job was
deleted, or its result is large or may be read only once. Whoever misses something asks for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from qdwell.api.auth import Caller
from qdwell.api.documents import job_document
from qdwell.api.feed import Feed
from qdwell.api.parts import Parts
from qdwell.api.turns import in_thread
from qdwell.core.job import JobState
from qdwell.errors import NotAllowed, QdwellError, StoreError, UnknownJob
from qdwell.store import JobRow

HELD_MS_MAX = 60_000
PUSHED_RESULT_BYTES_MAX = 262_144  # a larger one is asked for: who does not read it would keep it


class Outcomes:
    """Tells outcomes.

    Args:
        parts: of the server.
        feed: wakes who waits.
    """

    def __init__(self, parts: Parts, feed: Feed) -> None:
        self._parts = parts
        self._feed = feed

    async def tell(
        self, request: Request, caller: Caller, job_id: str, held_ms: int, *, with_result: bool
    ) -> bytes | None:
        """The outcome as JSON; held until the end, or for so long. None: the asker has gone.

        Raises:
            UnknownJob: the instance has no such job.
            NotAllowed: the result is private, and not the caller's.
        """
        crn = caller.instance.crn
        row = await self._ended(crn, job_id, held_ms)
        answer: dict[str, Any] = {"job": job_document(row, with_codes=True, params=None)}
        if row.job.state is JobState.COMPLETED and with_result:
            if row.details.private:
                check_may_take(caller, row)
                if await request.is_disconnected():
                    return None  # it can be read once, and nobody is there
            result = await self._result(crn, row)
            answer["result"] = None if result is None else orjson.Fragment(result)
        return orjson.dumps(answer)

    async def push(self, crn: str, job_id: str, held_ms: int) -> bytes:
        """The outcome for somebody who may not be reading: empty if they must ask for it."""
        try:
            row = await self._ended(crn, job_id, held_ms)
        except UnknownJob:
            return b""
        answer: dict[str, Any] = {"job": job_document(row, with_codes=True, params=None)}
        if row.job.state is JobState.COMPLETED:
            result = None if row.details.private else await self._result(crn, row)
            if result is None or len(result) > PUSHED_RESULT_BYTES_MAX:
                return b""
            answer["result"] = orjson.Fragment(result)
        return orjson.dumps(answer)

    async def _ended(self, crn: str, job_id: str, held_ms: int) -> JobRow:
        job = self._parts.engine.live_job(job_id)
        if held_ms and job is not None and job.instance == crn:
            row = await self._feed.wait_final(job_id, held_ms)
            if row is not None:
                return row
        row = self._parts.store.job(crn, job_id)
        if row is None:
            raise UnknownJob(job_id)
        return row

    async def _result(self, crn: str, row: JobRow) -> bytes | None:
        store = self._parts.store
        if row.details.private:  # reading erases, which is a write
            return await in_thread(store.read_result, crn, row.job.id)
        if row.result is None:
            return None
        try:
            return store.blobs.get(row.result)
        except StoreError:  # the job was deleted while we looked
            return store.read_result(crn, row.job.id)


def check_may_take(caller: Caller, row: JobRow) -> None:
    """Refuse to give out a private result to anybody but its user: reading it erases it (J29).

    Raises:
        NotAllowed: the job is another user's, or the role or the token is for reading only.
    """
    if row.details.user_id != caller.user_id:
        raise NotAllowed("This result is private: only the user who submitted the job can read it.")
    if caller.instance.role == "viewer" or not caller.owner.may_change:
        raise NotAllowed(
            "Reading a private result erases it, and this token, or your role in this instance, "
            "is for reading only."
        )


class TwoLines(Response):
    """An answer of two lines of JSON, of which the second comes later, or not at all."""

    media_type = "application/x-ndjson"

    def __init__(self, first: bytes, second: Callable[[], Awaitable[bytes]]) -> None:
        super().__init__(headers={"Preference-Applied": "wait"})
        del self.headers["content-length"]  # it is not known yet
        self._first = first
        self._second = second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Once the first line is out no error can be answered: the second is left out."""
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        body = {"type": "http.response.body", "body": self._first + b"\n", "more_body": True}
        await send(body)
        try:
            rest = await self._second()
        except QdwellError:
            rest = b""
        await send({"type": "http.response.body", "body": rest and rest + b"\n"})


def wanted_wait_ms(prefer: str | None) -> int:
    """How long `Prefer` asks to wait, at most `HELD_MS_MAX`; 0 if it does not ask.

    A preference that is not understood is ignored, as its standard says.
    """
    for part in (prefer or "").split(","):
        name, _, value = part.partition(";")[0].strip().partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdigit():
            return min(int(seconds[:6]) * 1000, HELD_MS_MAX)
    return 0
