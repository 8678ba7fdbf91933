"""Who waits for the end of a job is given its row without reading it; it is that of the store."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable

import pytest

from engine.house import House, sampler, scripted
from qdwell.core.job import Job
from qdwell.engine import actions
from qdwell.engine.runs import Run
from qdwell.store import JobRow

Make = Callable[..., House]


async def ending(it: House, job: Job) -> JobRow | None:
    """What who waits for its end is given."""
    waiter = it.engine.final(job.id)
    assert waiter is not None
    return await asyncio.wait_for(waiter, 30)


async def test_it_is_the_row_that_a_reader_finds(house: Make) -> None:
    async with house() as it:
        job = await it.submit(tags=("a", "b"), params=sampler(pubs=2), runtime="x:1", cost_s=7)
        given = await ending(it, job)
        assert given == it.row(job)
        assert given is not None
        assert given.job.state == "completed"
        assert given.result is not None
        assert it.store.blobs.get(given.result) == it.store.read_result(it.crn, job.id)


async def test_so_it_is_when_its_stages_were_stored_one_by_one(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    async with house(scripted(run_ms=200)) as it:
        job = await it.submit()
        assert await ending(it, job) in (None, it.row(job))


async def test_so_it_is_when_it_failed(house: Make) -> None:
    async with house(scripted(fail_rate=1.0)) as it:
        job = await it.submit()
        assert await ending(it, job) in (None, it.row(job))
        assert it.row(job).job.state == "failed"


async def test_tags_that_were_changed_meanwhile_are_in_it(house: Make) -> None:
    async with house() as it:
        worker = await it.machine_pid()
        os.kill(worker, signal.SIGSTOP)
        try:
            job = await it.submit(tags=("old",))
            assert it.store.set_tags(it.crn, job.id, ("new", "er"))
            it.engine.retagged(job.id, ("new", "er"))
            waiting = asyncio.ensure_future(ending(it, job))
        finally:
            os.kill(worker, signal.SIGCONT)
        given = await waiting
        assert given == it.row(job)
        assert given is not None
        assert given.details.tags == ("new", "er")


async def test_a_private_job_is_read(house: Make) -> None:
    """J29: its end has erased its input."""
    async with house() as it:
        assert await ending(it, await it.submit(private=True)) is None


async def test_what_was_not_prepared_is_read(house: Make) -> None:
    """Nothing is known of it but that it has ended."""
    async with house(scripted(lanes=1)) as it:
        worker = await it.machine_pid()
        os.kill(worker, signal.SIGSTOP)
        try:
            await it.submit()
            job = await it.submit()
            waiting = asyncio.ensure_future(ending(it, job))
            await asyncio.sleep(0)
            await it.engine.cancel_job(it.crn, job.id)
            assert await waiting is None
        finally:
            os.kill(worker, signal.SIGCONT)


@pytest.mark.parametrize("inline_bytes_max", [0, 1_000_000])
async def test_what_a_job_brought_is_let_go_with_its_end(
    house: Make, monkeypatch: pytest.MonkeyPatch, inline_bytes_max: int
) -> None:
    """Without waiting for the garbage collector, which comes rarely where much is in memory."""
    monkeypatch.setattr(actions, "INLINE_BYTES_MAX", inline_bytes_max)
    async with house() as it:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await it.final(await it.submit(params=sampler(pubs=3)))
            while it.engine._actions.runs:  # who waits is told before the turn is over
                await it.engine._loop.turned.wait()
            left = [one for one in gc.get_objects() if type(one) is Run]
            # A timer may still have a run itself for some seconds.
            brought = [(run.task, run.prepared, run.raw, run.milestones) for run in left]
            assert all(it == (None, None, None, {}) for it in brought)
        finally:
            gc.enable()
