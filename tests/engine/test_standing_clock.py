"""A clock that was set back stands still (C8). What only waits a while must not wait with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from engine.house import House, pass_time, scripted
from engine.test_failed_commits import Unreliable
from qdwell.clock import settle
from qdwell.errors import StoreError
from standing_clock import Standing

Make = Callable[..., House]


@pytest.fixture
def clock() -> Standing:
    return Standing(1_800_000_000_000)


async def test_an_answer_is_held_no_longer_than_its_bound(house: Make, clock: Standing) -> None:
    async with house(scripted(run_ms=60_000), clock=clock) as it:
        job = await it.submit()
        clock.set_back()
        held = asyncio.ensure_future(it.engine.wait_final(job.id, clock.now() + 500))
        await settle()
        clock.advance(499)
        await settle()
        assert not held.done()
        clock.advance(1)
        assert await asyncio.wait_for(held, 5) is None


async def test_the_store_is_asked_again(house: Make, clock: Standing) -> None:
    """Turns that cannot be stored are tried again while time stands still, and then are."""
    async with house(clock=clock) as it:
        store = Unreliable(it, StoreError("no room"))
        store.when = lambda _: store.failed < 3
        clock.set_back()
        with pytest.raises(StoreError):
            await it.submit()
        async with asyncio.timeout(30):
            while store.failed < 3 or not it.engine._loop._sound:
                await pass_time(clock)
        job = await it.submit()
        assert (await it.final(job)).job.state == "completed"


async def test_a_stop_gives_no_more_than_its_grace(house: Make, clock: Standing) -> None:
    async with house(scripted(run_ms=600_000), clock=clock) as it:
        job = await it.submit()
        await it.reaches(job, "executing")
        clock.set_back()
        stopping = asyncio.ensure_future(it.engine.stop(5_000))
        await settle()
        clock.advance(5_000)
        await asyncio.wait_for(stopping, 30)
        assert it.row(job).job.state == "executing"  # the next start takes it up
