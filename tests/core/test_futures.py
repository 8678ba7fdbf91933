"""Single futures: what is drawn is what happens in them (Q30)."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, factorial

from core.world import BACKEND, World
from qdwell.core.events import BackendMode
from qdwell.core.experience import SPAN_MS, Arrival, Experience, draw
from qdwell.core.forecast import _Copier
from qdwell.core.futures import TIMES, Future
from qdwell.core.group import Group, GroupState, Mode
from qdwell.core.job import Job


class Sure(Experience):
    """Knows how long everything takes: runs as `takes`, or as estimated, and stays as `stay`."""

    def __init__(self, stay: int = 0, takes: Sequence[int] = ()) -> None:
        super().__init__()
        self.stay = stay
        self.takes = takes

    def runs(self, job: Job) -> list[int]:
        return list(self.takes) or [job.estimate_ms]

    def stays(self, group: Group, now: int) -> list[int]:
        return [self.stay]


def future(
    world: World,
    at: float,
    known: Experience,
    arrivals: Sequence[Arrival] = (),
    number: int = 0,
    total: int = 4,
    wanted: Sequence[str] = ("next",),
) -> dict[str, int]:
    """When jobs start in one future."""
    now, state = round(at * 1000), world.scheduler.state
    copy = _Copier(state, state.machines[BACKEND], now, 10).copy(each.instance for each in arrivals)
    return Future(number, total, known, arrivals, now).starts(copy, wanted)


def busy(seconds: float) -> World:
    """The machine is taken for so long; `next` waits; `light` has used nothing."""
    world = World(lanes=1)
    world.instance("light")
    world.submit("now", "A", (0, seconds, 0), 0)
    world.submit("next", "A", (0, 1, 0), 0)
    world.run(until=0)
    return world


def came(times: int, number: int) -> str:
    """A name that comes so many times in a future."""
    return next(name for name in map(str, range(500)) if draw(TIMES, number, name) == times)


def test_a_run_takes_longer_than_it_has_taken() -> None:
    world = busy(50)
    world.run(until=20)
    assert future(world, 20, Sure(takes=[20_000])) == {"next": 25_000}
    assert future(world, 20, Sure(takes=[4_000, 8_000])) == {"next": 22_000}
    assert future(world, 20, Sure(takes=[4_000, 29_000])) == {"next": 29_000}


def test_a_session_stays_without_jobs_and_is_then_closed() -> None:
    for stay in (4_000, 90_000):
        world = World()
        world.session("S", "A", interactive=20)
        world.submit("A1", "S", (0, 5, 0), 0)
        world.submit("next", "B", (0, 5, 0), 1)
        world.run(until=7)
        assert future(world, 7, Sure(stay)) == {"next": 7_000 + stay}


def test_a_session_that_begins_in_a_future_stays_as_well() -> None:
    world = World(lanes=1)
    world.submit("now", "C", (0, 10, 0), 0)
    world.session("S", "A", interactive=20)
    world.submit("A1", "S", (0, 2, 0), 0)
    world.submit("A2", "S", (0, 2, 0), 0)
    world.submit("next", "B", (0, 5, 0), 1)
    world.run(until=1)
    assert future(world, 1, Sure(70_000)) == {"next": 80_000}
    assert future(world, 1, Sure(1_000)) == {"next": 14_000}  # its jobs go first


def test_a_batch_does_as_the_rules_say() -> None:
    world = World(lanes=1)
    world.batch("B", "A", interactive=50)
    world.submit("B1", "B", (0, 5, 0), 0)
    world.session("S", "C")
    world.submit("next", "S", (0, 1, 0), 1)
    world.run(until=7)
    assert future(world, 7, Sure(10_000)) == {"next": 55_000}
    world = World(lanes=1)
    world.submit("now", "D", (0, 10, 0), 0)
    world.batch("B", "A", interactive=50)
    world.submit("B1", "B", (0, 5, 0), 0)
    world.session("S", "C")
    world.submit("next", "S", (0, 1, 0), 1)
    world.run(until=7)
    assert future(world, 7, Sure(20_000)) == {"next": 65_000}


def test_a_machine_on_which_nothing_starts_has_no_future() -> None:
    world = busy(10)
    world.mode(BackendMode.PAUSED, 0.5)
    world.run(until=1)
    assert future(world, 1, Sure()) == {}


def test_what_arrived_arrives_again_turned_round_by_a_part_of_the_hour() -> None:
    # It came a second ago; in the second of four futures it comes in a quarter of an hour, less it.
    each = Arrival(-1000, "light", 7_000, 90_000, came(1, 1))
    there = SPAN_MS // 4 - 1000
    assert future(busy(there / 1000), 0, Sure(), [each], 1) == {"next": there + 7_000}
    assert future(busy(there / 1000 - 0.001), 0, Sure(), [each], 1) == {"next": there - 1}
    not_at_all = Arrival(-1000, "light", 7_000, 90_000, came(0, 1))
    assert future(busy(there / 1000), 0, Sure(), [not_at_all], 1) == {"next": there}


def test_what_came_is_turned_from_now_on() -> None:
    each = Arrival(4_000, "light", 7_000, 90_000, came(1, 1))
    there = 5_000 + SPAN_MS // 4 - 1000
    assert future(busy(there / 1000), 5, Sure(), [each], 1) == {"next": there + 7_000}
    assert future(busy(there / 1000 - 0.001), 5, Sure(), [each], 1) == {"next": there - 1}


def test_twice_is_a_quarter_of_an_hour_apart() -> None:
    each = Arrival(-SPAN_MS + 1000, "light", 7_000, 90_000, came(2, 0))
    second = SPAN_MS // 4 + 1000
    assert future(busy(5), 0, Sure(), [each]) == {"next": 5_000 + 7_000}
    assert future(busy(second / 1000), 0, Sure(), [each]) == {"next": second + 14_000}
    assert future(busy(second / 1000 - 7.001), 0, Sure(), [each]) == {"next": second - 1}


def test_a_session_that_arrives_holds_the_machine_as_long_as_it_stays() -> None:
    ended = Group(
        "S",
        1,
        Mode.SESSION,
        "light",
        BACKEND,
        0,
        20_000,
        600_000,
        state=GroupState.INACTIVE,
        started_at=0,
        activated_at=0,
    )
    each = Arrival(-SPAN_MS + 1000, "light", 7_000, 90_000, came(1, 0), ended)
    assert future(busy(5), 0, Sure(60_000), [each]) == {"next": 65_000}


def test_as_many_come_again_as_of_events_without_memory() -> None:
    expected = [round(len(TIMES) * exp(-1) / factorial(number)) for number in range(4)]
    assert [TIMES.count(number) for number in range(4)] == expected
    assert len(TIMES) == 16
