"""The SQLite database of one data folder: all that is particular to SQLite.

One connection writes, under a lock, and each write is one immediate transaction. Readers have
connections of their own that refuse to write; in WAL mode they see the last committed state and
never wait for the writer. Another process (`qdwell account create`) may write in between:
SQLite's own lock lets one writer in at a time, and the others wait for it up to `BUSY_MS`.

`synchronous=FULL` is what makes a commit survive power loss: the log is synced before COMMIT
returns. With NORMAL, the default that many projects use in WAL mode, the last commits could be
gone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, Table, create_engine, event
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.util import LRUCache

from qdwell.errors import OutcomeUnknown, StoreError, StoreUnavailable
from qdwell.store.records import Finding
from qdwell.store.statements import Glance
from qdwell.store.upkeep import finish

BUSY_MS = 10_000  # a writer that holds the lock longer than this is stuck, not busy
_READERS_KEPT = 8
_READERS_MAX = 64  # as many as an API's thread pool may have at work
_LOG_PAGES_MAX = 4_000  # of 4 kB
_FRAME_BYTES = 4_096 + 24  # a page and its header, in the log
_CHUNK_BYTES = 1_048_576
_CACHE_KIB_MAX = 32_768
_STATEMENTS_KEPT = 256  # prepared statements each connection keeps
# What SQLAlchemy has compiled serves every engine of the process that has the same dialect object:
# the reader need not compile what the writer has, nor a store that is opened again all of it.
_COMPILED: LRUCache[Any, Any] = LRUCache(500)
_DIALECT: list[Dialect] = []  # the first one's


class SqliteDatabase:
    """Opens `path`, makes it if needed, and hands out transactions. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.epoch: int | None = None  # one server has this folder, and nobody takes over
        self._lock = threading.RLock()
        self._after: list[Callable[[], None]] = []
        self._writer_engine = self._engine("BEGIN IMMEDIATE", 1, 0, _prepare_writer)
        self._reader_engine = self._engine(
            "BEGIN", _READERS_KEPT, _READERS_MAX - _READERS_KEPT, _prepare_reader
        )
        self._writer: Connection | None = None
        self._file: tuple[int, int] | None = None  #: that is open, as `_identity` has it
        self._glances: list[Glance] = []  # idle ones; taking and giving back are single steps
        self._closed = False
        self.dialect = self._writer_engine.dialect

    def insert(self, table: Table) -> Insert:
        """Return an INSERT that knows ON CONFLICT, which SQLAlchemy has per database."""
        return insert(table)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction: durable when the block ends, undone if it raises.

        Raises:
            StoreError: the schema refused a row.
            StoreUnavailable: the database cannot be written now; nothing was.
            OutcomeUnknown: the commit failed half-way, as on a full disk.
        """
        with self._lock, self._translated():
            committing = False
            try:
                if self._writer is None:
                    self._check_file()  # SQLite would make a new one
                    self._writer = self._writer_engine.connect()
                    self._file = self._identity()
                with self._writer.begin():
                    yield self._writer
                    self._check_file()  # or we would write what nobody ever reads
                    committing = True
            except BaseException as error:
                self._after.clear()
                if not isinstance(error, StoreError):
                    self._drop_writer()  # whatever state it is in, a fresh one is in a known one
                if committing and isinstance(error, DBAPIError | self.driver.Error):
                    cause = getattr(error, "orig", None) or error
                    raise OutcomeUnknown(f"{self.path} failed in a commit: {cause}") from error
                raise
            after, self._after = self._after, []
            finish(after)

    def migrating(self) -> AbstractContextManager[Connection]:
        """One transaction that may change the schema: as any other, since all are exclusive."""
        return self.writing()

    def announce(self, connection: Connection, what: str) -> None:
        """Do nothing: one server has this folder, and it asks when it needs to know."""

    def after_commit(self, step: Callable[[], None]) -> None:
        """Inside `writing`: run `step` when the transaction is durable, before the next one."""
        self._after.append(step)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of what was committed when its first statement ran."""
        with (
            self._translated(),
            self._reader_engine.connect() as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def glancing(self) -> Iterator[Glance]:
        """A connection for single statements that read: each sees what is committed then.

        It has no transaction, and goes past the pool, whose checks take three times as long as
        finding a row does.
        """
        with self._translated():
            try:
                glance = self._glances.pop()
            except IndexError:
                glance = self._glance()
            try:
                yield glance
            except BaseException:
                glance.connection.close()
                raise
            if self._closed or len(self._glances) >= _READERS_KEPT:
                glance.connection.close()
            else:
                self._glances.append(glance)

    def _glance(self) -> Glance:
        fresh = self._reader_engine.raw_connection()
        glance = Glance(fresh.driver_connection)
        fresh.detach()  # from the pool: it is ours to close
        return glance

    def ailments(self) -> Iterator[Finding]:
        """What SQLite itself finds wrong: damaged pages, rows that refer to nothing."""
        try:
            with self.reading() as connection:
                for (said,) in connection.exec_driver_sql("PRAGMA integrity_check"):
                    if said != "ok":
                        yield Finding(self.name, str(said))
                for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                    yield Finding(f"table {table}", f"row {row} refers to no row of {parent}")
        except StoreUnavailable as error:  # so damaged that the examination itself cannot go on
            yield Finding(self.name, str(error))

    def warm_up(self) -> None:
        """Give the log the length at which it is folded back, so that it never grows again.

        A sync of a file that grows takes twice as long as one of a file that is written over. What
        is behind the last frame of the log means nothing, and zeros are no frame; and while we
        write, nobody else adds a frame.

        Raises:
            StoreUnavailable: there is no room for it.
        """
        path = Path(f"{self.path}-wal")
        try:
            with self.writing(), path.open("r+b", buffering=0) as log:
                missing = _LOG_PAGES_MAX * _FRAME_BYTES - log.seek(0, os.SEEK_END)
                while missing > 0:
                    missing -= log.write(bytes(min(missing, _CHUNK_BYTES)))
                os.fsync(log.fileno())
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close every connection; the last one folds the log into the database file."""
        with self._lock:
            self._closed = True
            while self._glances:
                self._glances.pop().connection.close()
            self._reader_engine.dispose()
            self._drop_writer()

    def _check_file(self) -> None:
        if self._file not in (None, self._identity()):
            raise StoreUnavailable(
                f"{self.path} was removed or replaced while it was open: stop, and put it back"
            )

    def _identity(self) -> tuple[int, int] | None:
        """Which file is at our path."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._writer_engine.dispose()

    def _engine(
        self, begin: str, size: int, overflow: int, prepare: Callable[[Any], None]
    ) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=str(self.path)),  # a path may have ?, #, and %
            connect_args={
                "timeout": BUSY_MS / 1000,
                "check_same_thread": False,
                "cached_statements": _STATEMENTS_KEPT,
            },
            pool_size=size,
            max_overflow=overflow,
            execution_options={"compiled_cache": _COMPILED},
        )
        if not _DIALECT:
            _DIALECT.append(engine.dialect)
        engine.dialect = _DIALECT[0]

        def connected(connection: Any, _record: Any) -> None:
            # The driver would begin transactions by its own rules; we say when.
            connection.isolation_level = None
            prepare(connection)

        event.listen(engine, "connect", connected)

        def begun(connection: Connection) -> None:
            # By the driver itself: SQLAlchemy's way to it costs as much as three statements.
            connection.connection.driver_connection.execute(begin)  # type: ignore[union-attr]

        event.listen(engine, "begin", begun)
        return engine

    @contextmanager
    def _translated(self) -> Iterator[None]:
        driver = self.driver
        try:
            yield
        except (IntegrityError, DataError, driver.IntegrityError, driver.DataError) as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"the schema refuses the write: {cause}") from error
        except (DBAPIError, driver.Error) as error:
            cause = getattr(error, "orig", None) or error
            raise StoreUnavailable(f"{self.path} cannot be used now: {cause}") from error

    @property
    def driver(self) -> Any:
        """The driver's module, with its exceptions."""
        return self._writer_engine.dialect.dbapi


def _prepare_writer(connection: Any) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Folding the log into the file is a pause for whoever commits then: make it rarer.
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES_MAX}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB_MAX}")
    # What a private job's user had erased shall not be left in a free page (J29).
    connection.execute("PRAGMA secure_delete = ON")


def _prepare_reader(connection: Any) -> None:
    connection.execute("PRAGMA query_only = ON")
