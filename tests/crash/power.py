"""A recorder below SQLite and below our own files: what was written, and what was synced.

It wraps the file methods of the SQLite library that this Python uses, so what runs above it is the
product, unchanged. From the record it makes the disk as a power cut at any moment may leave it: all
that was synced is there; of what was not, any part may be missing.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECTOR = 512


@dataclass(frozen=True)
class Op:
    """One change of one file: a write, a new length, a sync, a rename, or a removal."""

    kind: str
    path: str
    at: int = 0
    data: bytes = b""


class _Vfs(ctypes.Structure):
    """The beginning of `sqlite3_vfs`, as sqlite3.h has had it since 2004."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("os_file", ctypes.c_int),
        ("max_pathname", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("app_data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("delete", ctypes.c_void_p),
    ]


# The name is a pointer: SQLite keeps it, so it must be handed on and not be copied.
OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_int),
)
DELETE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
WRITE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
)
TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
SYNC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
METHODS = 19  # pointers in `sqlite3_io_methods`, version 3, after its version number
WRITE_AT, TRUNCATE_AT, SYNC_AT = 3, 4, 5  # their places in it


class Recorder:
    """Records every file below `folder` that SQLite changes while it is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.ops: list[Op] = []
        self.finished = 0  #: how many there were when the last thing was acknowledged
        self.instance = ""  #: whose jobs they were
        self._paths: dict[int, str] = {}
        self._tables: dict[int, Any] = {}
        self._keep: list[Any] = []
        self._library = ctypes.CDLL(_sqlite3.__file__)
        find = self._library.sqlite3_vfs_find  # AttributeError: SQLite cannot be reached from here
        find.restype = ctypes.POINTER(_Vfs)
        find.argtypes = [ctypes.c_char_p]
        self._vfs = find(None)
        self._open, self._delete = self._vfs.contents.open, self._vfs.contents.delete

    def __enter__(self) -> Recorder:
        open_file, delete = OPEN(self._open), DELETE(self._delete)

        def opened(vfs: Any, name: Any, file: Any, flags: int, out: Any) -> int:
            code = int(open_file(vfs, name, file, flags, out))
            path = ctypes.string_at(name).decode() if name else ""
            if code == 0 and path.startswith(self.folder) and not path.endswith("-shm"):
                self._paths[file] = path
                self._wrap(file)
            return code

        def deleted(vfs: Any, name: Any, sync: int) -> int:
            self.ops.append(Op("remove", name.decode()))
            return int(delete(vfs, name, sync))

        self._keep += [OPEN(opened), DELETE(deleted)]
        self._vfs.contents.open = ctypes.cast(self._keep[-2], ctypes.c_void_p).value
        self._vfs.contents.delete = ctypes.cast(self._keep[-1], ctypes.c_void_p).value
        return self

    def __exit__(self, *_: object) -> None:
        self._vfs.contents.open, self._vfs.contents.delete = self._open, self._delete

    def _wrap(self, file: int) -> None:
        """Put our methods in the place of the file's own."""
        slot = ctypes.cast(file, ctypes.POINTER(ctypes.c_void_p))
        own = slot[0]
        assert own is not None
        if own not in self._tables:
            self._tables[own] = self._made(own)
        slot[0] = ctypes.addressof(self._tables[own])

    def _made(self, own: int) -> Any:
        table = (ctypes.c_void_p * (METHODS + 1)).from_buffer_copy(
            ctypes.string_at(own, ctypes.sizeof(ctypes.c_void_p) * (METHODS + 1))
        )
        write, truncate, sync = (
            WRITE(table[WRITE_AT]),
            TRUNCATE(table[TRUNCATE_AT]),
            SYNC(table[SYNC_AT]),
        )

        def written(file: Any, data: Any, size: int, at: int) -> int:
            self.ops.append(Op("write", self._paths[file], at, ctypes.string_at(data, size)))
            return int(write(file, data, size, at))

        def truncated(file: Any, size: int) -> int:
            self.ops.append(Op("length", self._paths[file], size))
            return int(truncate(file, size))

        def synced(file: Any, flags: int) -> int:
            code = int(sync(file, flags))
            self.ops.append(Op("sync", self._paths[file]))
            return code

        ours = [WRITE(written), TRUNCATE(truncated), SYNC(synced)]
        self._keep += ours
        for place, method in zip((WRITE_AT, TRUNCATE_AT, SYNC_AT), ours, strict=True):
            table[place] = ctypes.cast(method, ctypes.c_void_p).value
        return table

    # ---- after the power cut -------------------------------------------------------------------

    def after(self, moment: int, place: Path, dice: random.Random, kept: float) -> None:
        """Write to `place` what is there if the power fails after the first `moment` changes.

        kept: the chance of each sector that was not synced to be there all the same.
        """
        last_sync = {op.path: n for n, op in enumerate(self.ops[:moment]) if op.kind == "sync"}
        files: dict[str, bytearray] = {}
        for n, op in enumerate(self.ops[:moment]):
            safe = n < last_sync.get(op.path, -1)
            if op.kind == "remove":
                files.pop(op.path, None)
            elif op.kind == "length" and (safe or dice.random() < kept):
                content = files.setdefault(op.path, bytearray())
                content[:] = content[: op.at].ljust(op.at, b"\0")
            elif op.kind == "write":
                content = files.setdefault(op.path, bytearray())
                for start in range(0, len(op.data), SECTOR):
                    if safe or dice.random() < kept:
                        part, at = op.data[start : start + SECTOR], op.at + start
                        content.extend(bytes(max(0, at + len(part) - len(content))))
                        content[at : at + len(part)] = part
        for path, content in files.items():
            target = place / os.path.relpath(path, self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
