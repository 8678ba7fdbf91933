"""The driver itself: instants, zero lengths, and taking up what is under way."""

from __future__ import annotations

import pytest

from core.world import BACKEND, World
from qdwell.core.decisions import Execute, PutJob
from qdwell.core.events import ServiceResumed
from qdwell.core.job import JobState
from qdwell.core.replay import Phases, Replay
from qdwell.core.scheduler import Scheduler


def states(replay: Replay, job: str) -> list[tuple[int, str]]:
    return [
        (at, decision.job.state.value)
        for at, decision in replay.trace
        if isinstance(decision, PutJob) and decision.job.id == job
    ]


def test_stages_of_no_length_pass_within_one_instant() -> None:
    world = World()
    world.submit("J", "A", (0, 0, 0), 3)
    world.run()
    assert states(world.replay, "J") == [
        (3000, each)
        for each in (
            "queued",
            "preparing",
            "ready",
            "executing",
            "executed",
            "postprocessing",
            "completed",
        )
    ]


def test_nothing_to_do_is_an_empty_step() -> None:
    world = World()
    assert world.replay.next_at() is None
    assert world.replay.step() == ()
    world.run(until=5)
    assert world.replay.now == 5000
    world.submit("J", "A", (0, 1, 0), 2)
    assert world.replay.next_at() == 5000  # a request of the past comes now
    world.run()
    assert world.job("J").running_at == 5000


def test_a_step_returns_what_was_decided_at_its_instant() -> None:
    world = World()
    world.submit("J", "A", (1, 1, 0), 0)
    first = world.replay.step()
    assert [type(each).__name__ for each in first if isinstance(each, PutJob)] == ["PutJob"] * 2
    second = world.replay.step()
    assert any(isinstance(each, Execute) for each in second)
    assert world.replay.now == 1000


def test_run_stops_at_its_bound_and_goes_on_later() -> None:
    world = World()
    world.submit("J", "A", (1, 1, 1), 0)
    world.run(until=0.999)
    assert world.word("J") == "Running"
    assert world.job("J").ready_at is None
    world.run(until=1)
    assert world.job("J").ready_at == 1000
    world.run()
    assert world.job("J").finished_at == 3000


def restarted(at: float, adopts: bool) -> Replay:
    world = World()
    world.submit("J", "A", (2, 4, 3), 0)
    world.run(until=at)
    auditor = world.scheduler.auditor
    now = round(at * 1000)
    scheduler = Scheduler(auditor.settings, auditor.snapshot(now))
    scheduler.decide([auditor.machines[BACKEND]], now)
    replay = Replay(scheduler, lambda job: world.plan[job.id], now, adopts=adopts)
    replay.request(now + 1000, ServiceResumed(now))
    replay.run()
    return replay


@pytest.mark.parametrize(
    ("at", "adopts", "finished"),
    [
        (1, True, 11_000),  # prepared anew from 2 s on
        (3, True, 9000),  # the device ran on through our outage
        (3, False, 11_000),  # executed anew from 4 s on
        (5.5, True, 9500),  # ended while we were down; known when we ask
        (7, True, 11_000),  # post-processed anew from 8 s on
    ],
)
def test_a_restart_goes_on(at: float, adopts: bool, finished: int) -> None:
    last = [each for _, each in restarted(at, adopts).trace if isinstance(each, PutJob)][-1]
    assert (last.job.state, last.job.finished_at) == (JobState.COMPLETED, finished)


@pytest.mark.parametrize("at", [1, 3, 7])
def test_a_second_driver_takes_up_what_is_under_way(at: float) -> None:
    world = World()
    world.submit("J", "A", (2, 4, 3), 0)
    world.run(until=at)
    replay = Replay(world.scheduler, lambda _: Phases(2000, 4000, 3000), round(at * 1000))
    replay.resume()
    replay.run()
    assert states(replay, "J")[-1] == (9000, "completed")
