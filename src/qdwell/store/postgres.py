"""A PostgreSQL database: all that is particular to PostgreSQL (15 or newer).

Writes are one at a time, as in SQLite: each transaction begins by locking the one row of `leader`,
whoever writes, from whichever process. The same row is the fence. A server that leads has an
epoch, its number in the row of leaders; once another one has taken over, the row has a higher
epoch, and whatever the old one still tries to write is refused as its transaction begins
(`NotLeader`). So a server that was paused in mid-thought, and wakes up deposed, can write nothing.
Commands such as `qdwell account create` have no epoch and are not fenced; they only wait.

A commit is durable when it returns: `synchronous_commit` is never off in our sessions, whatever
the server's default. If the connection breaks while a COMMIT is under way, nobody knows what
became of it; PostgreSQL is asked afterwards (`pg_xact_status`), so that a write that happened is
never reported as failed. A writer that stops in the middle of a transaction is cut off, so that
its lock on the row does not keep others out: between two statements by the server, after
`STUCK_MS`; in the middle of one (for the server it is busy then, and waits for the rest without an
end) by whoever needs the row (`end_holder`), after `BUSY_MS`, or `STUCK_MS` if that is the next
leader.

Reads are repeatable-read and read-only: one consistent view. Texts lose their NUL characters,
which PostgreSQL cannot keep; no id of ours has one, so a search for such an id finds nothing.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import structlog
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from qdwell.errors import NotLeader, OutcomeUnknown, StoreError, StoreUnavailable
from qdwell.store.heard import SharedAnswers
from qdwell.store.locks import LEADER_LOCK, MIGRATION_LOCK
from qdwell.store.records import Finding
from qdwell.store.statements import Glance
from qdwell.store.upkeep import finish

OLDEST = 150_000  # as server_version_num has it: 15
BUSY_MS = 10_000  # a transaction that holds the row longer than this is stuck, not busy
MIGRATION_MS = 60_000  # the same, for the loading and the steps of a migration
STUCK_MS = 4_000  # a writer that says nothing this long inside a transaction has stopped
CONNECT_SECONDS = 5
_READERS_KEPT = 8
_READERS_MAX = 24  # two servers and a few commands fit into the default of 100 connections

CHANNEL = "qdwell"  #: of NOTIFY

log = structlog.get_logger("qdwell.postgres")

_KEEP_ALIVE = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_FENCE = (
    "SELECT epoch, pg_current_xact_id()::text, pg_backend_pid() FROM leader WHERE id = 1 FOR UPDATE"
)
_UNCHECKED = (
    "SELECT conname FROM pg_constraint WHERE NOT convalidated"
    " AND connamespace = current_schema()::regnamespace"
)
_IDLE = "idle_in_transaction_session_timeout"
_STATUS = "SELECT pg_xact_status(%s::xid8)"
# The one who locked a row last is in it, as xmax, and holds the lock of its own number to its end.
_END_HOLDER = """
SELECT pg_terminate_backend(held.pid, %s) FROM leader
JOIN pg_locks AS held ON held.locktype = 'transactionid' AND held.transactionid = leader.xmax
JOIN pg_stat_activity AS writer ON writer.pid = held.pid
WHERE leader.id = 1 AND held.granted AND held.pid <> pg_backend_pid()
AND writer.xact_start < clock_timestamp() - %s * interval '1 millisecond'
"""


class _Text(StrDumperUnknown):
    """Texts as PostgreSQL can keep them."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class PostgresDatabase:
    """Connects to `url` and hands out transactions. Threads may share it.

    Raises:
        StoreUnavailable: the URL is not PostgreSQL's, or nobody answers there, or an old release.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        self.name = self.url.render_as_string(hide_password=True)
        self.epoch: int | None = None  #: set while this process leads; commits are fenced by it
        self.deposed: Callable[[], None] = lambda: None  #: called when a commit meets the fence
        self._lock = threading.RLock()
        self.notes: SharedAnswers | None = None  #: of the epoch in which this process leads
        self._after: list[Callable[[], None]] = []
        self._glances: list[Glance] = []  # idle ones
        self._closed = False
        self._writer_engine = self._engine(1, 0, isolation_level="READ COMMITTED")
        self._reader_engine = self._engine(
            _READERS_KEPT, _READERS_MAX - _READERS_KEPT, isolation_level="REPEATABLE READ"
        )
        event.listen(self._reader_engine, "connect", _prepare_reader)
        event.listen(self._writer_engine, "connect", _prepare_writer)
        for engine in (self._reader_engine, self._writer_engine):
            event.listen(engine, "checkout", _refuse_dead)
        with self._translated(), self._writer_engine.connect() as connection:
            driver = connection.connection.driver_connection
            version = driver.info.server_version if driver is not None else 0
        if version < OLDEST:
            raise StoreUnavailable(f"{self.name} is PostgreSQL {version // 10_000}; 15 is needed")
        self.dialect = self._writer_engine.dialect

    def insert(self, table: Table) -> Insert:
        """Return an INSERT that knows ON CONFLICT, which SQLAlchemy has per database."""
        return insert(table)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction: durable when the block ends, undone if it raises.

        Raises:
            NotLeader: another server has taken over; nothing was written.
            StoreError: the schema refused a row.
            StoreUnavailable: the database cannot be written now; nothing was.
            OutcomeUnknown: the connection broke in the commit, and there is no other one.
        """
        with self._lock, self._translated():
            try:
                with self._writer_engine.connect() as connection, connection.begin() as begun:
                    transaction, process = self._fenced(connection)
                    yield connection
                    self._commit(begun, transaction, process)
            except BaseException:
                self._after.clear()
                raise
            after, self._after = self._after, []
            finish(after)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """One transaction that may change the schema; alone, and never beside a leader's."""
        with self._lock, self._translated(), self._writer_engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL {_IDLE} = {MIGRATION_MS}")
            # Both are let go with the transaction. Who cannot have them waits for `BUSY_MS`.
            for lock in (MIGRATION_LOCK, LEADER_LOCK):
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")
            yield connection

    def after_commit(self, step: Callable[[], None]) -> None:
        """Inside `writing`: run `step` when the transaction is durable, before the next one."""
        self._after.append(step)

    def announce(self, connection: Connection, what: str) -> None:
        """Inside `writing`: tell every server, once it is committed, that `what` has changed."""
        connection.exec_driver_sql("SELECT pg_notify(%s, %s)", (CHANNEL, what))

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

        It has no transaction: one trip to the server for each statement, not three.
        """
        with self._translated():
            glance = self._idle_glance() or Glance(self._glance())
            try:
                yield glance
            except BaseException:
                glance.connection.close()
                raise
            if self._closed or len(self._glances) >= _READERS_KEPT:
                glance.connection.close()
            else:
                self._glances.append(glance)

    def _idle_glance(self) -> Glance | None:
        while self._glances:
            with suppress(IndexError):  # another thread took the last one
                glance = self._glances.pop()
                if not _ended(glance.connection):
                    return glance
                glance.connection.close()
        return None

    def _glance(self) -> psycopg.Connection[Any]:
        connection = self.connect()
        _prepare_reader(connection, None)
        return connection

    def ailments(self) -> Iterator[Finding]:
        """Settings of the server with which nothing is durable, and checks that were left out."""
        with self.reading() as connection:
            for name in ("fsync", "full_page_writes"):
                if connection.exec_driver_sql(f"SHOW {name}").scalar() != "on":
                    what = f"{name} is off: what was promised durable is lost with the power"
                    yield Finding(self.name, what)
            for (rule,) in connection.exec_driver_sql(_UNCHECKED):
                yield Finding(self.name, f"constraint {rule} was never validated")

    def warm_up(self) -> None:
        """Connect, and have the commit's row in the server's memory."""
        with self.writing():
            pass

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            self._closed = True
            if self.notes is not None:
                self.notes.close()
            while self._glances:
                self._glances.pop().connection.close()
            self._reader_engine.dispose()
            self._writer_engine.dispose()

    def connect(self) -> psycopg.Connection[Any]:
        """Return a connection outside the pools, where each statement commits by itself.

        Raises:
            psycopg.Error: nobody answers.
        """
        keywords = self.url.translate_connect_args(username="user", database="dbname")
        keywords |= _KEEP_ALIVE | dict(self.url.query)
        return psycopg.connect(autocommit=True, application_name="qdwell", **keywords)

    # ---- inside ----------------------------------------------------------------------------------

    def _fenced(self, connection: Connection) -> tuple[str, int]:
        """Take the row of the leader; return the transaction's number and the server's process."""
        try:
            epoch, transaction, process = connection.exec_driver_sql(_FENCE).one()
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.LockNotAvailable):
                with self.connect() as beside:
                    end_holder(beside, BUSY_MS)  # so that the next write finds the row free
            if isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
                connection.invalidate()  # a session keeps to the defaults it began with
            raise
        if self.epoch is not None and epoch != self.epoch:
            self.deposed()
            raise NotLeader(f"{self.name} is led by another server now; nothing was written")
        return str(transaction), int(process)

    def _commit(self, begun: Any, transaction: str, process: int) -> None:
        try:
            begun.commit()
        except DBAPIError as error:
            if not isinstance(error.orig, psycopg.OperationalError):
                raise
            try:
                happened = self._happened(transaction, process)
            except psycopg.Error as again:
                why = f"{self.name} was lost in a commit: {_said(error)}"
                raise OutcomeUnknown(why) from again
            if not happened:
                raise

    def _happened(self, transaction: str, process: int) -> bool:
        """Whether a transaction was committed whose COMMIT got no answer.

        One that the server still waits to hear of is ended first, so that there is an answer.

        Raises:
            psycopg.Error: the database cannot be asked.
        """
        with self.connect() as connection:
            row = connection.execute(_STATUS, (transaction,)).fetchone()
            if row is not None and row[0] == "in progress":
                connection.execute("SELECT pg_terminate_backend(%s, %s)", (process, STUCK_MS))
                row = connection.execute(_STATUS, (transaction,)).fetchone()
        return row is not None and row[0] == "committed"

    def _engine(self, size: int, overflow: int, isolation_level: Any) -> Engine:
        return create_engine(
            self.url,
            connect_args={"application_name": "qdwell", **_KEEP_ALIVE},
            isolation_level=isolation_level,
            pool_size=size,
            max_overflow=overflow,
            pool_timeout=BUSY_MS / 1000,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, DataError, psycopg.IntegrityError, psycopg.DataError) as error:
            cause = _said(error)
            raise StoreError(f"the schema refuses the write: {cause}") from error
        except (DBAPIError, psycopg.Error, PoolTimeout) as error:
            raise StoreUnavailable(f"{self.name} cannot be used now: {_said(error)}") from error


def end_holder(connection: psycopg.Connection[Any], age_ms: int) -> bool:
    """End the writer that has the row of `leader`, if its transaction is older than `age_ms`.

    It loses nothing but that transaction, which is undone; if it lives, it hears so.

    Returns:
        Whether there was one.

    Raises:
        psycopg.Error: the database cannot be asked, or does not let us end another user's session.
    """
    ended = connection.execute(_END_HOLDER, (STUCK_MS, age_ms)).fetchall()
    if ended:
        log.warning("a writer stopped in a transaction: its connection is ended", older_ms=age_ms)
    return bool(ended)


def _said(error: Exception) -> str:
    """The first line of what the driver says."""
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0]


def _checked(url: str) -> URL:
    try:
        found = make_url(url)
    except ArgumentError:
        raise StoreUnavailable(f"{url!r} is not a database URL") from None
    if found.get_backend_name() not in ("postgresql", "postgres"):
        raise StoreUnavailable(
            f"{found.render_as_string(hide_password=True)}: only PostgreSQL can be named by URL; "
            "without one, the store is SQLite in the data folder"
        )
    return found.set(drivername="postgresql+psycopg")


def _prepare(connection: Any, more: str) -> None:
    connection.adapters.register_dumper(str, _Text)
    autocommit, connection.autocommit = connection.autocommit, True
    connection.execute(f"SET lock_timeout = {BUSY_MS}; {more}")
    connection.autocommit = autocommit


def _refuse_dead(connection: Any, _record: Any, _proxy: Any) -> None:
    """Have the pool replace a connection that the server has closed since it was last used.

    Nothing is due on an idle connection, so what can be read there is the end. This looks without
    asking the server, which would cost each read as much again.
    """
    if _ended(connection):
        raise DisconnectionError


def _ended(connection: Any) -> bool:
    if connection.closed:
        return True
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    return bool(look.poll(0))


def _prepare_writer(connection: Any, _record: Any) -> None:
    _prepare(
        connection,
        f"SET {_IDLE} = {STUCK_MS};"
        # An operator's stronger choice (remote_apply) stays; off is not one of ours.
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'",
    )


def _prepare_reader(connection: Any, _record: Any) -> None:
    _prepare(connection, "SET default_transaction_read_only = on")
