"""What is particular to PostgreSQL: durability, the fence, lost connections, and NUL."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from pgserver import Server, stop_in_mid_statement
from qdwell.core.decisions import Note
from qdwell.errors import NotLeader, OutcomeUnknown, StoreError, StoreTooNew, StoreUnavailable
from qdwell.store import Place, Store, accounts, open_store
from qdwell.store import postgres as postgres_module
from qdwell.store.migrations import NEWEST
from qdwell.store.postgres import CHANNEL, PostgresDatabase

NOW = 1_767_225_600_000


@pytest.fixture
def place(postgres: Server, tmp_path: Path) -> Place:
    """An empty database, and a folder for its blobs."""
    return Place(tmp_path / "store", database_url=postgres.schema())


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """A store with nothing in it."""
    opened = open_store(place)
    yield opened
    opened.close()


def database(store: Store) -> PostgresDatabase:
    assert isinstance(store.database, PostgresDatabase)
    return store.database


def notes(store: Store) -> list[str]:
    return [line.cause for line in store.story("subject")]


def write(store: Store, *words: str) -> None:
    store.commit([Note("subject", NOW, word) for word in words], NOW)


def test_content_that_it_cannot_hold_is_refused(store: Store) -> None:
    """The database is well: nobody shall try that again until it is "back"."""
    with pytest.raises(StoreError, match="out of range") as refused:
        store.touch(2**63)
    assert not isinstance(refused.value, StoreUnavailable)


# ---- durable ------------------------------------------------------------------------------------


def test_a_commit_waits_for_the_disk_in_every_session(postgres: Server, place: Place) -> None:
    """`synchronous_commit = off` as the database's own default is not taken over."""
    assert place.database_url is not None
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres SET synchronous_commit = off")
        try:
            store = open_store(place)
            with store.database.writing() as writing:
                found = writing.exec_driver_sql("SHOW synchronous_commit").scalar()
            store.close()
        finally:
            connection.execute("ALTER ROLE postgres RESET synchronous_commit")
    assert found == "on"


class Gossip:
    """A proxy before the database that loses the answer to the next COMMIT, once armed."""

    def __init__(self, server: Server) -> None:
        self._target = str(server.folder / ".s.PGSQL.5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.armed = False
        self.alone = False  #: there is no other connection after that
        self.swallow = False  #: the COMMIT itself is lost, not only its answer
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._sockets += [client, server]
            self._start(self._there, client, server)
            self._start(self._back, server, client)

    def _there(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            self._forward(client, server)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            if self.armed and b"COMMIT\0" in data:
                self.armed = False
                if self.alone:
                    self._listener.shutdown(socket.SHUT_RDWR)
                if not self.swallow:
                    # What comes back is read here, so that it is committed; nobody hears of it.
                    client.shutdown(socket.SHUT_WR)
                    server.sendall(data)
                    threading.Event().wait(0.2)
                    server.shutdown(socket.SHUT_RDWR)
                client.shutdown(socket.SHUT_RDWR)
                threading.Event().wait(1)  # a lost COMMIT leaves the server waiting for it
                return
            server.sendall(data)

    @staticmethod
    def _back(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := _received(server):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


def _received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(65_536)
    except OSError:
        return b""


@pytest.fixture
def gossip(postgres: Server) -> Iterator[Gossip]:
    """The proxy."""
    made = Gossip(postgres)
    yield made
    made.close()


def through(gossip: Gossip, place: Place) -> Place:
    assert place.database_url is not None
    options = place.database_url.partition("options=")[2]
    url = f"postgresql://postgres@127.0.0.1:{gossip.port}/postgres?options={options}"
    return Place(place.folder, database_url=url)


def test_a_commit_whose_answer_is_lost_is_found_to_have_happened(
    gossip: Gossip, place: Place
) -> None:
    """Nobody is told that nothing was stored while it was."""
    store = open_store(through(gossip, place))
    gossip.armed = True
    write(store, "lost answer")
    assert not gossip.armed
    write(store, "after")
    assert notes(store) == ["lost answer", "after"]
    store.close()


def test_a_commit_that_never_arrived_is_an_error(gossip: Gossip, place: Place) -> None:
    """And nothing of it is there."""
    store = open_store(through(gossip, place))
    gossip.armed = gossip.swallow = True
    with pytest.raises(StoreUnavailable):
        write(store, "lost commit")
    write(store, "after")
    assert notes(store) == ["after"]
    store.close()


def test_a_commit_that_nobody_can_tell_of_says_so(gossip: Gossip, place: Place) -> None:
    """Its answer is lost, and then the whole database: not "nothing was stored"."""
    store = open_store(through(gossip, place))
    gossip.armed = gossip.alone = True
    with pytest.raises(OutcomeUnknown, match="lost in a commit"):
        write(store, "who knows")
    store.close()
    again = open_store(place)
    assert notes(again) == ["who knows"]
    again.close()


def test_lost_connections_cost_the_next_user_nothing(store: Store, postgres: Server) -> None:
    """The server ended every connection (a restart, a firewall): they are replaced unseen."""
    write(store, "before")
    assert notes(store) == ["before"]
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'qdwell'"
        )
    assert notes(store) == ["before"]
    write(store, "after")
    assert notes(store) == ["before", "after"]


def test_a_database_that_may_be_written_again_is_written_again(store: Store, place: Place) -> None:
    """A session that began while it was read-only stays so: it is not kept."""
    assert place.database_url is not None
    with psycopg.connect(place.database_url, autocommit=True) as operator:
        operator.execute("ALTER ROLE postgres SET default_transaction_read_only = on")
        operator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'qdwell'"
        )
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="read-only"):
                    write(store, "refused")
        finally:
            operator.execute("ALTER ROLE postgres RESET default_transaction_read_only")
    write(store, "written")
    assert notes(store) == ["written"]


