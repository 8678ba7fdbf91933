"""How busy a machine was where there is too much to tell apart: sums for each step of time.

A job or window that is shorter than a step counts in the step of its beginning; a longer one is
split exactly. Short ones are summed up by the database in one pass, and there are never many longer
ones: a lane takes one job at a time. These queries see all instances, as those of `history` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select

from qdwell.core.group import LIVE, Mode
from qdwell.store import Store
from qdwell.store.tables import events, groups, jobs

_CHUNK = 500  # ids in one statement


@dataclass(slots=True)
class Occupied:
    """What was done in one step of time, in ms, over all lanes; `own`: the reader's instance."""

    classical_ms: int = 0
    waiting_ms: int = 0  #: prepared, and another job was on the QPU
    own_qpu_ms: int = 0
    other_qpu_ms: int = 0
    jobs: int = 0  #: that began in it

    @property
    def qpu_ms(self) -> int:
        """How long the QPU was busy."""
        return self.own_qpu_ms + self.other_qpu_ms


@dataclass(slots=True)
class Held:
    """How long sessions and batches were active in one step of time, in ms."""

    own_session_ms: int = 0
    own_batch_ms: int = 0
    other_ms: int = 0
    windows: int = 0  #: that began in it


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval in which a session was active and had no unfinished job."""

    group: str
    start: int
    end: int


def occupied(
    store: Store, backend: str, instance: str, start: int, end: int, steps: int, now: int
) -> list[Occupied]:
    """What the lanes and the QPU of a machine did in each of `steps` equal steps of [start, end).

    What has not ended runs to `now`.
    """
    width = max(1, -(-(end - start) // steps))
    c = jobs.c
    until = func.coalesce(c.finished_at, literal(now))
    done = case((c.executing_at.is_(None), 0), else_=func.coalesce(c.executed_at, until))
    qpu = done - func.coalesce(c.executing_at, 0)
    ready = func.coalesce(c.ready_at, 0)
    wait = case((c.ready_at.is_(None), 0), else_=func.coalesce(c.executing_at, until)) - ready
    key = _key(c.running_at, until, c.seq, start, width)
    query = (
        select(
            key,
            func.count(),
            func.sum(until - c.running_at),
            func.sum(wait),
            func.sum(qpu),
            func.sum(case((c.instance == instance, qpu), else_=0)),
            func.min(c.running_at),
            func.min(c.ready_at),
            func.min(c.executing_at),
            func.min(c.executed_at),
            func.max(until),
            func.max(case((c.instance == instance, 1), else_=0)),
        )
        .where(c.backend == backend, c.running_at < end, _counts(c.running_at, until, start, width))
        .group_by(key)
    )
    sums = [Occupied() for _ in range(steps)]
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    for at, count, whole, waited, ran, own, *instants, mine in rows:
        if at >= 0:
            step = sums[min(steps - 1, int(at))]
            step.jobs += int(count)
            step.waiting_ms += int(waited)
            step.own_qpu_ms += int(own)
            step.other_qpu_ms += int(ran) - int(own)
            step.classical_ms += int(whole) - int(waited) - int(ran)
            continue
        _spread(sums, instants, bool(mine), (start, end, width))
    return sums


def _spread(
    sums: list[Occupied], instants: Sequence[int | None], mine: bool, grid: tuple[int, int, int]
) -> None:
    """Put the parts of one long job where they belong."""
    start, end, width = grid
    running, ready, executing, executed, until = instants
    assert running is not None
    assert until is not None
    if running >= start:
        sums[min(len(sums) - 1, (running - start) // width)].jobs += 1
    at_qpu = until if executing is None else executing
    behind = until if executed is None else executed
    if executing is None:
        behind = until
    prepared = at_qpu if ready is None else ready
    pieces = (
        ("classical_ms", running, prepared),
        ("waiting_ms", prepared, at_qpu),
        ("own_qpu_ms" if mine else "other_qpu_ms", at_qpu, behind),
        ("classical_ms", behind, until),
    )
    for name, begin, stop in pieces:
        for place, part in split(max(begin, start), min(stop, end), start, width):
            step = sums[min(len(sums) - 1, place)]
            setattr(step, name, getattr(step, name) + part)


def held(
    store: Store, backend: str, instance: str, start: int, end: int, steps: int, now: int
) -> list[Held]:
    """How much of each of `steps` equal steps of [start, end) groups were active.

    A window that has not ended runs to `now`.
    """
    width = max(1, -(-(end - start) // steps))
    moves = (
        select(
            events.c.id,
            events.c.at,
            events.c.before,
            events.c.after,
            groups.c.mode,
            (groups.c.instance == instance).label("own"),
            func.lead(events.c.at)
            .over(partition_by=events.c.subject, order_by=events.c.id)
            .label("next"),
        )
        .join(groups, groups.c.id == events.c.subject)
        .where(events.c.subject.in_(_groups_in(backend, start, end)), events.c.what == "group")
        .subquery()
    )
    live = sorted(it.value for it in LIVE)
    until = func.coalesce(moves.c.next, literal(now))
    begins = case((moves.c.before.in_(live), 0), else_=1)
    own = case((moves.c.own, 1), else_=0)
    key = _key(moves.c.at, until, moves.c.id, start, width)
    query = (
        select(
            key, moves.c.mode, own, func.sum(begins), func.sum(until - moves.c.at),
            func.min(moves.c.at), func.max(until),
        )
        .where(
            moves.c.after.in_(live), moves.c.at < end, _counts(moves.c.at, until, start, width)
        )
        .group_by(key, moves.c.mode, own)
    )  # fmt: skip
    sums = [Held() for _ in range(steps)]
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    for at, mode, mine, began, ms, first, last in rows:
        name = "other_ms"
        if mine:
            name = "own_session_ms" if mode == Mode.SESSION.value else "own_batch_ms"
        pieces = [(int(at), int(ms))] if at >= 0 else None
        if first >= start:
            sums[min(steps - 1, (first - start) // width)].windows += int(began)
        for place, part in pieces or split(max(first, start), min(last, end), start, width):
            step = sums[min(steps - 1, place)]
            setattr(step, name, getattr(step, name) + part)
    return sums


def gaps(store: Store, sessions: Sequence[str], least_ms: int, now: int) -> list[Gap]:
    """Where these sessions had no unfinished job for at least `least_ms`, up to `now`.

    A gap may reach over the end of a window: the caller cuts it there.
    """
    c = jobs.c
    # The latest end of all jobs that were created before: the work of a session may overlap.
    before = func.max(func.coalesce(c.finished_at, now)).over(
        partition_by=c.group, order_by=(c.created, c.seq), rows=(None, -1)
    )
    found: list[Gap] = []
    with store.database.reading() as connection:
        for at in range(0, len(sessions), _CHUNK):
            mine = c.group.in_(sessions[at : at + _CHUNK])
            inner = select(c.group, before.label("free"), c.created).where(mine).subquery()
            between = select(inner.c.group, inner.c.free, inner.c.created)
            between = between.where(inner.c.created - inner.c.free >= least_ms)
            found += [Gap(*row) for row in connection.execute(between)]
            last = func.max(func.coalesce(c.finished_at, now))
            behind = select(c.group, last).where(mine).group_by(c.group)
            behind = behind.having(last <= now - least_ms)
            found += [Gap(group, free, now) for group, free in connection.execute(behind)]
    return found


def settled_before(store: Store, backend: str, now: int) -> int:
    """The instant before which nothing of a machine's past can change: its oldest unfinished job's.

    Jobs that are deleted leave it, though (J30).
    """
    query = select(func.min(jobs.c.running_at)).where(
        jobs.c.backend == backend, jobs.c.finished_at.is_(None)
    )
    with store.database.reading() as connection:
        first = connection.execute(query).scalar()
    return now if first is None else min(now, int(first))


def _counts(
    begin: ColumnElement[int], until: ColumnElement[int], start: int, width: int
) -> ColumnElement[bool]:
    """Whether it is in any step from `start` on; what is short is in the step of its beginning."""
    return or_(begin >= start, and_(until > start, until - begin > width))


def _key(
    begin: ColumnElement[int],
    until: ColumnElement[int],
    number: ColumnElement[int],
    start: int,
    width: int,
) -> ColumnElement[int]:
    """The step of what is short; below zero, and its own, for each longer one.

    One whole number is the cheapest thing to group by.
    """
    short = and_(begin >= start, until - begin <= width)
    return case((short, (begin - start) // literal(width)), else_=-1 - number)


def _groups_in(backend: str, start: int, end: int) -> Select[tuple[str]]:
    return select(groups.c.id).where(
        groups.c.backend == backend,
        groups.c.started_at < end,
        or_(groups.c.closed_at.is_(None), groups.c.closed_at > start),
    )


def split(begin: int, end: int, origin: int, width: int) -> Iterator[tuple[int, int]]:
    """The part of [begin, end) in each step of `width` from `origin`: the step, and its ms."""
    while begin < end:
        at = (begin - origin) // width
        stop = min(end, origin + (at + 1) * width)
        yield at, stop - begin
        begin = stop
