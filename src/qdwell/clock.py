"""The only place that reads the time.

Inside qdwell an instant is an integer: milliseconds since the Unix epoch, UTC (C1). Rules take
`now` as an argument; only the edges hold a `Clock`. A clock never runs backwards: one that is set
back is held at the last instant it showed (C8).

While it is held, time stands still: deadlines, which are instants, wait until the wall clock has
caught up. What only waits a while (a held answer, the next try, a grace) goes by the stopwatch,
which nobody sets: see `pause_ms`.

`ManualClock` is the clock of tests: it moves only when told to, so no test waits for real time.
"""

from __future__ import annotations

import heapq
import itertools
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(?P<fraction>\.\d+)?)?(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC, without saying so

# One timer of the event loop never sleeps longer than this, so that a wall clock that is set
# forward is noticed.
_NAP_MS_MAX = 60_000


class Clock(Protocol):
    """Tells the time, and wakes sleepers at an instant."""

    def now(self) -> int:
        """Milliseconds since the epoch, UTC; never less than it said before."""
        ...

    def hold(self, at: int) -> None:
        """Never say less than `at` from now on: an earlier process has seen that instant (C8)."""
        ...

    async def sleep_until(self, at: int) -> None:
        """Return when `now()` is `at` or later; at once if it is already."""
        ...

    def stopwatch_ns(self) -> int:
        """A monotonic reading in nanoseconds, never held or set; only differences mean anything."""
        ...

    async def pause_ns(self, ns: int) -> None:
        """Return when the stopwatch shows `ns` more; at once if that is nothing."""
        ...


class SystemClock:
    """The wall clock of this machine, held when it is set back (C8)."""

    def __init__(self) -> None:
        self._last = 0

    def now(self) -> int:
        """Milliseconds since the epoch, UTC; never less than it said before."""
        # Two threads may race here; the worst is one reading that is a moment old, which is still a
        # true instant.
        self._last = max(self._last, time.time_ns() // 1_000_000)
        return self._last

    def hold(self, at: int) -> None:
        """Never say less than `at` from now on."""
        self._last = max(self._last, at)

    async def sleep_until(self, at: int) -> None:
        """Return when `now()` is `at` or later; at once if it is already."""
        import asyncio  # here, because a client that only blocks never needs it

        while (rest := at - self.now()) > 0:
            await asyncio.sleep(min(rest, _NAP_MS_MAX) / 1000)

    stopwatch_ns = staticmethod(time.perf_counter_ns)

    async def pause_ns(self, ns: int) -> None:
        """Return when the stopwatch shows `ns` more, or a moment later."""
        import asyncio

        if ns > 0:
            await asyncio.sleep(ns / 1e9)


class ManualClock:
    """A clock for tests: it stands still until `advance` or `jump` moves it."""

    def __init__(self, start: int = 0) -> None:
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now(self) -> int:
        """The instant it was last moved to."""
        return self._now

    def hold(self, at: int) -> None:
        """Never say less than `at` from now on."""
        self.advance(at - self._now)

    async def sleep_until(self, at: int) -> None:
        """Return once the clock has been moved to `at` or beyond."""
        import asyncio

        if at <= self._now:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (at, next(self._order), woken))
        await woken

    def stopwatch_ns(self) -> int:
        """The same instant in nanoseconds: nothing takes time until the clock is moved."""
        return self._now * 1_000_000

    async def pause_ns(self, ns: int) -> None:
        """Return once the clock has been moved by `ns`, in whole milliseconds."""
        await self.sleep_until(self._now - -ns // 1_000_000)

    def next_wake(self) -> int | None:
        """The earliest instant that somebody sleeps for, or None."""
        self._drop_finished()
        return self._sleepers[0][0] if self._sleepers else None

    def advance(self, ms: int) -> None:
        """Move forward by `ms` and wake whoever is due; a negative `ms` is held (C8)."""
        self._now += max(ms, 0)
        while (wake := self.next_wake()) is not None and wake <= self._now:
            heapq.heappop(self._sleepers)[2].set_result(None)

    async def jump(self) -> bool:
        """Move to the next sleeper's instant and let the loop run; False if nobody sleeps."""
        await settle()
        wake = self.next_wake()
        if wake is None:
            return False
        self.advance(wake - self._now)
        await settle()
        return True

    def _drop_finished(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)


async def settle(turns: int = 20) -> None:
    """Let every task that can run do so: `turns` turns of the event loop. For tests."""
    import asyncio

    for _ in range(turns):
        await asyncio.sleep(0)


async def pause_ms(clock: Clock, ms: int) -> None:
    """Return when so much time has really passed: also while a clock that was set back stands."""
    await clock.pause_ns(ms * 1_000_000)


def passed_ms(clock: Clock) -> int:
    """The clock's stopwatch in milliseconds: for what ends after a while, not at an instant."""
    return clock.stopwatch_ns() // 1_000_000


def stopwatch_ns() -> int:
    """A monotonic reading in nanoseconds; only differences have a meaning."""
    return time.perf_counter_ns()


def iso(at: int) -> str:
    """An instant as the wire shows it: '2026-11-21T07:00:00.123Z'."""
    return f"{(_EPOCH + timedelta(milliseconds=at)).isoformat(timespec='milliseconds')}Z"


def parse_iso(text: str) -> int:
    """The instant of an ISO-8601 text.

    Without an offset it is UTC; parts of a millisecond are dropped.

    Raises:
        ValueError: the text is not a date with a time.
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is not an ISO-8601 date and time such as 2026-11-21T07:00:00.123Z"
        )
    fraction = match["fraction"] or ""
    moment = datetime.fromisoformat(
        text.strip().replace(fraction, "") if fraction else text.strip()
    )
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    ms = int((fraction[1:] + "000")[:3])
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000 + ms
