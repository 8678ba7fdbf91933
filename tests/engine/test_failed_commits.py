"""A store that refuses: nothing half done, nobody waits for ever, and the server goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from engine.house import House, pass_time, scripted
from qdwell.clock import ManualClock
from qdwell.core.decisions import PutJob
from qdwell.core.events import BackendMode
from qdwell.engine import actions
from qdwell.errors import OutcomeUnknown, StaleWrite, StoreError, StoreUnavailable

Make = Callable[..., House]


class Unreliable:
    """Makes a store's commits fail: `when` says which, `after` whether they happened first."""

    def __init__(self, house: House, error: Exception, *, after: bool = False) -> None:
        self._commit = house.store.commit
        self._error = error
        self._after = after
        self.when: Callable[[Sequence[Any]], bool] = lambda _: False
        self.failed = 0
        house.store.commit = self  # type: ignore[assignment, method-assign]

    def __call__(self, decisions: Sequence[Any], *args: Any) -> None:
        if not self.when(decisions):
            self._commit(decisions, *args)
            return
        self.failed += 1
        if self._after:
            self._commit(decisions, *args)
        raise self._error


def moves_to(state: str) -> Callable[[Sequence[Any]], bool]:
    """Whether a commit moves a job to a state."""
    return lambda decisions: any(
        isinstance(put, PutJob) and put.job.state == state for put in decisions
    )


def once(when: Callable[[Sequence[Any]], bool]) -> Callable[[Sequence[Any]], bool]:
    """The first such commit alone."""
    seen = []

    def first(decisions: Sequence[Any]) -> bool:
        if not when(decisions) or seen:
            return False
        seen.append(True)
        return True

    return first


@pytest.mark.parametrize(
    "error", [StaleWrite("stale"), StoreUnavailable("full"), ValueError("bug")]
)
async def test_submission_that_cannot_be_stored(house: Make, error: Exception) -> None:
    """Its user is told, no trace of it is left, and the next one is accepted."""
    async with house() as it:
        bad = Unreliable(it, error)
        bad.when = once(moves_to("queued"))
        with pytest.raises(StoreError):
            await it.submit()
        assert bad.failed == 1
        assert it.store.jobs(it.crn)[1] == 0
        assert it.engine.pending(it.crn) == 0
        assert (await it.final(await it.submit())).job.state == "completed"


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("state", ["ready", "executing", "executed", "completed"])
async def test_report_that_could_not_be_stored(
    house: Make, monkeypatch: pytest.MonkeyPatch, state: str, *, inline: bool
) -> None:
    """A report whose commit failed is decided again: the job ends as if nothing had been."""
    if not inline:
        monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    async with house() as it:
        bad = Unreliable(it, StoreUnavailable("full"))
        bad.when = once(moves_to(state))
        row = await it.final(await it.submit())
        assert bad.failed == 1
        assert (row.job.state, row.job.attempt) == ("completed", 1)
        assert it.engine.usage_ms(it.crn) == row.job.quantum_ms


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("state", ["preparing", "executing", "postprocessing", "completed"])
async def test_commit_that_happened_but_said_otherwise(
    house: Make, monkeypatch: pytest.MonkeyPatch, state: str, *, inline: bool
) -> None:
    """What was stored is gone on with, although its commit reported a failure."""
    if not inline:
        monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    async with house() as it:
        bad = Unreliable(it, OutcomeUnknown("who knows"), after=True)
        bad.when = once(moves_to(state))
        row = await it.final(await it.submit())
        assert bad.failed == 1
        assert row.job.state == "completed"
        assert it.store.read_result(it.crn, row.job.id)


async def test_result_that_can_never_be_stored(house: Make) -> None:
    """After a few tries the job fails instead, so that it is not stuck and others go on."""
    async with house() as it:
        bad = Unreliable(it, StoreError("the schema refuses it"))
        bad.when = moves_to("completed")
        row = await it.final(await it.submit())
        assert (row.job.state, row.job.code) == ("failed", 5203)
        bad.when = lambda _: False
        assert (await it.final(await it.submit())).job.state == "completed"


