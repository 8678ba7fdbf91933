"""What counts as one of a job's tries, over restarts (J5)."""

from __future__ import annotations

import pytest

from core.test_resume import Later
from core.world import AuditedScheduler, World
from qdwell.core.events import (
    JobLost,
    JobPrepared,
    PutInstance,
    RunAdopted,
    ServiceResumed,
    ServiceStops,
)
from qdwell.core.job import JobState


@pytest.mark.parametrize("orderly", [True, False])
def test_a_job_that_waits_lives_through_any_number_of_restarts(*, orderly: bool) -> None:
    """J5: prepared anew each time, on the try that it has; a queued one is not touched at all."""
    world = World(lanes=2)
    world.submit("busy", "B", (0, 900, 0), 0)
    world.submit("ready", "A", (2, 4, 2), 0)
    world.submit("queued", "A", (2, 4, 2), 0)
    world.run(until=5)
    scheduler = world.scheduler
    for restart in range(8):
        now = 10_000 * (restart + 1)
        if orderly:
            scheduler.decide([ServiceStops()], now)
        auditor = scheduler.auditor
        scheduler = AuditedScheduler(auditor.settings, auditor.snapshot(now))
        known = [*auditor.machines.values(), *(PutInstance(it, it, 10**6) for it in "AB")]
        scheduler.decide(known, now)
        scheduler.decide([ServiceResumed(now)], now + 1000)
        ready = scheduler.auditor.jobs["ready"]
        assert (ready.state, ready.prepare_tries) == (JobState.PREPARING, 1)
        scheduler.decide([RunAdopted("busy", 1), JobPrepared("ready", ready.attempt)], now + 2000)
        assert scheduler.auditor.jobs["ready"].state is JobState.READY
    assert scheduler.auditor.jobs["queued"].attempt == 0
    busy = scheduler.auditor.jobs["busy"]
    assert (busy.state, busy.execute_tries) == (JobState.EXECUTING, 0 if orderly else 1)


@pytest.mark.parametrize(("down", "stage"), [(1, "prepare"), (3, "execute"), (7, "postprocess")])
def test_a_stop_in_good_order_costs_no_try(down: float, stage: str) -> None:
    """J5: what we cut off ourselves is no failure of the job; a death may be, and counts."""
    world = World()
    world.submit("J", "A", (2, 4, 2), 0)
    world.run(until=down)
    world.scheduler.decide([ServiceStops()], round(down * 1000))
    later = Later(world, down, down + 10)
    if stage == "execute":
        later.decide(down + 10, JobLost("J", 1, repeatable=True))
    job = later.job("J")
    assert job.attempt == 2
    assert getattr(job, f"{stage}_tries") == 1


def test_a_stop_in_good_order_gives_back_one_try_and_no_other() -> None:
    """J5: what deaths have cost stays."""
    world = World()
    world.submit("J", "A", (2, 4, 2), 0)
    later = Later(world, 1, 2)
    later.decide(3, JobLost("J", 2, repeatable=True))
    assert later.job("J").prepare_tries == 3
    later.decide(4, ServiceStops())
    assert later.job("J").prepare_tries == 2


def test_a_preparation_that_a_death_cuts_off_counts() -> None:
    """J5: three deaths in its preparation end a job, however often it waited in between."""
    world = World()
    world.submit("busy", "B", (0, 900, 0), 0)
    world.submit("J", "A", (2, 4, 2), 0)
    later = Later(world, 1, 2)
    later.decide(3, JobPrepared("J", 2))
    later.decide(4, JobLost("J", 2, repeatable=True))
    later.decide(5, JobLost("J", 3, repeatable=True))
    assert (later.job("J").state, later.job("J").code) == (JobState.FAILED, 5203)
