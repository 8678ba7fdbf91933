"""What has changed, for those who wait: one feed for all, read from any place in it.

Every stored change of a job, session, or batch gets the next number. The newest ones are kept, so a
reader that comes back names the last change that it has seen and is told the rest: there is no
buffer for each reader, and a slow one costs nothing. A reader that names a change we do not have
any more, or one of an earlier process, is told to look for itself (`reset`).

Numbers stay inside: they would tell how much others do. A reader knows a change by a random name,
its cursor, and only changes of its own instance, so its cursor moves with those alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import Any

from qdwell.clock import iso
from qdwell.core.decisions import PutGroup, PutJob
from qdwell.core.group import REPORTED
from qdwell.core.job import SERVER_WORDS
from qdwell.engine.engine import Engine
from qdwell.engine.memory import Change, Ended
from qdwell.store import JobRow
from qdwell.store.ids import new_cursor

KEPT = 20_000  # changes that can be told again
TOLD_MOST = 2_000  # in one answer
EVERYBODY = "*"  # in place of an instance: the changes of all, for operators


@dataclass(frozen=True, slots=True)
class Kept:
    """One change, as it can be told again."""

    number: int
    cursor: str
    instance: str
    entry: dict[str, Any]


class Feed:
    """The changes of all instances, with their numbers.

    Args:
        engine: tells of changes.
        closing: set when the server stops; whoever waits is woken then.
    """

    def __init__(self, engine: Engine, closing: asyncio.Event) -> None:
        self._engine = engine
        self._closing = closing
        self._last = 0
        self._kept: deque[Kept] = deque()
        self._numbers: dict[str, int] = {}  #: of the cursors of what is kept
        self._begin = new_cursor()  #: names the place before the first change
        self._newest: dict[str, Kept] = {}  #: change of an instance
        self._gone: dict[str, int] = {}  #: number of an instance's newest change that is not kept
        self._waiting: dict[str, set[Ended]] = {}  #: by instance, or by job
        self._reading: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen, if we do not yet."""
        self._watch_end()
        if self._reading is None or self._reading.done():
            if self._reading is not None:
                # We were cut off: what was missed cannot be told.
                self._begin = new_cursor()
                for it in (self._kept, self._numbers, self._newest, self._gone):
                    it.clear()
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
        kept = Kept(self._last, new_cursor(), instance, entry)
        self._kept.append(kept)
        self._numbers[kept.cursor] = kept.number
        self._newest[instance] = self._newest[EVERYBODY] = kept
        if len(self._kept) > KEPT:
            self._drop(self._kept.popleft())
        self._wake(instance)
        self._wake(EVERYBODY)

    def _drop(self, old: Kept) -> None:
        del self._numbers[old.cursor]
        self._gone[old.instance] = self._gone[EVERYBODY] = old.number
        if self._newest[old.instance] is old:
            del self._newest[old.instance]

    def _wake(self, key: str) -> None:
        for waiter in self._waiting.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _wake_all(self) -> None:
        for key in list(self._waiting):
            self._wake(key)

    # ---- reading --------------------------------------------------------------------------------

    def since(self, cursor: str | None, instance: str) -> tuple[str, list[Kept], bool]:
        """The changes of an instance, or of `EVERYBODY`, behind a cursor.

        Returns the cursor for the next time, the changes, and whether some may be missing.
        """
        newest = self._newest.get(instance)
        now = self._begin if newest is None else newest.cursor
        if cursor is None:
            return now, [], False
        number = self._number(cursor, instance)
        if number is None:
            return now, [], True
        told = list(islice(self._behind(number, instance), TOLD_MOST))
        return told[-1].cursor if told else cursor, told, False

    def has_news(self, cursor: str, instance: str) -> bool:
        """Whether `since` has something to tell."""
        number = self._number(cursor, instance)
        return number is None or any(True for _ in self._behind(number, instance))

    def _number(self, cursor: str, instance: str) -> int | None:
        """The number that a cursor means, if all of the instance's behind it is still there."""
        gone = self._gone.get(instance, 0)
        number = 0 if cursor == self._begin else self._numbers.get(cursor)
        return number if number is not None and number >= gone else None

    def _behind(self, number: int, instance: str) -> Iterator[Kept]:
        newest = self._newest.get(instance)
        if newest is None or newest.number <= number:
            return
        # From the newest one back: a reader has mostly seen all but the last few of thousands.
        news = list(takewhile(lambda kept: kept.number > number, reversed(self._kept)))
        for kept in reversed(news):
            if kept.instance == instance:
                yield kept
            elif instance == EVERYBODY:
                yield replace(kept, entry={**kept.entry, "instance": kept.instance})

    async def wait_change(self, instance: str, ms: int) -> None:
        """Return at the next change of the instance, after `ms`, or when the server stops."""
        await self._wait(instance, ms, asyncio.get_running_loop().create_future())

    async def wait_final(self, job_id: str, ms: int) -> JobRow | None:
        """Return when a live job is stored as final, after `ms`, or when the server stops.

        Returns the row of the job, if it has ended meanwhile and need not be read.
        """
        waiter = self._engine.final(job_id)
        if waiter is None:
            return None
        try:
            return await self._wait(job_id, ms, waiter)
        finally:
            self._engine.forget_final(job_id, waiter)

    async def _wait(self, key: str, ms: int, waiter: Ended) -> JobRow | None:
        # One future and one timer: this is on the way of every small job.
        self._watch_end()
        if self._closing.is_set():
            return None
        loop = asyncio.get_running_loop()
        self._waiting.setdefault(key, set()).add(waiter)
        late = loop.call_later(ms / 1000, _set, waiter)
        try:
            return await waiter
        finally:
            late.cancel()
            waiters = self._waiting.get(key)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[key]


def _set(waiter: Ended) -> None:
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
