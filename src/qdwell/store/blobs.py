"""Blobs: inputs, raw data, and results, named by the SHA-256 of their content.

Equal content is kept once. Small blobs live in the database and are written by the commit that
first refers to them: one sync for all. Large ones are files, so that they do not pass through the
database's log: written to a temporary name, synced, renamed, and their folder synced, before any
row refers to them. So a blob that a job refers to is durable, always.

`stage` is the way in. What it returns is the hash, and carries the content to the commit. Nothing
is kept here for a submission that is refused.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from qdwell.errors import StoreError, StoreUnavailable
from qdwell.store.ids import new_id

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


class Blobs:
    """The blobs of one store. `read_row` finds the content of a small one, or None."""

    def __init__(self, folder: Path, read_row: Callable[[str], bytes | None]) -> None:
        self._folder = folder
        self._read_row = read_row
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cache_bytes = 0
        self._lock = threading.Lock()
        self._mark = new_id()  # a process id could be that of an earlier server
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

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
        content = self._read_row(name)
        if content is None:
            content = self._read_file(name)
        self._remember(name, content)
        return content

    def has(self, name: str) -> bool:
        """Whether a blob of this name is durable here."""
        return self.path(name).exists() or self._read_row(name) is not None

    def file_size(self, name: str) -> int | None:
        """Bytes of the file of a large blob, or None if there is no file."""
        try:
            return self.path(name).stat().st_size
        except FileNotFoundError:
            return None

    def path(self, name: str) -> Path:
        """Where the file of a large blob is, or would be."""
        return self._folder / name[:2] / name

    def write_file(self, name: str, content: bytes) -> None:
        """Write and sync the file of a blob, unless it is there."""
        path = self.path(name)
        if path.exists():
            return
        try:
            if not path.parent.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self._folder)
            # The thread is in the name: two may write the same content at once, and either may win.
            temporary = path.with_name(f".{name}.{self._mark}.{threading.get_ident()}")
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise StoreUnavailable(f"blob file {path} cannot be written: {error}") from error

    def forget(self, names: Iterable[str]) -> None:
        """Drop blobs that no row refers to any more, from memory and from the folder."""
        for name in names:
            with self._lock:
                content = self._cache.pop(name, None)
                self._cache_bytes -= len(content) if content is not None else 0
            self.path(name).unlink(missing_ok=True)

    def files(self) -> list[str]:
        """Names of all files, those too that an earlier process has left half written."""
        return [path.name for path in self._folder.glob("*/*") if self._mark not in path.name]

    def remove_stray(self, name: str) -> None:
        """Remove a file of `files` by its name; one half written begins with a dot."""
        (self._folder / name.lstrip(".")[:2] / name).unlink(missing_ok=True)

    def _read_file(self, name: str) -> bytes:
        try:
            content = self.path(name).read_bytes()
        except FileNotFoundError:
            raise StoreError(f"blob {name} is not in the store") from None
        except OSError as error:
            raise StoreUnavailable(f"blob {name} cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != name:
            raise StoreError(f"blob {name} is damaged: restore {self.path(name)} from a backup")
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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
