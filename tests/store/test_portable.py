"""Backup, restore, and the doctor, on either database and between them."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from conformance.stores.world import NOW, WINDOW_MS, World
from pgserver import Server
from qdwell.errors import StoreError, StoreUnavailable
from qdwell.store import Place, Store, accounts, open_store, portable
from qdwell.store.answers import ANSWERED, Answers
from qdwell.store.blobs import INLINE_BYTES_MAX
from qdwell.store.doctor import examine
from qdwell.store.portable import back_up, restore
from store.conftest import damage

LARGE = b"x" * (INLINE_BYTES_MAX + 1)
KINDS = ("sqlite", "postgresql")


@pytest.fixture
def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Place]:
    """An empty place of a kind."""
    made = 0

    def make(kind: str) -> Place:
        nonlocal made
        made += 1
        folder = tmp_path / f"store{made}"
        if kind == "sqlite":
            return Place(folder)
        server: Server = request.getfixturevalue("postgres")
        return Place(folder, database_url=server.schema())

    return make


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, place_of: Callable[[str], Place]) -> Place:
    return place_of(request.param)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = open_store(place)
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> World:
    """Two accounts, a job that waits, one that is done with a large result, and a session."""
    world = World(store)
    world.submit(params=b"small")
    world.finished(params=LARGE, result=LARGE + b"result")
    world.open()
    return world


def faults(store: Store) -> list[str]:
    """What the doctor says, but for what the test server is known to lack."""
    found = [it for it in examine(store) if "fsync is off" not in it.what]
    return [f"{it.where}: {it.what}" for it in found]


@pytest.mark.parametrize("target_kind", KINDS)
def test_a_backup_restores_into_either_database(
    world: World,
    place: Place,
    place_of: Callable[[str], Place],
    target_kind: str,
    tmp_path: Path,
) -> None:
    """All that was there is there; it goes on being used, and so does the original."""
    before, key = world.store.load(NOW, WINDOW_MS), accounts.signing_key(world.store)
    assert back_up(world.store, place.folder, tmp_path / "backup") == 2
    world.submit()
    target = place_of(target_kind)
    restore(tmp_path / "backup", target)
    with closing(open_store(target)) as again:
        assert again.load(NOW, WINDOW_MS) == before
        assert again.read_result(world.a, "job2") == LARGE + b"result"
        assert again.params(world.a, "job1") == b"small"
        assert len(again.story("job2")) == 7
        assert accounts.token_owner(again, world.alice.token, NOW) is not None
        assert accounts.signing_key(again) == key
        assert faults(again) == []
        accounts.create_account(again, "carol", "default", NOW)
        World.submit(continued(world, again))
        assert len(again.load(NOW, WINDOW_MS).snapshot.jobs) == 2


def continued(world: World, store: Store) -> World:
    """The same users, in another store."""
    other = World.__new__(World)
    other.__dict__.update(world.__dict__)
    other.store = store
    return other


def test_a_backup_is_a_data_folder(world: World, place: Place, tmp_path: Path) -> None:
    """It can be examined, and served, as it is; nobody else may read it."""
    back_up(world.store, place.folder, tmp_path / "backup")
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    assert (tmp_path / "backup" / "qdwell.db").stat().st_mode & 0o077 == 0
    with closing(open_store(tmp_path / "backup", migrate=False)) as copy:
        assert faults(copy) == []


def test_a_backup_of_a_store_that_changes_all_the_time_is_whole(
    world: World, place: Place, tmp_path: Path
) -> None:
    """Large blobs come and go while it is made: whatever its database names is there."""
    stop = threading.Event()

    def work() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            job = world.finished(params=LARGE + b"%d" % n, result=b"%d" % n + LARGE)
            if n % 2:
                world.store.delete_job(world.a, job.id)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for n in range(3):
            back_up(world.store, place.folder, tmp_path / f"backup{n}")
            with closing(open_store(tmp_path / f"backup{n}")) as copy:
                assert faults(copy) == []
    finally:
        stop.set()
        worker.join(60)


def test_what_is_there_is_never_overwritten(world: World, place: Place, tmp_path: Path) -> None:
    """Neither a folder by a backup nor a store by a restore."""
    back_up(world.store, place.folder, tmp_path / "backup")
    with pytest.raises(StoreUnavailable, match="not empty"):
        back_up(world.store, place.folder, tmp_path / "backup")
    with pytest.raises(StoreUnavailable, match="has accounts already"):
        restore(tmp_path / "backup", place)
    with pytest.raises(StoreUnavailable, match="is no backup"):
        restore(tmp_path / "nothing", place)


def test_a_backup_that_fails_leaves_nothing_in_the_way(
    world: World, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try finds the folder empty."""
    world.finished(params=LARGE)

    def full(*_: object) -> None:
        raise StoreUnavailable("no room")

    with monkeypatch.context() as broken, pytest.raises(StoreUnavailable, match="no room"):
        broken.setattr(portable, "_copy_database", full)
        back_up(world.store, place.folder, tmp_path / "backup")
    assert list((tmp_path / "backup").iterdir()) == []
    back_up(world.store, place.folder, tmp_path / "backup")


