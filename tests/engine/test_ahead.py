"""Large contents are stored before their turn: a disk that hangs holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.house import House, sampler, scripted
from qdwell.clock import ManualClock
from qdwell.core.events import JobFailed, JobLost
from qdwell.core.job import Job
from qdwell.core.scheduler import Scheduler
from qdwell.engine import ahead
from qdwell.engine.frames import Frame
from qdwell.engine.inbox import Item
from qdwell.engine.runs import Run
from qdwell.errors import StoreUnavailable, UnknownBackend
from qdwell.store.blobs import INLINE_BYTES_MAX
from qdwell.store.shelves import FolderShelf

Make = Callable[..., House]

LARGE = {"params": sampler(pubs=400)}  # which is above `INLINE_BYTES_MAX`
MANY = {"params": sampler(shots=400_000)}  # whose result is large


class Gate:
    """Stands before a house's shelf: while it is shut, who writes waits there, or is refused."""

    def __init__(self, house: House, *, refuses: bool = False) -> None:
        shelf = house.store.blobs.shelf
        assert isinstance(shelf, FolderShelf)
        self.shelf = shelf
        self._write = shelf.write
        self._refuses = refuses
        self._open = threading.Event()
        self._loop = asyncio.get_running_loop()
        self.asked = asyncio.Event()
        shelf.write = self._pass  # type: ignore[method-assign]

    def _pass(self, key: str, content: bytes) -> None:
        self._loop.call_soon_threadsafe(self.asked.set)
        if self._refuses and not self._open.is_set():
            raise StoreUnavailable("no room")
        assert self._open.wait(60)
        self._write(key, content)

    def open(self) -> None:
        self._open.set()


@asynccontextmanager
async def shut(house: House, *, refuses: bool = False) -> AsyncIterator[Gate]:
    """A gate that is shut, and open again at the end: else a thread would wait for ever."""
    gate = Gate(house, refuses=refuses)
    try:
        yield gate
    finally:
        gate.open()


async def runs(house: House, **changes: Any) -> None:
    """A small job comes to its end."""
    row = await house.final(await house.submit(**changes))
    assert (row.job.state, row.job.reason) == ("completed", None)


async def test_nobody_waits_for_anothers_large_input(house: Make) -> None:
    """The store of large blobs hangs: who sends one waits, everybody else is served."""
    async with house() as it, shut(it) as gate:
        large = asyncio.ensure_future(it.submit(**LARGE))
        await gate.asked.wait()
        await runs(it)
        assert not large.done()
        gate.open()
        assert (await it.final(await large)).job.state == "completed"


async def test_a_large_input_that_cannot_be_stored_is_refused(house: Make) -> None:
    """Nothing of it is there, and the same goes through when there is room again."""
    async with house() as it, shut(it, refuses=True) as gate:
        with pytest.raises(StoreUnavailable, match="no room"):
            await it.submit(**LARGE)
        await runs(it)
        assert it.store.jobs(it.crn)[1] == 1
        gate.open()
        await runs(it, **LARGE)


async def test_nothing_is_stored_for_a_submission_that_will_be_refused(house: Make) -> None:
    """J9: or a user at their limit could make the disk work."""
    async with house() as it, shut(it, refuses=True):
        with pytest.raises(UnknownBackend):
            await it.submit(**LARGE, backend="other")


