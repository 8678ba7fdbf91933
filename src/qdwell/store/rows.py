"""Records to rows and back. Columns are named as the fields are, so this is mostly names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, select

from qdwell.core.decisions import Held, PutBackendState, PutCharge
from qdwell.core.events import BackendMode
from qdwell.core.group import Ending, Group, GroupState, Mode
from qdwell.core.job import Job, JobState
from qdwell.store.records import GroupRow, JobDetails, JobFacts, JobRow
from qdwell.store.tables import backends, charges, groups, job_blobs, jobs

Values = dict[str, Any]
Row = Sequence[Any]

JOB_FIELDS = tuple(field.name for field in fields(Job))
GROUP_FIELDS = tuple(field.name for field in fields(Group))
BACKEND_FIELDS = tuple(field.name for field in fields(PutBackendState))
CHARGE_FIELDS = tuple(field.name for field in fields(PutCharge))
# The job's id is its own column already; params and tags are in tables of their own.
DETAIL_FIELDS = tuple(
    field.name for field in fields(JobDetails) if field.name not in {"job_id", "params", "tags"}
)


def _reader(names: tuple[str, ...]) -> Callable[[Any], Values]:
    """Make a function that takes the fields `names` of a record."""
    get = attrgetter(*names)
    return lambda record: dict(zip(names, get(record), strict=True))


job_values = _reader(JOB_FIELDS)
group_values = _reader(GROUP_FIELDS)
backend_values = _reader(BACKEND_FIELDS)
charge_values = _reader(CHARGE_FIELDS)
detail_values = _reader(DETAIL_FIELDS)


def select_jobs() -> Select[Any]:
    """Select the live part of jobs alone, for `job_of`."""
    return select(*(jobs.c[name] for name in JOB_FIELDS))


def select_job_rows() -> Select[Any]:
    """Select all of jobs but their tags, for `job_row_of`."""

    def blob(role: str) -> ColumnElement[Any]:
        return (
            select(job_blobs.c.hash)
            .where(job_blobs.c.job == jobs.c.id, job_blobs.c.role == role, job_blobs.c.n == 0)
            .scalar_subquery()
        )

    return select(
        *(jobs.c[name] for name in JOB_FIELDS),
        *(jobs.c[name] for name in DETAIL_FIELDS),
        jobs.c.facts,
        blob("params"),
        blob("result"),
    )


def select_groups() -> Select[Any]:
    """Select groups, for `group_of`."""
    return select(*(groups.c[name] for name in GROUP_FIELDS))


def select_group_rows() -> Select[Any]:
    """Select groups with their users, for `group_row_of`."""
    return select(*(groups.c[name] for name in GROUP_FIELDS), groups.c.user_id)


def select_backends() -> Select[Any]:
    """Select the state of backends, for `backend_of`."""
    return select(*(backends.c[name] for name in BACKEND_FIELDS))


def select_charges() -> Select[Any]:
    """Select charges, for `charge_of`."""
    return select(*(charges.c[name] for name in CHARGE_FIELDS))


def job_of(row: Row) -> Job:
    """Make the record of a row of `select_jobs`."""
    values = dict(zip(JOB_FIELDS, row, strict=False))
    values["state"] = JobState(values["state"])
    values["limit_asked"] = bool(values["limit_asked"])
    return Job(**values)


def job_row_of(row: Row, tags: tuple[str, ...]) -> JobRow:
    """Make the record of a row of `select_job_rows`."""
    job = job_of(row)
    end = len(JOB_FIELDS) + len(DETAIL_FIELDS)
    details = dict(zip(DETAIL_FIELDS, row[len(JOB_FIELDS) : end], strict=True))
    details["private"] = bool(details["private"])
    facts, params, result = row[end:]
    return JobRow(
        job=job,
        details=JobDetails(job_id=job.id, params=params or "", tags=tags, **details),
        facts=None if facts is None else facts_of(facts),
        result=result,
    )


def group_of(row: Row) -> Group:
    """Make the record of a row of `select_groups`."""
    values = dict(zip(GROUP_FIELDS, row, strict=False))
    values["mode"] = Mode(values["mode"])
    values["state"] = GroupState(values["state"])
    values["accepting"] = bool(values["accepting"])
    if values["ending"] is not None:
        values["ending"] = Ending(values["ending"])
    return Group(**values)


def group_row_of(row: Row) -> GroupRow:
    """Make the record of a row of `select_group_rows`."""
    return GroupRow(group=group_of(row), user_id=row[len(GROUP_FIELDS)])


def backend_of(row: Row) -> PutBackendState:
    """Make the record of a row of `select_backends`."""
    values = dict(zip(BACKEND_FIELDS, row, strict=True))
    values["mode"] = BackendMode(values["mode"])
    values["lease_stopping"] = bool(values["lease_stopping"])
    return PutBackendState(**values)


def charge_of(row: Row) -> PutCharge:
    """Make the record of a row of `select_charges`."""
    values = dict(zip(CHARGE_FIELDS, row, strict=True))
    values["kind"] = Held(values["kind"])
    values["charged"] = bool(values["charged"])
    return PutCharge(**values)


def facts_json(facts: JobFacts) -> str:
    """Spell facts as they are kept."""
    return orjson.dumps(facts).decode()


def facts_of(text: str) -> JobFacts:
    """Read facts as they are kept."""
    values: Values = orjson.loads(text)
    values["num_qubits"] = tuple(values["num_qubits"])
    values["circuit_depths"] = tuple(values["circuit_depths"])
    return JobFacts(**values)
