"""The store remembers: the only SQL, the only files of state, the same words as the core.

What is durable, and when. *Durable* means on the disk, past every cache, so that it survives loss
of power.

- What `commit` writes is durable when it returns, all of it, or nothing of it is there: one
  transaction, synced before it counts. So a submission is durable before its id is returned, a
  result before a user can see `Completed`, and a lease before a device is touched, if the caller
  commits first and acts then.
- A blob is durable before any row that refers to it: a small one with the same commit, a large
  one already when `stage` or `ahead` returns. A blob that no commit refers to may be gone after a
  restart.
- `set_tags`, `delete_job`, and the one-time reading of a private result are durable when they
  return.
- A failure at any moment, in the middle of a commit too, leaves the last committed state. After
  an error the caller throws its memory away and loads again.

Who may write. One process runs the engine; its commits are guarded by the state that it believed,
so that a write decided on an old belief is refused whole (`StaleWrite`). Other processes may
write accounts and tokens meanwhile. Calls block; threads may share a store. Every read for a user
names the instance and finds nothing of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qdwell.config import Retention
from qdwell.core.decisions import Decision
from qdwell.core.group import GroupState
from qdwell.errors import StoreUnavailable
from qdwell.store.blobs import Blobs
from qdwell.store.ids import new_id, new_token
from qdwell.store.places import Place
from qdwell.store.records import (
    DeviceRun,
    Extras,
    GroupRow,
    JobDetails,
    JobFacts,
    JobRow,
    Loaded,
    Retired,
    StoryRow,
    WorkloadRow,
)

if TYPE_CHECKING:
    from qdwell.store.database import Database

__all__ = [
    "Blobs",
    "DeviceRun",
    "Extras",
    "GroupRow",
    "JobDetails",
    "JobFacts",
    "JobRow",
    "Loaded",
    "Place",
    "Retired",
    "Store",
    "StoryRow",
    "WorkloadRow",
    "new_id",
    "new_token",
    "open_store",
]


class Store(Protocol):
    """What the engine and the API ask of a store. Times are ms since the epoch, durations ms.

    Every method may raise `StoreUnavailable`: the database cannot be used now.
    """

    blobs: Blobs
    database: Database  #: what `accounts` shares; nobody outside the store touches it
    folders: tuple[Path, ...]  #: where its files are: no worker may open them

    def load(self, now: int, window_ms: int) -> Loaded:
        """Return all live work, and the charges that still count in the window to `now` (Q8)."""
        ...

    def commit(self, decisions: Sequence[Decision], now: int, extras: Extras | None = None) -> None:
        """Write the changes among `decisions`, and `extras`, in one transaction; durable on return.

        Guards (P5): a new job is taken only if its group accepts jobs, is its instance's and on
        its backend, and if its instance has fewer pending jobs than its `pending_max`; a moved
        job or group must be where its `was` says, and no later attempt may have begun; a group
        never accepts again; an ended charge stays, or is given back (U8). When a job ends, its raw
        data is deleted, and a private job's input and interim results (J29).

        Raises:
            StaleWrite: a guard failed; nothing was written.
            StoreError: the schema refused a row, or extras lack something; nothing was written.
        """
        ...

    def touch(self, now: int) -> None:
        """Note that the server runs, which a commit does as well; what follows is downtime (C8)."""
        ...

    def drop_ahead(self, key: str) -> None:
        """Let go of a file that was written ahead, and remove it unless a job refers to it."""
        ...

    def sweep(self, now: int) -> int:
        """Delete interim results two days after their job's end (J32), and blobs nobody refers to.

        It may run at any time: a commit writes a staged blob again if it finds it gone. Returns
        how many blobs were deleted.
        """
        ...

    def retire(self, now: int, kept: Retention) -> Retired:
        """Delete final jobs, or only their input and results, that are older than is `kept` (J32).

        What was charged stays (J30). Each transaction is small, and has a line in the audit log. It
        may run at any time.
        """
        ...

    def lead(self, epoch: int) -> None:
        """Lead among the servers that share the database: writes of an earlier epoch are refused.

        It is given up by nobody: what is written in an epoch that is over raises `NotLeader`.
        """
        ...

    def warm_up(self) -> None:
        """Do now, at the start of a server, what would make its first commits slow."""
        ...

    def close(self) -> None:
        """Let go of the database; nothing may be asked after that."""
        ...

    def job(self, instance: str, job_id: str) -> JobRow | None:
        """Return one job of the instance, or None."""
        ...

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
        """Return a page of jobs, newest first, and the exact number that match (J26).

        `pending`: queued or running (true), final (false). A job must have all of `tags`.
        `search`: an id, or letters inside a tag. Bounds on creation are inclusive. Without `mocks`
        dry runs are left out, unless `backend` is a mock twin.
        """
        ...

    def newest_jobs(self, limit: int) -> list[tuple[str, str, int]]:
        """Return instance, id, and creation of the newest jobs of all instances, newest first."""
        ...

    def set_tags(self, instance: str, job_id: str, tags: Sequence[str]) -> bool:
        """Replace all tags of a job (J28); False if the instance has no such job."""
        ...

    def delete_job(self, instance: str, job_id: str) -> None:
        """Delete a job that has ended, with all that is its own; what it was charged stays (J30).

        Raises:
            UnknownJob: the instance has no such job.
            JobNotFinal: it has not ended.
        """
        ...

    def params(self, instance: str, job_id: str) -> bytes | None:
        """Return the input of a job; None if there is none, or it has been erased (J29).

        A private job's input is here until the job ends: not showing it before is the API's part.
        """
        ...

    def raw(self, instance: str, job_id: str) -> bytes | None:
        """Return the raw data of a job between its execution and its end, else None (J5)."""
        ...

    def read_result(self, instance: str, job_id: str) -> bytes | None:
        """Return the result of a job, or None. A private job's is erased by that (J29)."""
        ...

    def interim_results(self, instance: str, job_id: str) -> list[tuple[int, bytes]]:
        """Return the interim results of a job by their numbers (R5)."""
        ...

    def device_runs(self, job_id: str, attempt: int) -> list[DeviceRun]:
        """Return the runs of an attempt on a device that keeps them, in order (J5)."""
        ...

    def logs(self, instance: str, job_id: str) -> str | None:
        """Return the log of a job, or None (J31)."""
        ...

    def group(self, instance: str, group_id: str) -> GroupRow | None:
        """Return one session or batch of the instance, or None."""
        ...

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
        """Return a page of sessions and batches, newest first, and the exact number that match."""
        ...

    def group_timestamps(self, group_id: str) -> list[tuple[str, int]]:
        """Return each change of a group's reported state, with its time (S11).

        It names no instance: check first whose group it is.
        """
        ...

    def cache_counts(self, group_id: str) -> tuple[int, int]:
        """Return how many things the group's jobs found prepared, and how many not (S37).

        It names no instance: check first whose group it is.
        """
        ...

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
        """Return a page of job-mode jobs, sessions, and batches, and how many match (I14).

        `mode`: job, session, or batch. `statuses`: any of pending, in_progress, completed,
        canceled, and failed; none means all. Usage that still grows is as of `now`.
        """
        ...

    def story(self, subject: str) -> list[StoryRow]:
        """Return every line about a job or a group, oldest first. It names no instance."""
        ...

    def usage(self, instance: str, start: int, end: int) -> int:
        """Return the milliseconds charged to an instance in [start, end).

        An open charge runs to `end`.
        """
        ...


