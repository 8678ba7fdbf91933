"""What has changed, for the pages that are open: server-sent events of the visitor's instance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from qdwell.console.signin import NotSignedIn, Visitor
from qdwell.console.site import HEADERS, Site

PULSE_MS = 15_000


class Live:
    """The stream. A page that missed something is told to look for itself."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def stream(self, request: Request, visitor: Visitor) -> Response:
        """Changes from now on, or from the `Last-Event-ID` of a stream that broke."""
        await self._site.feed.start()
        after = request.headers.get("last-event-id")
        return StreamingResponse(
            self._lines(request, visitor.crn, after),
            media_type="text/event-stream",
            headers={**HEADERS, "X-Accel-Buffering": "no"},
        )

    async def _lines(self, request: Request, crn: str, after: str | None) -> AsyncIterator[bytes]:
        feed, closing, auth = self._site.feed, self._site.parts.closing, self._site.parts.auth
        cursor = after or feed.since(None, crn)[0]
        yield f"retry: 1000\nid: {cursor}\n\n".encode()
        looked = None
        while not closing.is_set():
            if looked is None or not auth.fresh(looked):
                looked = auth.moment()  # before the look: what changes during it is seen next time
                if not await self._still_may(request, crn):
                    return
            cursor, changes, reset = feed.since(cursor, crn)
            if reset:
                yield f"id: {cursor}\nevent: reset\ndata: {{}}\n\n".encode()
            for change in changes:
                told = {"id": change.entry["id"]}
                head = f"id: {change.cursor}\nevent: {change.entry['kind']}"
                yield f"{head}\ndata: {orjson.dumps(told).decode()}\n\n".encode()
            if not changes and not reset:
                await feed.wait_change(crn, PULSE_MS)
                yield b":\n\n"

    async def _still_may(self, request: Request, crn: str) -> bool:
        """Whether who looks still may: a token that is revoked ends its pages' streams too."""
        try:
            visitor = await asyncio.to_thread(self._site.sign_in.visitor, request)
        except NotSignedIn:
            return False
        return visitor.crn == crn
