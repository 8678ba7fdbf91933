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

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, or_, select

from qdwell.core.decisions import Held
from qdwell.core.group import LIVE, GroupState, Mode
from qdwell.core.ledger import RESERVED
from qdwell.store import Store
from qdwell.store.occupancy import split
from qdwell.store.tables import charges, events, groups, jobs

DAY_MS = 86_400_000
_CHUNK = 500  # ids in one statement


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


def windows(
    store: Store, backend: str, start: int, end: int, most: int, least_ms: int
) -> tuple[list[WindowSpan], bool]:
    """Windows of sessions and batches that touch [start, end), oldest first, and if these are all.

    Where there are more than `most` groups, only windows of `least_ms` and more are found; at most
    one group is active on a machine at a time (P4), so there are not many of those.
    """
    c = groups.c
    mine = select(c.id).where(
        c.backend == backend,
        c.started_at < end,
        or_(c.closed_at.is_(None), c.closed_at > start),
    )
    with store.database.reading() as connection:
        ids = list(connection.execute(mine.limit(most + 1)).scalars())
        whole = len(ids) <= most
        if not whole:
            long = func.coalesce(c.closed_at, end) - c.started_at >= least_ms
            newest = mine.where(long).order_by(c.started_at.desc()).limit(most)
            ids = list(connection.execute(newest).scalars())
        found = _windows_in(connection, ids)
    inside = [it for it in found if it.start < end and (it.end is None or it.end > start)]
    if not whole:
        inside = [it for it in inside if (end if it.end is None else it.end) - it.start >= least_ms]
    return sorted(inside, key=lambda it: it.start), whole


def _windows_in(connection: Connection, ids: Sequence[str]) -> list[WindowSpan]:
    """All windows of some groups."""
    reserved = events.c.cause.startswith(RESERVED, autoescape=True)
    found: list[WindowSpan] = []
    for at in range(0, len(ids), _CHUNK):
        query = (
            select(events.c.subject, groups.c.instance, groups.c.mode, events.c.at, events.c.after)
            .join(groups, groups.c.id == events.c.subject)
            .where(
                events.c.subject.in_(ids[at : at + _CHUNK]),
                or_(events.c.what == "group", reserved),
            )
            .order_by(events.c.subject, events.c.id)
        )
        for _, lines in groupby(connection.execute(query).all(), itemgetter(0)):
            found += _windows_of(list(lines))
    return found


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
        for place, part in pieces or split(max(first, start), min(last, end), 0, DAY_MS):
            key = (place * DAY_MS, Held(kind))
            found[key] = found.get(key, 0) + part
    return found
