"""T1, T2, T8, T13, T14, T15 c and d, T17, T18: jobs on their own."""

from __future__ import annotations

import pytest

from core.world import Row, World
from qdwell.core.decisions import Held, PutCharge, PutJob, Refusal
from qdwell.core.job import JobState

DAY = 86_400_000


def test_t1_preparations_overlap_and_the_qpu_is_serial() -> None:
    world = World()
    world.submit("J1", "A", (2, 3, 1), 0)
    world.submit("J2", "A", (2, 4, 1), 0)
    world.submit("J3", "A", (2, 2, 1), 1)
    world.run()
    assert world.row("J1") == Row(0, 0, 2, (2, 5), 6)
    assert world.row("J2") == Row(0, 0, 2, (5, 9), 10)
    assert world.row("J3") == Row(1, 1, 3, (9, 11), 12)
    assert [world.job(each).quantum_ms for each in ("J1", "J2", "J3")] == [3000, 4000, 2000]
    assert [world.word(each, 4) for each in ("J1", "J2", "J3")] == ["Running"] * 3
    executing = [each for each in ("J1", "J2", "J3") if world.job(each, 4).state == "executing"]
    assert executing == ["J1"]
    assert [world.word(each) for each in ("J1", "J2", "J3")] == ["Completed"] * 3
    assert world.usage("A") == 9


def test_t2_the_sixth_job_waits_for_a_lane() -> None:
    world = World()
    names = [f"J{number}" for number in range(1, 7)]
    for name in names:
        world.submit(name, "A", (10, 2, 0), 0)
    world.run(until=11)
    assert world.word("J6") == "Queued"
    assert world.forecast(11)["J6"].position == 1
    assert world.forecast(11)["J6"].start_at == 12_000
    world.run()
    for turn, name in enumerate(names[:5]):
        begins = 10 + 2 * turn
        assert world.row(name) == Row(0, 0, 10, (begins, begins + 2), begins + 2)
    assert world.row("J6") == Row(0, 12, 22, (22, 24), 24)
    assert world.usage("A") == 12


def test_t8_ran_too_long_is_stopped_at_the_limit() -> None:
    world = World()
    world.submit("J1", "A", (5, 400, 10), 0, limit=300)
    world.submit("J2", "B", (5, 20, 10), 0)
    world.run()
    assert world.row("J1") == Row(0, 0, 5, (5, 305), 305)
    stopped = world.job("J1")
    assert (stopped.state, stopped.code, stopped.reason) == (
        JobState.CANCELLED,
        1305,
        "Ran too long",
    )
    assert stopped.quantum_ms == 300_000
    assert world.row("J2") == Row(0, 0, 5, (305, 325), 335)
    assert world.job("J2").quantum_ms == 20_000
    assert (world.usage("A"), world.usage("B")) == (300, 20)


def test_t13_twice_the_allocation_gives_twice_the_jobs() -> None:
    world = World(lanes=1)
    world.instance("A", allocation=7200)
    world.instance("B", allocation=3600)
    for number in range(1, 7):
        world.submit(f"a{number}", "A", (0, 60, 0), 0)
        world.submit(f"b{number}", "B", (0, 60, 0), 0)
    world.run()
    starts = {name: world.row(name).running for name in world.plan}
    order = sorted(starts, key=lambda name: starts[name] or 0)
    assert order == ["a1", "b1", "a2", "b2", "a3", "a4", "b3", "a5", "a6", "b4", "b5", "b6"]
    assert [starts[name] for name in order] == [60 * turn for turn in range(12)]


def test_t14_lanes_alternate_before_any_usage_exists() -> None:
    world = World()
    for number in range(1, 6):
        world.submit(f"a{number}", "A", (1, 10, 0), 0)
    for number in range(1, 4):
        world.submit(f"b{number}", "B", (1, 10, 0), 0)
    world.run()
    started = [
        each.job.id
        for _, each in world.replay.trace
        if isinstance(each, PutJob) and each.job.state is JobState.PREPARING
    ]
    assert started[:5] == ["a1", "b1", "a2", "b2", "a3"]
    assert {name: world.row(name).running for name in started[5:]} == {"b3": 11, "a4": 21, "a5": 31}
    assert {name: world.row(name).qpu for name in world.plan} == {
        "a1": (1, 11),
        "a2": (11, 21),
        "a3": (21, 31),
        "b1": (31, 41),
        "b2": (41, 51),
        "b3": (51, 61),
        "a4": (61, 71),
        "a5": (71, 81),
    }


def test_t15c_a_need_equal_to_the_limit_completes() -> None:
    world = World()
    world.submit("J", "A", (0, 300, 0), 0, limit=300)
    world.run()
    assert world.word("J") == "Completed"
    assert world.row("J") == Row(0, 0, 0, (0, 300), 300)


@pytest.mark.parametrize("post", [0, 1])
def test_t15d_cancel_at_the_instant_of_completion_is_too_late(post: int) -> None:
    world = World()
    world.submit("J", "A", (1, 3, post), 0)
    world.cancel("J", 4 + post)
    world.run()
    assert world.word("J") == "Completed"
    assert world.refusals() == [(4 + post, "J", Refusal.UNKNOWN_JOB)]


def test_t17_a_limit_holds_until_the_window_has_moved_on() -> None:
    window = 28 * DAY
    old = PutCharge(
        "old:0", "A", "machine", Held.JOB, "old", None, 20_000 - window, 115_000 - window
    )
    world = World(lanes=1, charges=[old])
    world.instance("A", limit=100)
    world.resume()
    world.submit("J1", "A", (0, 10, 0), 0)
    world.submit("J2", "A", (0, 10, 0), 0)
    world.run(until=0)
    assert world.usage("A") == 95
    world.run(until=10)
    assert world.usage("A") == 105
    assert world.word("J2") == "Queued"
    world.run(until=24.999)
    assert (world.usage("A"), world.word("J2")) == (100.001, "Queued")
    world.run(until=25)
    assert (world.usage("A"), world.word("J2")) == (100, "Queued")
    world.run()
    assert world.row("J1") == Row(0, 0, 0, (0, 10), 10)
    assert world.row("J2").running == 25.001
    assert world.row("J2").finished == 35.001


def test_t18_a_simulator_has_no_queue_and_no_groups() -> None:
    world = World(simulator=True, lanes=1)
    world.session("S", "A")
    names = [f"J{number}" for number in range(10)]
    for name in names:
        world.submit(name, "A", (1, 5, 1), 0)
    world.submit("long", "A", (1, 5, 1), 0, limit=3)
    world.run()
    assert world.refusals() == [(0, "S", Refusal.NO_GROUP_ON_SIMULATOR)]
    for name in names:
        assert world.row(name).running == 0
        assert world.row(name).finished == 7
        assert world.word(name) == "Completed"
        assert world.job(name).quantum_ms == 0
    stopped = world.job("long")
    assert (stopped.state, stopped.code, stopped.finished_at) == (JobState.CANCELLED, 1305, 3000)
    assert world.usage("A") == 0
