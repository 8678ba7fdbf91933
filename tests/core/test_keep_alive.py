"""Keeping a session alive: an active one, until the instant that was asked for, and charged."""

from __future__ import annotations

import pytest

from core.world import World
from qdwell.core.decisions import Refusal
from qdwell.core.events import KeepAlive
from qdwell.core.group import GroupState


def kept(*requests: tuple[float, float]) -> World:
    """A session with one job that ends at 3 s, interactive TTL 10, and requests (at, until)."""
    world = World()
    world.session("S", "A", interactive=10, maximum=100)
    world.submit("A1", "S", (1, 1, 1), 0)
    for at, until in requests:
        world.request(at, KeepAlive("S", round(until * 1000)))
    return world


@pytest.mark.parametrize(
    ("requests", "end"),
    [
        ((), 13),
        (((5, 30),), 30),
        (((5, 8),), 13),  # it never shortens the interactive TTL
        (((5, 30), (6, 20)), 30),  # nor what was asked for before
        (((5, 20), (19, 40)), 40),
        (((1, 30),), 30),  # also while a job runs
        (((5, 500),), 100),  # the max TTL stands
    ],
)
def test_the_window_ends_when_it_was_asked_to(
    requests: tuple[tuple[float, float], ...], end: float
) -> None:
    world = kept(*requests)
    world.run()
    assert world.windows("S") == [(0, end)]
    assert world.usage("A") == end


def test_asking_for_the_same_instant_again_changes_nothing() -> None:
    world = kept((5, 30), (6, 30))
    world.run(until=5)
    before = len(world.group_history("S"))
    world.run(until=6)
    assert len(world.group_history("S")) == before


def test_the_machine_is_held_meanwhile() -> None:
    world = kept((5, 30))
    world.submit("B1", "B", (1, 1, 1), 6)
    world.run()
    assert world.row("B1").running == 30


def test_a_window_that_has_ended_leaves_nothing_to_the_next() -> None:
    world = World()
    world.session("S", "A", interactive=10, maximum=1000, active=20)
    world.submit("A1", "S", (1, 1, 1), 0)
    world.request(5, KeepAlive("S", 500_000))
    world.submit("A2", "S", (1, 1, 1), 40)
    world.run(until=60)
    assert world.group("S", 20).keep_alive_until is None
    assert world.windows("S") == [(0, 20), (40, 53)]


def test_only_what_holds_a_machine_can_be_kept() -> None:
    world = World()
    world.session("open", "A", interactive=10)
    world.session("idle", "A", interactive=1)
    world.batch("batch", "A", interactive=10)
    world.submit("A1", "idle", (1, 1, 1), 0)
    world.submit("A2", "batch", (1, 1, 1), 10)
    for name, at in (("open", 1), ("idle", 6), ("batch", 12), ("nothing", 12)):
        world.request(at, KeepAlive(name, 90_000))
    world.run(until=20)
    assert world.refusals() == [
        (1, "open", Refusal.GROUP_NOT_ACTIVE),
        (6, "idle", Refusal.GROUP_NOT_ACTIVE),
        (12, "batch", Refusal.GROUP_NOT_ACTIVE),
        (12, "nothing", Refusal.UNKNOWN_GROUP),
    ]


def test_a_closing_session_cannot_be_kept() -> None:
    world = World()
    world.session("S", "A", interactive=10)
    world.submit("A1", "S", (1, 30, 1), 0)
    world.close("S", 2)
    world.request(3, KeepAlive("S", 90_000))
    world.run()
    assert world.refusals() == [(3, "S", Refusal.GROUP_NOT_ACTIVE)]
    assert world.group("S").state is GroupState.CLOSED
    assert world.group("S").closed_at == 32_000
