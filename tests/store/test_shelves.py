"""Places of large blobs: a folder and a bucket do the same; and who owns what is in them."""

from __future__ import annotations

import os
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from conformance.stores.world import World
from qdwell.errors import StoreUnavailable
from qdwell.store import Place, Store, open_store
from qdwell.store.blobs import INLINE_BYTES_MAX, Blobs
from qdwell.store.migrations import is_empty
from qdwell.store.shelves import Shelf, shelf_of
from qdwell.store.sqlite import SqliteDatabase
from qdwell.store.wanted import Wanted

LARGE = b"x" * (INLINE_BYTES_MAX + 1)
KEY = "ab" * 32


@pytest.fixture(scope="module")
def bucket() -> Iterator[Callable[[], dict[str, object]]]:
    """An S3 server in this process, reached over HTTP; makes buckets, as settings name them."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    options = {"endpoint": endpoint, "region": "us-east-1"}
    keys = {"access_key_id": "key", "secret_access_key": "secret"}
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    made = 0

    def make() -> dict[str, object]:
        nonlocal made
        made += 1
        client.create_bucket(Bucket=f"lab{made}")
        return {"blobs": f"s3://lab{made}/blobs/here", "blob_options": options | keys}

    yield make
    client.close()
    server.stop()


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place with nothing in it, whose blobs are elsewhere."""
    if request.param == "bucket":
        return Place(tmp_path / "data", **request.getfixturevalue("bucket")())
    return Place(tmp_path / "data", blobs=str(tmp_path / "elsewhere"))


@pytest.fixture
def shelf(place: Place) -> Shelf:
    return shelf_of(place)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = open_store(place)
    yield opened
    opened.close()


def test_what_was_written_is_read_by_another(shelf: Shelf, place: Place) -> None:
    """Once under each key; the first content stays."""
    shelf.write(KEY, LARGE)
    shelf.write(KEY, b"other")
    again = shelf_of(place)
    assert (again.read(KEY), again.size(KEY), again.keys()) == (LARGE, len(LARGE), [KEY])


def test_what_is_not_there_is_none_and_may_be_removed(shelf: Shelf) -> None:
    """Removal twice is no error: two servers may do it."""
    assert (shelf.read(KEY), shelf.size(KEY), shelf.keys()) == (None, None, [])
    shelf.write(KEY, b"")
    shelf.remove(KEY)
    shelf.remove(KEY)
    assert shelf.keys() == []


