"""Blobs: named by content, kept once, never half there."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest

from qdwell.core.decisions import PutJob
from qdwell.core.job import Job
from qdwell.errors import StoreError, StoreUnavailable
from qdwell.store import Extras, JobDetails, Store, accounts
from qdwell.store.blobs import INLINE_BYTES_MAX, Blobs
from qdwell.store.shelves import FolderShelf

LARGE = b"x" * (INLINE_BYTES_MAX + 1)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    """Blobs without any database: nothing is ever in a row."""
    return Blobs(FolderShelf(tmp_path / "blobs"), lambda name: None)


def file_of(blobs: Blobs, name: str) -> Path:
    """The file of a large blob."""
    assert isinstance(blobs.shelf, FolderShelf)
    return blobs.shelf.path(name) / name


def test_a_blob_is_named_by_its_content(blobs: Blobs) -> None:
    """The name is the SHA-256, so equal content has one name."""
    name = blobs.stage(b"bell")
    assert name == hashlib.sha256(b"bell").hexdigest()
    assert blobs.get(name) == blobs.get(str(name)) == b"bell"


@pytest.mark.parametrize(
    ("content", "files"), [(b"", 0), (LARGE[:-1], 0), (LARGE, 1)], ids=["none", "most", "more"]
)
def test_only_a_large_blob_costs_a_file(blobs: Blobs, content: bytes, files: int) -> None:
    """A small one waits for its commit; a large one is durable at once."""
    name = blobs.stage(content)
    assert len(blobs.shelf.keys()) == files
    assert blobs.has(str(name)) == bool(files)


def test_equal_content_is_one_file(blobs: Blobs) -> None:
    """Also through the other door."""
    assert blobs.stage(LARGE) == blobs.put(LARGE)
    assert len(blobs.shelf.keys()) == 1


def test_a_staged_hash_survives_a_copy(blobs: Blobs) -> None:
    """It carries its content wherever it goes."""
    name = blobs.stage(b"bell")
    copied = pickle.loads(pickle.dumps(name))
    assert (copied, copied.content) == (name, b"bell")


def test_an_unknown_blob_is_an_error_with_its_name(blobs: Blobs) -> None:
    """Errors teach."""
    with pytest.raises(StoreError, match="00000"):
        blobs.get("0" * 64)


def test_a_damaged_file_is_found_out(blobs: Blobs, tmp_path: Path) -> None:
    """A file is believed only if its content has its name."""
    name = str(blobs.put(LARGE))
    file_of(blobs, name).write_bytes(LARGE[:-1])
    fresh = Blobs(FolderShelf(tmp_path / "blobs"), lambda name: None)
    with pytest.raises(StoreError, match="damaged"):
        fresh.get(name)


def test_a_forgotten_blob_is_gone_from_memory_too(blobs: Blobs) -> None:
    """J29: erased is erased."""
    name = str(blobs.put(LARGE))
    blobs.forget({name: name})
    with pytest.raises(StoreError):
        blobs.get(name)
    assert blobs.shelf.keys() == []


def test_memory_for_blobs_is_bounded(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot ones stay, the least used go."""
    monkeypatch.setattr("qdwell.store.blobs._CACHE_BYTES_MAX", 10)
    first, second = blobs.stage(b"aaaaa"), blobs.stage(b"bbbbb")
    assert blobs.get(str(first)) == b"aaaaa"
    blobs.stage(b"ccccc")
    assert blobs.get(str(first)) == b"aaaaa"
    with pytest.raises(StoreError):
        blobs.get(str(second))


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    """The message names the file."""
    blobs = Blobs(FolderShelf(tmp_path / "blobs"), lambda name: None)
    name = hashlib.sha256(LARGE).hexdigest()
    file_of(blobs, name).parent.write_text("a file where a folder must be")
    with pytest.raises(StoreUnavailable, match=name):
        blobs.stage(LARGE)


def test_a_sweep_removes_what_no_row_refers_to(store: Store) -> None:
    """Submissions that were refused, and files half written when the power went."""
    name = str(store.blobs.stage(LARGE))
    half = file_of(store.blobs, name).with_name(f".{name}.1.2")
    half.write_bytes(b"half")
    assert store.sweep(0) == 2
    assert store.blobs.shelf.keys() == []


def test_a_sweep_may_run_between_staging_and_commit(store: Store) -> None:
    """The commit finds the file gone, and writes it again."""
    crn = accounts.create_account(store, "lab", "default", 0).instance_crn
    job = Job(id="job", seq=1, instance=crn, backend="qpu", created=0)
    details = JobDetails("job", "sampler", store.blobs.stage(LARGE), len(LARGE), "user")
    assert store.sweep(0) == 1
    store.commit([PutJob(job, None, "accepted", 0)], 0, Extras(details=(details,)))
    assert store.sweep(0) == 0
    assert len(store.blobs.shelf.keys()) == 1
    assert store.params(crn, "job") == LARGE
