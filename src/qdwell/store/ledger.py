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


def ledger(store: Store, instance: str, start: int, end: int) -> list[LedgerRow]:
    """Return what an instance held of any machine in [start, end), in order of time.

    What is open runs to `end`. The charged milliseconds add up to `Store.usage`.
    """
    with store.database.reading() as connection:
        query = select_charges().where(
            charges.c.instance == instance,
            charges.c.start < end,
            or_(charges.c.end.is_(None), charges.c.end > start),
        )
        found = [charge_of(row) for row in connection.execute(query)]
        sessions = list(_sessions(connection, instance, start, end))
        users = _users(connection, instance, start, end)
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


def _sessions(connection: Connection, instance: str, start: int, end: int) -> Iterator[Session]:
    mine = _there(instance, start, end) & (groups.c.mode == Mode.SESSION.value)
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


def _users(connection: Connection, instance: str, start: int, end: int) -> dict[str, str]:
    """Whose the jobs and groups are."""
    of_groups = select(groups.c.id, groups.c.user_id).where(_there(instance, start, end))
    of_jobs = select(jobs.c.id, jobs.c.user_id).where(
        jobs.c.instance == instance,
        jobs.c.running_at < end,
        or_(jobs.c.finished_at.is_(None), jobs.c.finished_at > start),
    )
    rows: Sequence[Any] = [*connection.execute(of_groups), *connection.execute(of_jobs)]
    return dict(rows)
