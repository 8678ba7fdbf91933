"""Pictures of jobs for people: asked of a worker of their own, because users' bytes are opened.

The worker is forked when the first picture is asked for, does one at a time, and is killed when one
takes too long. What it told of a job that has ended is kept, since it cannot change.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

import orjson

from qdwell.engine.frames import Frame
from qdwell.engine.pools import LATE, LocalPool, Task
from qdwell.engine.workers import ForkServer

LIMIT_S = 10.0  # for one picture, the worker's start included
WAITING_MAX = 20  # pictures asked for at once; more are refused, not queued for minutes
KEPT = 200
INPUT_BYTES_MAX = 20_000_000  # of input and result together

REFUSED: dict[str, Any] = {"pubs": [], "count": 0}


class Pictures:
    """Asks a limited worker what there is to see of a job."""

    def __init__(self, server: ForkServer) -> None:
        self._pool = LocalPool(server, {"name": "pictures", "nice": "classical"}, size=1, eager=0)
        self._kept: OrderedDict[tuple[str, bool], dict[str, Any]] = OrderedDict()
        self._waiting = 0

    async def of_job(
        self, job_id: str, program_id: str, params: bytes, result: bytes | None
    ) -> dict[str, Any]:
        """What there is to see of a job, as `programs.picture.describe` tells it.

        `note` says in its place why there is nothing: too large, too slow, or too many at once.
        """
        key = (job_id, result is not None)
        known = self._kept.get(key)
        if known is not None:
            return known
        if len(params) + len(result or b"") > INPUT_BYTES_MAX:
            return {**REFUSED, "note": "It is too large to be drawn."}
        if self._waiting >= WAITING_MAX:
            return {**REFUSED, "note": "Many pictures are being drawn; try again in a moment."}
        self._waiting += 1
        try:
            told = await self._ask(program_id, params, result)
        finally:
            self._waiting -= 1
        if told is None:
            return {**REFUSED, "note": "It cannot be drawn within time and memory."}
        self._kept[key] = told
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return told

    async def _ask(
        self, program_id: str, params: bytes, result: bytes | None
    ) -> dict[str, Any] | None:
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def settle(content: bytes | None) -> None:
            if not answer.done():
                answer.set_result(content)

        def heard(frame: Frame) -> None:
            done = frame is not LATE and frame.op == "done"
            settle(frame.parts[0] if done else None)

        head = {"op": "picture", "program": program_id, "has_result": result is not None}
        task = Task(
            head,
            [params, result or b""],
            on_frame=heard,
            on_lost=lambda: settle(None),
            on_stopped=lambda: settle(None),
            limit_s=LIMIT_S,
        )
        self._pool.submit(task)
        content = await answer
        if content is None:
            return None
        told: dict[str, Any] = orjson.loads(content)
        return told

    async def close(self) -> None:
        """End the worker."""
        await self._pool.close()
