"""Worlds for the simulation's tests, each on a data folder of its own."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from simulation.books import Count
from simulation.story import Step
from simulation.world import World, make_folder

MEMORY = Path("/dev/shm")

Live = Callable[[list[Step]], Count]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Live through a story in a new world; folders are in memory where there is such a place."""
    base = tmp_path_factory.mktemp("worlds")
    if MEMORY.is_dir():
        shutil.rmtree(base)
        base = MEMORY / f"qdwell-{base.parent.parent.name}-{base.parent.name}"
    numbers = itertools.count()
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    people = make_folder(base / "template")

    def through(story: list[Step]) -> Count:
        folder = base / f"world{next(numbers)}"
        try:
            return World(story, base / "template", people, folder).run()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    yield through
    structlog.configure(**before)
    shutil.rmtree(base, ignore_errors=True)
