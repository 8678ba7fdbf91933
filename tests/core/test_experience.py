"""What forecasts learn from, and the futures that they draw (Q7, Q30)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.test_futures import future
from core.world import BACKEND, World
from qdwell.core.decisions import PutGroup, PutJob
from qdwell.core.experience import (
    ARRIVALS_MAX,
    ENOUGH,
    REMEMBERED,
    SPAN_MS,
    UNTAUGHT,
    Experience,
    draw,
    median,
)
from qdwell.core.forecast import FUTURES, RANGED_MAX, forecast, range_of
from qdwell.core.group import Group, GroupState, Mode
from qdwell.core.job import Job, JobState

JOB = Job("j", 1, "A", BACKEND, 0, limit_ms=100_000, estimate_ms=1000)
SESSION = Group("S", 1, Mode.SESSION, "A", BACKEND, 0, 60_000, 600_000)


def ran(job: Job, quantum_ms: int) -> PutJob:
    return PutJob(
        replace(job, state=JobState.EXECUTED, quantum_ms=quantum_ms), JobState.EXECUTING, "", 0
    )


def stayed(ms: int, end: int = 1_000_000) -> list[PutGroup]:
    active = replace(SESSION, state=GroupState.ACTIVE, started_at=0, activated_at=end - ms)
    left = replace(active, state=GroupState.INACTIVE)
    return [
        PutGroup(active, GroupState.OPEN, "", end - ms),
        PutGroup(left, GroupState.ACTIVE, "", end),
    ]


def arrived(at: int, **fields: Any) -> PutJob:
    return PutJob(replace(JOB, created=at, **fields), None, "submitted", at)


def test_before_anything_is_known_estimates_and_limits_hold() -> None:
    known = Experience()
    assert known.runs(JOB) == [1000 * each // 1000 for each in UNTAUGHT]
    assert median(known.runs(JOB)) == 1000
    assert known.runs(replace(JOB, limit_ms=900)) == [600, 800, 900, 900, 900]
    assert known.runs(replace(JOB, estimate_ms=0)) == [100_000]


def test_an_instance_is_judged_by_its_own_runs_once_there_are_enough() -> None:
    known = Experience()
    other = replace(JOB, instance="B", estimate_ms=2000)
    known.observe([ran(other, 6000)])
    assert known.runs(JOB) == [3000]
    known.observe([ran(JOB, 500)] * (ENOUGH - 1))
    assert known.runs(JOB) == [3000] + [500] * (ENOUGH - 1)
    known.observe([ran(JOB, 500)])
    assert known.runs(JOB) == [500] * ENOUGH
    assert known.runs(replace(JOB, estimate_ms=0)) == [500] * ENOUGH
    assert known.runs(replace(other, estimate_ms=1000))[0] == 3000
    known.observe([ran(replace(JOB, estimate_ms=0), 70)])
    assert known.runs(replace(JOB, estimate_ms=0))[-1] == 70
    assert len(known.runs(JOB)) == ENOUGH  # it had no estimate to be compared with
    known.observe([ran(JOB, 900)] * REMEMBERED)
    assert known.runs(JOB) == [900] * REMEMBERED


def test_a_lost_run_teaches_nothing() -> None:
    known = Experience()
    known.observe([PutJob(replace(JOB, state=JobState.READY), JobState.EXECUTING, "lost", 0)])
    known.observe([PutJob(replace(JOB, state=JobState.EXECUTED), JobState.POSTPROCESSING, "", 0)])
    assert known.runs(JOB) == [1000 * each // 1000 for each in UNTAUGHT]


def test_sessions_stay_as_long_as_windows_did_that_were_longer_than_this_one() -> None:
    known = Experience()
    assert known.stays(SESSION, 5) == [6_000, 15_000, 30_000, 60_000]
    for ms in (10_000, 20_000, 30_000, 40_000, 50_000, 60_000):
        known.observe(stayed(ms))
    assert known.stays(SESSION, 5) == [10_000, 20_000, 30_000, 40_000, 50_000, 60_000]
    live = replace(SESSION, state=GroupState.ACTIVE, activated_at=1000)
    assert known.stays(live, 11_000) == [10_000, 20_000, 30_000, 40_000, 50_000]
    assert known.stays(live, 51_000) == [10_000, 6_000, 15_000, 30_000, 60_000]
    assert known.stays(live, 101_000) == [10_000, 25_000, 50_000, 100_000]
    assert known.stays(live, 60_999)[0] == 1
    # A window of the past is not this one.
    again = replace(live, state=GroupState.INACTIVE)
    assert known.stays(again, 100_000) == known.stays(SESSION, 5)


def test_what_arrived_in_the_last_hour_is_remembered() -> None:
    known = Experience()
    known.observe([arrived(1), arrived(2, id="k", group="B")])
    found = known.arrivals(BACKEND, 10)
    assert [(each.at, each.burst, each.session) for each in found] == [
        (1, "j", None),
        (2, "B", None),
    ]
    assert known.arrivals("elsewhere", 10) == []
    assert [each.at for each in known.arrivals(BACKEND, SPAN_MS + 1)] == [2]
    known.observe([arrived(at) for at in range(3, 3 + ARRIVALS_MAX)])
    assert len(known.arrivals(BACKEND, 10)) == ARRIVALS_MAX


def test_of_a_session_only_the_job_that_opens_a_window_arrives() -> None:
    known = Experience()
    opened = PutGroup(SESSION, None, "created", 0)
    active = replace(SESSION, state=GroupState.ACTIVE, started_at=1, activated_at=1)
    known.observe([opened, arrived(1, group="S")])
    known.observe([PutGroup(active, GroupState.OPEN, "", 1), arrived(2, group="S")])
    assert [(each.at, each.session) for each in known.arrivals(BACKEND, 10)] == [(1, SESSION)]
    closed = replace(active, state=GroupState.CLOSED, closed_at=9)
    known.observe([PutGroup(closed, GroupState.ACTIVE, "", 9)])
    assert known._groups == {}


def test_draws_are_the_same_for_the_same_name() -> None:
    sample = range(1000)
    assert draw(sample, 1, "a") == draw(sample, 1, "a") != draw(sample, 2, "a")
    assert len({draw(sample, number) for number in range(100)}) > 80
    assert draw([7], "x") == 7
    assert median([5, 1, 9]) == 5


# ---- ranges --------------------------------------------------------------------------------------


def test_a_range_holds_the_likely_start_and_a_tenth_more_on_both_sides() -> None:
    world = World(lanes=1)
    world.submit("now", "A", (0, 10, 0), 0)
    world.submit("next", "A", (0, 5, 0), 0)
    world.run(until=0)
    known = Experience()
    known.observe([ran(JOB, 1000)] * ENOUGH)  # everything takes what is estimated
    told = forecast(world.scheduler, BACKEND, 0, known)["next"]
    assert (told.earliest_at, told.start_at, told.latest_at) == (9_000, 10_000, 11_000)


def test_a_range_reaches_to_the_second_latest_of_the_futures() -> None:
    times = [1_000 + 100 * number for number in range(FUTURES)]
    assert range_of(500, 1_500, times) == (950, 2_000 + 150)
    assert range_of(500, 800, times[::-1]) == (770, 2_150)
    assert range_of(500, 5_000, times) == (950, 5_450)
    assert range_of(500, 1_500, times[:-1]) == (950, 2_150)  # one saw no start: the latest of all
    assert range_of(500, 1_500, times[:-2]) == (950, None)
    assert range_of(500, 1_500, []) == (1_400, None)


def test_what_has_run_longer_than_any_run_ends_a_quarter_later_at_the_latest() -> None:
    world = World(lanes=1)
    world.submit("now", "A", (0, 50, 0), 0, estimate=10)
    world.submit("next", "A", (0, 5, 0), 0)
    world.run(until=20)
    known = Experience()
    known.observe([ran(JOB, 1000)] * ENOUGH)
    assert future(world, 20, known) == {"next": 22_500}


def test_a_session_may_leave_early_or_stay_without_jobs() -> None:
    world = World()
    world.session("S", "A", interactive=20)
    world.submit("A1", "S", (0, 5, 0), 0)
    world.submit("X", "B", (0, 5, 0), 1)
    world.run(until=7)
    known = Experience()
    for ms in (8_000, 9_000, 10_000, 200_000, 300_000, 400_000):
        known.observe(stayed(ms))
    told = forecast(world.scheduler, BACKEND, 7_000, known)["X"]
    assert told.start_at == 25_000
    assert told.earliest_at is not None
    assert told.earliest_at < 11_000
    assert told.latest_at is not None
    assert told.latest_at > 200_000


def test_arrivals_of_the_last_hour_make_the_range_longer() -> None:
    world = World(lanes=1)
    world.instance("light")
    world.submit("used", "A", (0, 100, 0), 0)
    world.submit("now", "A", (0, 600, 0), 0)
    world.submit("next", "A", (0, 5, 0), 0)
    world.run(until=200)
    known = Experience()
    known.observe([ran(JOB, 1000)] * ENOUGH)
    before = forecast(world.scheduler, BACKEND, 200_000, known)["next"]
    for number in range(60):
        each = replace(JOB, id=f"l{number}", instance="light", estimate_ms=30_000)
        known.observe([PutJob(each, None, "", 140_000 + number * 1000)])
    after = forecast(world.scheduler, BACKEND, 200_000, known)["next"]
    assert before.latest_at is not None
    assert after.latest_at is None or after.latest_at > before.latest_at
    assert after.start_at == before.start_at
    assert "light" in world.scheduler.state.instances


def test_behind_the_last_one_that_futures_see_ranges_are_in_proportion() -> None:
    world = World(lanes=1)
    for number in range(RANGED_MAX + 5):
        world.submit(f"J{number}", "A", (0, 10, 0), 0)
    world.run(until=5)
    known = Experience()
    known.observe([ran(JOB, 1000)] * ENOUGH)
    told = [*forecast(world.scheduler, BACKEND, 5_000, known).values()]
    assert len(told) == RANGED_MAX + 4
    for each in told:
        assert each.start_at is not None
        ahead = each.start_at - 5_000
        assert each.earliest_at == each.start_at - ahead // 10
        assert each.latest_at == each.start_at + ahead // 10
    assert FUTURES == 12
