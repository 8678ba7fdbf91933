"""Every history of nine events of small worlds, with the invariants after each (P1-P15, P18).

`make test` walks the world of two instances, a session, a batch, and a job of each; two variants of
it are walked to six events there, and to seven, eight, and nine by `make test-long`.
"""

from __future__ import annotations

import sys

import pytest

from core.exhaust import Small, SmallWorld, walk
from qdwell.core.queue import next_for_qpu
from qdwell.errors import BrokenInvariant

DEPTH = 9

EVERYONE = Small(True, (("A", 1), ("B", 1), ("S", 1), ("T", 1)))
VARIANTS = {
    "two in the session, no lock": Small(False, (("B", 1), ("S", 2), ("T", 1))),
    "idle windows end": Small(True, (("A", 1), ("S", 1), ("T", 1)), active_ttl_ms=2),
}


def histories(name: str, bounds: Small, depth: int, capsys: pytest.CaptureFixture[str]) -> int:
    """Walk them all, say how many there were; raises if one breaks a rule."""
    found = walk(bounds, depth)
    with capsys.disabled():
        sys.stdout.write(
            f"\n  {name}: {found.histories:,} histories of {depth} events, "
            f"{found.states:,} states, {found.steps:,} steps taken\n"
        )
    return found.histories


@pytest.mark.timeout(600)
def test_no_history_breaks_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert histories("everyone", EVERYONE, DEPTH, capsys) > 1_000_000


LONGER = [pytest.param(depth, marks=pytest.mark.long) for depth in (DEPTH - 2, DEPTH - 1, DEPTH)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("depth", [DEPTH - 3, *LONGER])
@pytest.mark.parametrize("world", VARIANTS)
def test_no_history_of_a_variant_breaks_a_rule(
    world: str, depth: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert histories(world, VARIANTS[world], depth, capsys) > 3 * 5**depth


@pytest.mark.long
def test_no_longer_history_of_a_fuller_world_breaks_a_rule() -> None:
    found = walk(Small(True, (("A", 1), ("B", 1), ("S", 2), ("T", 2))), DEPTH)
    assert found.histories > 100_000_000


def test_a_fault_is_found_with_its_shortest_story(monkeypatch: pytest.MonkeyPatch) -> None:
    # Planted: the QPU is granted in order of acceptance whoever holds the lock (against B5).
    monkeypatch.setattr("qdwell.core.queue.next_for_qpu", _first_come)
    world = Small(True, (("A", 1), ("T", 2)))
    with pytest.raises(BrokenInvariant, match="P11") as broken:
        walk(world, 8)
    story = broken.value.__notes__[0]
    assert story.count("(") <= 8
    monkeypatch.undo()
    assert next_for_qpu.__module__ == "qdwell.core.queue"


def _first_come(state: object, machine: object) -> object:
    ready = [state.jobs[each] for each in machine.ready]  # type: ignore[attr-defined]
    return min(ready, key=lambda job: job.seq, default=None)


def test_histories_are_counted_along_every_way() -> None:
    # Counted by hand: from the start one may submit, close or cancel either group, or wait; two
    # histories of one event may lead to one state (close and cancel of an unused group) and count
    # twice.
    assert walk(Small(True, (("A", 1),)), 1).histories == len(
        list(SmallWorld(Small(True, (("A", 1),))).steps())
    )
    two = 0
    for step in SmallWorld(Small(True, (("A", 1),))).steps():
        world = SmallWorld(Small(True, (("A", 1),)))
        world.take(step)
        two += len(list(world.steps()))
    assert walk(Small(True, (("A", 1),)), 2).histories == two
