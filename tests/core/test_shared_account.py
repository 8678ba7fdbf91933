"""Instances that share an account: one that is in the QPU, and one that waits."""

from __future__ import annotations

from qdwell.core.decisions import Prepare
from qdwell.core.events import JobPrepared, PutBackend, PutInstance, SubmitJob
from qdwell.core.job import Job
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings


def test_an_instance_in_the_qpu_that_has_nothing_waiting_is_no_candidate() -> None:
    """Its demand moves, so it is compared by itself; with nothing in line it cannot be picked."""
    scheduler = Scheduler(Settings())
    shared = [PutInstance(each, "group", 1_000) for each in ("first", "second")]
    scheduler.decide([PutBackend("m", False, 2, True), *shared], 0)
    scheduler.decide([SubmitJob(Job("j1", 1, "first", "m", 0, estimate_ms=50))], 0)
    scheduler.decide([JobPrepared("j1", 1)], 10)
    decisions = scheduler.decide([SubmitJob(Job("j2", 2, "second", "m", 20))], 20)
    assert Prepare("j2", 1, "m") in decisions
