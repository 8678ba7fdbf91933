"""A server for clients that run in environments of their own, and what their drivers found."""

from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from client.running import Running
from clients import environments

DRIVERS = Path(__file__).parent / "drivers"
DRIVER_S = 600


def checks(driver: str) -> list[str]:
    """The names of a driver's checks, read without importing it: its libraries are not here."""
    tree = ast.parse((DRIVERS / f"{driver}.py").read_text(encoding="utf-8"))
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
    ]


def interpreter(name: str) -> Path:
    """The interpreter of an environment; without it the test is skipped, in CI it fails."""
    found = environments.python(name)
    if found is None:
        why = f"NO ENVIRONMENT {name}: `python tests/clients/environments.py {name}` makes it"
        if os.environ.get("QDWELL_CLIENTS") == "required":
            pytest.fail(why)
        pytest.skip(why)
    return found


def drive(
    name: str, driver: str, server: Running, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Run a driver in an environment; for each of its checks "" or what went wrong."""
    more = {"QDWELL_TEST_URL": server.url, **credentials(server), **(extra or {})}
    done = run(name, DRIVERS / f"{driver}.py", server, more)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = {it["check"]: it["error"] for it in map(json.loads, lines)}
    assert set(found) == set(checks(driver)), done.stdout[-2000:] + done.stderr[-4000:]
    return found


def run(
    name: str, program: Path, server: Running, surroundings: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment, with nothing around it but this."""
    # Its own home: a client must not find the account that another one has saved.
    home = tempfile.mkdtemp(prefix=f"{name}-", dir=server.folder)
    return subprocess.run(
        [str(interpreter(name)), str(program)],
        env={"PATH": os.environ["PATH"], "HOME": home, **surroundings},
        capture_output=True, text=True, timeout=DRIVER_S, check=False,
    )  # fmt: skip


def credentials(server: Running) -> dict[str, str]:
    """The lines of the first account, by name."""
    found = {}
    for line in Path(server.credentials).read_text().splitlines():
        key, equals, value = line.removeprefix("export ").partition("=")
        if equals and not line.startswith("#"):
            found[key] = "".join(shlex.split(value))
    return found


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
