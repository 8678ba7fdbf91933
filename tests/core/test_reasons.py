"""Why a job waits: each branch of Q10, in words that name no other user."""

from __future__ import annotations

from dataclasses import replace

from core.world import BACKEND, World
from qdwell.core.events import BackendMode, PutInstance
from qdwell.core.job import JobState
from qdwell.core.reasons import why_waiting


def why(world: World, job: str, at: float) -> str | None:
    world.run(until=at)
    state = world.scheduler.state
    return why_waiting(state, state.jobs[job], round(at * 1000))


def test_a_running_job_waits_for_nothing() -> None:
    world = World()
    world.submit("A1", "A", (5, 1, 1), 0)
    assert why(world, "A1", 1) is None


def test_all_lanes_are_taken() -> None:
    world = World(lanes=1)
    world.submit("A1", "A", (5, 1, 1), 0)
    world.submit("A2", "A", (5, 1, 1), 0)
    assert why(world, "A2", 1) == f"all 1 lanes of {BACKEND} are taken"


def test_a_session_has_the_machine() -> None:
    world = World()
    world.session("S", "A", interactive=50)
    world.submit("A1", "S", (1, 1, 1), 0)
    world.submit("B1", "B", (1, 1, 1), 1)
    assert why(world, "B1", 10) == f"a session has {BACKEND} to itself"


def test_a_batch_keeps_other_groups_out_but_not_single_jobs() -> None:
    world = World(lanes=1)
    world.batch("B", "A", interactive=50)
    world.session("S", "C", interactive=50)
    world.submit("A1", "B", (20, 1, 1), 0)
    world.submit("C1", "S", (1, 1, 1), 1)
    world.submit("D1", "D", (1, 1, 1), 1)
    assert why(world, "C1", 10) == (
        f"a batch is active on {BACKEND}, and only one group at a time can be"
    )
    assert why(world, "D1", 10) == f"all 1 lanes of {BACKEND} are taken"


def test_a_session_waits_for_empty_lanes_and_others_for_the_session() -> None:
    world = World()
    world.submit("X", "B", (30, 1, 1), 0)
    world.session("S", "A", interactive=50)
    world.submit("A1", "S", (1, 1, 1), 1)
    world.submit("Y", "C", (1, 1, 1), 2)
    assert why(world, "A1", 5) == "its session is next; it starts when all running jobs have ended"
    assert why(world, "Y", 5) == (
        f"a session is next on {BACKEND}, and waits for all running jobs to end"
    )


def test_a_window_that_is_over_is_told() -> None:
    world = World(lanes=1)
    world.session("S", "A", interactive=50, active=10)
    world.submit("A1", "S", (1, 30, 1), 0)
    world.submit("A2", "S", (1, 1, 1), 0)
    assert why(world, "A2", 15) == (
        "its session has used up its active time, and waits for its running jobs"
    )


def test_a_paused_backend_says_why() -> None:
    world = World()
    world.mode(BackendMode.PAUSED, 0)
    world.submit("A1", "A", (1, 1, 1), 1)
    assert why(world, "A1", 2) == f"{BACKEND} is paused"
    state = world.scheduler.state
    state.machines[BACKEND].mode_reason = "cooling"
    assert why_waiting(state, state.jobs["A1"], 2_000) == f"{BACKEND} is paused: cooling"


def test_a_held_instance_is_told_so() -> None:
    world = World(lanes=1)
    world.submit("A1", "A", (0, 5, 0), 0)
    world.submit("A2", "A", (0, 5, 0), 0)
    world.request(1, PutInstance("A", "A", 100_000, limit_ms=2_000))
    assert why(world, "A2", 7) == (
        "the instance has used up its time; jobs start again when time frees up"
    )


def test_otherwise_it_is_fair_share() -> None:
    world = World()
    world.submit("A1", "A", (5, 1, 1), 0)
    world.run(until=1)
    state = world.scheduler.state
    job = replace(state.jobs["A1"], state=JobState.QUEUED)
    assert why_waiting(state, job, 1_000) == "other jobs are before it by fair share"
