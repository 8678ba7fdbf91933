"""Which of the servers on one database leads: the one that schedules, and that commits.

Three things work together, each for what it is good at:

- an **advisory lock** of the database, held by the leader's own connection. When its process dies,
  the database sees the connection close and gives the lock to a follower that asks, at once;
- a **pulse**, written each second over that connection. A leader that is paused, or whose machine
  has vanished without a word, still has the lock, but its pulse stops; after `STALE_MS` a follower
  ends its connection, and takes the lock;
- the **epoch** in the row `leader`, which each new leader counts up, and every commit compares
  (see `postgres.py`). Lock and pulse may be mistaken about who is alive; this is what makes a
  mistake harmless. A leader that wakes up after it was given up for dead can write nothing.

The pulse is compared with the database's clock, so the clocks of the servers do not matter. A
leader knows by its own stopwatch how long it may still believe that it leads (`VALID_MS` from
before its last pulse, less than anyone waits): only so long does it answer from its memory.

One thread does all this, over one connection, and tells the event loop what has changed. The same
connection hears what is announced (NOTIFY): a new leader, and new accounts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from qdwell.clock import stopwatch_ns
from qdwell.store.locks import LEADER_LOCK, end_keeper
from qdwell.store.postgres import CHANNEL, STUCK_MS, PostgresDatabase, end_holder

PULSE_MS = 1_000
STALE_MS = 5_000  # without a pulse
VALID_MS = 4_000  # since before the last pulse
ASK_MS = 500  # how often a follower asks for the lock
_PATIENCE_MS = 1_000  # for the row that a paused leader's transaction may hold

log = structlog.get_logger("qdwell.leadership")

_BEAT = """
UPDATE pulse SET seen_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
WHERE id = 1 AND epoch = %s
"""
_FIRST_BEAT = """
UPDATE pulse SET epoch = %s, url = %s,
    seen_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
WHERE id = 1
"""
_LOOK = """
SELECT epoch, url, (extract(epoch FROM clock_timestamp()) * 1000)::bigint - seen_at
FROM pulse WHERE id = 1
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """Who leads, as this server knows it."""

    mine: int | None = None  #: the epoch in which this server leads; None: it follows
    epoch: int = 0  #: of the present leader
    url: str | None = None  #: where the present leader is reached; None: nobody leads


class Leadership:
    """One server's part in it. `changed` and `announced` are called from a thread of its own.

    Args:
        database: whose leadership it is.
        url: where other servers reach this one.
        changed: told each new standing.
        announced: told what another process has announced, such as `accounts`.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        url: str,
        changed: Callable[[Standing], None],
        announced: Callable[[str], None],
    ) -> None:
        self._database = database
        self._url = url
        self._changed = changed
        self._announced = announced
        self._stopping = threading.Event()
        self._valid_until_ns = 0
        self.standing = Standing()
        database.deposed = self._doubt
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    def start(self) -> None:
        """Begin to follow, and to lead when nobody does."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of the lock: a follower leads within a second. Blocks until it is free."""
        self._stopping.set()
        self._thread.join()

    @property
    def valid(self) -> bool:
        """Whether this server leads, beyond doubt, at this moment."""
        return self.standing.mine is not None and stopwatch_ns() < self._valid_until_ns

    def _doubt(self) -> None:
        """A commit has met the fence: believe nothing until the next pulse."""
        self._valid_until_ns = 0

    # ---- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._database.connect() as connection:
                    self._keep(connection)
                    self._resign(connection)
            except psycopg.Error as error:
                log.warning("no connection for the leadership", error=str(error).split("\n")[0])
                self._stopping.wait(ASK_MS / 1000)

    def _keep(self, connection: psycopg.Connection[Any]) -> None:
        """Follow or lead, for as long as the connection lasts."""
        # A pulse need not survive anything; a change of leader does, and says so.
        connection.execute(f"SET synchronous_commit = off; SET lock_timeout = {_PATIENCE_MS}")
        connection.execute(f"LISTEN {CHANNEL}")
        locked = False
        while not self._stopping.is_set():
            locked = locked or self._lock(connection)
            if locked:
                self._lead(connection)
            self._look(connection, locked=locked)
            pause = PULSE_MS if locked else ASK_MS
            for note in connection.notifies(timeout=pause / 1000, stop_after=1):
                self._announced(note.payload)

    def _lock(self, connection: psycopg.Connection[Any]) -> bool:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LEADER_LOCK,)).fetchone()
        if row is not None and row[0]:
            return True
        seen = connection.execute(_LOOK).fetchone()
        if seen is not None and seen[2] > STALE_MS:
            log.warning("the leader does not say anything", url=seen[1], silent_ms=seen[2])
            end_keeper(connection, LEADER_LOCK)
        return False

    def _lead(self, connection: psycopg.Connection[Any]) -> None:
        """Send a pulse, if this server leads already; else begin to, in an epoch of its own."""
        before = stopwatch_ns()
        mine = self.standing.mine
        beat = connection.execute(_BEAT, (mine,)) if mine is not None else None
        if beat is None or beat.rowcount == 0:
            # Nobody has led since, if the row is still ours; and if it is not, all that we have in
            # memory is old. Both times a new epoch is right, and what we have is loaded anew.
            mine = self._begin(connection)
        self._valid_until_ns = before + VALID_MS * 1_000_000
        self._tell(Standing(mine, mine or 0, self._url))

    def _begin(self, connection: psycopg.Connection[Any]) -> int:
        while True:
            try:
                epoch = self._count_up(connection)
            except psycopg.errors.LockNotAvailable:
                # The old leader may have been paused in a transaction, or a command is writing.
                # The lock of leaders is kept meanwhile: nobody else can do better.
                if self._stopping.is_set():
                    raise
                end_holder(connection, STUCK_MS)
            else:
                log.info("this server leads", epoch=epoch)
                return epoch

    def _count_up(self, connection: psycopg.Connection[Any]) -> int:
        with connection.transaction():
            connection.execute("SET LOCAL synchronous_commit = on")
            row = connection.execute(
                "UPDATE leader SET epoch = epoch + 1 WHERE id = 1 RETURNING epoch"
            ).fetchone()
            epoch = int(row[0]) if row is not None else 0
            connection.execute(_FIRST_BEAT, (epoch, self._url))
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, "leader"))
        return epoch

    def _resign(self, connection: psycopg.Connection[Any]) -> None:
        """Tell the followers that the lock is theirs to take."""
        if self.standing.mine is not None:
            resign = "UPDATE pulse SET url = NULL WHERE id = 1 AND epoch = %s"
            connection.execute(resign, (self.standing.mine,))
            connection.execute("SELECT pg_advisory_unlock(%s)", (LEADER_LOCK,))
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, "leader"))

    def _look(self, connection: psycopg.Connection[Any], *, locked: bool) -> None:
        """Take note of who leads, if it is another one."""
        row = connection.execute(_LOOK).fetchone()
        if locked or row is None:
            return
        epoch, url, _ = row
        mine = self.standing.mine
        if mine is not None and mine == epoch:
            return  # our connection was lost, and nobody has taken over yet
        self._tell(Standing(None, int(epoch), url if epoch else None))

    def _tell(self, standing: Standing) -> None:
        if standing != self.standing:
            if self.standing.mine is not None and standing.mine is None:
                log.warning("another server leads", url=standing.url, epoch=standing.epoch)
            self.standing = standing
            self._changed(standing)
