"""Whose request is begun when: nobody who asks too much holds up the others.

One event loop serves all. Without this, whoever has many requests under way has most of it, and
everybody else waits for each of them, several times on the way of every job. So the time that the
loop spends on each user's requests is measured, and a user's next request is begun no sooner than
their share of the loop allows; until then it waits unread, in the socket.

    share      what the others leave, `OTHERS_WEIGHT` times over, and never less than an equal part
    burst      so much of the loop's time is had at once, before anybody is held to their share
    blocking   one long piece of work, such as parsing a large body, holds up others at once: it
               counts up to `BLOCKING_WEIGHT_MAX` times

Alone, everybody has the whole loop: what a request leads to after its answer counts only beside
others, seen within `COMPANY_NS`. A request that would have to wait longer than `WAIT_MS_MAX` is
refused instead (429). A request whose user is not known yet counts for the address it comes from.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from qdwell.clock import Clock
from qdwell.errors import TooManyAtOnce

T = TypeVar("T")

MS = 1_000_000  # in ns
BURST_NS = 200 * MS
WINDOW_NS = 1_000 * MS  # over which use is remembered, fading
COMPANY_NS = 10_000 * MS
ADDRESS = "at "  # how the name of somebody begins of whom only the address is known
WAIT_MS_MAX = 10_000
OTHERS_WEIGHT = 4.0
BLOCKING_NS = 5 * MS
BLOCKING_WEIGHT_MAX = 8.0
USERS_MAX = 10_000


@dataclass(slots=True)
class Cost:
    """What one request costs, in ns. Time is by the wall: where the computer is busy with other
    things, the loop has less of it to give away."""

    now: Callable[[], int]  #: the stopwatch that it is measured with
    loop: int = 0
    threads: int = 0  #: they take turns with the loop
    blocking: int = 0  #: threads that keep the interpreter, so that the loop stands
    factor: float = 1.0  #: by which the loop's part counts, for what it leads to afterwards

    @property
    def total(self) -> float:
        """How much it counts by itself."""
        weight = min(BLOCKING_WEIGHT_MAX, max(1.0, self.blocking / BLOCKING_NS))
        return self.loop + self.threads + self.blocking * weight

    @property
    def later(self) -> float:
        """How much of what it leads to counts beside others."""
        return self.loop * (self.factor - 1.0)


_cost: ContextVar[Cost] = ContextVar("cost")


@dataclass(slots=True)
class _User:
    free_at: int = 0  #: the instant up to which their share is used
    used: float = 0.0  #: of the loop, in ns, fading with the window
    at: int = 0  #: when that was so
    seen: int = 0  #: when they asked last
    usual: float = MS / 2  #: cost of their requests, in the mean

    def fade(self, now: int) -> float:
        """What is remembered of their use by now."""
        if now != self.at:
            self.used *= math.exp((self.at - now) / WINDOW_NS)
            self.at = now
        return self.used


class Turns:
    """The loop's time, by user, as the clock's stopwatch shows it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = clock.stopwatch_ns
        self._users: OrderedDict[str, _User] = OrderedDict()  #: the one seen last is at the end
        self._all = _User()

    async def wait(self, user: str) -> float:
        """Return when a request of this user may begin, with what it is expected to cost.

        Raises:
            TooManyAtOnce: that would take longer than `WAIT_MS_MAX`.
        """
        wait_ns, expected = self.enter(user)
        if wait_ns > 0:
            await self._clock.pause_ns(wait_ns)
        return expected

    def enter(self, user: str) -> tuple[int, float]:
        """How long a request must wait, in ns, and its expected cost, which is charged by now."""
        now = self._now()
        entry = self._users.get(user)
        if entry is None:
            entry = self._users[user] = _User(at=now)
            if len(self._users) > USERS_MAX:
                self._users.popitem(last=False)
        self._users.move_to_end(user)
        entry.seen = now
        entry.free_at = max(entry.free_at, now - BURST_NS)
        wait_ns = entry.free_at - now
        if wait_ns > WAIT_MS_MAX * MS:
            raise TooManyAtOnce(-(-wait_ns // (1_000 * MS)))
        expected = entry.usual
        entry.free_at += int(expected / self._share(entry, now))
        return wait_ns, expected

    def charge(self, user: str, expected: float, cost: float, later: float = 0.0) -> None:
        """Correct what was expected of a request by what it has cost, and leads to, in ns."""
        entry = self._users.get(user)
        if entry is None:
            return
        now = self._now()
        if later and self._has_company(user, now):
            cost += later
        entry.free_at += int((cost - expected) / self._share(entry, now))
        entry.usual += (cost - entry.usual) / 8
        entry.used += cost  # both have faded to `now` for the share
        self._all.used += cost

    def _has_company(self, user: str, now: int) -> bool:
        """Whether somebody else has been here lately."""
        for name, each in reversed(self._users.items()):
            if now - each.seen > COMPANY_NS:
                return False
            if name != user and not name.startswith(ADDRESS):
                return True
        return False

    def _share(self, entry: _User, now: int) -> float:
        """Which part of the loop's time a user may have."""
        others = max(0.0, self._all.fade(now) - entry.fade(now)) / WINDOW_NS
        active = 0
        for each in reversed(self._users.values()):
            if now - each.seen > WINDOW_NS or active >= 1_000:
                break
            active += 1
        return min(1.0, max(1.0 - OTHERS_WEIGHT * others, 1.0 / max(1, active)))


class Measured(Awaitable[T]):
    """A coroutine whose pieces are timed as the loop runs them."""

    def __init__(self, work: Coroutine[Any, Any, T], clock: Clock) -> None:
        self._work = work
        self.cost = Cost(clock.stopwatch_ns)

    def __await__(self) -> Generator[Any, Any, T]:
        """Run it piece by piece, as the loop does."""
        _cost.set(self.cost)
        now = self.cost.now
        step: Callable[[Any], Any] = self._work.send
        given: BaseException | None = None
        while True:
            began = now()
            try:
                waits_for = step(given)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                self.cost.loop += now() - began
            try:
                yield waits_for
            except BaseException as error:  # thrown in, such as a cancellation: it goes on inside
                step, given = self._work.throw, error
            else:
                step, given = self._work.send, None


def leads_to_more(factor: float) -> None:
    """Let the request that runs count so many times."""
    cost = _cost.get(None)
    if cost is not None:
        cost.factor = factor


async def in_thread(work: Callable[..., T], *args: Any, **more: Any) -> T:
    """Do it in a thread, and count it for the request that waits for it."""
    return await asyncio.to_thread(_counted, False, work, *args, **more)


async def blocking(work: Callable[..., T], *args: Any) -> T:
    """The same for long work of which the interpreter lets nothing else run beside it."""
    return await asyncio.to_thread(_counted, True, work, *args)


def _counted(blocks: bool, work: Callable[..., T], *args: Any, **more: Any) -> T:
    cost = _cost.get(None)
    if cost is None:
        return work(*args, **more)
    began = cost.now()
    try:
        return work(*args, **more)
    finally:
        took = cost.now() - began
        if blocks:
            cost.blocking += took
        else:
            cost.threads += took
