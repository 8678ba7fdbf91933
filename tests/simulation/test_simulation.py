"""Whole lives of the service, from seeds: users, jobs, sessions, batches, and misfortune.

The real core, store, engine, and API run under a clock of their own, with scripted workers. After
each decision P1-P18 are checked, by a scheduler's own auditor and by one that hears what was stored
over all restarts; at the end all work is done, nothing acknowledged is lost, nothing ran or was
charged twice. 200 seeds take about a minute of one core; `make test-long` lives through thousands.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest

from qdwell.core.decisions import Decision
from qdwell.core.events import JobLost
from qdwell.engine import runs, writing
from qdwell.engine.inbox import Item
from qdwell.engine.runs import Findings, Run
from qdwell.store import Extras, Store
from simulation.books import Count
from simulation.story import Step, as_json, shortest, tell, written

SEEDS_PER_TEST = 25
SEEDS = 200
SEEDS_LONG = 4_000

Live = Callable[[list[Step]], Count]


def kind_of(error: BaseException) -> str:
    """Which rule it breaks, more or less: so that a story is not made shorter into another one."""
    return f"{type(error).__name__} {str(error)[:9]}"


def hold(live: Live, seed: int) -> Count:
    """Live through the story of a seed; a failure is told by its shortest story."""
    story = tell(seed)
    try:
        return live(story)
    except Exception as error:
        wanted = kind_of(error)

        def fails(shorter: list[Step]) -> bool:
            try:
                live(shorter)
            except Exception as other:
                return kind_of(other) == wanted
            return False

        short = shortest(story, fails)
        raise AssertionError(
            f"seed {seed}: {error}\n\nshortest story:\n{written(short)}\n\n"
            f"to run it again: from_json({as_json(short)!r})"
        ) from error


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_lives(live: Live, first: int) -> None:
    """P1-P18, J5, C8, U8: whatever happens, nothing is lost and nothing is there twice."""
    counts = [hold(live, seed) for seed in range(first, first + SEEDS_PER_TEST)]
    assert sum(it.acknowledged for it in counts) > SEEDS_PER_TEST
    assert sum(it.deaths for it in counts) > 0


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("first", range(SEEDS, SEEDS_LONG, 200))
def test_many_more_lives(live: Live, first: int) -> None:
    """The same, for thousands of seeds."""
    assert sum(hold(live, seed).starts for seed in range(first, first + 200)) > 200


@pytest.mark.parametrize("seed", [3, 5])
def test_the_same_seed_is_the_same_life(live: Live, seed: int) -> None:
    """P17: a story that fails can be looked at again."""
    assert live(tell(seed)) == live(tell(seed))


def test_a_run_that_is_repeated_is_found(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation itself: an engine that runs lost work of a real device again is found out."""

    def careless(run: Run, *, repeatable: bool) -> JobLost:
        return JobLost(run.job, run.attempt, repeatable=True)

    monkeypatch.setattr(runs, "lost", careless)
    with pytest.raises(AssertionError, match="J5: run twice"):
        for seed in (4, 18, *range(100)):
            live(tell(seed))


def test_a_commit_that_is_forgotten_is_found(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation itself: an engine that acknowledges what it has not stored is found out."""
    write = writing.write
    turns = itertools.count()

    def careless(
        store: Store,
        decisions: Sequence[Decision],
        now: int,
        found: Findings,
        items: Sequence[Item],
    ) -> Extras:
        if next(turns) % 20:
            return write(store, decisions, now, found, items)
        return Extras(details=tuple(it.details for it in items if it.details is not None))

    monkeypatch.setattr("qdwell.engine.loop.write", careless)
    with pytest.raises(
        Exception, match="was stored|differ|is gone|has jobs|not done|Internal error"
    ):
        for seed in range(20):
            live(tell(seed))


def test_a_failing_story_is_made_short() -> None:
    """Only what a failure needs is left of its story."""
    story = tell(2)
    needed = [story[3], story[-1]]
    assert shortest(story, lambda it: all(step in it for step in needed)) == needed
