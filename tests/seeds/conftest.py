"""The surroundings of the seeds' examples: a server, and an account that is found by itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.running import Running
from qdwell.client.service import default_service


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that runs; it must end with status 0."""
    server = Running(tmp_path_factory.mktemp("served"))
    server.start()
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def account(running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `eval "$(qdwell env)"` does."""
    for line in Path(running.credentials).read_text().splitlines():
        name, equals, value = line.removeprefix("export ").partition("=")
        if equals and not line.startswith("#"):
            monkeypatch.setenv(name, "".join(shlex.split(value)))
    default_service.cache_clear()
    yield
    default_service.cache_clear()
