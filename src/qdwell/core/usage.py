"""Usage inside the rolling window (Q3, Q8): how much each instance has been charged in (t - W, t].

Theory. A charge is an interval of held time. It counts in full while it lies inside the window,
shrinks by one
millisecond per millisecond while the window's edge passes through it, and is gone after that. An
*open* charge
grows. So the usage of an instance is constant but for its open and its leaving intervals; intervals
on one backend
never overlap (P9, P10), so there are at most two such per backend and instance, however long the
history. The
ledger keeps the constant part as a sum, and a heap of the instants at which the edge meets an
interval.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

Interval = tuple[int, int]


@dataclass(slots=True)
class InstanceUsage:
    """The charged time of one instance, split by how it changes."""

    settled_ms: int = 0  #: sum of the closed intervals wholly inside the window
    inside: list[Interval] = field(default_factory=list)  #: those intervals, a heap by start
    leaving: list[Interval] = field(default_factory=list)  #: closed intervals that the edge is in
    open: dict[str, int] = field(default_factory=dict)  #: charge id to start

    @property
    def moving(self) -> bool:
        """Whether the usage changes by itself as time passes."""
        return bool(self.open or self.leaving)

    def at(self, now: int, window_ms: int) -> int:
        """Charged milliseconds in (now - window, now]."""
        edge = now - window_ms
        used = self.settled_ms
        for start, end in self.leaving:
            used += max(0, end - max(start, edge))
        if self.inside and self.inside[0][0] < edge:
            # Asked between two turns: the edge has moved on since the ledger was last advanced.
            used -= sum(max(0, min(end, edge) - start) for start, end in self.inside)
        for start in self.open.values():
            used += max(0, now - max(start, edge))
        return used


class Ledger:
    """All instances' usage. Call `advance(now)` before asking; `now` never runs backwards."""

    def __init__(self, window_ms: int) -> None:
        self.window_ms = window_ms
        self._of: dict[str, InstanceUsage] = {}
        self._edges: list[tuple[int, str]] = []

    def of(self, instance: str) -> InstanceUsage:
        """Return the books of one instance, made on first use."""
        usage = self._of.get(instance)
        if usage is None:
            usage = self._of[instance] = InstanceUsage()
        return usage

    def open(self, instance: str, charge: str, start: int) -> None:
        """Begin a charge."""
        self.of(instance).open[charge] = start

    def close(self, instance: str, charge: str, end: int, charged: bool = True) -> None:
        """End an open charge; if it is not charged it leaves no trace (U8)."""
        start = self.of(instance).open.pop(charge)
        if charged:
            self.add(instance, start, end)

    def add(self, instance: str, start: int, end: int) -> None:
        """Count a closed interval."""
        if end <= start:
            return
        usage = self.of(instance)
        usage.settled_ms += end - start
        heapq.heappush(usage.inside, (start, end))
        heapq.heappush(self._edges, (start + self.window_ms, instance))

    def refund(self, instance: str, start: int, end: int) -> None:
        """Take a closed interval back: a system error came after it (U8)."""
        usage = self.of(instance)
        if (start, end) in usage.inside:
            usage.inside.remove((start, end))
            heapq.heapify(usage.inside)
            usage.settled_ms -= end - start
        elif (start, end) in usage.leaving:
            usage.leaving.remove((start, end))

    def advance(self, now: int) -> set[str]:
        """Let the window's edge pass; return the instances whose intervals it met or left."""
        met: set[str] = set()
        while self._edges and self._edges[0][0] <= now:
            _, instance = heapq.heappop(self._edges)
            self._pass_edge(self.of(instance), instance, now)
            met.add(instance)
        return met

    def _pass_edge(self, usage: InstanceUsage, instance: str, now: int) -> None:
        edge = now - self.window_ms
        usage.leaving = [interval for interval in usage.leaving if interval[1] > edge]
        while usage.inside and usage.inside[0][0] <= edge:
            start, end = heapq.heappop(usage.inside)
            usage.settled_ms -= end - start
            if end > edge:
                usage.leaving.append((start, end))
                heapq.heappush(self._edges, (end + self.window_ms, instance))

    def used(self, instance: str, now: int) -> int:
        """U_i of Q8: charged milliseconds of the instance in (now - W, now]."""
        usage = self._of.get(instance)
        return usage.at(now, self.window_ms) if usage else 0

    def part(self, instances: Iterable[str], horizon: int) -> Ledger:
        """Return a copy for some instances that is right until the instant `horizon` (Q30).

        What the edge will not meet before that stays in the sums and is not copied one by one.
        """
        copy = Ledger(self.window_ms)
        edge = horizon - self.window_ms
        for instance in instances:
            usage = self._of.get(instance)
            if usage is None:
                continue
            met = sorted(interval for interval in usage.inside if interval[0] <= edge)
            copy._of[instance] = InstanceUsage(
                usage.settled_ms, met, list(usage.leaving), dict(usage.open)
            )
            copy._edges += [(start + self.window_ms, instance) for start, _ in met]
            copy._edges += [(end + self.window_ms, instance) for _, end in usage.leaving]
        heapq.heapify(copy._edges)
        return copy

    def falls_below(self, instance: str, limit: int, now: int) -> int | None:
        """First instant after `now` at which usage is below the limit, None if not in sight (Q12).

        Usage is linear between the instants at which the edge meets an interval, so those are
        walked in order.
        """
        usage = self.of(instance)
        shifts: list[tuple[int, int]] = []
        for start, end in [*usage.inside, *usage.leaving]:
            shifts.append((max(now, start + self.window_ms), -1))
            shifts.append((max(now, end + self.window_ms), +1))
        slope, at, used = len(usage.open), now, usage.at(now, self.window_ms)
        for when, change in sorted(shifts):
            crossing = _first_below(at, used, slope, limit)
            if crossing is not None and crossing <= when:
                return crossing
            used += slope * (when - at)
            at = when
            slope += change
        return None

    def reaches(self, instance: str, limit: int, now: int) -> int | None:
        """First instant from `now` on at which usage is at the limit if open charges go on (I9)."""
        usage = self.of(instance)
        missing = limit - usage.at(now, self.window_ms)
        if missing <= 0:
            return now
        if not usage.open:
            return None
        return now + -(-missing // len(usage.open))


def _first_below(at: int, used: int, slope: int, limit: int) -> int | None:
    """First whole millisecond after `at` with used + slope * passed < limit."""
    if used + slope < limit:
        return at + 1
    if slope >= 0:
        return None
    return at + (used - limit) // -slope + 1
