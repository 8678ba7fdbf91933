"""What happened on a machine, for pictures: spans of jobs, windows of groups, usage by day.

These queries see all instances, because a machine's picture shows that it was taken; whose work it
was is told to nobody else, which is the caller's part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select

from qdwell.core.decisions import Held
from qdwell.core.group import LIVE, GroupState, Mode
from qdwell.core.ledger import RESERVED
from qdwell.store import Store
from qdwell.store.tables import charges, events, groups, jobs

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class JobSpan:
    """When a job was where; None where it has not come (yet)."""

    id: str
    instance: str
    group: str | None
    state: str
    created: int
    running_at: int
    ready_at: int | None
    executing_at: int | None
    executed_at: int | None
    finished_at: int | None


@dataclass(frozen=True, slots=True)
class WindowSpan:
    """An interval in which a session or batch was active.

    `reserved_at`: when the machine began to empty its lanes for it, None if it need not.
    `drains_at`: when it began to end, with jobs still to finish.
    """

    group: str
    instance: str
    mode: Mode
    start: int
    end: int | None = None
    reserved_at: int | None = None
    drains_at: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """How long the QPU was busy in one step of time: for one instance, and for all others."""

    own_ms: int
    other_ms: int


def _ran_in(backend: str, start: int, end: int) -> ColumnElement[bool]:
    return and_(
        jobs.c.backend == backend,
        jobs.c.running_at < end,
        or_(jobs.c.finished_at.is_(None), jobs.c.finished_at > start),
    )


def job_spans(store: Store, backend: str, start: int, end: int, most: int) -> list[JobSpan] | None:
    """Jobs that held a lane in [start, end), by their start; None if there are more than `most`."""
    names = ("id", "instance", "group", "state", "created", "running_at", "ready_at")
    later = ("executing_at", "executed_at", "finished_at")
    query = select(*(jobs.c[name] for name in (*names, *later)))
    query = query.where(_ran_in(backend, start, end)).limit(most + 1)
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    if len(rows) > most:
        return None
    return sorted((JobSpan(*row) for row in rows), key=lambda span: (span.running_at, span.id))


def qpu_shares(
    store: Store, backend: str, instance: str, start: int, end: int, steps: int
) -> list[Share]:
    """How busy the QPU was in each of `steps` equal steps of [start, end).

    A run shorter than a step counts in the step of its beginning. Longer ones are split exactly;
    the QPU does one at a time, so there are never more of those than steps.
    """
    width = max(1, -(-(end - start) // steps))
    begin, stop = jobs.c.executing_at, jobs.c.executed_at
    # One pass: short runs are summed up by step, each other one is a group of its own, by its
    # beginning below zero: one whole number is the cheapest thing to group by.
    short = and_(begin >= start, stop - begin <= width)
    key = case((short, (begin - start) // literal(width)), else_=-begin)
    own = case((jobs.c.instance == instance, stop - begin), else_=0)
    query = (
        select(key, func.sum(own), func.sum(stop - begin), func.min(begin), func.max(stop))
        .where(jobs.c.backend == backend, jobs.c.finished_at > start, begin < end, stop > start)
        .group_by(key)
    )
    sums = [[0, 0] for _ in range(steps)]
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    for at, mine, ms, first, last in rows:
        if at >= 0:
            sums[min(steps - 1, int(at))][0] += int(mine)
            sums[min(steps - 1, int(at))][1] += int(ms) - int(mine)
            continue
        for place, part in _split(max(first, start), min(last, end), start, width):
            sums[min(steps - 1, place)][0 if mine else 1] += part
    return [Share(*each) for each in sums]


def _split(begin: int, end: int, origin: int, width: int) -> Iterator[tuple[int, int]]:
    """The part of [begin, end) in each step of `width` from `origin`."""
    while begin < end:
        at = (begin - origin) // width
        stop = min(end, origin + (at + 1) * width)
        yield at, stop - begin
        begin = stop


def windows(store: Store, backend: str, start: int, end: int, most: int) -> list[WindowSpan]:
    """Windows of sessions and batches that touch [start, end), oldest first, the last `most`."""
    mine = select(groups.c.id).where(
        groups.c.backend == backend,
        groups.c.started_at < end,
        or_(groups.c.closed_at.is_(None), groups.c.closed_at > start),
    )
    reserved = events.c.cause.startswith(RESERVED, autoescape=True)
    query = (
        select(events.c.subject, groups.c.instance, groups.c.mode, events.c.at, events.c.after)
        .join(groups, groups.c.id == events.c.subject)
        .where(events.c.subject.in_(mine), or_(events.c.what == "group", reserved))
        .order_by(events.c.subject, events.c.id)
    )
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    found = [
        window for _, lines in groupby(rows, itemgetter(0)) for window in _windows_of(list(lines))
    ]
    inside = [it for it in found if it.start < end and (it.end is None or it.end > start)]
    return sorted(inside, key=lambda it: it.start)[-most:]


def _windows_of(lines: Sequence[Any]) -> Iterator[WindowSpan]:
    """The windows of one group, from the lines of its story."""
    window: WindowSpan | None = None
    reserved_at: int | None = None
    for group, instance, mode, at, after in lines:
        live = after is not None and GroupState(after) in LIVE
        if after is None:
            reserved_at = at
        elif window is None and live:
            window = WindowSpan(group, instance, Mode(mode), at, None, reserved_at)
            reserved_at = None
        elif window is not None and not live:
            yield replace(window, end=at)
            window = None
        elif window is not None and after != GroupState.ACTIVE and window.drains_at is None:
            window = replace(window, drains_at=at)
    if window is not None:
        yield window


def usage_by_day(store: Store, instance: str, start: int, end: int) -> dict[tuple[int, Held], int]:
    """Charged milliseconds of an instance in [start, end), by day (UTC, its first ms) and kind.

    An open charge runs to `end`.
    """
    begin, until = charges.c.start, case((charges.c.end.is_(None), end), else_=charges.c.end)
    # One pass: charges within a day are summed up, each other one is a group of its own.
    within = and_(
        begin // literal(DAY_MS) == (until - 1) // literal(DAY_MS), begin >= start, until <= end
    )
    day = case((within, begin // literal(DAY_MS)), else_=None)
    single = case((within, None), else_=charges.c.id)
    query = (
        select(day, charges.c.kind, func.sum(until - begin), func.min(begin), func.max(until))
        .where(charges.c.instance == instance, charges.c.charged, begin < end, until > start)
        .group_by(day, charges.c.kind, single)
    )
    found: dict[tuple[int, Held], int] = {}
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    for at, kind, ms, first, last in rows:
        pieces = [(int(at), int(ms))] if at is not None else None
        for place, part in pieces or _split(max(first, start), min(last, end), 0, DAY_MS):
            key = (place * DAY_MS, Held(kind))
            found[key] = found.get(key, 0) + part
    return found
