"""The one implementation of `Store`, over whatever database it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, delete, func, or_, select

from qdwell.config import Retention
from qdwell.core.decisions import Decision
from qdwell.core.group import GroupState
from qdwell.core.job import SERVER_WORDS
from qdwell.core.state import Snapshot
from qdwell.errors import (
    JobNotFinal,
    OutcomeUnknown,
    StoreError,
    StoreUnavailable,
    UnknownJob,
)
from qdwell.store import reads, upkeep
from qdwell.store.blobs import Blobs, name_of
from qdwell.store.commit import Writer, gather
from qdwell.store.database import Database
from qdwell.store.deletion import Deletion
from qdwell.store.reads import HotReads, JobFilter
from qdwell.store.records import (
    DeviceRun,
    Extras,
    GroupRow,
    JobRow,
    Loaded,
    Retired,
    StoryRow,
    WorkloadRow,
)
from qdwell.store.rows import (
    backend_of,
    charge_of,
    group_of,
    job_of,
    select_backends,
    select_charges,
    select_groups,
    select_jobs,
)
from qdwell.store.shelves import Shelf
from qdwell.store.statements import Cursors, Statement, Statements, kept
from qdwell.store.tables import (
    backends,
    blobs,
    charges,
    groups,
    job_tags,
    jobs,
    server,
)
from qdwell.store.workloads import WorkloadFilter, list_workloads


class SqlStore:
    """Implements `qdwell.store.Store`; what each method promises is said there."""

    def __init__(self, database: Database, shelf: Shelf, folders: tuple[Path, ...] = ()) -> None:
        self.database = database
        self.folders = folders
        self._hot = kept(HotReads, database)
        self._content = Statement(
            select(blobs.c.content, func.coalesce(blobs.c.file, blobs.c.hash)).where(
                blobs.c.hash == bindparam("hash")
            ),
            database.dialect,
        )
        self.blobs = Blobs(shelf, self._read_blob_row)
        self._statements = kept(Statements, database)
        self._writer = Writer(self._statements, self.blobs)
        self._deletion = Deletion(database, self.blobs, self._writer)

    # ---- for the engine --------------------------------------------------------------------------

    def load(self, now: int, window_ms: int) -> Loaded:
        """Read all live work. See `Store.load`."""
        edge = now - window_ms
        owed = charges.c.charged & or_(charges.c.end.is_(None), charges.c.end > edge)
        with self.database.reading() as connection:

            def rows(query: Any) -> Iterator[Any]:
                return iter(connection.execute(query))

            pending = select_jobs().where(jobs.c.finished_at.is_(None)).order_by(jobs.c.seq)
            unclosed = groups.c.state != GroupState.CLOSED.value
            snapshot = Snapshot(
                jobs=[job_of(row) for row in rows(pending)],
                groups=[
                    group_of(row)
                    for row in rows(select_groups().where(unclosed).order_by(groups.c.seq))
                ],
                backends=[
                    backend_of(row) for row in rows(select_backends().order_by(backends.c.backend))
                ],
                charges=[
                    charge_of(row)
                    for row in rows(
                        select_charges().where(owed).order_by(charges.c.start, charges.c.id)
                    )
                ],
            )
            alive_at, last_seq = connection.execute(
                select(server.c.alive_at, server.c.last_seq)
            ).one()
        return Loaded(snapshot, last_seq + 1, alive_at)

    def commit(self, decisions: Sequence[Decision], now: int, extras: Extras | None = None) -> None:
        """Write a list of decisions, all or nothing. See `Store.commit`."""
        batch = gather(decisions)
        with self.database.writing() as connection:
            dropped = self._writer.write(connection, batch, now, extras or Extras())
            if dropped:
                self.database.after_commit(lambda: self.blobs.forget(dropped))

    def touch(self, now: int) -> None:
        """Say that the server is alive. See `Store.touch`."""
        with self.database.writing() as connection:
            self._statements.mark_server.run(connection, {"alive": now, "seq": 0})

    def drop_ahead(self, key: str) -> None:
        """Let go of what was written ahead for nothing. See `Store.drop_ahead`."""
        name = name_of(key)
        with self.database.writing() as connection:
            self.blobs.let_go(key)
            if not self._content.fetch(connection, {"hash": name}):
                self.database.after_commit(lambda: self.blobs.forget({name: key}))

    def sweep(self, now: int) -> int:
        """Remove what nobody can ask for any more. See `Store.sweep`."""
        return upkeep.sweep(self.database, self.blobs, now)

    def lead(self, epoch: int) -> None:
        """Fence every write from now on. See `Store.lead`."""
        self.database.epoch = self.blobs.epoch = epoch

    def warm_up(self) -> None:
        """Make the first commits as quick as later ones. See `Store.warm_up`."""
        self.database.warm_up()

    def close(self) -> None:
        """Close the database. See `Store.close`."""
        self.database.close()

    # ---- for the API: jobs -----------------------------------------------------------------------

    def job(self, instance: str, job_id: str) -> JobRow | None:
        """Read one job. See `Store.job`."""
        with self.database.glancing() as connection:
            return self._hot.find_job(connection, instance, job_id)

    def jobs(
        self,
        instance: str,
        *,
        limit: int = 200,
        offset: int = 0,
        ascending: bool = False,
        backend: str | None = None,
        program: str | None = None,
        pending: bool | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
        created_after: int | None = None,
        created_before: int | None = None,
        search: str | None = None,
        mocks: bool = True,
    ) -> tuple[list[JobRow], int]:
        """Read one page of jobs. See `Store.jobs`."""
        wanted = JobFilter(
            backend, program, pending, tags, group, created_after, created_before, search, mocks
        )
        with self.database.reading() as connection:
            return reads.list_jobs(
                connection, instance, wanted, limit=limit, offset=offset, ascending=ascending
            )

    def newest_jobs(self, limit: int) -> list[tuple[str, str, int]]:
        """Read which jobs came last. See `Store.newest_jobs`."""
        query = select(jobs.c.instance, jobs.c.id, jobs.c.created).order_by(jobs.c.seq.desc())
        with self.database.reading() as connection:
            return [(it[0], it[1], it[2]) for it in connection.execute(query.limit(limit))]

    def set_tags(self, instance: str, job_id: str, tags: Sequence[str]) -> bool:
        """Replace all tags of a job. See `Store.set_tags`."""
        with self.database.writing() as connection:
            if self._hot.find_job(connection, instance, job_id) is None:
                return False
            connection.execute(delete(job_tags).where(job_tags.c.job == job_id))
            self._writer.tag(connection, job_id, tags)
        return True

    def delete_job(self, instance: str, job_id: str) -> None:
        """Delete a job that has ended. See `Store.delete_job`."""
        with self.database.writing() as connection:
            found = self._hot.find_job(connection, instance, job_id)
            if found is None:
                raise UnknownJob(job_id)
            if not found.job.final:
                raise JobNotFinal(job_id, SERVER_WORDS[found.job.state])
            self._deletion.job(connection, found.job)

    def retire(self, now: int, kept: Retention) -> Retired:
        """Delete what is old enough. See `Store.retire`."""
        return self._deletion.retire(now, kept)

    def params(self, instance: str, job_id: str) -> bytes | None:
        """Read the input of a job. See `Store.params`."""
        return self._read_blob(instance, job_id, "params")

    def raw(self, instance: str, job_id: str) -> bytes | None:
        """Read the raw data of a job. See `Store.raw`."""
        return self._read_blob(instance, job_id, "raw")

    def read_result(self, instance: str, job_id: str) -> bytes | None:
        """Read the result of a job. See `Store.read_result`."""
        with self.database.glancing() as connection:
            found = self._find_blob(connection, instance, job_id, "result")
        if found is None:
            return None
        name, private = found
        if not private:
            return self._content_of(name, instance, job_id, "result")
        content = None
        with contextlib.suppress(OutcomeUnknown), self.database.writing() as connection:
            # Asked again: of two readers at once, one gets it.
            if self._find_blob(connection, instance, job_id, "result") is None:
                return None
            # Read before it is deleted; the row itself, since the transaction is not committed.
            content = self.blobs.get(name)
            self._deletion.drop(connection, [(job_id, "result", 0, name)])
        return content  # even if its deletion is in doubt: it must not be lost

    def interim_results(self, instance: str, job_id: str) -> list[tuple[int, bytes]]:
        """Read the interim results of a job. See `Store.interim_results`."""
        with self.database.reading() as connection:
            found = reads.read_interim(connection, instance, job_id)
        try:
            return [(n, self.blobs.get(name)) for n, name in found]
        except StoreUnavailable:
            raise
        except StoreError:
            with self.database.reading() as connection:
                if reads.read_interim(connection, instance, job_id) == found:
                    raise  # they are damaged; else a sweep took them while we read
            return self.interim_results(instance, job_id)

    def device_runs(self, job_id: str, attempt: int) -> list[DeviceRun]:
        """Read the runs of an attempt. See `Store.device_runs`."""
        with self.database.reading() as connection:
            return reads.read_device_runs(connection, job_id, attempt)

    def logs(self, instance: str, job_id: str) -> str | None:
        """Read the log of a job. See `Store.logs`."""
        with self.database.reading() as connection:
            return reads.read_log(connection, instance, job_id)

    # ---- for the API: groups, workloads, usage ---------------------------------------------------

    def group(self, instance: str, group_id: str) -> GroupRow | None:
        """Read one group. See `Store.group`."""
        with self.database.glancing() as connection:
            return self._hot.find_group(connection, instance, group_id)

    def groups(
        self,
        instance: str,
        *,
        limit: int = 200,
        offset: int = 0,
        ascending: bool = False,
        backend: str | None = None,
        states: Iterable[GroupState] | None = None,
    ) -> tuple[list[GroupRow], int]:
        """Read one page of groups. See `Store.groups`."""
        with self.database.reading() as connection:
            return reads.list_groups(
                connection,
                instance,
                limit=limit,
                offset=offset,
                backend=backend,
                states=states,
                ascending=ascending,
            )

    def group_timestamps(self, group_id: str) -> list[tuple[str, int]]:
        """Read when a group's reported state changed. See `Store.group_timestamps`."""
        return reads.reported_changes(self.story(group_id))

    def cache_counts(self, group_id: str) -> tuple[int, int]:
        """Sum what its jobs found prepared. See `Store.cache_counts`."""
        with self.database.reading() as connection:
            return reads.cache_counts(connection, group_id)

    def workloads(
        self,
        instance: str,
        *,
        now: int,
        limit: int = 10,
        offset: int = 0,
        ascending: bool = False,
        backend: str | None = None,
        mode: str | None = None,
        statuses: Sequence[str] = (),
        tags: Sequence[str] = (),
        created_after: int | None = None,
        created_before: int | None = None,
        search: str | None = None,
        mocks: bool = True,
        user: str | None = None,
    ) -> tuple[list[WorkloadRow], int]:
        """Read one page of workloads. See `Store.workloads`."""
        wanted = WorkloadFilter(
            backend, mode, statuses, tags, created_after, created_before, search, mocks, user
        )
        with self.database.reading() as connection:
            return list_workloads(
                connection,
                instance,
                wanted,
                now=now,
                limit=limit,
                offset=offset,
                ascending=ascending,
            )

    def story(self, subject: str) -> list[StoryRow]:
        """Read the story of a job or a group. See `Store.story`."""
        with self.database.reading() as connection:
            return reads.read_story(connection, subject)

    def usage(self, instance: str, start: int, end: int) -> int:
        """Sum up what an instance was charged. See `Store.usage`."""
        with self.database.reading() as connection:
            return reads.sum_usage(connection, instance, start, end)

    # ---- inside ----------------------------------------------------------------------------------

    def _read_blob(self, instance: str, job_id: str, role: str) -> bytes | None:
        with self.database.glancing() as connection:
            found = self._find_blob(connection, instance, job_id, role)
        return None if found is None else self._content_of(found[0], instance, job_id, role)

    def _content_of(self, name: str, instance: str, job_id: str, role: str) -> bytes | None:
        try:
            return self.blobs.get(name)
        except StoreUnavailable:
            raise
        except StoreError:
            with self.database.glancing() as connection:
                if self._find_blob(connection, instance, job_id, role) is not None:
                    raise  # it is damaged; else it was deleted while we read
            return None

    def _find_blob(
        self, connection: Cursors, instance: str, job_id: str, role: str
    ) -> tuple[str, bool] | None:
        values = {"id": job_id, "instance": instance, "role": role}
        rows = self._hot.blob.fetch(connection, values)
        return (rows[0][0], bool(rows[0][1])) if rows else None

    def _read_blob_row(self, name: str) -> tuple[bytes | None, str] | None:
        with self.database.glancing() as connection:
            rows = self._content.fetch(connection, {"hash": name})
        if not rows:
            return None
        content, key = rows[0]
        return None if content is None else bytes(content), str(key)
