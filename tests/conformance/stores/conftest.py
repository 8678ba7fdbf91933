"""The stores that this suite runs on. A second database is one more entry in `STORES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.stores.world import World
from qdwell.store import Store, open_store

# Name of the store to how one is opened in an empty place; opening the same place again finds it.
STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": open_store,
}


@pytest.fixture(params=STORES)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Open the test's one place, as often as asked."""
    make = STORES[request.param]
    return lambda: make(tmp_path / "store")


@pytest.fixture
def store(reopen: Callable[[], Store]) -> Iterator[Store]:
    """A store with nothing in it."""
    opened = reopen()
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> World:
    """A store with two accounts, and short words for what tests do."""
    return World(store)
