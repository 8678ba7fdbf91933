"""What has changed, for those who wait: one feed for all, read from any place in it.

Every stored change of a job, session, or batch gets the next number. The newest ones are kept, so a
reader that comes back names the last number that it has seen and is told the rest: there is no
buffer for each reader, and a slow one costs nothing. A reader that names a number we do not have
any more, or one of an earlier process, is told to look for itself (`reset`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any

from qdwell.clock import iso
from qdwell.core.decisions import PutGroup, PutJob
from qdwell.core.group import REPORTED
from qdwell.core.job import SERVER_WORDS
from qdwell.engine import Change, Engine

KEPT = 20_000  # changes that can be told again
TOLD_MOST = 2_000  # in one answer
EVERYBODY = "*"  # in place of an instance: the changes of all, for operators


class Feed:
    """The changes of all instances, with their numbers.

    Args:
        engine: tells of changes.
        closing: set when the server stops; whoever waits is woken then.
        epoch: distinguishes this process's numbers from those of another.
    """

    def __init__(self, engine: Engine, closing: asyncio.Event, epoch: int) -> None:
        self._engine = engine
        self._closing = closing
        self._epoch = epoch
        self._last = 0
        self._kept: deque[tuple[int, str, dict[str, Any]]] = deque(maxlen=KEPT)
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}  #: by instance, or by job
        self._reading: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen, if we do not yet."""
        self._watch_end()
        if self._reading is None or self._reading.done():
            if self._reading is not None:
                self._epoch += 1  # we were cut off: what was missed cannot be told
                self._kept.clear()
            self._reading = asyncio.create_task(self._read(), name="feed")
            await asyncio.sleep(0)  # the task has its place among the readers after one turn

    def _watch_end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name="feed's end")

    async def _end(self) -> None:
        await self._closing.wait()
        self._wake_all()

    async def _read(self) -> None:
        async for change in self._engine.changes():
            self._add(change)
        self._wake_all()

    def _add(self, change: Change) -> None:
        instance, entry = described(change)
        if entry is None:
            return
        self._last += 1
        self._kept.append((self._last, instance, entry))
        self._wake(instance)
        self._wake(EVERYBODY)

    def _wake(self, key: str) -> None:
        for waiter in self._waiting.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _wake_all(self) -> None:
        for key in list(self._waiting):
            self._wake(key)

    # ---- reading --------------------------------------------------------------------------------

    def cursor(self, number: int | None = None) -> str:
        """The place behind a change; behind the newest one if no number is given."""
        return f"{self._epoch:x}-{self._last if number is None else number:x}"

    def since(
        self, cursor: str | None, instance: str
    ) -> tuple[str, list[tuple[int, dict[str, Any]]], bool]:
        """The changes of an instance, or of `EVERYBODY`, behind a cursor.

        Returns the cursor for the next time, the changes by number, and whether some may be
        missing.
        """
        if cursor is None:
            return self.cursor(), [], False
        number = self._number(cursor)
        if number is None:
            return self.cursor(), [], True
        told = list(islice(self._behind(number, instance), TOLD_MOST + 1))
        if len(told) > TOLD_MOST:
            return self.cursor(told[-2][0]), told[:-1], False
        return self.cursor(), told, False

    def has_news(self, cursor: str, instance: str) -> bool:
        """Whether `since` has something to tell."""
        number = self._number(cursor)
        return number is None or any(True for _ in self._behind(number, instance))

    def _number(self, cursor: str) -> int | None:
        """The number that a cursor of this process means, if all behind it is still there."""
        epoch, _, text = cursor.partition("-")
        try:
            number = int(text, 16)
            known = int(epoch, 16) == self._epoch and number <= self._last
        except ValueError:
            return None
        oldest = self._kept[0][0] if self._kept else self._last + 1
        return number if known and number >= oldest - 1 else None

    def _behind(self, number: int, instance: str) -> Iterator[tuple[int, dict[str, Any]]]:
        # From the newest one back: a reader has mostly seen all but the last few of thousands.
        news = list(takewhile(lambda kept: kept[0] > number, reversed(self._kept)))
        for at, owner, entry in reversed(news):
            if owner == instance:
                yield at, entry
            elif instance == EVERYBODY:
                yield at, {**entry, "instance": owner}

    async def wait_change(self, instance: str, ms: int) -> None:
        """Return at the next change of the instance, after `ms`, or when the server stops."""
        await self._wait(instance, ms, asyncio.get_running_loop().create_future())

    async def wait_final(self, job_id: str, ms: int) -> None:
        """Return when a live job is stored as final, after `ms`, or when the server stops."""
        waiter = self._engine.final(job_id)
        if waiter is not None:
            try:
                await self._wait(job_id, ms, waiter)
            finally:
                self._engine.forget_final(job_id, waiter)

    async def _wait(self, key: str, ms: int, waiter: asyncio.Future[None]) -> None:
        # One future and one timer: this is on the way of every small job.
        self._watch_end()
        if self._closing.is_set():
            return
        loop = asyncio.get_running_loop()
        self._waiting.setdefault(key, set()).add(waiter)
        late = loop.call_later(ms / 1000, _set, waiter)
        try:
            await waiter
        finally:
            late.cancel()
            waiters = self._waiting.get(key)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[key]


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def described(change: Change) -> tuple[str, dict[str, Any] | None]:
    """Whose change it is, and what is told of it; None if users do not see it."""
    if isinstance(change, PutJob):
        job = change.job
        word = SERVER_WORDS[job.state]
        if change.was is not None and SERVER_WORDS[change.was] == word:
            return job.instance, None
        entry = {"kind": "job", "id": job.id, "status": word, "backend": job.backend}
        if job.group is not None:
            entry["session_id"] = job.group
        return job.instance, entry
    if isinstance(change, PutGroup):
        group = change.group
        return group.instance, {
            "kind": "session",
            "id": group.id,
            "state": REPORTED[group.state],
            "accepting_jobs": group.accepting,
            "closed_at": None if group.closed_at is None else iso(group.closed_at),
        }
    return change.job.instance, {"kind": "interim", "id": change.job.id, "n": change.n}
