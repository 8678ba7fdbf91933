"""Waiting without asking again and again: the outcome of a job, and the feed of events.

Both are held open until there is something to say, for as long as the client asked and at most
`HELD_MS_MAX`; whoever stays longer asks anew. The first is for one job: state and result in one
answer. The second is for all jobs and sessions of an instance at once, as one JSON answer, or as a
stream of server-sent events if that is what the client accepts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from qdwell.api.body import Query
from qdwell.api.edge import JsonBytes, reply
from qdwell.api.feed import EVERYBODY, Feed, Kept
from qdwell.api.outcomes import HELD_MS_MAX, Outcomes
from qdwell.api.parts import Parts
from qdwell.errors import NotAllowed, RequestError

TEXTS_KEPT = 1_000  # events that were written lately
STREAM_PULSE_MS = 15_000  # a comment keeps proxies from closing a quiet stream


class Push:
    """Held requests."""

    def __init__(self, parts: Parts, feed: Feed, outcomes: Outcomes) -> None:
        self._parts = parts
        self._feed = feed
        self._outcomes = outcomes
        self._texts: OrderedDict[tuple[str, bool], bytes] = OrderedDict()

    async def outcome(self, request: Request, job_id: str) -> Response:
        """Show a job, and its result if it has completed; held until then, or for `wait_ms`."""
        caller = await self._parts.caller(request)
        query = Query(request)
        held = query.number("wait_ms", 0, HELD_MS_MAX)
        told = await self._outcomes.tell(
            request,
            caller,
            job_id,
            held,
            with_result=query.flag("result") is not False,
        )
        return Response(status_code=499) if told is None else JsonBytes(told)

    async def events(self, request: Request) -> Response:
        """What has changed since the cursor `after`, held until something has, or for `wait_ms`.

        With `Accept: text/event-stream` a stream of server-sent events, each with its cursor as id;
        `Last-Event-ID` resumes it.
        """
        caller = await self._parts.caller(request)
        query = Query(request)
        whose = caller.instance.crn
        if query.flag("all") is True:
            if not caller.owner.admin:
                raise NotAllowed()
            whose = EVERYBODY
        await self._feed.start()
        after = query.text("after") or request.headers.get("last-event-id")
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(
                self._stream(request, whose, after),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            )
        held = query.number("wait_ms", 0, HELD_MS_MAX)
        cursor, changes, reset = self._feed.since(after, whose)
        if held and after is not None and not changes and not reset:
            await self._feed.wait_change(whose, held)
            cursor, changes, reset = self._feed.since(after, whose)
        told = [it.entry for it in changes]
        return reply({"cursor": cursor, "changes": told, "reset": reset})

    async def _stream(
        self, request: Request, whose: str, after: str | None
    ) -> AsyncIterator[bytes]:
        cursor, _, _ = self._feed.since(None, whose)
        cursor = after or cursor
        yield f"retry: 500\nid: {cursor}\n\n".encode()
        while not self._parts.closing.is_set():
            if not await self._still_may(request):
                return
            cursor, changes, reset = self._feed.since(cursor, whose)
            if reset:
                yield f"id: {cursor}\nevent: reset\ndata: {{}}\n\n".encode()
            if changes:
                yield b"".join(self._text(it) for it in changes)
            if not changes and not reset:
                await self._feed.wait_change(whose, STREAM_PULSE_MS)
                if not self._feed.has_news(cursor, whose):
                    yield b":\n\n"

    async def _still_may(self, request: Request) -> bool:
        """Whether who listens still may: a token that is revoked ends its streams too."""
        try:
            caller = await self._parts.caller(request)
        except RequestError:
            return False
        return caller.owner.admin or request.query_params.get("all") is None

    def _text(self, change: Kept) -> bytes:
        """A change as an event; it is written once for all who listen to the same instance."""
        key = change.cursor, "instance" in change.entry
        text = self._texts.get(key)
        if text is None:
            data = orjson.dumps(change.entry).decode()
            text = f"id: {change.cursor}\nevent: {change.entry['kind']}\ndata: {data}\n\n".encode()
            self._texts[key] = text
            if len(self._texts) > TEXTS_KEPT:
                self._texts.popitem(last=False)
        return text
