"""One fork server for all tests of the engine: its imports are what takes time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.house import House
from qdwell.engine.workers import ForkServer, preload_for


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """The process that all workers of these tests are forked from."""
    server = ForkServer(preload_for(["scripted"]))
    yield server
    server.close()


@pytest.fixture
def house(tmp_path: Path, fork_server: ForkServer) -> Callable[..., House]:
    """Makes engines on the test's own data folder."""

    def make(*backends: Any, **options: Any) -> House:
        return House(tmp_path / "data", fork_server, *backends, **options)

    return make
