"""`qdwell backup`, `restore`, and `doctor` find the store that the server uses, wherever it is."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from conformance.stores.world import NOW, World
from pgserver import Server
from qdwell.cli.credentials import ServerFacts, read_server, write_server
from qdwell.config import Config, Storage
from qdwell.store import Place, open_store
from qdwell.store.accounts import create_account
from qdwell.store.blobs import INLINE_BYTES_MAX

LARGE = b"x" * (INLINE_BYTES_MAX + 1)


def qdwell(
    *arguments: str | Path, cwd: Path | None = None, status: int = 0
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qdwell.cli.main", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def served(folder: Path, storage: Storage) -> None:
    """A folder as a server leaves it: a store with a large input and a large result."""
    place = Place(folder, storage.database_url, storage.blobs)
    with closing(open_store(place)) as store:
        World(store).finished(params=LARGE, result=LARGE + b"result")
    write_server(folder, ServerFacts("http://127.0.0.1:9", Config().plans, storage))


def test_blobs_outside_of_the_data_folder_are_backed_up_too(tmp_path: Path) -> None:
    """The copy has them in its own folder, and all three commands know where they are."""
    served(tmp_path / "lab", Storage(blobs=str(tmp_path / "shelf")))
    qdwell("doctor", "--data-dir", tmp_path / "lab")
    told = qdwell("backup", tmp_path / "copy", "--data-dir", tmp_path / "lab").stdout
    assert "2 large blobs" in told
    qdwell("doctor", "--data-dir", tmp_path / "copy")
    assert read_server(tmp_path / "copy").store == Storage()
    config = tmp_path / "new.toml"
    config.write_text(f'[store]\nblobs = "{tmp_path / "new shelf"}"\n')
    new = ("--data-dir", tmp_path / "new")
    qdwell("restore", tmp_path / "copy", *new, "--config", config)
    qdwell("doctor", *new)
    assert "2 large blobs" in qdwell("backup", tmp_path / "again", *new).stdout


def test_a_relative_folder_of_blobs_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    served(tmp_path / "lab", Storage(blobs="shelf"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    qdwell("doctor", "--data-dir", tmp_path / "lab", cwd=elsewhere)
    assert list(elsewhere.iterdir()) == []


def test_a_site_that_moved_to_postgresql_backs_up_postgresql(
    postgres: Server, tmp_path: Path
) -> None:
    """The old file that stays in the data folder is not taken for the store."""
    lab = ("--data-dir", tmp_path / "lab")
    served(tmp_path / "lab", Storage())
    qdwell("backup", tmp_path / "moving", *lab)
    config = tmp_path / "new.toml"
    url = postgres.schema()
    config.write_text(f'[store]\ndatabase_url = "{url}"\n')
    qdwell("restore", tmp_path / "moving", *lab, "--config", config)
    with closing(open_store(Place(tmp_path / "lab", url))) as store:
        create_account(store, "after", "default", NOW)
    qdwell("backup", tmp_path / "copy", *lab)
    told = qdwell("account", "list", "--json", "--data-dir", tmp_path / "copy").stdout
    assert "after" in [it["name"] for it in json.loads(told)]
