"""Reads what the usage ledger is cut out of: charges, sessions, and the stories of their jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select

from qdwell.core.group import Mode
from qdwell.core.ledger import Entry, Line, Session, entries
from qdwell.store import Store
from qdwell.store.rows import charge_of, select_charges
from qdwell.store.tables import charges, events, groups, jobs

#: How the note in a session's story begins that keeps the story of a deleted job findable (J30).
DELETED = "job deleted: "
_CHUNK = 500  # ids in one statement


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One interval of held time; `user_id` None if its job was deleted."""

    entry: Entry
    user_id: str | None


def ledger(
    store: Store, instance: str, start: int, end: int, group: str | None = None
) -> list[LedgerRow]:
    """Return what an instance held of any machine in [start, end), in order of time.

    What is open runs to `end`. The charged milliseconds add up to `Store.usage`. With `group`, only
    what that session or batch held, which must have been created at `start` or later and, if it is
    closed, closed by `end`.
    """
    ended = charges.c.end > start
    if group is not None:  # it holds nothing after its end, so later charges need no look
        ended &= charges.c.end <= end
    with store.database.reading() as connection:
        query = select_charges().where(
            charges.c.instance == instance,
            charges.c.start < end,
            or_(charges.c.end.is_(None), ended),
        )
        if group is not None:
            query = query.where(charges.c.group == group)
        there = _there(instance, start, end)
        if group is not None:
            there &= groups.c.id == group
        found = [charge_of(row) for row in connection.execute(query)]
        sessions = list(_sessions(connection, instance, there))
        users = _users(connection, instance, start, end, there, group)
    return [
        LedgerRow(each, users.get(each.job or "") or users.get(each.group or ""))
        for each in entries(found, sessions, start, end)
    ]


def _there(instance: str, start: int, end: int) -> ColumnElement[bool]:
    """Groups of an instance that were not closed before, nor created after."""
    return (
        (groups.c.instance == instance)
        & (groups.c.created < end)
        & or_(groups.c.closed_at.is_(None), groups.c.closed_at > start)
    )


def _sessions(
    connection: Connection, instance: str, there: ColumnElement[bool]
) -> Iterator[Session]:
    mine = there & (groups.c.mode == Mode.SESSION.value)
    backends = dict(connection.execute(select(groups.c.id, groups.c.backend).where(mine)).all())
    stories: dict[str, list[Line]] = {each: [] for each in backends}
    own: dict[str, list[Line]] = {each: [] for each in backends}
    query = _lines(groups.c.id).join(groups, groups.c.id == events.c.subject).where(mine)
    deleted: dict[str, str] = {}
    for group, line in _read(connection, query):
        stories[group].append(line)
        if line.cause.startswith(DELETED):
            deleted[line.cause.removeprefix(DELETED)] = group
    query = (
        _lines(jobs.c.group)
        .join(jobs, jobs.c.id == events.c.subject)
        .join(groups, groups.c.id == jobs.c.group)
        .where(mine)
    )
    for group, line in _read(connection, query):
        own[group].append(line)
    ids = list(deleted)
    for first in range(0, len(ids), _CHUNK):
        query = _lines(events.c.subject).where(events.c.subject.in_(ids[first : first + _CHUNK]))
        for job, line in _read(connection, query):
            own[deleted[job]].append(line)
    for group, backend in backends.items():
        yield Session(group, instance, backend, stories[group], own[group])


def _lines(whose: ColumnElement[Any]) -> Select[Any]:
    columns = (events.c.subject, events.c.at, events.c.after, events.c.cause)
    return select(whose, *columns).order_by(events.c.id)


def _read(connection: Connection, query: Select[Any]) -> Iterator[tuple[str, Line]]:
    for whose, *line in connection.execute(query):
        yield whose, Line(*line)


def _users(
    connection: Connection,
    instance: str,
    start: int,
    end: int,
    there: ColumnElement[bool],
    group: str | None,
) -> dict[str, str]:
    """Whose the jobs and groups are."""
    of_groups = select(groups.c.id, groups.c.user_id).where(there)
    ran = (
        jobs.c.instance == instance,
        jobs.c.running_at < end,
        or_(jobs.c.finished_at.is_(None), jobs.c.finished_at > start),
    )
    of_jobs = select(jobs.c.id, jobs.c.user_id).where(
        *(ran if group is None else (jobs.c.group == group,))
    )
    rows: Sequence[Any] = [*connection.execute(of_groups), *connection.execute(of_jobs)]
    return dict(rows)
