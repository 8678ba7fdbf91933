"""What every test gets: a clean surrounding. Fixtures of a floor live beside its tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

import pgserver
from qdwell.clock import ManualClock

# As in our workers, and before Aer is loaded: its threads would spin while they wait for a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# What a worker of a parallel run imports stays to its end, and is a million objects. Nothing of it
# is looked through for garbage: not while tests are collected, nor later, when it is frozen.
if "PYTEST_XDIST_WORKER" in os.environ:
    gc.disable()

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


#: Units of work, longest first: begun last, one of them would keep the others waiting. Files whose
#: tests share a server or a forked device are one unit, for one worker, so that it starts once.
UNITS: tuple[tuple[str, ...], ...] = (
    ("simulation/test_simulation.py",),
    ("core/test_exhaust.py",),
    ("e2e/test_stock_[bcdefo]*.py", "e2e/test_upkeep.py"),
    ("client/*.py",),
    ("security/test_[bhjmnor]*.py",),
    ("standby/test_takeover.py",),
    ("api/*.py",),
    ("cli/test_serve.py",),
    ("standby/test_tls.py",),
    ("crash/test_kills.py",),
    ("programs/test_same_samples.py",),
    ("programs/test_mitigation.py",),
    ("standby/test_health.py",),
    ("engine/*.py",),
    ("watch/test_traces.py",),
    ("cli/test_users.py",),
    ("console/test_browser.py", "console/test_start.py"),
    ("cli/test_commands.py",),
    ("clients/test_stock.py",),
    ("programs/test_noise_learner.py",),
    ("standby/test_lost_database.py",),
    ("e2e/test_stock_timelines.py",),
    ("conformance/stores/test_users_view.py",),
    ("seeds/*.py",),
    ("docs/test_examples.py",),
    ("clients/test_frameworks.py",),
    ("conformance/stores/test_migrations.py",),
    ("conformance/stores/test_guards.py",),
    ("core/test_forecast_day.py",),
    ("crash/test_repeats.py",),
    ("console/test_browser_people.py",),
    ("programs/test_mitigation_works.py",),
    ("core/mutation/test_mutation.py",),
    ("cli/test_upkeep.py",),
    ("e2e/test_stock_limits.py",),
    ("console/test_p*.py", "console/test_terms.py"),
)


def _place(path: Path) -> int | None:
    """The unit that a file of tests belongs to."""
    name = path.relative_to(_HERE).as_posix()
    fits = (any(fnmatch(name, pattern) for pattern in unit) for unit in UNITS)
    return next((place for place, it in enumerate(fits) if it), None)


class Units(LoadFileScheduling):
    """Gives each worker one unit, or one file of no unit, after the other."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        place = _place(_HERE.parent / file)
        return file if place is None else UNITS[place][0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Units | None:
    return Units(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest units first; within a file they keep their order."""
    for pattern in (it for unit in UNITS for it in unit):
        assert any(_HERE.glob(pattern)), f"UNITS names {pattern}, which is not there"
    places = {path: _place(path) for path in {item.path for item in items}}
    ranks = {path: len(UNITS) if it is None else it for path, it in places.items()}
    items.sort(key=lambda item: ranks[item.path])
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


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
