"""The workload list (I14): job-mode jobs, sessions, and batches in one order, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    case,
    false,
    func,
    literal,
    select,
    union_all,
)

from qdwell.core.group import Ending, GroupState, Mode
from qdwell.core.job import JobState
from qdwell.store.reads import no_mock, searched, tagged, tags_of
from qdwell.store.records import GroupRow, JobRow, WorkloadRow
from qdwell.store.rows import group_row_of, job_row_of, select_group_rows, select_job_rows
from qdwell.store.tables import groups, job_tags, jobs

MODES = ("job", "session", "batch")
STATUSES = ("pending", "in_progress", "completed", "canceled", "failed")

_MODE_WORDS = {Mode.SESSION: "session", Mode.BATCH: "batch"}
_job_status = case(
    (jobs.c.state == JobState.QUEUED.value, "pending"),
    (jobs.c.state == JobState.COMPLETED.value, "completed"),
    (jobs.c.state == JobState.CANCELLED.value, "canceled"),
    (jobs.c.state == JobState.FAILED.value, "failed"),
    else_="in_progress",
)
_group_status = case(
    (groups.c.state.in_([GroupState.OPEN.value, GroupState.INACTIVE.value]), "pending"),
    (groups.c.state != GroupState.CLOSED.value, "in_progress"),
    (groups.c.ending == Ending.CANCEL.value, "canceled"),
    else_="completed",
)
_group_mode = case((groups.c.mode == Mode.SESSION.value, "session"), else_="batch")


@dataclass(frozen=True, slots=True)
class WorkloadFilter:
    """Which workloads to list; None lets everything through. Bounds on `created` are inclusive."""

    backend: str | None = None
    mode: str | None = None  #: one of `MODES`
    statuses: Sequence[str] = ()  #: any of `STATUSES`; none is all
    tags: Sequence[str] = ()  #: all of them; groups have none
    created_after: int | None = None
    created_before: int | None = None
    search: str | None = None  #: an id, or part of a tag
    mocks: bool = True  #: dry runs, too
    user: str | None = None  #: the id of whose they are

    def of_jobs(self, instance: str) -> list[ColumnElement[bool]]:
        """Spell the filter as conditions on `jobs`."""
        found = [jobs.c.instance == instance, jobs.c.group.is_(None)]
        if self.backend is not None:
            found.append(jobs.c.backend == self.backend)
        elif not self.mocks:
            found.append(no_mock(jobs.c.backend))
        if self.mode is not None and self.mode != "job":
            found.append(false())
        if self.statuses:
            found.append(_job_status.in_(self.statuses))
        found += [tagged(job_tags.c.tag == tag) for tag in self.tags]
        if self.created_after is not None:
            found.append(jobs.c.created >= self.created_after)
        if self.created_before is not None:
            found.append(jobs.c.created <= self.created_before)
        if self.search:
            found.append(searched(self.search))
        if self.user is not None:
            found.append(jobs.c.user_id == self.user)
        return found

    def of_groups(self, instance: str) -> list[ColumnElement[bool]]:
        """Spell the filter as conditions on `groups`."""
        found: list[ColumnElement[bool]] = [groups.c.instance == instance]
        if self.backend is not None:
            found.append(groups.c.backend == self.backend)
        if self.mode is not None:
            found.append(_group_mode == self.mode)
        if self.statuses:
            found.append(_group_status.in_(self.statuses))
        if self.tags:
            found.append(false())
        if self.created_after is not None:
            found.append(groups.c.created >= self.created_after)
        if self.created_before is not None:
            found.append(groups.c.created <= self.created_before)
        if self.search:
            found.append(groups.c.id == self.search)
        if self.user is not None:
            found.append(groups.c.user_id == self.user)
        return found


def list_workloads(
    connection: Connection,
    instance: str,
    wanted: WorkloadFilter,
    *,
    now: int,
    limit: int,
    offset: int,
    ascending: bool,
) -> tuple[list[WorkloadRow], int]:
    """One page of workloads, and how many there are; usage that still grows is as of `now`."""
    my_jobs, my_groups = wanted.of_jobs(instance), wanted.of_groups(instance)
    # Each table gives at most what the page can show of it, so that a page costs no full sort.
    reach = offset + limit
    parts = [
        select(jobs.c.id, jobs.c.seq, _job_status.label("status"), literal("job").label("kind"))
        .where(*my_jobs)
        .order_by(jobs.c.seq.asc() if ascending else jobs.c.seq.desc()),
        select(
            groups.c.id, groups.c.seq, _group_status.label("status"), literal("group").label("kind")
        )
        .where(*my_groups)
        .order_by(groups.c.seq.asc() if ascending else groups.c.seq.desc()),
    ]
    both = union_all(*(select(part.limit(reach).subquery()) for part in parts)).subquery()
    order = both.c.seq.asc() if ascending else both.c.seq.desc()
    page = connection.execute(
        select(both.c.id, both.c.status, both.c.kind).order_by(order).limit(limit).offset(offset)
    ).all()
    count = sum(
        connection.execute(select(func.count()).select_from(table).where(*mine)).scalar_one()
        for table, mine in ((jobs, my_jobs), (groups, my_groups))
    )
    job_ids = [row.id for row in page if row.kind == "job"]
    group_ids = [row.id for row in page if row.kind == "group"]
    tags = tags_of(connection, job_ids)
    job_rows = {
        row[0]: job_row_of(row, tags.get(row[0], ()))
        for row in connection.execute(select_job_rows().where(jobs.c.id.in_(job_ids)))
    }
    group_rows = {
        row[0]: group_row_of(row)
        for row in connection.execute(select_group_rows().where(groups.c.id.in_(group_ids)))
    }
    rows = [
        _of_job(job_rows[row.id], row.status)
        if row.kind == "job"
        else _of_group(group_rows[row.id], row.status, now)
        for row in page
    ]
    return rows, count


def _of_job(row: JobRow, status: str) -> WorkloadRow:
    job = row.job
    return WorkloadRow(
        id=job.id,
        mode="job",
        status=status,
        created=job.created,
        ended=job.finished_at,
        backend=job.backend,
        instance=job.instance,
        user_id=row.details.user_id,
        accepting_jobs=None,
        tags=row.details.tags,
        usage_ms=job.quantum_ms,
    )


def _of_group(row: GroupRow, status: str, now: int) -> WorkloadRow:
    group = row.group
    return WorkloadRow(
        id=group.id,
        mode=_MODE_WORDS[group.mode],
        status=status,
        created=group.created,
        ended=group.closed_at,
        backend=group.backend,
        instance=group.instance,
        user_id=row.user_id,
        accepting_jobs=group.accepting,
        tags=(),
        usage_ms=group.usage_at(now) or 0,
    )
