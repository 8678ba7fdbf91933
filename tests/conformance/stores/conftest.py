"""The stores that this suite runs on. A second database is one more entry in `STORES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.stores.world import World
from qdwell.store import Place, Store, open_store

# Name of the store to how its empty place is made.
STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Place]] = {
    "sqlite": lambda request, folder: Place(folder),
    "postgresql": lambda request, folder: Place(
        folder, database_url=request.getfixturevalue("postgres").schema()
    ),
}


@pytest.fixture(params=STORES)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Open the test's one place, as often as asked."""
    place = STORES[request.param](request, tmp_path / "store")
    return lambda: open_store(place)


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
