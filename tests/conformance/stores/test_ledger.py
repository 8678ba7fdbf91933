"""The usage ledger from a store: random histories, to the millisecond; deleted jobs; users."""

from __future__ import annotations

import pytest

from conformance.stores.world import World
from core.test_ledger import history
from qdwell.core.decisions import Decision, PutGroup, PutJob
from qdwell.core.ledger import Entry, Use
from qdwell.store import Extras
from qdwell.store.ledger import ledger


def put_down(world: World, trace: list[tuple[int, Decision]]) -> None:
    """Commit what a scheduler decided, instant by instant, as the engine does."""
    turns: dict[int, list[Decision]] = {}
    for at, decision in trace:
        turns.setdefault(at, []).append(decision)
    for at, decisions in turns.items():
        new = [each.job for each in decisions if isinstance(each, PutJob) and each.was is None]
        opened = [each for each in decisions if isinstance(each, PutGroup) and each.was is None]
        extras = Extras(
            details=tuple(world.details(job) for job in new),
            group_users={
                each.group.id: (
                    world.alice if each.group.instance == world.a else world.bob
                ).user_id
                for each in opened
            },
        )
        world.store.commit(decisions, at, extras)


def plain(found: list[Entry]) -> list[tuple[Use, str | None, str | None, int, int, bool]]:
    return [(it.use, it.job, it.group, it.start, it.end, it.charged) for it in found]


@pytest.mark.parametrize("seed", range(4))
def test_the_sum_is_exact_and_stays_so_when_jobs_are_deleted(world: World, seed: int) -> None:
    played, sessions = history(seed, (world.a, world.b))
    put_down(world, played.replay.trace)
    now = played.replay.now
    before = {}
    for instance in (world.a, world.b):
        rows = ledger(world.store, instance, 0, now)
        before[instance] = plain([row.entry for row in rows])
        charged = sum(row.entry.ms for row in rows if row.entry.charged)
        assert charged == world.store.usage(instance, 0, now)
        assert charged == played.scheduler.state.usage_ms(instance, now)
        owner = world.alice if instance == world.a else world.bob
        assert {row.user_id for row in rows} <= {owner.user_id}
        # Halves add up to the whole.
        middle = now // 2
        halves = [
            row.entry.ms
            for part in ((0, middle), (middle, now))
            for row in ledger(world.store, instance, *part)
        ]
        assert sum(halves) == sum(row.entry.ms for row in rows)
    for session in sessions:
        mine = [it for it in before[world.a] + before[world.b] if it[2] == session]
        used = sum(end - start for use, _, _, start, end, _ in mine if use is not Use.DRAIN)
        assert used == (played.group(session).usage_at(now) or 0)
    for instance in (world.a, world.b):
        rows_of, _ = world.store.jobs(instance)
        for row in rows_of:
            if row.job.final:
                world.store.delete_job(instance, row.job.id)
        after = plain([row.entry for row in ledger(world.store, instance, 0, now)])
        assert after == before[instance]


def test_j30_the_story_of_a_deleted_job_stays_only_if_the_ledger_needs_it(world: World) -> None:
    single = world.finished()
    world.store.delete_job(world.a, single.id)
    assert world.store.story(single.id) == []
    group = world.open()
    job = world.submit(world.new_job(group=group.id))
    world.advance(job)
    world.store.delete_job(world.a, job.id)
    assert world.store.story(job.id)
    assert world.store.job(world.a, job.id) is None
    assert world.store.story(group.id)[-1].cause == f"job deleted: {job.id}"


def test_nothing_is_held_where_nothing_was_done(world: World) -> None:
    world.open()
    assert ledger(world.store, world.a, 0, 10**13) == []
