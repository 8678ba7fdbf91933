"""What keeps a store clean, and its two halves together: the sweep, and the mark."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import delete, select, update

from qdwell.errors import StoreUnavailable
from qdwell.store.blobs import Blobs, not_yours
from qdwell.store.ids import new_id
from qdwell.store.shelves import MARK
from qdwell.store.statements import file_key
from qdwell.store.tables import blobs, job_blobs, jobs, server

if TYPE_CHECKING:
    from qdwell.store.database import Database
    from qdwell.store.shelves import Shelf

log = structlog.get_logger()

INTERIM_KEPT_MS = 2 * 86_400_000  # J32


def sweep(database: Database, content: Blobs, now: int) -> int:
    """Remove what nobody can ask for any more. See `Store.sweep`.

    A file is only removed if it was there before the transaction that finds no row of it, in the
    pause before the next transaction; a commit that wants it writes it again.
    """
    old = select(jobs.c.id).where(jobs.c.finished_at < now - INTERIM_KEPT_MS)
    files = content.shelf.keys()  # before the transaction: a large bucket takes its time
    with database.writing() as connection:
        connection.execute(
            delete(job_blobs).where(job_blobs.c.role == "interim", job_blobs.c.job.in_(old))
        )
        unused = ~select(job_blobs.c.hash).where(job_blobs.c.hash == blobs.c.hash).exists()
        found = connection.execute(select(blobs.c.hash, file_key()).where(unused))
        dropped: dict[str, str | None] = {row[0]: row[1] for row in found}
        connection.execute(delete(blobs).where(unused))
        in_files = select(file_key()).where(blobs.c.content.is_(None))
        kept = set(connection.execute(in_files).scalars())
        strays = content.strays(files, kept.union(dropped.values()))

        def remove() -> None:
            content.forget(dropped)
            content.wanted.doom(strays)

        database.after_commit(remove)
    return len(dropped) + len(strays)


def finish(steps: Iterable[Callable[[], None]]) -> None:
    """What follows a commit. It is durable already, so nothing here may look like its fault."""
    for step in steps:
        try:
            step()
        except (OSError, StoreUnavailable) as error:  # a file is in the way until the next sweep
            log.error("not cleaned up after a commit", error=str(error))


def unclaimed(shelf: Shelf) -> None:
    """Make sure that a new database finds nobody's blobs at its place, before it is made.

    Raises:
        StoreUnavailable: they are another one's.
    """
    if shelf.read(MARK) is not None:
        raise not_yours(shelf, "another database")


def lost(folder: Path) -> StoreUnavailable:
    """The error of a folder whose database is empty, though a server has answered from there."""
    return StoreUnavailable(
        f"the database in {folder} is empty, and was not: its file or its log was removed or cut "
        "off. `qdwell restore` makes it from a backup; to begin with nothing, name another folder"
    )


def join(database: Database, content: Blobs) -> None:
    """Make sure that the blobs are this database's own: both have the same mark.

    Raises:
        StoreUnavailable: they are another one's.
    """
    with database.writing() as connection:
        mark = connection.execute(select(server.c.mark)).scalar_one()
        if mark is None:
            connection.execute(update(server).values(mark=new_id()))
        fresh = str(connection.execute(select(server.c.mark)).scalar_one())
        content.belong_to(fresh, new=mark is None)