def test_many_may_write_one_blob_at_once(shelf: Shelf) -> None:
    """Whoever wins: the content is whole."""
    writers = [threading.Thread(target=shelf.write, args=(KEY, LARGE)) for _ in range(8)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(60)
    assert shelf.read(KEY) == LARGE
    assert shelf.keys() == [KEY]


def test_what_did_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    """On a full disk a piece that stayed would keep out what still fits; after it, all is well."""
    shelf = shelf_of(Place(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(LARGE) // 2, limits[1]))
    try:
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            shelf.write(KEY, LARGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [it for it in tmp_path.rglob("*") if it.is_file()] == []
    shelf.write(KEY, LARGE)
    assert shelf.read(KEY) == LARGE


def test_a_place_that_cannot_be_reached_is_unavailable(
    tmp_path: Path, bucket: Callable[[], dict[str, object]]
) -> None:
    """A bucket that is not there, a server that does not answer, a folder that is a file."""
    (tmp_path / "file").write_text("")
    there = Place(tmp_path / "data", **bucket())  # type: ignore[arg-type]
    places = [
        replace(there, blobs="s3://nowhere"),
        replace(there, blob_options={**there.blob_options, "endpoint": "http://127.0.0.1:1"}),
        replace(there, blobs=str(tmp_path / "file" / "below")),
    ]
    for place in places:
        with pytest.raises(StoreUnavailable, match=r"s3://|below"):
            open_store(place)


def test_an_unknown_option_is_named(tmp_path: Path) -> None:
    """Not ignored."""
    with pytest.raises(StoreUnavailable, match="colour"):
        shelf_of(Place(tmp_path, blobs="s3://lab", blob_options={"colour": "red"}))


# ---- whose they are -----------------------------------------------------------------------------


def test_another_databases_blobs_are_refused(store: Store, place: Place, tmp_path: Path) -> None:
    """Else each would sweep away what the other one needs."""
    with pytest.raises(StoreUnavailable, match="belong to another database"):
        open_store(replace(place, folder=tmp_path / "other"))


def test_no_new_database_is_made_beside_anothers_blobs(
    store: Store, place: Place, tmp_path: Path
) -> None:
    """`restore` and a first start leave no empty schema, and say what a new database needs."""
    new = replace(place, folder=tmp_path / "other")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="a new or restored database needs a place of"):
            open_store(new)
    assert is_empty(SqliteDatabase(new.folder / "qdwell.db"))
    open_store(replace(new, blobs=str(tmp_path / "own"), blob_options={})).close()


def test_a_database_does_not_open_without_its_blobs(store: Store, place: Place) -> None:
    """A second server that forgot to name the shared place is told so."""
    store.close()
    with pytest.raises(StoreUnavailable, match="belong to no database"):
        open_store(replace(place, blobs=str(place.folder / "mine"), blob_options={}))
    open_store(place).close()


def test_a_deposed_leader_cannot_remove_what_its_successor_wrote(place: Place) -> None:
    """It was paused after its commit, before it removed the file: the same content is back."""
    old, new = (Blobs(shelf_of(place), lambda name: None) for _ in range(2))
    old.epoch = 7
    name = str(old.stage(LARGE))
    gone = {name: old.key(name)}
    new.epoch = 8
    new.stage(LARGE)
    old.forget(gone)
    assert new.shelf.read(new.key(name)) == LARGE
    assert old.strays(old.shelf.keys(), set()) == []
    assert new.strays(new.shelf.keys(), set()) == [new.key(name)]


# ---- who wants a file ---------------------------------------------------------------------------


class Distant:
    """A shelf whose removals wait for a word."""

    name, remote = "distant", True

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def remove(self, key: str) -> None:
        self.begun.set()
        assert self.go_on.wait(60)
        self.removed.append(key)


def test_nobody_waits_for_a_removal_but_who_writes_that_file() -> None:
    """It goes by itself; one that has not begun is called off; and one under way is waited for."""
    shelf = Distant()
    wanted = Wanted(shelf)  # type: ignore[arg-type]
    wanted.doom(["a", "b", "c"])
    assert shelf.begun.wait(60)
    wanted.save("b")
    writer = threading.Thread(target=wanted.save, args=("a",))
    writer.start()
    assert writer.is_alive(), "it has not waited"
    shelf.go_on.set()
    writer.join(60)
    wanted.settle()
    assert shelf.removed == ["a", "c"]


def test_a_file_that_is_held_stays_and_goes_when_nobody_refers_to_it(shelf: Shelf) -> None:
    """What a commit dropped while another one was to refer to it."""
    wanted = Wanted(shelf)
    for refers in (True, False):
        shelf.write(KEY, LARGE)
        wanted.hold(KEY)
        assert not wanted.is_there(KEY), "not written yet, for all that is known here"
        wanted.written(KEY)
        wanted.doom([KEY])
        wanted.settle()
        assert shelf.keys() == [KEY]
        assert not refers or wanted.is_there(KEY)
        wanted.let_go(KEY)
        wanted.settle()
        assert shelf.keys() == ([KEY] if refers else [])


def test_a_commit_does_not_ask_the_shelf_for_what_was_written_ahead(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place may hang: nobody else waits for it. What is not held is made sure of."""
    world = World(store)
    key = store.blobs.ahead(LARGE)

    def hangs(*_: object) -> None:
        raise AssertionError("asked")

    with monkeypatch.context() as broken:
        broken.setattr(store.blobs.shelf, "write", hangs)
        broken.setattr(store.blobs.shelf, "size", hangs)
        job = world.submit(params=LARGE)
    store.blobs.let_go(key)
    assert store.blobs.shelf.keys() == [key]
    store.drop_ahead(key)
    store.blobs.wanted.settle()
    assert store.blobs.shelf.keys() == [key], f"{job.id} refers to it"
    with monkeypatch.context() as broken, pytest.raises(AssertionError, match="asked"):
        broken.setattr(store.blobs.shelf, "write", hangs)
        store.blobs.stage(LARGE)


def test_what_was_written_ahead_for_nothing_is_removed(store: Store) -> None:
    """A refused submission leaves no file."""
    key = store.blobs.ahead(LARGE)
    assert store.blobs.shelf.keys() == [key]
    store.drop_ahead(key)
    store.blobs.wanted.settle()
    assert store.blobs.shelf.keys() == []


def test_what_was_renamed_but_not_synced_is_synced_by_who_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose sync failed, or is under way in another thread, may be gone after power loss."""
    shelf = shelf_of(Place(tmp_path, blobs=str(tmp_path / "blobs")))
    sync = os.fsync
    synced: list[str] = []
    broken: set[str] = set()

    def watched(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            name = Path(f"/proc/self/fd/{handle}").readlink().name
            if name in broken:
                raise OSError(5, "Input/output error")
            synced.append(name)
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    for folder in ("blobs", "ab"):
        broken.add(folder)
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            shelf.write(KEY, LARGE)
        broken.clear()
    assert shelf.read(KEY) == LARGE
    synced.clear()
    shelf.write(KEY, LARGE)
    assert synced == ["ab"]
