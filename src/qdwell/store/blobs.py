"""Blobs: inputs, raw data, and results, named by the SHA-256 of their content.

Equal content is kept once. Small blobs live in the database and are written by the commit that
first refers to them: one sync for all. Large ones are files, so that they do not pass through the
database's log: written to a temporary name, synced, renamed, and their folder synced, before any
row refers to them. So a blob that a job refers to is durable, always.

`stage` is the way in. What it returns is the hash, and carries the content to the commit. A large
content may be written before its turn comes, by `ahead`: then the commit finds its file held, and
does not wait for a disk or a bucket. Nothing is kept for a submission that is refused.

A file is named by its hash and, where several servers share the place, by the epoch of the server
that wrote it. A server that was paused, and wakes up after another one has taken over, may still
remove what it has deleted in its time: it cannot meet what the new one has written since, even if
the content is the same.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping

from qdwell.errors import StoreError, StoreUnavailable
from qdwell.store.shelves import MARK, Shelf
from qdwell.store.wanted import Wanted

#: What the database knows of a blob: its content if it is small, else the key of its file.
ReadRow = Callable[[str], tuple[bytes | None, str] | None]

# Writing 64 kB with the commit takes about 0.05 ms more; a file of its own takes 0.4 ms.
INLINE_BYTES_MAX = 65_536
_CACHE_BYTES_MAX = 67_108_864
_CACHED_BLOB_BYTES_MAX = 4_194_304  # one large result shall not push out everything else


class StagedHash(str):
    """A hash on its way into the store: it carries the content that its first commit writes."""

    __slots__ = ("content",)

    content: bytes

    def __new__(cls, name: str, content: bytes) -> StagedHash:
        """Join a hash with its content."""
        made = super().__new__(cls, name)
        made.content = content
        return made

    def __getnewargs__(self) -> tuple[str, bytes]:  # type: ignore[override]
        """Survive a copy."""
        return str(self), self.content


def name_of(key: str) -> str:
    """The hash in a file's key."""
    return key.partition("-")[0]


class Blobs:
    """The blobs of one store: large ones on `shelf`, small ones where `read_row` finds them."""

    def __init__(self, shelf: Shelf, read_row: ReadRow) -> None:
        self.shelf = shelf
        self.epoch: int | None = None  #: set while this process leads, see `postgres.py`
        self.wanted = Wanted(shelf)
        self._read_row = read_row
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cache_bytes = 0
        self._lock = threading.Lock()

    def stage(self, content: bytes) -> str:
        """Return the hash of `content`, ready to be referred to by the next commit.

        A blob up to `INLINE_BYTES_MAX` is durable with that commit, and costs no sync of its own;
        a larger one is durable when this returns. Keep the returned object as it is: `str()` of
        it is only the name.
        """
        name = StagedHash(hashlib.sha256(content).hexdigest(), content)
        if len(content) > INLINE_BYTES_MAX:
            self.write_file(name, content)
        self._remember(name, content)
        return name

    def ahead(self, content: bytes) -> str:
        """Write the file of a large blob before the commit that refers to it, and hold it.

        Returns its key: `let_go` of it when that commit has been made, or will not be.

        Raises:
            StoreUnavailable: it cannot be written now; nothing is held.
        """
        name = hashlib.sha256(content).hexdigest()
        key = self.key(name)
        self.wanted.hold(key)
        try:
            self.write_file(name, content)
        except BaseException:
            self.let_go(key)
            raise
        self.wanted.written(key)
        return key

    def let_go(self, key: str) -> None:
        """A blob that was written ahead need not be held any more."""
        self.wanted.let_go(key)

    def put(self, content: bytes) -> str:
        """Write a file whatever its size, durable when this returns; `stage` is often faster."""
        name = StagedHash(hashlib.sha256(content).hexdigest(), content)
        self.write_file(name, content)
        self._remember(name, content)
        return name

    def get(self, name: str) -> bytes:
        """Return the content of a blob.

        Raises:
            StoreError: there is no such blob, or its file is not what its name says.
        """
        if isinstance(name, StagedHash):
            return name.content
        with self._lock:
            content = self._cache.get(name)
            if content is not None:
                self._cache.move_to_end(name)
                return content
        content, key = self._read_row(name) or (None, self.key(name))
        if content is None:
            content = self._read_file(name, key)
        self._remember(name, content)
        return content

    def has(self, name: str) -> bool:
        """Whether a blob of this name is durable here."""
        return self.file_size(name) is not None or self._read_row(name) is not None

    def key(self, name: str) -> str:
        """The key under which this process keeps the file of a large blob."""
        return str(name) if self.epoch is None else f"{name}-{self.epoch}"

    def file_size(self, name: str) -> int | None:
        """Bytes of the file of a large blob that this process wrote, or None."""
        return self.shelf.size(self.key(name))

    def write_file(self, name: str, content: bytes) -> str:
        """Write the file of a blob, unless it is there; durable on return. Returns its key."""
        key = self.key(name)
        if not self.wanted.is_there(key):
            self.wanted.save(key)
            self.shelf.write(key, content)
        return key

    def forget(self, dropped: Mapping[str, str | None]) -> None:
        """Drop blobs that no row refers to any more: each name with the key of its file."""
        for name in dropped:
            with self._lock:
                content = self._cache.pop(name, None)
                self._cache_bytes -= len(content) if content is not None else 0
        self.wanted.doom(key for key in dropped.values() if key is not None)

    def strays(self, keys: Iterable[str], kept: Container[str | None]) -> list[str]:
        """Those of `keys` that are not `kept` or held, and that no later leader has written."""
        held = self.wanted.held()
        return [it for it in keys if it not in kept and it not in held and not self._later(it)]

    def _later(self, key: str) -> bool:
        epoch = key.partition("-")[2]
        return self.epoch is not None and epoch.isdecimal() and int(epoch) > self.epoch

    def belong_to(self, mark: str, *, new: bool) -> None:
        """Check that the shelf is the one of the database with this mark; mark it if it is new.

        Raises:
            StoreUnavailable: it is another database's, or nobody's.
        """
        found = self.shelf.read(MARK)
        if found is None and new:
            self.shelf.write(MARK, mark.encode())
        elif found != mark.encode():
            whose = "another database" if found else "no database"
            raise not_yours(self.shelf, whose)

    def _read_file(self, name: str, key: str) -> bytes:
        content = self.shelf.read(key)
        if content is None:
            raise StoreError(f"blob {key} is not in {self.shelf.name}")
        if hashlib.sha256(content).hexdigest() != name:
            raise StoreError(f"blob {key} in {self.shelf.name} is damaged: restore it")
        return content

    def _remember(self, name: str, content: bytes) -> None:
        if len(content) > _CACHED_BLOB_BYTES_MAX:
            return
        with self._lock:
            if name in self._cache:
                self._cache.move_to_end(name)
                return
            self._cache[str(name)] = content
            self._cache_bytes += len(content)
            while self._cache_bytes > _CACHE_BYTES_MAX:
                self._cache_bytes -= len(self._cache.popitem(last=False)[1])


def not_yours(shelf: Shelf, whose: str) -> StoreUnavailable:
    """The blobs of a shelf belong to somebody else."""
    return StoreUnavailable(
        f"the blobs in {shelf.name} belong to {whose}, not to this one: a new or restored database "
        "needs a place of its own in store.blobs, and servers that share one the same place"
    )
