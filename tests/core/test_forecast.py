"""Positions and expected times come from the scheduler itself, run forward (Q7, Q30, J34)."""

from __future__ import annotations

import time

import pytest

from core.world import BACKEND, World
from qdwell.core.decisions import Held, PutCharge
from qdwell.core.events import BackendMode, CancelJob, SubmitJob
from qdwell.core.forecast import RANKED_MAX, STARTS_MAX, Forecast, forecast
from qdwell.core.job import Job
from qdwell.core.state import Settings


def busy(lanes: int = 1) -> World:
    world = World(lanes=lanes)
    world.submit("now", "A", (0, 10, 0), 0)
    world.submit("a1", "A", (0, 5, 0), 0)
    world.submit("b1", "B", (0, 7, 0), 0)
    world.submit("a2", "A", (0, 3, 0), 0)
    world.run(until=4)
    return world


def test_ranks_starts_and_ends_are_those_that_come_true() -> None:
    world = busy()
    told = world.forecast(4)
    assert told == {
        "b1": Forecast(1, 1, 10_000, 17_000),
        "a1": Forecast(2, 1, 17_000, 22_000),
        "a2": Forecast(3, 2, 22_000, 25_000),
    }
    assert list(told) == ["b1", "a1", "a2"]
    before = world.scheduler.state.jobs.copy()
    assert world.scheduler.state.jobs == before
    world.run()
    for name, each in told.items():
        assert world.job(name).running_at == each.start_at
        assert world.job(name).finished_at == each.end_at


def test_nothing_of_the_live_scheduler_changes() -> None:
    one, two = busy(), busy()
    for now in (4, 4.5, 5):
        one.forecast(now)
    one.run()
    two.run()
    assert one.replay.trace == two.replay.trace


def test_several_lanes_wait_for_one_qpu() -> None:
    world = World(lanes=2)
    for name in ("J1", "J2", "J3"):
        world.submit(name, "A", (0, 10, 0), 0)
    world.run(until=4)
    assert world.forecast(4) == {"J3": Forecast(1, 1, 10_000, 30_000)}


def test_a_job_without_an_estimate_is_expected_to_use_its_limit() -> None:
    world = World(lanes=1)
    world.submit("now", "A", (0, 10, 0), 0, limit=70, estimate=0)
    world.submit("next", "A", (0, 10, 0), 0, limit=70, estimate=60)
    world.submit("last", "A", (0, 10, 0), 0, limit=70, estimate=80)
    world.run(until=1)
    told = world.forecast(1)
    assert (told["next"].start_at, told["next"].end_at) == (70_000, 130_000)
    assert (told["last"].start_at, told["last"].end_at) == (130_000, 200_000)


def test_stages_that_are_under_way_end_as_planned() -> None:
    world = World(lanes=3)
    world.submit("qpu", "A", (0, 10, 30), 0)
    world.submit("ready", "A", (0, 6, 0), 0)
    world.submit("prep", "A", (90, 6, 0), 0)
    world.submit("next", "A", (0, 1, 0), 0)
    world.run(until=5)
    # Classical stages are taken as instant: prep is expected to be ready now.
    assert world.forecast(5)["next"].start_at == 10_000
    world.run(until=12)
    assert world.forecast(12)["next"].start_at == 12_000


def test_a_stop_that_is_awaited_is_expected_now() -> None:
    world = World(lanes=1)
    world.submit("gone", "A", (0, 10, 0), 0)
    world.submit("next", "A", (0, 1, 0), 0)
    world.run(until=3)
    world.scheduler.decide([CancelJob("gone")], 3000)
    assert world.forecast(3)["next"] == Forecast(1, 1, 3000, 4000)


def test_a_sessions_think_time_is_foreseen() -> None:
    world = World()
    world.session("S", "A", interactive=20)
    world.submit("A1", "S", (0, 5, 0), 0)
    world.submit("X", "B", (0, 5, 0), 1)
    world.run(until=7)
    assert world.forecast(7)["X"] == Forecast(1, 1, 25_000, 30_000)
    # Its own next job goes first although X waits longer.
    world.submit("A2", "S", (0, 5, 0), 8)
    world.run(until=8)
    assert world.forecast(8) == {"X": Forecast(1, 1, 33_000, 38_000)}


def test_queued_jobs_of_the_live_group_go_first() -> None:
    world = World(lanes=1)
    world.batch("B", "A")
    for name in ("B1", "B2", "B3"):
        world.submit(name, "B", (0, 5, 0), 0)
    world.submit("X", "C", (0, 5, 0), 0)
    world.run(until=1)
    assert [*world.forecast(1)] == ["B2", "B3", "X"]


