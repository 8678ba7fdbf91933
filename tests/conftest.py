"""What every test gets: a clean surrounding. Fixtures of a floor live beside its tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgserver
from qdwell.clock import ManualClock

# As in our workers, and before Aer is loaded: its threads would spin while they wait for a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A developer's own account must neither help a test nor be reached by one.
_FOREIGN = (
    "QISKIT_IBM_",
    "QISKIT_FUNCTIONS_",
    "IAM_URL",
    "GLOBAL_SEARCH_URL",
    "GLOBAL_CATALOG_URL",
)


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the stock client, and a home directory of its own."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at 2026-01-01T00:00:00Z until a test moves it."""
    return ManualClock(1_767_225_600_000)


@pytest.fixture(scope="session")
def postgres() -> Iterator[pgserver.Server]:
    """A PostgreSQL server, started when the first test of this process asks for it."""
    if pgserver.programs() is None:
        if os.environ.get("CI"):
            pytest.fail("there is no PostgreSQL here, and CI skips nothing: run `make setup`")
        pytest.skip("NOT TESTED: there is no PostgreSQL here; `make setup` installs one")
    with pgserver.running() as server:
        yield server
