"""What is deleted: a job by its user (J30), and by the server what a site does not keep (J32).

A job goes with all that is its own; what it was charged stays, and so does what the ledger is cut
out of. If only a job's input and results go, its story says so, and the doctor believes it.
Retention works in small transactions, so that a server that finds a hundred thousand old jobs goes
on serving; each has its line in the audit log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select

from qdwell.config import Retention
from qdwell.core.group import Mode
from qdwell.core.job import Job
from qdwell.store.blobs import Blobs
from qdwell.store.commit import Writer
from qdwell.store.ledger import DELETED
from qdwell.store.records import Retired
from qdwell.store.rows import job_of, select_jobs
from qdwell.store.tables import events, groups, job_blobs, jobs
from qdwell.store.tables_who import audit

if TYPE_CHECKING:
    from qdwell.store.database import Database

#: How the note in a job's story begins that says where its input and results are.
ERASED = "input and results deleted"
DAY_MS = 86_400_000
AT_ONCE = 100  # jobs in one transaction: others write in between
_KEPT_ROLES = ("params", "result", "interim")

Reference = tuple[str, str, int, str]  # job, role, number, hash


class Deletion:
    """Deletes in the database and on the shelf of one store."""

    def __init__(self, database: Database, blobs: Blobs, writer: Writer) -> None:
        self._database = database
        self._blobs = blobs
        self._writer = writer

    def drop(self, connection: Connection, references: Sequence[Reference]) -> None:
        """Let go of blobs, and delete each that nobody refers to any more."""
        dropped = self._writer.erase(connection, references)
        self._database.after_commit(lambda: self._blobs.forget(dropped))

    def job(self, connection: Connection, job: Job) -> None:
        """Delete a final job with all that is its own (J30)."""
        self.drop(connection, _references(connection, job.id))
        self._forget_story(connection, job)
        connection.execute(delete(jobs).where(jobs.c.id == job.id))

    def _forget_story(self, connection: Connection, job: Job) -> None:
        """Delete a job's story, but for a session's job: the ledger is cut out of it (J30)."""
        session = select(groups.c.id).where(
            groups.c.id == job.group, groups.c.mode == Mode.SESSION.value
        )
        if job.group is None or connection.execute(session).first() is None:
            connection.execute(delete(events).where(events.c.subject == job.id))
            return
        kept = {"subject": job.group, "at": job.finished_at, "what": "note"}
        connection.execute(insert(events).values(kept | {"cause": DELETED + job.id}))

    def retire(self, now: int, kept: Retention) -> Retired:
        """Delete what has been kept for long enough. See `Store.retire`."""
        whole = contents = 0
        if kept.jobs_days is not None:
            whole = self._retire("jobs", now, kept.jobs_days, self._whole)
        if kept.results_days is not None:
            contents = self._retire("results", now, kept.results_days, self._contents)
        return Retired(jobs=whole, results=contents)

    def _retire(
        self, what: str, now: int, days: int, step: Callable[[Connection, int, int], int]
    ) -> int:
        total, edge = 0, now - days * DAY_MS
        while True:
            with self._database.writing() as connection:
                done = step(connection, edge, now)
                if done:
                    detail = json.dumps({"jobs": done, "older_than_days": days})
                    line = {"at": now, "actor": "server", "action": "retention", "subject": what}
                    connection.execute(insert(audit).values(detail=detail, **line))
            total += done
            if done < AT_ONCE:
                return total

    def _whole(self, connection: Connection, edge: int, now: int) -> int:
        query = select_jobs().where(jobs.c.finished_at < edge).order_by(jobs.c.seq).limit(AT_ONCE)
        found = [job_of(row) for row in connection.execute(query)]
        for job in found:
            self.job(connection, job)
        return len(found)

    def _contents(self, connection: Connection, edge: int, now: int) -> int:
        mine = (job_blobs.c.job == jobs.c.id, job_blobs.c.role.in_(_KEPT_ROLES))
        query = (
            select(jobs.c.id)
            .where(jobs.c.finished_at < edge, select(job_blobs.c.job).where(*mine).exists())
            .order_by(jobs.c.seq)
            .limit(AT_ONCE)
        )
        found = list(connection.execute(query).scalars())
        for job in found:
            self.drop(connection, _references(connection, job))
            note = {"subject": job, "at": now, "what": "note", "cause": ERASED}
            connection.execute(insert(events).values(note))
        return len(found)


def _references(connection: Connection, job: str) -> list[Reference]:
    keys = ("job", "role", "n", "hash")
    query = select(*(job_blobs.c[key] for key in keys)).where(job_blobs.c.job == job)
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]