async def test_store_that_is_gone_for_a_while(house: Make) -> None:
    """While the store does not answer, submissions are refused at once; then work goes on."""
    clock = ManualClock(1_767_225_600_000)
    async with house(scripted(run_ms=50), clock=clock) as it:
        bad = Unreliable(it, StoreUnavailable("gone"))
        job = await it.submit()
        load = it.store.load

        def unreadable(*_: object) -> object:
            raise StoreUnavailable("gone")

        it.store.load = unreadable  # type: ignore[method-assign, assignment]
        bad.when = lambda _: True
        with pytest.raises(StoreError):
            await it.submit()
        waiting = asyncio.ensure_future(it.submit())
        while not waiting.done():
            await pass_time(clock)
        with pytest.raises(StoreError):
            await waiting
        bad.when = lambda _: False
        it.store.load = load  # type: ignore[method-assign]
        while it.engine.live_job(job.id) is not None:
            await pass_time(clock)
        assert it.row(job).job.state == "completed"
        assert it.store.jobs(it.crn)[1] == 1


async def test_what_is_stored_is_never_denied(house: Make) -> None:
    """A commit that failed half-way is looked up, and each request answered as it is stored."""
    async with house(scripted(run_ms=60_000)) as it:
        bad = Unreliable(it, OutcomeUnknown("who knows"), after=True)
        bad.when = once(moves_to("queued"))
        job = await it.submit()
        bad.when = once(lambda puts: any(getattr(put, "group", None) for put in puts))
        group = await it.session()
        assert it.engine.live_group(group.id) is not None
        for request in (
            it.engine.close_group(it.crn, group.id),
            it.engine.set_backend_mode(it.backend, BackendMode.PAUSED),
            it.engine.cancel_job(it.crn, job.id),
        ):
            bad.when = once(lambda _: True)
            await request
        assert bad.failed == 5
        assert it.row(job).job.state == "cancelled"
        assert it.store.jobs(it.crn)[1] == 1


async def test_what_is_not_stored_is_denied_when_that_is_certain(house: Make) -> None:
    """A commit that failed half-way and left nothing: 5xx, and nothing is there."""
    async with house(scripted(run_ms=60_000)) as it:
        live = await it.submit()
        await it.reaches(live, "executing")
        group = await it.session()
        bad = Unreliable(it, OutcomeUnknown("who knows"))
        for request in (
            it.submit(),
            it.session(),
            it.engine.close_group(it.crn, group.id),
            it.engine.set_backend_mode(it.backend, BackendMode.PAUSED),
            it.engine.cancel_job(it.crn, live.id),
        ):
            bad.when = once(lambda _: True)
            with pytest.raises(StoreError):
                await request
        assert it.store.jobs(it.crn)[1] == 1
        assert not it.row(live).job.final


async def test_what_was_denied_is_taken_back(house: Make) -> None:
    """A store that is away for too long: 5xx; and what it had stored after all is not run."""
    clock = ManualClock(1_767_225_600_000)
    async with house(scripted(run_ms=50), clock=clock) as it:
        bad = Unreliable(it, OutcomeUnknown("gone in the commit"), after=True)
        bad.when = once(moves_to("queued"))
        load, gone = it.store.load, []

        def unreadable(*_: object) -> object:
            gone.append(True)
            raise StoreUnavailable("gone")

        it.store.load = unreadable  # type: ignore[method-assign, assignment]
        waiting = asyncio.ensure_future(it.submit())
        while not waiting.done():
            await pass_time(clock)
        assert len(gone) > 2, "it was denied before it was looked up for a while"
        with pytest.raises(StoreUnavailable):
            await waiting
        it.store.load = load  # type: ignore[method-assign]
        while it.engine.pending(it.crn) or not it.store.jobs(it.crn)[0][0].job.final:
            await pass_time(clock)
        (row,), _ = it.store.jobs(it.crn)
        assert (row.job.state, row.job.execute_tries) == ("cancelled", 0)
