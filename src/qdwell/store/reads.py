"""What the API reads. A query for a user names the instance: others' rows are not there (S13)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
)

from qdwell.core.group import REPORTED, GroupState
from qdwell.store.records import DeviceRun, GroupRow, JobRow, StoryRow
from qdwell.store.rows import (
    facts_of,
    group_row_of,
    job_row_of,
    select_group_rows,
    select_job_rows,
)
from qdwell.store.statements import Cursors, Inserts, Statement
from qdwell.store.tables import (
    charges,
    device_runs,
    events,
    groups,
    job_blobs,
    job_logs,
    job_tags,
    jobs,
)

_TAGS_SEPARATELY = 500  # ids in one IN list; more are asked for in several queries


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list (J26); None lets everything through. Bounds on `created` are inclusive."""

    backend: str | None = None
    program: str | None = None
    pending: bool | None = None
    tags: Sequence[str] = ()
    group: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    search: str | None = None
    mocks: bool = True

    def conditions(self, instance: str) -> list[ColumnElement[bool]]:
        """Spell the filter as conditions on `jobs`."""
        found: list[ColumnElement[bool]] = [jobs.c.instance == instance]
        if self.backend is not None:
            found.append(jobs.c.backend == self.backend)
        elif not self.mocks:
            found.append(no_mock(jobs.c.backend))
        if self.program is not None:
            found.append(jobs.c.program_id == self.program)
        if self.pending is not None:
            found.append(jobs.c.finished_at.is_(None) == self.pending)
        if self.group is not None:
            found.append(jobs.c.group == self.group)
        if self.created_after is not None:
            found.append(jobs.c.created >= self.created_after)
        if self.created_before is not None:
            found.append(jobs.c.created <= self.created_before)
        found += [tagged(job_tags.c.tag == tag) for tag in self.tags]
        if self.search:
            found.append(searched(self.search))
        return found


