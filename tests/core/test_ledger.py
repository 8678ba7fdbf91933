"""The usage ledger: every held millisecond has one use, and the sum is exact (U1-U6, S19, C8)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from core.world import BACKEND, World
from qdwell.core.decisions import Held, Note, PutCharge, PutGroup, PutJob
from qdwell.core.events import CloseGroup
from qdwell.core.ledger import Entry, Line, Session, Use, entries


def session_of(world: World, group: str) -> Session:
    """What the store would know of a session."""
    story, jobs = [], []
    for at, each in world.replay.trace:
        if isinstance(each, PutGroup) and each.group.id == group:
            story.append(Line(group, at, each.group.state, each.cause))
        elif isinstance(each, PutJob) and each.job.group == group:
            jobs.append(Line(each.job.id, at, each.job.state, each.cause))
        elif isinstance(each, Note) and each.subject == group:
            story.append(Line(group, at, None, each.text))
    return Session(group, "A", BACKEND, story, jobs)


def ledger(world: World, *groups: str, start: float = 0, end: float = 1e6) -> list[Entry]:
    charges = list(world.scheduler.auditor.charges.values())
    sessions = [session_of(world, group) for group in groups]
    return entries(charges, sessions, round(start * 1000), round(end * 1000))


def told(found: Sequence[Entry]) -> list[tuple[str, str | None, float, float, bool]]:
    return [
        (each.use.value, each.job, each.start / 1000, each.end / 1000, each.charged)
        for each in found
    ]


def test_a_session_from_its_drain_to_its_last_idle_second() -> None:
    world = World(lanes=2)
    world.submit("X", "B", (0, 4, 0), 0)
    world.session("S", "A", interactive=5)
    world.submit("A1", "S", (2, 3, 1), 1)
    world.submit("A2", "S", (1, 2, 1), 12)
    world.run(until=40)
    assert told(ledger(world, "S")) == [
        ("on_qpu", "X", 0, 4, True),
        ("drain", None, 1, 4, False),
        ("classical", "A1", 4, 6, True),
        ("on_qpu", "A1", 6, 9, True),
        ("classical", "A1", 9, 10, True),
        ("interactive_idle", None, 10, 12, True),
        ("classical", "A2", 12, 13, True),
        ("on_qpu", "A2", 13, 15, True),
        ("classical", "A2", 15, 16, True),
        ("interactive_idle", None, 16, 21, True),
    ]
    assert {each.kind for each in ledger(world, "S")} == {Held.JOB, Held.SESSION}
    cut = ledger(world, "S", start=2, end=8)
    assert sum(each.ms for each in cut) == 2000 + 2000 + 2000 + 2000
    assert (cut[0].start, cut[-1].end) == (2000, 8000)


def test_of_two_jobs_that_are_running_the_one_on_the_qpu_counts_then_the_older() -> None:
    world = World()
    world.session("S", "A", interactive=1)
    world.submit("A1", "S", (1, 2, 9), 0)
    world.submit("A2", "S", (5, 2, 1), 0)
    world.run(until=30)
    assert told(ledger(world, "S")) == [
        ("classical", "A1", 0, 1, True),
        ("on_qpu", "A1", 1, 3, True),
        ("classical", "A1", 3, 5, True),
        ("on_qpu", "A2", 5, 7, True),
        ("classical", "A1", 7, 12, True),
        ("interactive_idle", None, 12, 13, True),
    ]


@pytest.mark.parametrize("how", ["cancel", "close", "held"])
def test_s19_a_drain_for_a_session_that_never_comes_ends_when_it_is_given_up(how: str) -> None:
    world = World(lanes=2)
    world.submit("X", "B", (0, 50, 0), 0)
    world.instance("A", limit=100)
    world.session("S", "A")
    world.submit("A1", "S", (0, 1, 0), 1)
    if how == "cancel":
        world.cancel("A1", 7)
    elif how == "close":
        world.cancel_group("S", 7)
    else:
        world.instance("A", at=7, limit=0)
    world.run(until=20)
    drains = [each for each in ledger(world, "S", end=20) if each.use is Use.DRAIN]
    assert [(each.start, each.end, each.group) for each in drains] == [(1000, 7000, "S")]


def test_a_drain_that_goes_on_and_a_window_that_is_open_run_to_the_end() -> None:
    world = World(lanes=2)
    world.submit("X", "B", (0, 50, 0), 0)
    world.session("S", "A")
    world.submit("A1", "S", (0, 9, 0), 1)
    world.run(until=20)
    assert told(ledger(world, "S", end=20))[-1] == ("drain", None, 1, 20, False)
    world.run(until=55)
    assert told(ledger(world, "S", end=55))[-1] == ("on_qpu", "A1", 50, 55, True)


def test_c8_downtime_is_held_and_owed_by_nobody() -> None:
    down = PutCharge("S:1:downtime", "A", BACKEND, Held.SESSION, None, "S", 1000, 3000, False)
    [entry] = entries([down], [], 0, 10_000)
    assert (entry.use, entry.charged, entry.ms) == (Use.DOWNTIME, False, 2000)


def test_u8_a_run_that_is_not_charged_was_held_all_the_same() -> None:
    lost = PutCharge("J:1", "A", BACKEND, Held.JOB, "J", None, 1000, 3000, False)
    [entry] = entries([lost], [], 0, 10_000)
    assert (entry.use, entry.job, entry.charged) == (Use.QPU, "J", False)


def history(seed: int, instances: Sequence[str] = ("A", "B")) -> tuple[World, list[str]]:
    """A random history of sessions, batches, and jobs, with cancels and odd milliseconds."""
    dice = random.Random(seed)
    world = World(lanes=dice.choice((1, 2, 5)))
    sessions = []
    owners = [*instances]
    for number in range(4):
        mode = dice.choice((world.session, world.session, world.batch))
        name = mode(f"G{number}", dice.choice(instances), dice.uniform(0, 40), interactive=3)
        owners.append(name)
        if mode == world.session:
            sessions.append(name)
        if dice.random() < 0.3:
            world.request(dice.uniform(50, 90), CloseGroup(name))
    for number, at in enumerate(sorted(dice.uniform(41, 80) for _ in range(25))):
        phases = (dice.uniform(0, 2), dice.uniform(0, 4), dice.uniform(0, 2))
        world.submit(f"J{number}", dice.choice(owners), phases, at)
        if dice.random() < 0.2:
            world.cancel(f"J{number}", dice.uniform(41, 95))
    world.run(until=dice.uniform(60, 120))
    return world, sessions


@pytest.mark.parametrize("seed", range(40))
def test_the_sum_is_exact_over_random_histories(seed: int) -> None:
    world, sessions = history(seed)
    now = world.replay.now
    found = entries(
        world.scheduler.auditor.charges.values(),
        [session_of(world, each) for each in sessions],
        0,
        now,
    )
    for instance in ("A", "B"):
        charged = sum(each.ms for each in found if each.charged and each.instance == instance)
        assert charged == world.scheduler.state.usage_ms(instance, now)
    for session in sessions:
        mine = [each for each in found if each.group == session and each.use is not Use.DRAIN]
        assert sum(each.ms for each in mine) == (world.group(session).usage_at(now) or 0)
        # Nothing is held twice, and each part was what its job was then.
        assert all(one.end <= two.start for one, two in pairwise(mine))
        for each in mine:
            if each.use is Use.QPU:
                assert each.job is not None
                job = world.job(each.job, each.start / 1000)
                assert job.executing_at is not None
                assert job.executing_at <= each.start
                if job.executed_at is not None:
                    assert each.end <= job.executed_at
