"""What is particular to SQLite: durability, two processes, and the schema's way to this release."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Table, create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from qdwell.config import Config
from qdwell.core.decisions import Note
from qdwell.errors import StoreError, StoreTooNew, StoreUnavailable
from qdwell.store import Store, accounts, ids, open_store
from qdwell.store.migrations import NEWEST, known_revisions
from qdwell.store.reads import HotReads
from qdwell.store.sql import SqlStore
from qdwell.store.statements import Statement, Statements
from qdwell.store.tables import metadata

NOW = 1_767_225_600_000

# Commits notes for ever and says after each that it is committed.
_WRITER = """
import sys
from qdwell.core.decisions import Note
from qdwell.store import open_store
store = open_store(sys.argv[1])
n = 0
while True:
    store.commit([Note("subject", n, "x" * 1000) for n in range(n, n + 3)], n)
    n += 3
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""

_OTHER = """
import sys
from qdwell.store import accounts, open_store
store = open_store(sys.argv[1])
for n in range(10):
    accounts.create_account(store, f"account{n}", "default", n)
"""


def test_every_commit_is_synced_before_it_returns(store: Store) -> None:
    """The setting: WAL, and FULL, which is 2; NORMAL could lose the last commits."""
    with store.database.writing() as connection:

        def setting(name: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

        assert (setting("journal_mode"), setting("synchronous")) == ("wal", 2)
        assert (setting("foreign_keys"), setting("secure_delete")) == (1, 1)


def test_what_was_committed_survives_a_killed_writer(folder: Path) -> None:
    """Another process is killed in mid-write: all that it reported is there, in whole commits."""
    open_store(folder).close()
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    reported = 0
    while reported < 90:
        reported = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().split("\n")
    reported = max([reported, *(int(line) for line in rest[:-1])])
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    again = open_store(folder)
    found = [line.at for line in again.story("subject")]
    again.commit([Note("subject", NOW, "goes on")], NOW)
    again.close()
    assert found == list(range(len(found)))
    assert len(found) >= reported
    assert len(found) % 3 == 0


def test_another_process_makes_accounts_while_the_server_commits(
    store: Store, folder: Path
) -> None:
    """The busy timeout lets both write in turns; neither sees an error."""
    other = subprocess.Popen([sys.executable, "-c", _OTHER, str(folder)])
    n = 0
    while other.poll() is None:
        store.commit([Note("subject", n, "server")], n)
        n += 1
    assert other.returncode == 0
    assert len(store.story("subject")) == n
    assert len(accounts.all_instances(store)) == 10


def test_readers_go_on_while_a_write_is_open_and_see_nothing_of_it(store: Store) -> None:
    """WAL: the last committed state, without waiting."""
    store.commit([Note("subject", 1, "committed")], 1)
    seen: list[int] = []
    with pytest.raises(ZeroDivisionError), store.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM events")
        reader = threading.Thread(target=lambda: seen.append(len(store.story("subject"))))
        reader.start()
        reader.join(10)
        _ = 1 / 0
    assert seen == [1]
    assert len(store.story("subject")) == 1


def test_a_reading_connection_cannot_write(store: Store) -> None:
    """Habit 6: one writer."""
    with pytest.raises(StoreUnavailable, match="readonly"), store.database.reading() as connection:
        connection.exec_driver_sql("DELETE FROM events")


def test_an_error_in_one_write_does_not_hinder_the_next(store: Store) -> None:
    """The broken transaction is undone, and the connection is as good as new."""
    with pytest.raises(StoreUnavailable, match="qdwell.db"), store.database.writing() as one:
        one.exec_driver_sql("SELECT nonsense FROM nowhere")
    with pytest.raises(StoreError, match="CHECK"), store.database.writing() as one:
        one.exec_driver_sql("INSERT INTO server (id, last_seq) VALUES (2, 0)")
    store.commit([Note("subject", 1, "next")], 1)
    assert len(store.story("subject")) == 1


def test_a_full_disk_is_an_error_and_no_half_commit(store: Store) -> None:
    """StoreUnavailable, with the path; afterwards the store goes on."""
    assert isinstance(store, SqlStore)
    with store.database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    lots = [Note("subject", n, "x" * 4_000) for n in range(50)]
    with pytest.raises(StoreUnavailable, match="full"):
        store.commit(lots, 1)
    assert store.story("subject") == []
    store.commit(lots, 1)  # the connection is a fresh one, without the bound
    assert len(store.story("subject")) == 50


# ---- the schema ----------------------------------------------------------------------------------


def shape(path: str) -> dict[str, str]:
    """Every table and index of a database, as SQLite spells it."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        found = {name: " ".join(sql.split()) for name, sql in rows if name != "alembic_version"}
    connection.close()
    return found


def parts(sql: str) -> list[str]:
    """The parts of a definition, in no order."""
    lines = sql.replace(", CONSTRAINT", "\nCONSTRAINT").split("\n")
    return sorted(line.strip(" ()") for line in lines)


def test_the_migrations_make_what_the_tables_say(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    """`tables` and `migrations` are two tellings of one schema."""
    engine = create_engine(f"sqlite:///{tmp_path}/tables.db")
    metadata.create_all(engine)
    engine.dispose()
    wanted, found = shape(f"{tmp_path}/tables.db"), shape(f"{folder}/qdwell.db")
    assert wanted.keys() == found.keys()
    for name, sql in wanted.items():
        assert parts(found[name]) == parts(sql), name


def test_every_statement_can_be_said_in_the_next_databases_words() -> None:
    """Nothing outside `sqlite.py` is SQLite's own: PostgreSQL's compiler takes it all."""

    class Postgres:
        dialect = postgresql.psycopg.dialect()

        def insert(self, table: Table) -> postgresql.Insert:
            return postgresql.insert(table)

    found = [
        it
        for holder in (Statements(Postgres()), HotReads(Postgres()))
        for it in vars(holder).values()
        if isinstance(it, Statement)
    ]
    assert len(found) > 15
    assert all("?" not in it.text for it in found)
    for table in metadata.tables.values():
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=Postgres.dialect))


def test_every_rule_of_the_schema_has_a_name(store: Store) -> None:
    """An error message names the rule that was broken."""
    for table in metadata.tables.values():
        for constraint in table.constraints:
            assert constraint.name, table
        assert all(index.name for index in table.indexes)


def test_the_newest_revision_is_the_last_file() -> None:
    """A new migration must be named as the newest."""
    assert max(known_revisions()) == NEWEST


def test_a_store_of_a_newer_release_is_refused(store: Store, folder: Path) -> None:
    """It is not touched, and the message says what to do."""
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = (folder / "qdwell.db").read_bytes()
    with pytest.raises(StoreTooNew, match=r"9999.*run the release that wrote it"):
        open_store(folder)
    assert (folder / "qdwell.db").read_bytes() == before


def test_someone_elses_database_is_refused(folder: Path) -> None:
    """A file of that name that is no store of ours is left alone."""
    folder.mkdir()
    with sqlite3.connect(folder / "qdwell.db") as connection:
        connection.execute("CREATE TABLE mine (id)")
    connection.close()
    with pytest.raises(StoreUnavailable, match="not one of qdwell"):
        open_store(folder)


def test_a_file_that_is_no_database_is_refused(folder: Path) -> None:
    """Not a traceback of the driver."""
    folder.mkdir()
    (folder / "qdwell.db").write_text("not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreUnavailable, match="qdwell.db"):
        open_store(folder)


def test_without_leave_nothing_is_migrated(folder: Path) -> None:
    """`migrate=False` opens only what is up to date."""
    with pytest.raises(StoreUnavailable, match=NEWEST):
        open_store(folder, migrate=False)
    open_store(folder).close()
    open_store(folder, migrate=False).close()
    assert (folder / "qdwell.db").exists()


@pytest.mark.parametrize("place", ["postgresql://host/db", "file/below"])
def test_a_place_that_can_hold_no_store_is_refused(tmp_path: Path, place: str) -> None:
    """Another database is a later release's; a folder below a file cannot be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=place.split("/", maxsplit=1)[0]):
        open_store(place if "://" in place else tmp_path / place)


def test_two_processes_may_open_an_empty_folder_at_once(folder: Path) -> None:
    """One migrates, the other finds it done."""
    both = [subprocess.Popen([sys.executable, "-c", _OTHER, str(folder)], stderr=subprocess.PIPE)]
    opened = open_store(folder)
    _, complaint = both[0].communicate()
    assert both[0].returncode == 0, complaint
    assert len(accounts.apply_plans(opened, Config().plans)) == 10
    opened.close()


# ---- ids -----------------------------------------------------------------------------------------


def test_ids_are_unique_opaque_and_in_order_of_time() -> None:
    """J6: at most 36 of `[A-Za-z0-9_-]`."""
    made = [ids.new_id(NOW + n) for n in range(1_000)]
    assert made == sorted(made)
    assert len({ids.new_id(NOW) for _ in range(1_000)}) == 1_000
    assert {len(name) for name in made} == {26}
    assert all(name.isascii() and name.isalnum() for name in made)
    assert ids.new_id() > ids.new_id(NOW - 1)


def told(store: Store) -> list[str]:
    return [row.cause for row in store.story("subject")]


def test_a_log_that_was_given_its_length_keeps_what_is_committed(tmp_path: Path) -> None:
    """Zeros behind the last frame are no frame: not for us, not for others, not after a crash."""

    def note(store: Store, text: str) -> None:
        store.commit([Note("subject", NOW, text)], NOW)

    store = open_store(tmp_path / "store")
    note(store, "before")
    store.warm_up()
    note(store, "after")
    log = tmp_path / "store" / "qdwell.db-wal"
    size = log.stat().st_size
    assert size >= 16_000_000
    for n in range(3):
        note(store, f"later {n}")
    store.warm_up()
    assert log.stat().st_size == size
    wanted = ["before", "after", "later 0", "later 1", "later 2"]
    other = open_store(tmp_path / "store")
    assert told(other) == wanted
    other.close()
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("qdwell.db", "qdwell.db-wal"):
        (crashed / name).write_bytes((tmp_path / "store" / name).read_bytes())
    again = open_store(crashed)
    assert told(again) == wanted
    again.close()
    store.close()


def test_a_log_without_room_is_named(tmp_path: Path) -> None:
    """A first start on a full disk says which folder it is."""
    store = open_store(tmp_path / "store")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, limits[1]))
    try:
        with pytest.raises(StoreUnavailable, match=r"store/qdwell\.db-wal cannot be written"):
            store.warm_up()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.warm_up()
    store.close()


def test_nothing_is_stored_in_a_file_that_was_removed(store: Store, tmp_path: Path) -> None:
    """It would be written, synced, and gone; and no new one is made in its place."""
    path = Path(store.database.name)
    store.touch(NOW)
    away = path.rename(tmp_path / "away.db")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            store.touch(NOW + 1)
        assert not path.exists()
    path.touch()
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        store.touch(NOW + 1)
    away.rename(path)
    store.touch(NOW + 2)
    assert store.load(NOW, 1).alive_at == NOW + 2
