"""What a machine did, by columns of time: the database's sums against counting by hand."""

from __future__ import annotations

import pytest

from conformance.stores.test_ledger import put_down
from conformance.stores.world import World
from core.test_ledger import history
from qdwell.core.job import Job
from qdwell.store import history as past
from qdwell.store.occupancy import Gap, Occupied, gaps, held, occupied, settled_before, split

STEPS = 37


def by_hand(jobs: list[Job], mine: str, start: int, end: int, now: int) -> list[Occupied]:
    """The same as `occupied`, one job and one part of it at a time."""
    width = -(-(end - start) // STEPS)
    sums = [Occupied() for _ in range(STEPS)]
    for job in jobs:
        if job.running_at is None:
            continue
        until = now if job.finished_at is None else job.finished_at
        enter = until if job.executing_at is None else job.executing_at
        ready = enter if job.ready_at is None else job.ready_at
        leave = until if job.executed_at is None else job.executed_at
        whose = "own_qpu_ms" if job.instance == mine else "other_qpu_ms"
        parts = (
            ("classical_ms", job.running_at, ready), ("waiting_ms", ready, enter),
            (whose, enter, leave), ("classical_ms", leave, until),
        )  # fmt: skip
        begins = job.running_at >= start
        if job.running_at < end and begins:
            sums[(job.running_at - start) // width].jobs += 1
        for name, begin, stop in parts:
            if until - job.running_at <= width:
                if begins and job.running_at < end:
                    at = (job.running_at - start) // width
                    setattr(sums[at], name, getattr(sums[at], name) + stop - begin)
                continue
            for at, ms in split(max(begin, start), min(stop, end), start, width):
                setattr(sums[at], name, getattr(sums[at], name) + ms)
    return sums


@pytest.mark.parametrize("seed", range(4))
def test_columns_are_what_one_counts_by_hand(world: World, seed: int) -> None:
    played, _ = history(seed, (world.a, world.b))
    put_down(world, played.replay.trace)
    now = played.replay.now
    jobs = [row.job for crn in (world.a, world.b) for row in world.store.jobs(crn, limit=1000)[0]]
    assert len(jobs) > 10
    backend = jobs[0].backend
    mine = [it for it in jobs if it.backend == backend]
    for start, end in ((0, now), (now // 3, now // 2), (now // 2, now + 10_000)):
        found = occupied(world.store, backend, world.a, start, end, STEPS, now)
        assert found == by_hand(mine, world.a, start, end, now)
        windows, whole = past.windows(world.store, backend, start, end, 10_000, 0)
        assert whole
        sums = held(world.store, backend, world.a, start, end, STEPS, now)
        width = -(-(end - start) // STEPS)
        # Short windows are in the step of their beginning, so sums may differ by one step's width.
        exact = sum(min(it.end or now, end) - max(it.start, start) for it in windows)
        told = sum(it.own_session_ms + it.own_batch_ms + it.other_ms for it in sums)
        assert abs(told - exact) <= 2 * width
    assert settled_before(world.store, backend, now) <= now
    # Of too many groups only the long windows are found, and it is said that these are not all.
    windows, _ = past.windows(world.store, backend, 0, now, 10_000, 0)
    if len({it.group for it in windows}) > 1:
        longest = max((it.end or now) - it.start for it in windows)
        found_long, whole = past.windows(world.store, backend, 0, now, 1, longest)
        assert not whole
        assert all((it.end or now) - it.start >= longest for it in found_long)


def test_gaps_of_a_session_are_between_its_jobs_and_behind_the_last(world: World) -> None:
    group = world.open()
    first = world.submit(world.new_job(group=group.id))
    done = world.advance(first)
    assert done.finished_at is not None
    now = done.finished_at + 90_000
    assert gaps(world.store, [group.id], 1_000, now) == [Gap(group.id, done.finished_at, now)]
    assert gaps(world.store, [group.id], 100_000, now) == []
    later = world.submit(world.new_job(group=group.id, created=done.finished_at + 30_000))
    assert gaps(world.store, [group.id], 1_000, now) == [
        Gap(group.id, done.finished_at, later.created)
    ]
    assert gaps(world.store, [], 1_000, now) == []
