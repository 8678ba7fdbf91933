"""Where large blobs are kept: a local folder, or a bucket of any S3-compatible store.

Both lay them out alike, `ab/abcdef...`, so that one can be copied into the other by any tool. What
`write` has returned from is durable: a file and its folder are synced, an object is acknowledged.
Nobody ever sees half of one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qdwell.errors import StoreUnavailable
from qdwell.store.ids import new_id
from qdwell.store.places import Place

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_TIMEOUT_S = 20  # of one request, and of all its repetitions
_TRIES = 3
MARK = "mark"  #: says which database the blobs belong to


class Shelf(Protocol):
    """Keeps contents under keys. Every method may raise `StoreUnavailable`, with the place."""

    name: str  #: as messages call it
    remote: bool  #: each call is a request, and may take its time

    def write(self, key: str, content: bytes) -> None:
        """Keep it, durable on return; nothing happens if there is one of this key."""
        ...

    def read(self, key: str) -> bytes | None:
        """Return the content, or None."""
        ...

    def size(self, key: str) -> int | None:
        """Return the bytes of the content, or None."""
        ...

    def keys(self) -> list[str]:
        """Return all keys; what an earlier process has left half written begins with a dot."""
        ...

    def remove(self, key: str) -> None:
        """Let go of it, if it is there."""
        ...


class FolderShelf:
    """Files in a folder."""

    remote = False

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder
        self._own = new_id()  # a process id could be that of an earlier server
        self._lasting: set[Path] = set()  # folders whose own names are known to be synced
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        """Where the file of a key is, or would be."""
        return self._folder if key == MARK else self._folder / key.lstrip(".")[:2]

    def write(self, key: str, content: bytes) -> None:
        """Write to a temporary name, sync, rename, and sync the folder."""
        folder = self.path(key)
        path = folder / key
        try:
            if folder not in self._lasting:
                folder.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self._folder)
                self._lasting.add(folder)
            if path.exists():  # whoever wrote it may still be at the sync, or have failed in it
                sync_folder(folder)
                return
            # The thread is in the name: two may write the same content at once, and either may win.
            temporary = folder / f".{key}.{self._own}.{threading.get_ident()}"
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(path)
            except BaseException:
                # A piece that stayed would hold the last of a full disk from what still fits.
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
            sync_folder(folder)
        except OSError as error:
            raise StoreUnavailable(f"blob file {path} cannot be written: {error}") from error

    def read(self, key: str) -> bytes | None:
        """Read the file."""
        path = self.path(key) / key
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"blob file {path} cannot be read: {error}") from error

    def size(self, key: str) -> int | None:
        """Ask the folder."""
        try:
            return (self.path(key) / key).stat().st_size
        except FileNotFoundError:
            return None

    def keys(self) -> list[str]:
        """List the folder; what this process is writing now is left out."""
        return [path.name for path in self._folder.glob("??/*") if self._own not in path.name]

    def remove(self, key: str) -> None:
        """Unlink the file."""
        (self.path(key) / key).unlink(missing_ok=True)


class BucketShelf:
    """Objects below `s3://bucket/prefix`. Keys and addresses come from `options`, then AWS_*."""

    remote = True

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        import obstore
        from obstore.exceptions import BaseError, NotFoundError
        from obstore.store import S3Store

        self.name = url
        self._api = obstore
        self._errors = (BaseError, OSError)
        self._absent = (NotFoundError, FileNotFoundError)
        given: dict[str, Any] = dict(options)
        plain = str(given.get("endpoint", "")).startswith("http://")
        patience = timedelta(seconds=_TIMEOUT_S)
        try:
            self._store: ObjectStore = S3Store.from_url(
                url,
                client_options={"allow_http": plain, "timeout": patience},
                retry_config={
                    "max_retries": _TRIES,
                    "retry_timeout": patience,
                },
                **given,
            )
        except (BaseError, ValueError, TypeError) as error:
            raise StoreUnavailable(f"{url} cannot be used: {error}") from error

    def write(self, key: str, content: bytes) -> None:
        """Put the object; the store acknowledges what it has."""
        if self.size(key) is None:
            with self._told():
                self._api.put(self._store, _object(key), content)

    def read(self, key: str) -> bytes | None:
        """Get the object."""
        with self._told():
            try:
                return bytes(self._api.get(self._store, _object(key)).bytes())
            except self._absent:
                return None

    def size(self, key: str) -> int | None:
        """Ask for the object's head."""
        with self._told():
            try:
                return int(self._api.head(self._store, _object(key))["size"])
            except self._absent:
                return None

    def keys(self) -> list[str]:
        """List the prefix. An upload that was cut off left no object."""
        with self._told():
            paths = [it["path"] for page in self._api.list(self._store) for it in page]
        # An object's whole path is given; the last two parts of it are ours.
        return [path.rpartition("/")[2] for path in paths if not path.endswith(MARK)]

    def remove(self, key: str) -> None:
        """Delete the object."""
        with self._told(), suppress(*self._absent):
            self._api.delete(self._store, _object(key))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            said = str(error).strip().split("\n")[0]
            raise StoreUnavailable(f"{self.name} cannot be used now: {said}") from error


def shelf_of(place: Place) -> Shelf:
    """The shelf that a place names."""
    if place.blobs is None:
        return FolderShelf(place.folder / "blobs")
    if "://" in place.blobs:
        return BucketShelf(place.blobs, place.blob_options)
    return FolderShelf(Path(place.blobs))


def _object(key: str) -> str:
    return key if key == MARK else f"{key[:2]}/{key}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
