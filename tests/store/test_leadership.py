"""Who leads: lock, pulse, and epoch, each on its own. Whole servers are in `tests/standby`."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from pgserver import Server, stop_in_mid_statement
from qdwell.core.decisions import Note
from qdwell.errors import NotLeader
from qdwell.store import Place, Store, accounts, leadership, open_store
from qdwell.store.leadership import Leadership, Standing
from qdwell.store.locks import LEADER_LOCK, MIGRATION_LOCK
from qdwell.store.postgres import PostgresDatabase

NOW = 1_767_225_600_000
PATIENCE_S = 60


class Candidate:
    """A store with its leadership, and what it was told."""

    def __init__(self, place: Place, url: str) -> None:
        self.store: Store = open_store(place)
        self.url = url
        self.told: queue.Queue[Standing] = queue.Queue()
        self.heard: queue.Queue[str] = queue.Queue()
        assert isinstance(self.store.database, PostgresDatabase)
        self.leadership = Leadership(self.store.database, url, self.told.put, self.heard.put)
        self.leadership.start()

    def until(self, condition: Callable[[Standing], bool]) -> Standing:
        """Wait for a standing."""
        while not condition(standing := self.told.get(timeout=PATIENCE_S)):
            pass
        return standing

    def leads(self) -> int:
        """Wait until it leads; return its epoch."""
        epoch = self.until(lambda it: it.mine is not None).mine
        assert epoch is not None
        self.store.lead(epoch)
        return epoch

    def end(self) -> None:
        self.leadership.stop()
        self.store.close()


@pytest.fixture
def url(postgres: Server) -> str:
    """A database of its own: all schemas of one share its locks."""
    return postgres.database()


@pytest.fixture
def stand(url: str, tmp_path: Path) -> Iterator[Callable[[str], Candidate]]:
    """Make candidates."""
    made: list[Candidate] = []

    def make(name: str) -> Candidate:
        made.append(Candidate(Place(tmp_path / "store", database_url=url), f"http://{name}"))
        return made[-1]

    yield make
    for each in made:
        with suppress(RuntimeError):
            each.end()


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_one_leads_and_the_other_knows_where(stand: Callable[[str], Candidate]) -> None:
    """The second one learns of the first; when that resigns, it leads in the next epoch."""
    one = stand("one")
    first = one.leads()
    assert one.leadership.valid
    two = stand("two")
    assert two.until(lambda it: it.url is not None) == Standing(None, first, "http://one")
    assert not two.leadership.valid
    one.leadership.stop()
    assert two.leads() == first + 1
    with pytest.raises(NotLeader):
        one.store.touch(NOW)


def test_a_silent_leader_is_given_up(
    stand: Callable[[str], Candidate], url: str, tmp_path: Path
) -> None:
    """It holds the lock and says nothing, as a paused process does: its connection is ended."""
    open_store(Place(tmp_path / "store", database_url=url)).close()
    with psycopg.connect(url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (LEADER_LOCK,))
        assert stand("two").leads() == 1
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")


def test_a_leader_paused_in_the_middle_of_a_statement_is_given_up(
    stand: Callable[[str], Candidate], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction has the row that the next one must count up, and never ends by itself."""
    monkeypatch.setattr(leadership, "STUCK_MS", 300)
    one, two = stand("one"), stand("two")
    first = one.leads()
    with stop_in_mid_statement(url):
        one.leadership.stop()
        assert two.leads() == first + 1
        two.store.touch(NOW)


def test_a_command_that_writes_is_waited_for(stand: Callable[[str], Candidate], url: str) -> None:
    """It has the row for longer than the next leader waits at once, and is not ended for that."""
    one, two = stand("one"), stand("two")
    first = one.leads()
    two.until(lambda it: it.url == "http://one")
    with psycopg.connect(url) as command:
        command.execute("SELECT 1 FROM leader WHERE id = 1 FOR UPDATE")
        one.leadership.stop()
        with pytest.raises(queue.Empty):
            while two.told.get(timeout=2).mine is None:
                pass
        assert command.execute("SELECT 1").fetchone() == (1,)
    assert two.leads() == first + 1


def test_who_finds_itself_deposed_begins_anew_or_not_at_all(
    stand: Callable[[str], Candidate], url: str
) -> None:
    """Another one has led meanwhile: nothing of the old epoch can be written any more."""
    one = stand("one")
    assert one.leads() == 1
    run(url, "UPDATE leader SET epoch = 2; UPDATE pulse SET epoch = 2")
    with pytest.raises(NotLeader):
        one.store.commit([Note("subject", NOW, "late")], NOW)
    assert one.until(lambda it: it.mine == 3).epoch == 3  # it has the lock, and loads anew
    with pytest.raises(NotLeader):
        one.store.touch(NOW)
    one.store.lead(3)
    one.store.touch(NOW)


def test_a_migration_is_not_taken_for_a_silent_leader(
    stand: Callable[[str], Candidate], url: str, tmp_path: Path
) -> None:
    """It has the lock, so that nobody leads beside it; it is waited for."""
    open_store(Place(tmp_path / "store", database_url=url)).close()
    with psycopg.connect(url) as migration:
        for lock in (MIGRATION_LOCK, LEADER_LOCK):
            migration.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))
        two = stand("two")
        with pytest.raises(queue.Empty):
            two.told.get(timeout=2)  # it has asked several times
        assert migration.execute("SELECT 1").fetchone() == (1,)
    assert two.leads() == 1


def test_a_lost_connection_alone_deposes_nobody(
    stand: Callable[[str], Candidate], url: str
) -> None:
    """The database restarted: the same server goes on, in the same epoch, with all it knows."""
    one = stand("one")
    first = one.leads()
    run(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'qdwell'",
    )
    accounts.create_account(one.store, "alice", "default", NOW)
    # It hears that over its new connection, if it is there by then; it leads in either case.
    one.store.touch(NOW)
    with pytest.raises(queue.Empty):
        one.told.get(timeout=3)
    assert one.leadership.valid
    assert run(url, "SELECT epoch FROM leader") == [(first,)]


def test_accounts_are_announced_to_the_leader(stand: Callable[[str], Candidate]) -> None:
    """NOTIFY: a command in another process made one."""
    one = stand("one")
    one.leads()
    accounts.create_account(one.store, "alice", "default", NOW)
    while one.heard.get(timeout=PATIENCE_S) != accounts.ACCOUNTS:
        pass
    assert one.leadership.valid