def test_held_jobs_come_last_and_have_no_time_until_the_window_moves() -> None:
    window = 100_000
    old = PutCharge("old:0", "A", BACKEND, Held.JOB, "old", None, 30_000 - window, 50_000 - window)
    world = World(lanes=1, settings=Settings(window_ms=window), charges=[old])
    world.instance("A", limit=15)
    world.resume()
    world.submit("held", "A", (0, 1, 0), 0)
    world.submit("busy", "B", (0, 10, 0), 0)
    world.submit("free", "B", (0, 1, 0), 0)
    world.run(until=2)
    assert world.forecast(2) == {
        "free": Forecast(1, 1, 10_000, 11_000),
        "held": Forecast(2, 1, 35_001, 36_001),
    }


def test_shares_of_a_whole_account_count() -> None:
    world = World(lanes=1)
    world.instance("A1", account="A")
    world.instance("A2", account="A")
    world.submit("used", "A1", (0, 10, 0), 0)
    world.submit("busy", "B", (0, 4, 0), 0)
    world.submit("a2", "A2", (0, 1, 0), 11)
    world.submit("b", "B", (0, 1, 0), 12)
    world.run(until=13)
    # A2 itself has used nothing, but its account has used 10 s; B has used 4 s at most.
    assert [*world.forecast(13)] == ["b", "a2"]


def test_an_accounts_own_allocation_counts() -> None:
    world = World(lanes=1)
    world.instance("A", allocation=100, account_allocation=1000)
    world.instance("B", allocation=100)
    world.submit("a used", "A", (0, 20, 0), 0)
    world.submit("b used", "B", (0, 10, 0), 0)
    world.submit("busy", "C", (0, 40, 0), 0)
    world.submit("b", "B", (0, 1, 0), 31)
    world.submit("a", "A", (0, 1, 0), 32)
    world.run(until=33)
    # A has used 20 of its account's 1000, B 10 of 100.
    assert [*world.forecast(33)] == ["a", "b"]


def test_a_paused_machine_tells_ranks_in_order_of_acceptance_and_no_times() -> None:
    world = busy()
    world.mode(BackendMode.PAUSED, 5)
    world.run(until=6)
    assert world.forecast(6) == {
        "a1": Forecast(1, 1),
        "b1": Forecast(2, 1),
        "a2": Forecast(3, 2),
    }


def test_other_backends_are_left_out() -> None:
    from qdwell.core.events import PutBackend

    world = World(lanes=1)
    world.request(0, PutBackend("second", False, 1, True))
    world.submit("here", "A", (0, 10, 0), 0)
    world.submit("waits here", "A", (0, 1, 0), 0)
    world.submit("there", "B", (0, 90, 0), 0, backend="second")
    world.submit("waits there", "B", (0, 1, 0), 0, backend="second")
    world.run(until=1)
    assert [*world.forecast(1)] == ["waits here"]
    assert forecast(world.scheduler, "second", 1000)["waits there"].start_at == 90_000
    with pytest.raises(KeyError):
        forecast(world.scheduler, "third", 1000)


def test_jobs_of_the_live_group_are_looked_at_however_far_behind_they_are() -> None:
    world = World(lanes=1)
    world.batch("B", "A")
    world.submit("B1", "B", (0, 5, 0), 0)
    for number in range(20):
        world.submit(f"J{number}", "A", (0, 5, 0), 1)
    world.submit("B2", "B", (0, 5, 0), 2)
    world.run(until=3)
    told = forecast(world.scheduler, BACKEND, 3000, starts_max=2)
    assert (told["B2"].position, told["B2"].start_at) == (1, 5000)


def test_only_so_many_starts_are_simulated() -> None:
    world = World(lanes=1)
    for number in range(8):
        world.submit(f"J{number}", "A", (0, 10, 0), 0)
    world.run(until=1)
    told = forecast(world.scheduler, BACKEND, 1000, starts_max=3)
    starts = [told[f"J{number}"].start_at for number in range(1, 8)]
    assert starts == [10_000, 20_000, 30_000, None, None, None, None]
    assert [told[f"J{number}"].position for number in range(1, 8)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.timeout(60)
def test_a_long_queue_is_told_in_bounded_work() -> None:
    world = World(lanes=5)
    for owner in range(20):
        world.instance(f"I{owner}")
    from qdwell.core.scheduler import Scheduler

    jobs = [
        SubmitJob(Job(f"j{n}", n, f"I{n % 20}", BACKEND, 0, estimate_ms=2000))
        for n in range(30_000)
    ]
    Scheduler.decide(world.scheduler, jobs, 0)
    began = time.process_time()
    told = forecast(world.scheduler, BACKEND, 1000)
    took = time.process_time() - began
    timed = [each for each in told.values() if each.start_at is not None]
    assert len(timed) == STARTS_MAX
    assert len(told) == STARTS_MAX + RANKED_MAX
    assert [each.position for each in told.values()] == [*range(1, len(told) + 1)]
    assert took < 10
