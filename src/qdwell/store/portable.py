"""Backups: a store copied while it is used, and a copy made a store again.

A backup is a data folder: SQLite in `qdwell.db`, large blobs in `blobs/`, whatever the store was.
So it can be served as it is, examined by the doctor, and restored into either kind of database;
restoring one made of SQLite into PostgreSQL is how a site moves.

The database is copied in one consistent view, without holding up the server. Blobs are copied
before it and after it: before, so that little is left to do; after, what the copied database names
and is not there yet. One that was deleted in between is in neither, so it is all done again, until
nothing is missing; what was copied already is not copied twice. The database gets its name last:
a folder without it, in which a backup was killed, is no backup.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Select, func, select, text

from qdwell.errors import StoreError, StoreUnavailable
from qdwell.store import Place, Store, open_store
from qdwell.store.shelves import MARK, FolderShelf, Shelf, sync_folder
from qdwell.store.sqlite import SqliteDatabase
from qdwell.store.tables import accounts, blobs, events, heard, metadata, pulse
from qdwell.store.tables_who import audit

_TRIES = 10  # each round has less to copy, so less can vanish meanwhile
_ROWS_AT_ONCE = 500
_CREDENTIALS = "credentials.env"
_UNFINISHED = "unfinished"  #: folder in a backup, for its database until all else is there


def back_up(store: Store, source: Path, target: Path) -> int:
    """Copy a store, with its data folder `source`, into the new folder `target`.

    A server may use the store meanwhile. Returns how many large blobs are in the copy.

    Raises:
        StoreUnavailable: the target exists, or something cannot be read or written.
        StoreError: the database is damaged.
    """
    if target.exists() and any(target.iterdir()):
        raise StoreUnavailable(f"{target} is not empty; a backup wants a folder of its own")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _fill(store, source, target)
    except BaseException:
        _empty(target)  # or the next try would find a folder that is not its own
        raise


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


def _fill(store: Store, source: Path, target: Path) -> int:
    shelf = FolderShelf(target / "blobs")
    unfinished = target / _UNFINISHED
    unfinished.mkdir(mode=0o700)
    for _ in range(_TRIES):
        files = store.blobs.shelf.keys()
        _copy_blobs(store.blobs.shelf, shelf, [key for key in files if key[0] != "."])
        _copy_database(store, unfinished)
        with closing(open_store(unfinished)) as copy:
            if (damage := next(iter(copy.database.ailments()), None)) is not None:
                raise StoreError(
                    f"the database is damaged, and its copy would be: {damage.what}; "
                    "`qdwell doctor` finds all faults"
                )
            with copy.database.reading() as connection:
                needed = set(connection.execute(_in_files()).scalars())
        missing = _copy_blobs(store.blobs.shelf, shelf, sorted(needed))
        if not missing:
            break
    else:
        raise StoreUnavailable(f"blobs vanish faster than they are copied, such as {missing[0]}")
    for key in set(shelf.keys()) - needed:
        shelf.remove(key)
    with suppress(FileNotFoundError):
        _copy_credentials(source, target)
    for part in sorted(unfinished.glob("qdwell.db*"), reverse=True):  # itself after its log
        part.rename(target / part.name)
    shutil.rmtree(unfinished)
    sync_folder(target)
    return len(needed)


def restore(source: Path, place: Place) -> None:
    """Make the store at `place`, which must have nothing in it, from a backup.

    Raises:
        StoreUnavailable: `source` is no backup, `place` is in use or has accounts already.
        StoreError: the backup is damaged.
    """
    if not (source / "qdwell.db").exists():
        raise StoreUnavailable(f"{source} is no backup: it has no qdwell.db")
    with (
        tempfile.TemporaryDirectory(prefix="qdwell-restore-") as scratch,
        closing(_opened(source, Path(scratch))) as old,
        closing(open_store(place, anew=True)) as new,
    ):
        shelf = FolderShelf(source / "blobs")
        with new.database.reading() as connection:
            if _has_accounts(connection):
                where = new.database.name
                raise StoreUnavailable(f"{where} has accounts already: restore into an empty one")
        with old.database.reading() as connection:
            if not _has_accounts(connection):
                raise StoreUnavailable(f"{source} is no backup: there is nothing in its qdwell.db")
            needed = sorted(connection.execute(_in_files()).scalars())
        if missing := _copy_blobs(shelf, new.blobs.shelf, needed):
            raise StoreError(
                f"the backup lacks blob {missing[0]}; `qdwell doctor` finds all faults"
            )
        with old.database.reading() as rows, new.database.migrating() as into:
            _copy_rows(rows, into, keep_mark=place != Place(place.folder))
    place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (source / _CREDENTIALS).exists() and not (place.folder / _CREDENTIALS).exists():
        _copy_credentials(source, place.folder)


def _copy_credentials(source: Path, target: Path) -> None:
    (target / _CREDENTIALS).write_bytes((source / _CREDENTIALS).read_bytes())
    (target / _CREDENTIALS).chmod(0o600)


def _opened(source: Path, scratch: Path) -> Store:
    """Open the database of a backup, of an older release perhaps, without changing it.

    A folder that was served has its newest commits in the log, if the server runs or was killed.
    """
    path = source / "qdwell.db"
    if Path(f"{path}-wal").exists():
        _copy_file(path, scratch / "qdwell.db")
    else:
        shutil.copy(path, scratch / "qdwell.db")
    return open_store(scratch)


def _copy_file(path: Path, target: Path) -> None:
    """Copy a database of SQLite in one consistent view, what is in its log as well."""
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)  # all pages in one step: one view, and writers go on
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be copied to {target}: {error}") from error


def _has_accounts(connection: Connection) -> bool:
    return connection.execute(select(accounts.c.id).limit(1)).first() is not None


def _in_files() -> Select[str]:
    key: ColumnElement[str] = func.coalesce(blobs.c.file, blobs.c.hash)
    return select(key).where(blobs.c.content.is_(None))


def _copy_blobs(source: Shelf, target: Shelf, keys: list[str]) -> list[str]:
    """Copy what is not there yet; return what is in neither."""
    have = set(target.keys())
    missing = []
    for key in keys:
        if key in have or key == MARK:
            continue
        content = source.read(key)
        if content is None:
            missing.append(key)
        else:
            target.write(key, content)
    return missing


def _copy_database(store: Store, target: Path) -> None:
    """Copy the database in one consistent view, over what an earlier round has left."""
    path = target / "qdwell.db"
    for old in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        old.unlink(missing_ok=True)
    if isinstance(store.database, SqliteDatabase):
        _copy_file(store.database.path, path)
        path.chmod(0o600)
        return
    with (
        closing(open_store(target)) as made,
        store.database.reading() as rows,
        made.database.migrating() as into,
    ):
        _copy_rows(rows, into, keep_mark=False)


def _copy_rows(rows: Connection, into: Connection, *, keep_mark: bool) -> None:
    """Copy every row of every table into an empty database, whose own mark may stay."""
    mark = into.execute(text("SELECT mark FROM server")).scalar()
    for table in metadata.sorted_tables:
        # What the schema's making left is replaced. The audit log it leaves empty, and nobody,
        # not even we, may delete from that.
        if into.execute(select(table).limit(1)).first() is not None:
            into.execute(table.delete())
        found = rows.execution_options(yield_per=_ROWS_AT_ONCE).execute(select(table))
        for part in found.partitions():
            values = [dict(zip(table.c.keys(), row, strict=True)) for row in part]
            into.execute(table.insert(), values)
    into.execute(text("UPDATE server SET mark = :mark"), {"mark": mark if keep_mark else None})
    into.execute(pulse.update().values(url=None, seen_at=0))
    into.execute(heard.delete())
    if into.dialect.name == "postgresql":
        for table in (events, audit):
            last = into.execute(select(func.max(table.c.id))).scalar()
            if last is not None:
                sequence = "SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"
                into.execute(text(sequence), {"name": table.name, "last": last})