def open_store(place: Place | Path | str, *, migrate: bool = True, anew: bool = False) -> Store:
    """Open the store at `place`, which may be no more than a data folder; make what is not there.

    With `migrate` an older database is brought up to date first; without it, an older one is
    refused. A folder from which a server has answered must have its database; with `anew` an empty
    one will do.

    Raises:
        StoreTooNew: a newer release wrote the database.
        StoreUnavailable: the folder, the database, or the place of the blobs cannot be used.
    """
    from qdwell.store.answers import ANSWERED
    from qdwell.store.migrations import bring_up_to_date, is_empty
    from qdwell.store.shelves import shelf_of
    from qdwell.store.sql import SqlStore
    from qdwell.store.upkeep import join, lost, unclaimed

    if not isinstance(place, Place):
        if "://" in str(place):
            raise StoreUnavailable(f"{place}: a data folder is needed; a URL is a setting")
        place = Place(Path(place))
    try:
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = _database(place)
        try:
            shelf = shelf_of(place)
            named = place.database_url is not None or place.blobs is not None
            if named and is_empty(database):
                unclaimed(shelf)
            used = place.database_url is None and (place.folder / ANSWERED).exists()
            if used and not anew and is_empty(database):
                raise lost(place.folder)
            bring_up_to_date(database, database.name, migrate=migrate)
            store = SqlStore(database, shelf, (place.folder,))
            if named:
                join(database, store.blobs)
            return store
        except BaseException:
            database.close()
            raise
    except OSError as error:
        raise StoreUnavailable(f"{place.folder} cannot be used: {error}") from error


def _database(place: Place) -> Database:
    if place.database_url is not None:
        from qdwell.store.postgres import PostgresDatabase

        return PostgresDatabase(place.database_url)
    from qdwell.store.sqlite import SqliteDatabase

    path = place.folder / "qdwell.db"
    path.touch(mode=0o600, exist_ok=True)
    return SqliteDatabase(path)
