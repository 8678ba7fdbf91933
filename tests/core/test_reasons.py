"""Why a job waits: each branch of Q10, in words that name no other user."""

from __future__ import annotations

from dataclasses import replace

from core.world import BACKEND, World
from qdwell.core.events import BackendMode, PutInstance
from qdwell.core.forecast import forecast, with_reason
from qdwell.core.job import JobState
from qdwell.core.reasons import Reason, why_waiting

UNTIL_8 = "until 08:00 UTC at the latest, or the end of what runs then"


def told(world: World, job: str, at: float) -> tuple[Reason, str] | None:
    world.run(until=at)
    state = world.scheduler.state
    why = why_waiting(state, state.jobs[job], round(at * 1000))
    return None if why is None else (why.code, why.words)


def why(world: World, job: str, at: float) -> str | None:
    """Return the words alone."""
    found = told(world, job, at)
    return None if found is None else found[1]


def test_a_running_job_waits_for_nothing() -> None:
    world = World()
    world.submit("A1", "A", (5, 1, 1), 0)
    assert why(world, "A1", 1) is None


def test_all_lanes_are_taken() -> None:
    world = World(lanes=1)
    world.submit("A1", "A", (5, 1, 1), 0)
    world.submit("A2", "A", (5, 1, 1), 0)
    assert why(world, "A2", 1) == f"the lane of {BACKEND} is taken"


def test_a_session_has_the_machine() -> None:
    world = World()
    world.session("S", "A", interactive=50)
    world.submit("A1", "S", (1, 1, 1), 0)
    world.submit("B1", "B", (1, 1, 1), 1)
    assert told(world, "B1", 10) == (
        Reason.SESSION_ACTIVE,
        f"{BACKEND} is held by a session of another instance {UNTIL_8}",
    )


def test_until_when_a_session_holds_the_machine() -> None:
    world = World()
    world.session("S", "A", at=3_599, interactive=50, active=600)
    world.submit("A1", "S", (1, 1, 1), 3_600)
    world.submit("B1", "A", (1, 1, 1), 3_601)
    assert told(world, "B1", 3_610) == (
        Reason.SESSION_ACTIVE,
        f"{BACKEND} is held by a session of the same instance {UNTIL_8.replace('08:00', '01:10')}",
    )
    world.submit("A2", "S", (1, 900, 1), 3_611)
    assert told(world, "B1", 4_300) == (
        Reason.SESSION_ACTIVE,
        f"{BACKEND} is held by a session of the same instance until its running jobs have ended",
    )


def test_the_clock_of_a_reason_begins_anew_each_day() -> None:
    world = World()
    day = 5 * 86_400
    world.session("S", "A", at=day, interactive=50)
    world.submit("A1", "S", (1, 1, 1), day)
    world.submit("B1", "B", (1, 1, 1), day + 1)
    found = told(world, "B1", day + 10)
    assert found is not None
    assert UNTIL_8 in found[1]


def test_who_comes_first_after_that_is_told_without_a_name() -> None:
    world = World(lanes=1)
    world.session("S", "secret-A", interactive=50)
    world.submit("A1", "S", (0, 9, 0), 0)
    world.submit("A2", "S", (0, 9, 0), 0)
    world.submit("used", "B", (0, 1, 0), 0, backend=BACKEND)
    world.submit("B1", "B", (0, 1, 0), 1)
    world.submit("C1", "secret-C", (0, 1, 0), 2)
    world.submit("C2", "secret-C", (0, 1, 0), 2)
    world.submit("B2", "B", (0, 1, 0), 3)
    world.run(until=5)
    found = forecast(world.scheduler, BACKEND, 5_000)
    b2 = with_reason(world.scheduler.state, "B2", found["B2"], 5_000)
    assert b2 is not None
    assert b2.position == 6  # after A2, and all that came before it
    assert b2.reason_code is Reason.SESSION_ACTIVE
    assert b2.reason is not None
    assert b2.reason.endswith(
        "; then 2 jobs of instances that have used less of their share and 2 jobs of its own"
        " instance"
    )
    assert "secret" not in b2.reason
    first = with_reason(world.scheduler.state, "used", found["used"], 5_000)
    assert first is not None
    assert first.reason is not None
    assert "then" not in first.reason.replace("runs then", "")
    assert with_reason(world.scheduler.state, "gone", None, 5_000) is None
    assert with_reason(world.scheduler.state, "gone", found["B2"], 5_000) is found["B2"]
    assert with_reason(world.scheduler.state, "A1", found["B2"], 5_000) is found["B2"]


def test_jobs_of_a_live_session_of_the_same_instance_are_not_told_twice() -> None:
    world = World(lanes=1)
    world.session("S", "A", interactive=50)
    world.submit("A1", "S", (0, 9, 0), 0)
    world.submit("A2", "S", (0, 9, 0), 0)
    world.submit("A3", "A", (0, 1, 0), 1)
    world.submit("B1", "B", (0, 1, 0), 0)
    world.run(until=5)
    state = world.scheduler.state
    why = why_waiting(state, state.jobs["A3"], 5_000, (2, 1))
    assert why is not None
    assert why.words.endswith("; then 1 job of instances that have used less of their share")
    own = why_waiting(state, state.jobs["A2"], 5_000, (1, 1))
    assert own is not None
    assert own.words == f"the lane of {BACKEND} is taken; then 1 job of its own instance"


def test_a_batch_keeps_other_groups_out_but_not_single_jobs() -> None:
    world = World(lanes=1)
    world.batch("B", "A", interactive=50)
    world.session("S", "C", interactive=50)
    world.submit("A1", "B", (20, 1, 1), 0)
    world.submit("C1", "S", (1, 1, 1), 1)
    world.submit("D1", "D", (1, 1, 1), 1)
    assert told(world, "C1", 10) == (
        Reason.BATCH_ACTIVE,
        f"a batch is active on {BACKEND} {UNTIL_8}, and only one group at a time can be",
    )
    assert why(world, "D1", 10) == f"the lane of {BACKEND} is taken"


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
    assert why(world, "A1", 2) == f"{BACKEND} is paused: cooling"
    state.machines[BACKEND].mode = BackendMode.OFFLINE
    assert told(world, "A1", 2) == (Reason.BACKEND_OFFLINE, f"{BACKEND} is offline: cooling")


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
    found = why_waiting(state, job, 1_000)
    assert found is not None
    assert found.words == "other jobs are before it by fair share"