def test_a_database_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    """The address is in the message, the password is not."""
    url = "postgresql://me:secret@127.0.0.1:1/lab"
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/lab") as caught:
        open_store(Place(tmp_path, database_url=url))
    assert "secret" not in str(caught.value)


# ---- the fence ----------------------------------------------------------------------------------


def take_over(store: Store) -> int:
    with database(store).writing() as connection:
        connection.exec_driver_sql("UPDATE leader SET epoch = epoch + 1")
        return int(connection.exec_driver_sql("SELECT epoch FROM leader").scalar_one())


def test_who_does_not_lead_any_more_can_write_nothing(store: Store, place: Place) -> None:
    """P5 across servers: every way to write is fenced, and commands are not."""
    old, new = store, open_store(place)
    database(old).epoch = take_over(old)
    write(old, "mine")
    database(new).epoch = take_over(new)
    told: list[bool] = []
    database(old).deposed = lambda: told.append(True)
    for attempt in (
        lambda: write(old, "late"),
        lambda: old.touch(NOW),
        lambda: old.sweep(NOW),
        lambda: old.set_tags("instance", "job", ()),
        lambda: old.delete_job("instance", "job"),
        lambda: accounts.create_account(old, "late", "default", NOW),
    ):
        with pytest.raises(NotLeader, match="another server"):
            attempt()
    write(new, "new leader's")
    command = open_store(place)
    accounts.create_account(command, "alice", "default", NOW)
    assert (notes(new), len(told)) == (["mine", "new leader's"], 6)
    for each in (new, command):
        each.close()


def test_a_writer_that_stops_in_mid_transaction_keeps_nobody_out(
    store: Store, place: Place
) -> None:
    """The server ends its transaction; what it had written is gone, and it learns of it."""
    other = open_store(place)
    with pytest.raises(StoreUnavailable), store.database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO events (subject, at, what, cause)"
                                   " VALUES ('subject', 1, 'note', 'half')")  # fmt: skip
        write(other, "waited")  # until the first one was cut off
    assert notes(other) == ["waited"]
    other.close()


def test_a_writer_that_stops_in_the_middle_of_a_statement_is_cut_off_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes it for busy, for ever. Who waited in vain has made room for the rest."""
    monkeypatch.setattr(postgres_module, "BUSY_MS", 300)
    store = open_store(place)
    assert place.database_url is not None
    with stop_in_mid_statement(place.database_url):
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            write(store, "waits in vain")
        write(store, "written")
    assert notes(store) == ["written"]
    store.close()


def test_a_change_of_accounts_is_announced_when_it_is_committed(store: Store) -> None:
    """NOTIFY: a server need not ask."""
    with database(store).connect() as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        accounts.create_account(store, "alice", "default", NOW)
        heard = [it.payload for it in listener.notifies(timeout=10, stop_after=1)]
    assert heard == ["accounts"]


# ---- the schema, and what it can hold -----------------------------------------------------------


def test_a_text_with_nul_is_kept_without_it_and_finds_nothing(store: Store) -> None:
    """PostgreSQL has no NUL in texts: a hostile id is unknown, not an error of ours."""
    write(store, "a\0b")
    assert notes(store) == ["a\ufffdb"]
    assert store.job("instance", "no\0job") is None
    assert store.jobs("instance", search="\0")[1] == 0


def test_a_store_of_a_newer_release_is_refused(store: Store, place: Place) -> None:
    """Before anything is written to it."""
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreTooNew, match=r"9999.*run the release that wrote it"):
        open_store(place)


def test_someone_elses_database_is_refused(place: Place) -> None:
    """It is not ours to change."""
    assert place.database_url is not None
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE mine (id int)")
    with pytest.raises(StoreUnavailable, match="not one of qdwell"):
        open_store(place)


def test_without_leave_nothing_is_migrated(place: Place) -> None:
    """`migrate=False` opens only what is up to date."""
    with pytest.raises(StoreUnavailable, match=NEWEST):
        open_store(place, migrate=False)
    open_store(place).close()
    open_store(place, migrate=False).close()


def test_a_write_that_the_schema_refuses_names_the_rule(store: Store) -> None:
    """And the next one is as good as new."""
    with pytest.raises(StoreError, match="leader_one_row"), store.database.writing() as one:
        one.exec_driver_sql("INSERT INTO leader (id, epoch) VALUES (2, 0)")
    with pytest.raises(StoreUnavailable), store.database.reading() as one:
        one.exec_driver_sql("DELETE FROM events")  # a reading connection cannot write
    write(store, "next")
    assert notes(store) == ["next"]
