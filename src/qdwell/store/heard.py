"""Which new jobs' ids were handed over, where several servers share a database.

What `answers.py` has for one server in a file must be known to the next leader, on another machine
perhaps. So a note is sent to the database, over a connection of its own, and nobody waits for its
answer: once sent, it arrives although we die, much as a line in a file does, and costs the server
no round trip (8 us of its processor's time). The table is not logged: notes cost the database no
sync either. If the database itself crashes, it is empty afterwards, and then nothing is known, and
nothing claimed.

The first row of a leader says since when it takes notes. A job that was accepted after that, and of
which there is no note, was not answered. What may be lost are the notes of our last moments: of
several that the database has not taken yet when we die, it takes one. It is behind by less than a
millisecond, if it is well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from psycopg import pq

from qdwell.errors import StoreUnavailable
from qdwell.store.locks import NOTES_LOCK, end_keeper

if TYPE_CHECKING:
    from qdwell.store.postgres import PostgresDatabase

_KEPT = 4_000  # newest notes; older ones are deleted now and then
_UNANSWERED_MAX = 20_000  # notes that the database has not taken yet
_AGAIN_S = 1.0
_PATIENCE_MS = 1_000
_DYING_MS = 2_000  # until a connection that is ended has let go

_READ = "SELECT since, job FROM heard WHERE epoch = (SELECT max(epoch) FROM heard)"
_EMPTY = "DELETE FROM heard"
_BEGIN = "INSERT INTO heard (epoch, n, since) VALUES (%s, 0, %s)"
_NOTE = b"INSERT INTO heard (epoch, n, job) VALUES ($1, $2, $3)"
_FORGET = b"DELETE FROM heard WHERE n > 0 AND n < $1"

log = structlog.get_logger("qdwell.heard")


class SharedAnswers:
    """The notes of a server that leads. For one thread, which never waits in `note`.

    Args:
        database: of which this process leads.
        now: the instant from which all that is answered is noted.

    Raises:
        StoreUnavailable: the database does not answer.
    """

    def __init__(self, database: PostgresDatabase, now: Callable[[], int]) -> None:
        self._database, self._now = database, now
        self._epoch = str(database.epoch).encode()
        self._count = self._unanswered = 0
        self._connection: psycopg.Connection[Any] | None = None
        self._closed = threading.Event()
        if database.notes is not None:
            database.notes.close()
        database.notes = self
        try:
            rows = self._open()
        except psycopg.Error as error:
            raise StoreUnavailable(f"{database.name} cannot be used now: {error}") from error
        begun = [since for since, _ in rows if since is not None]
        #: since when the leader before us has noted all answers; None: it is not known
        self.since: int | None = begun[0] if begun else None
        self._heard = {job for _, job in rows if job is not None}

    def missing(self, job_ids: Iterable[str]) -> set[str]:
        """Those, all of them newer than `since`, whose ids nobody was seen to get."""
        return set() if self.since is None else set(job_ids).difference(self._heard)

    def note(self, job_id: str) -> None:
        """This job's id was handed over."""
        connection = self._connection
        if connection is None:
            return  # another one is on its way, and says since when it knows
        self._count += 1
        try:
            number = str(self._count).encode()
            self._send(connection.pgconn, _NOTE, self._epoch, number, job_id.encode())
            if self._count % _KEPT == 0:
                self._send(connection.pgconn, _FORGET, str(self._count - _KEPT).encode())
            self._take_answers(connection.pgconn)
        except psycopg.Error as error:
            self._lost(connection, str(error))
        else:
            if self._unanswered > _UNANSWERED_MAX:
                self._lost(connection, "it takes no notes")

    def close(self) -> None:
        """Take no more notes."""
        self._closed.set()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, wire: pq.abc.PGconn, statement: bytes, *values: bytes) -> None:
        wire.send_query_params(statement, values)
        wire.pipeline_sync()
        wire.flush()
        self._unanswered += 1

    def _take_answers(self, wire: pq.abc.PGconn) -> None:
        wire.consume_input()
        while self._unanswered and not wire.is_busy():
            answer = wire.get_result()
            if answer is not None and answer.status == pq.ExecStatus.PIPELINE_SYNC:
                self._unanswered -= 1

    def _open(self) -> list[tuple[int | None, str | None]]:
        """Connect, and begin a list of our own; return the list before."""
        connection = self._database.connect()
        try:
            connection.execute(f"SET synchronous_commit = off; SET lock_timeout = {_PATIENCE_MS}")
            _wait_for_the_last_note(connection)
            with connection.transaction():
                rows = connection.execute(_READ).fetchall()
                connection.execute(_EMPTY)
                connection.execute(_BEGIN, (self._database.epoch, self._now()))
            connection.pgconn.nonblocking = 1
            connection.pgconn.enter_pipeline_mode()
        except BaseException:
            connection.close()
            raise
        self._count = self._unanswered = 0
        self._connection = connection
        if self._closed.is_set():
            self.close()
        return rows

    def _lost(self, connection: psycopg.Connection[Any], why: str) -> None:
        log.warning("the connection for notes is lost", error=why.split("\n")[0])
        self._connection = None
        connection.close()
        threading.Thread(target=self._open_again, name="notes", daemon=True).start()

    def _open_again(self) -> None:
        while not self._closed.is_set() and self._connection is None:
            with suppress(psycopg.Error):
                self._open()
                return
            self._closed.wait(_AGAIN_S)


def _wait_for_the_last_note(connection: psycopg.Connection[Any]) -> None:
    """The leader before us has died: the database takes what it had sent, then lets its lock go.

    If it is only paused, it has long taken all, and its connection is ended.
    """
    while True:
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", (NOTES_LOCK,))
            return
        except psycopg.errors.LockNotAvailable:
            end_keeper(connection, NOTES_LOCK, _DYING_MS)
