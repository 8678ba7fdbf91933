"""What every test gets: a clean surrounding. Fixtures of a floor live beside its tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import pgserver
from qdwell.clock import ManualClock

# As in our workers, and before Aer is loaded: its threads would spin while they wait for a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_HERE = Path(__file__).parent

# How fast a busy machine is just now is no property of the code: no example has a time limit of its
# own, and the drawing of examples none either. A test that hangs is ended by pytest's.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# A developer's own account must neither help a test nor be reached by one.
_FOREIGN = (
    "QISKIT_IBM_",
    "QISKIT_FUNCTIONS_",
    "IAM_URL",
    "GLOBAL_SEARCH_URL",
    "GLOBAL_CATALOG_URL",
)


#: Files that take longest, longest first: begun last, one of them would keep the others waiting.
LONGEST = (
    "simulation/test_simulation.py",
    "core/test_exhaust.py",
    "e2e/test_stock_timelines.py",
    "standby/test_takeover.py",
    "crash/test_kills.py",
    "core/mutation/test_mutation.py",
    "security/test_jobs.py",
    "console/test_browser.py",
    "console/test_browser_people.py",
    "standby/test_health.py",
    "e2e/test_stock_options.py",
    "standby/test_lost_database.py",
    "clients/test_stock.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; within a file they keep their order."""
    files = [_HERE / name for name in LONGEST]
    assert all(file.is_file() for file in files), "LONGEST names a file that is not there"
    ranks = {str(file): place for place, file in enumerate(files)}
    items.sort(key=lambda item: ranks.get(str(item.path), len(ranks)))


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