def test_a_backup_that_lacks_a_blob_is_not_restored(
    world: World, place: Place, place_of: Callable[[str], Place], tmp_path: Path
) -> None:
    """Not half of it either: the target can be used for the next try."""
    back_up(world.store, place.folder, tmp_path / "backup")
    file = next((tmp_path / "backup" / "blobs").glob("??/*"))
    file.rename(tmp_path / "lost")
    target = place_of("sqlite")
    with pytest.raises(StoreError, match="lacks blob"):
        restore(tmp_path / "backup", target)
    (tmp_path / "lost").rename(file)
    restore(tmp_path / "backup", target)


@pytest.mark.parametrize("name", ["lab #1", "why?", "100%25", "ä b"])
def test_a_data_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    """The database is in it, and nothing beside it, also for a backup and what it restores."""
    inside = tmp_path / name
    with closing(open_store(inside / "lab")) as store:
        World(store).finished(params=LARGE)
        assert back_up(store, inside / "lab", inside / "copy") == 1
    restore(inside / "copy", Place(inside / "new"))
    with closing(open_store(inside / "new")) as new:
        assert faults(new) == []
    assert [it.name for it in tmp_path.iterdir()] == [name]
    assert {it.name for it in inside.iterdir()} == {"lab", "copy", "new"}


def test_what_is_in_the_log_of_a_served_folder_is_restored_too(tmp_path: Path) -> None:
    """Of a server that runs, or was killed: `qdwell.db` alone lacks its newest commits."""
    with closing(open_store(tmp_path / "lab")) as store:
        World(store).submit(params=LARGE)
        restore(tmp_path / "lab", Place(tmp_path / "new"))
        with closing(open_store(tmp_path / "new")) as new:
            assert new.load(NOW, WINDOW_MS) == store.load(NOW, WINDOW_MS)
            assert faults(new) == []


def test_a_backup_that_was_killed_is_whole_or_no_backup(tmp_path: Path) -> None:
    """The kernel ends it at the first byte of a file that is beyond a limit, each time later."""
    place = Place(tmp_path / "store")
    with closing(open_store(place)) as store:
        world = World(store)
        for n in range(8):  # many small blobs: the database is larger than any file of a blob
            world.finished(params=bytes([n]) * (INLINE_BYTES_MAX // 2), result=bytes([n]))
        world.finished(params=LARGE)
        size = place.folder.joinpath("qdwell.db").stat().st_size
    refused = 0
    for limit in range(0, 1_000_000, 100_000):
        target = tmp_path / f"backup{limit}"
        if not (status := in_a_child(partial(killed_at, limit, place, target))):
            break
        assert status == signal.SIGXFSZ
        with pytest.raises(StoreUnavailable, match="is no backup"):
            restore(target, Place(tmp_path / f"restored{limit}"))
        refused += 1
    else:
        raise AssertionError(f"a database of {size} bytes was never copied")
    assert refused >= 3
    restore(target, Place(tmp_path / "restored"))


def killed_at(limit: int, place: Place, target: Path) -> None:
    """Back up until a file reaches a length."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python would go on with an error
    with closing(open_store(place)) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        back_up(store, place.folder, target)


def in_a_child(work: Callable[[], None]) -> int:
    """Run it in a process of its own; return how that ended, as `os.waitpid` has it."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def test_an_empty_database_is_no_backup(tmp_path: Path) -> None:
    """A copy that was cut off at its beginning, by whatever tool, shall not be taken for one."""
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "qdwell.db").touch()
    with pytest.raises(StoreUnavailable, match="nothing in its qdwell.db"):
        restore(tmp_path / "backup", Place(tmp_path / "restored"))


def test_a_damaged_database_makes_no_backup(tmp_path: Path) -> None:
    """Its pages are copied as they are: who counts on the copy would find out when it is late."""
    with closing(open_store(Place(tmp_path / "data"))) as store:
        World(store).submit(params=b"small")
    damage(tmp_path / "data" / "qdwell.db")
    target = tmp_path / "copy"
    with (
        closing(open_store(Place(tmp_path / "data"))) as store,
        pytest.raises(StoreError, match="qdwell doctor"),
    ):
        back_up(store, tmp_path / "data", target)
    assert list(target.iterdir()) == []


def test_a_lost_database_is_not_made_anew_but_by_restore(tmp_path: Path) -> None:
    """A log that was cut off before it was folded into the file leaves an empty database."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    with closing(open_store(data)) as store:
        kept = World(store).submit(params=b"small")
        Answers(data / ANSWERED).close()  # as a server does before its first answer
        back_up(store, data, copy)
    for part in data.glob("qdwell.db*"):
        part.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="qdwell restore"):
        open_store(data)
    restore(copy, Place(data))
    with closing(open_store(data)) as store:
        assert store.job(kept.instance, kept.id) is not None
