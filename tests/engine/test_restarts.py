"""Jobs that wait live through any number of restarts (J5), in good order and not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.house import House, scripted
from qdwell.engine import actions

Make = Callable[..., House]
RESTARTS = 8
LONG = 600_000


@pytest.mark.parametrize("orderly", [True, False])
async def test_eight_restarts_with_work_waiting(
    house: Make, tmp_path: Path, *, orderly: bool
) -> None:
    """J5: prepared again each time, at no cost of a try; then they run, each once."""
    device = scripted(run_ms=LONG, runs=str(tmp_path / "device"), repeatable=False, lanes=2)
    it = house(device)
    await it.engine.start()
    await it.engine.ready()
    busy = await it.submit()
    await it.reaches(busy, "executing")
    while not any(run.handle for run in it.store.device_runs(busy.id, 1)):
        await it.engine._loop.turned.wait()  # dead before that, the run would be lost
    ready, queued = [await it.submit() for _ in range(2)]
    for _ in range(RESTARTS):
        await it.reaches(ready, "ready")
        if orderly:
            await it.engine.stop(0)
        else:
            await it.engine.abandon()
        it.store.close()
        it = house(device)
        await it.engine.start()
        await it.engine.ready()
    quick = scripted(run_ms=5, runs=str(tmp_path / "device"), repeatable=False, lanes=2)
    await it.reaches(ready, "ready")
    await it.engine.abandon()
    it.store.close()
    async with house(quick) as it:
        await it.engine.cancel_job(it.crn, busy.id)
        rows = [await it.final(job) for job in (ready, queued)]
        assert [row.job.state for row in rows] == ["completed", "completed"]
        assert rows[0].job.attempt > RESTARTS
        assert (rows[0].job.prepare_tries, rows[0].job.execute_tries) == (1, 1)
        assert rows[1].job.attempt == 1


async def test_stops_in_the_middle_of_a_run_that_may_be_repeated(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J5: a model's run that we cut off ourselves, four times, is no failure of its job."""
    monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    job = None
    for _ in range(4):
        it = house(scripted(run_ms=LONG))
        await it.engine.start()
        await it.engine.ready()
        job = job or await it.submit()
        await it.reaches(job, "executing")
        await it.engine.stop(0)
        it.store.close()
    assert job is not None
    async with house(scripted(run_ms=5)) as it:
        row = await it.final(job)
        assert (row.job.state, row.job.execute_tries) == ("completed", 1)
        assert "service stops" in it.story(job.id)