def no_mock(backend: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a backend is none of the mock twins, whose names are theirs alone."""
    return and_(backend != "mock", ~backend.startswith("mock_", autoescape=True))


def tagged(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a job has a tag of which `condition` holds."""
    return exists().where(job_tags.c.job == jobs.c.id, condition)


def searched(words: str) -> ColumnElement[bool]:
    """Whether a job has this id, or a tag with these letters in it, in either case."""
    alike = func.lower(job_tags.c.tag).contains(words.lower(), autoescape=True)
    return or_(jobs.c.id == words, tagged(alike))


class HotReads:
    """The queries on the path of each job, compiled once."""

    def __init__(self, database: Inserts) -> None:
        def made(query: Select[Any]) -> Statement:
            return Statement(query, database.dialect)

        mine = (jobs.c.id == bindparam("id"), jobs.c.instance == bindparam("instance"))
        self.job = made(select_job_rows().where(*mine))
        self.tags = made(
            select(job_tags.c.tag).where(job_tags.c.job == bindparam("id")).order_by(job_tags.c.n)
        )
        self.group = made(
            select_group_rows().where(
                groups.c.id == bindparam("id"), groups.c.instance == bindparam("instance")
            )
        )
        self.blob = made(
            select(job_blobs.c.hash, jobs.c.private)
            .join(jobs, jobs.c.id == job_blobs.c.job)
            .where(
                *mine,
                job_blobs.c.role == bindparam("role", type_=job_blobs.c.role.type),
                job_blobs.c.n == 0,
            )
        )

    def find_job(self, connection: Cursors, instance: str, job_id: str) -> JobRow | None:
        """Read one job of an instance."""
        mine = {"id": job_id, "instance": instance}
        rows = self.job.fetch(connection, mine)
        if not rows:
            return None
        return job_row_of(rows[0], tuple(tag for (tag,) in self.tags.fetch(connection, mine)))

    def find_group(self, connection: Cursors, instance: str, group_id: str) -> GroupRow | None:
        """Read one group of an instance."""
        rows = self.group.fetch(connection, {"id": group_id, "instance": instance})
        return group_row_of(rows[0]) if rows else None


def list_jobs(
    connection: Connection,
    instance: str,
    wanted: JobFilter,
    *,
    limit: int,
    offset: int,
    ascending: bool,
) -> tuple[list[JobRow], int]:
    """One page of jobs, and how many there are in all."""
    conditions = wanted.conditions(instance)
    query = select_job_rows().where(*conditions)
    query = query.order_by(jobs.c.seq.asc() if ascending else jobs.c.seq.desc())
    rows = connection.execute(query.limit(limit).offset(offset)).all()
    tags = tags_of(connection, [row[0] for row in rows])
    count = connection.execute(select(func.count()).select_from(jobs).where(*conditions))
    return [job_row_of(row, tags.get(row[0], ())) for row in rows], count.scalar_one()


def tags_of(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Tags of several jobs, in their order."""
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(ids), _TAGS_SEPARATELY):
        part = ids[start : start + _TAGS_SEPARATELY]
        query = select(job_tags.c.job, job_tags.c.tag).where(job_tags.c.job.in_(part))
        for job, tag in connection.execute(query.order_by(job_tags.c.job, job_tags.c.n)):
            found[job] = (*found.get(job, ()), tag)
    return found


def list_groups(
    connection: Connection,
    instance: str,
    *,
    limit: int,
    offset: int,
    backend: str | None,
    states: Iterable[GroupState] | None,
    ascending: bool,
) -> tuple[list[GroupRow], int]:
    """One page of sessions and batches, and how many there are in all."""
    conditions: list[ColumnElement[bool]] = [groups.c.instance == instance]
    if backend is not None:
        conditions.append(groups.c.backend == backend)
    if states is not None:
        conditions.append(groups.c.state.in_([state.value for state in states]))
    query = select_group_rows().where(*conditions)
    query = query.order_by(groups.c.seq.asc() if ascending else groups.c.seq.desc())
    rows = connection.execute(query.limit(limit).offset(offset)).all()
    count = connection.execute(select(func.count()).select_from(groups).where(*conditions))
    return [group_row_of(row) for row in rows], count.scalar_one()


def read_story(connection: Connection, subject: str) -> list[StoryRow]:
    """All lines about one job or group, oldest first."""
    names = ("at", "what", "before", "after", "cause", "attempt")
    query = select(*(events.c[name] for name in names)).where(events.c.subject == subject)
    return [StoryRow(*row) for row in connection.execute(query.order_by(events.c.id))]


def cache_counts(connection: Connection, group_id: str) -> tuple[int, int]:
    """Sum the cache's hits and misses over the jobs of a group."""
    query = select(jobs.c.facts).where(jobs.c.group == group_id, jobs.c.facts.is_not(None))
    found = [facts_of(text) for text in connection.execute(query).scalars()]
    return sum(it.cache_hits for it in found), sum(it.cache_misses for it in found)


def reported_changes(story: Iterable[StoryRow]) -> list[tuple[str, int]]:
    """Changes of the state that users are shown, with their times (S11)."""
    found: list[tuple[str, int]] = []
    for line in story:
        if line.what == "group" and line.after is not None:
            reported = REPORTED[GroupState(line.after)]
            if not found or found[-1][0] != reported:
                found.append((reported, line.at))
    return found


def sum_usage(connection: Connection, instance: str, start: int, end: int) -> int:
    """Charged milliseconds of an instance inside [start, end); an open charge runs to `end`."""
    since = case((charges.c.start < start, start), else_=charges.c.start)
    until = case((or_(charges.c.end.is_(None), charges.c.end > end), end), else_=charges.c.end)
    inside = and_(
        charges.c.instance == instance,
        charges.c.charged,
        charges.c.start < end,
        or_(charges.c.end.is_(None), charges.c.end > start),
    )
    query = select(func.coalesce(func.sum(until - since), 0)).where(inside)
    return int(connection.execute(query).scalar_one())


def read_interim(connection: Connection, instance: str, job_id: str) -> list[tuple[int, str]]:
    """Numbers and hashes of the interim results of a job."""
    query = (
        select(job_blobs.c.n, job_blobs.c.hash)
        .join(jobs, jobs.c.id == job_blobs.c.job)
        .where(jobs.c.id == job_id, jobs.c.instance == instance, job_blobs.c.role == "interim")
        .order_by(job_blobs.c.n)
    )
    return [(n, name) for n, name in connection.execute(query)]


def read_device_runs(connection: Connection, job_id: str, attempt: int) -> list[DeviceRun]:
    """The runs of an attempt, in order."""
    columns = (device_runs.c[it] for it in ("job", "attempt", "n", "handle", "idle_ms"))
    query = (
        select(*columns)
        .where(device_runs.c.job == job_id, device_runs.c.attempt == attempt)
        .order_by(device_runs.c.n)
    )
    return [DeviceRun(*row) for row in connection.execute(query)]


def read_log(connection: Connection, instance: str, job_id: str) -> str | None:
    """The log of a job, or None."""
    query = (
        select(job_logs.c.text)
        .join(jobs, jobs.c.id == job_logs.c.job)
        .where(jobs.c.id == job_id, jobs.c.instance == instance)
    )
    return connection.execute(query).scalar_one_or_none()