async def test_the_input_of_a_refused_submission_is_removed(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be foreseen; but not if another job has the same."""
    monkeypatch.setattr(Scheduler, "refusal", lambda *_: None)
    async with house() as it:
        with pytest.raises(UnknownBackend):
            await it.submit(**LARGE, backend="other")
        assert it.store.blobs.shelf.keys() == []
        job = await it.submit(**LARGE)
        with pytest.raises(UnknownBackend):
            await it.submit(**LARGE, backend="other")
        assert it.store.blobs.shelf.keys() == [it.row(job).details.params]
        await it.final(job)


def at_work(house: House, job: Job) -> None:
    """It waits for its result to be stored."""
    assert not house.row(job).job.final


async def test_nobody_waits_for_anothers_large_result(house: Make) -> None:
    """Its job keeps its machine until it is stored; then it ends, with its result."""
    async with house(scripted(), scripted("other")) as it, shut(it) as gate:
        large = await it.submit(**MANY)
        await gate.asked.wait()
        await runs(it, backend="other")
        at_work(it, large)
        gate.open()
        row = await it.final(large)
        assert row.job.state == "completed"
        assert len(it.store.read_result(it.crn, large.id) or b"") > INLINE_BYTES_MAX


async def test_a_result_that_cannot_be_stored_is_tried_again(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a bucket that is away, costs no job its quantum time, however long it is."""
    monkeypatch.setattr(ahead, "AGAIN_MS", 1)
    async with house() as it, shut(it, refuses=True) as gate:
        large = await it.submit(**MANY)
        for _ in range(10):
            gate.asked.clear()
            await gate.asked.wait()
        at_work(it, large)
        gate.open()
        assert (await it.final(large)).job.state == "completed"


async def test_a_job_can_be_cancelled_while_its_result_waits(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J18; and what comes after it runs."""
    monkeypatch.setattr(ahead, "AGAIN_MS", 1)
    async with house() as it, shut(it, refuses=True) as gate:
        large = await it.submit(**MANY)
        await gate.asked.wait()
        await it.engine.cancel_job(it.crn, large.id)
        assert (await it.final(large)).job.state == "cancelled"
        await runs(it)


@pytest.mark.parametrize("head", [{"op": "failed", "stage": "execute"}, {"op": "lost"}])
async def test_what_waits_behind_a_large_result_is_dated_when_it_came(
    house: Make, monkeypatch: pytest.MonkeyPatch, head: dict[str, str]
) -> None:
    """A run that failed holds its machine no longer because the disk is slow (C8)."""
    clock = ManualClock(1_000_000)
    async with house(clock=clock) as it, shut(it) as gate:
        reports, told = it.engine._actions.reports, asyncio.Queue[Item]()
        monkeypatch.setattr(it.engine._inbox, "post", told.put_nowait)
        run = Run("job", 1, it.backend)
        interim = Frame({"op": "interim"}, (b"x" * (INLINE_BYTES_MAX + 1),))
        reports.heard(run, reports.executed, interim)
        reports.heard(run, reports.executed, Frame(dict(head)))
        came = clock.now()
        await gate.asked.wait()
        clock.advance(60_000)
        gate.open()
        item = await asyncio.wait_for(told.get(), 60)
        assert (item.at, clock.now() - came) == (came, 60_000)
        assert isinstance(item.event, JobFailed | JobLost)


async def test_what_comes_onto_the_disk_after_its_jobs_end_is_removed(house: Make) -> None:
    """Found by the simulation: nobody was left to let go of it."""
    async with house() as it, shut(it) as gate:
        large = await it.submit(**MANY)
        await gate.asked.wait()
        await it.engine.cancel_job(it.crn, large.id)
        await it.final(large)
        gate.open()
        async with asyncio.timeout(60):
            while it.store.blobs.wanted.held():
                await runs(it)
        await runs(it)
        assert it.store.blobs.shelf.keys() == []


async def test_what_was_stored_ahead_is_held_until_its_jobs_end(house: Make) -> None:
    """Then raw data goes, and the rest when the job is deleted, as what was never held."""
    async with house() as it:
        job = await it.submit(params=sampler(pubs=400, shots=4_000))
        assert (await it.final(job)).job.state == "completed"
        await runs(it)  # so that the turn of its end is over
        assert len(it.store.blobs.shelf.keys()) == 2
        it.store.delete_job(it.crn, job.id)
        assert it.store.blobs.shelf.keys() == []
