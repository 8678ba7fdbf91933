"""Inputs that are read from the store: one that is away for a while costs no job its life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from engine.house import House
from qdwell.core.job import Job
from qdwell.engine import dispatch, inputs
from qdwell.errors import StoreError, StoreUnavailable

Make = Callable[..., House]


class Away:
    """A house whose store of blobs fails each read, until it is `back`."""

    def __init__(self, house: House, error: StoreError) -> None:
        self._get = house.store.blobs.get
        self._error = error
        self._loop = asyncio.get_running_loop()
        self._is_back = False
        self.asked = asyncio.Event()
        house.store.blobs.get = self._fail  # type: ignore[method-assign]

    def _fail(self, name: str) -> bytes:
        self._loop.call_soon_threadsafe(self.asked.set)
        if self._is_back:
            return self._get(name)
        raise self._error

    async def is_asked(self, times: int) -> None:
        for _ in range(times):
            self.asked.clear()
            async with asyncio.timeout(10):
                await self.asked.wait()

    def back(self) -> None:
        self._is_back = True


@asynccontextmanager
async def waiting(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[House, Away, Job]]:
    """A house without memory, whose store is away, and a job that it was given then."""
    monkeypatch.setattr(inputs, "KEPT_INPUT_BYTES_MAX", 0)
    monkeypatch.setattr(dispatch, "AGAIN_MS", 1)
    async with house() as it:
        away = Away(it, StoreUnavailable("too many clients already"))
        job = await it.submit()
        await away.is_asked(5)
        yield it, away, job


async def test_a_job_waits_for_its_input_until_the_store_is_back(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database without connections, or a bucket that is away, fails nothing."""
    async with waiting(house, monkeypatch) as (it, away, job):
        assert it.row(job).job.state == "preparing"
        away.back()
        assert (await it.final(job)).job.state == "completed"


async def test_a_job_can_be_cancelled_while_its_input_is_away(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody asks for it any more."""
    async with waiting(house, monkeypatch) as (it, away, job):
        await it.engine.cancel_job(it.crn, job.id)
        assert (await it.final(job)).job.state == "cancelled"
        away.back()
        following = await it.submit()
        assert (await it.final(following)).job.state == "completed"


async def test_an_input_that_is_gone_fails_its_job(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To wait for it would be to wait for ever."""
    monkeypatch.setattr(inputs, "KEPT_INPUT_BYTES_MAX", 0)
    async with house() as it:
        Away(it, StoreError("blob is not in the folder"))
        row = await it.final(await it.submit())
        assert (row.job.state, row.job.code) == ("failed", 5203)
