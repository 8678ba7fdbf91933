"""A store in a folder of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from qdwell.store import Store, open_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "data"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """A store with nothing in it."""
    opened = open_store(folder)
    yield opened
    opened.close()


def damage(path: Path) -> None:
    """Overwrite the first page of a table in a database of SQLite that nobody has open."""
    with closing(sqlite3.connect(path)) as database:
        asked = "SELECT rootpage FROM sqlite_schema WHERE name = 'events'"
        (number,) = database.execute(asked).fetchone()
    content = bytearray(path.read_bytes())
    start = (number - 1) * 4096
    content[start + 8 : start + 4000] = b"\xa5" * 3992
    path.write_bytes(content)
