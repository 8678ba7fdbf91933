"""T4, T10, T11, T12: batches, with both kinds of QPU lock."""

from __future__ import annotations

import pytest

from core.world import Row, World
from qdwell.core.decisions import PutBackendState, Refusal
from qdwell.core.group import GroupState
from qdwell.core.job import JobState

NOT_ACCEPTING = "In progress, not accepting new jobs"


def lock_changes(world: World) -> list[tuple[float, str | None]]:
    """When the QPU lock was taken and let go."""
    changes: list[tuple[float, str | None]] = []
    lock = None
    for at, decision in world.replay.trace:
        if isinstance(decision, PutBackendState) and decision.lock != lock:
            lock = decision.lock
            changes.append((at / 1000, lock))
    return changes


def test_t4_quantum_parts_back_to_back() -> None:
    world = World()
    world.batch("B", "A", interactive=1)
    names = [f"B{number}" for number in range(1, 6)]
    for name in names:
        world.submit(name, "B", (10, 4, 1), 0)
    world.close("B", 1)
    world.submit("X", "C", (2, 6, 1), 3)
    world.run()
    for turn, name in enumerate(names):
        begins = 10 + 4 * turn
        assert world.row(name) == Row(0, 0, 10, (begins, begins + 4), begins + 5)
    assert world.row("X") == Row(3, 15, 17, (30, 36), 37)
    assert lock_changes(world) == [(10, "B"), (30, None)]
    assert world.reported("B", 12)[:3] == ("active", NOT_ACCEPTING, False)
    assert {world.word(each, 12) for each in names} == {"Running"}
    assert world.group("B").activated_at == 0
    assert world.group("B", 30.999).state is GroupState.ACTIVE
    assert world.reported("B", 31) == ("closed", "Closed", False, 20)
    assert (world.usage("A"), world.usage("C")) == (20, 6)


def test_t4_as_a_session_the_same_work_is_charged_31() -> None:
    world = World()
    world.session("S", "A")
    for number in range(5):
        world.submit(f"A{number}", "S", (10, 4, 1), 0)
    world.close("S", 1)
    world.run()
    assert world.usage("A") == 31


def lanes_of_t10(lock_window: bool) -> World:
    world = World(lock_window=lock_window)
    world.submit("X1", "C", (4, 10, 1), 0)
    world.submit("X2", "C", (4, 10, 1), 0)
    world.batch("B", "A", at=1)
    for number in range(1, 7):
        world.submit(f"B{number}", "B", (6, 3, 1), 1)
    world.close("B", 2)
    world.submit("X3", "D", (2, 5, 1), 2)
    world.submit("X4", "D", (2, 5, 1), 2)
    world.run()
    return world


def test_t10a_lanes_with_a_batch_and_foreign_jobs_window() -> None:
    world = lanes_of_t10(lock_window=True)
    starts = {"B1": 1, "B2": 1, "B3": 1, "B4": 15, "B5": 25, "B6": 28, "X3": 31, "X4": 34}
    assert {name: world.row(name).running for name in starts} == starts
    assert [world.row(f"X{number}").qpu for number in range(1, 5)] == [
        (4, 14),
        (14, 24),
        (42, 47),
        (47, 52),
    ]
    for number in range(1, 7):
        begins = 21 + 3 * number
        assert world.row(f"B{number}").qpu == (begins, begins + 3)
        assert world.row(f"B{number}").finished == begins + 4
    assert lock_changes(world) == [(24, "B"), (42, None)]
    assert (world.group("B").closed_at, world.usage("A")) == (43_000, 18)


def test_t10b_lanes_with_a_batch_and_foreign_jobs_priority() -> None:
    world = lanes_of_t10(lock_window=False)
    starts = {"B4": 15, "B5": 18, "B6": 21, "X3": 24, "X4": 27}
    assert {name: world.row(name).running for name in starts} == starts
    assert [world.row(f"X{number}").qpu for number in range(1, 5)] == [
        (4, 14),
        (32, 42),
        (42, 47),
        (47, 52),
    ]
    for number in range(1, 7):
        begins = 11 + 3 * number
        assert world.row(f"B{number}").qpu == (begins, begins + 3)
    assert lock_changes(world) == []
    assert (world.group("B").closed_at, world.usage("A")) == (33_000, 18)


def slow_preparation(lock_window: bool) -> World:
    world = World(lanes=2, lock_window=lock_window)
    world.batch("B", "A", interactive=1)
    for name in ("B1", "B2", "B3"):
        world.submit(name, "B", (5, 2, 0), 0)
    world.submit("B4", "B", (5, 2, 0), 30)
    world.close("B", 31)
    world.submit("X", "C", (1, 3, 0), 1)
    world.run()
    assert world.row("B1").qpu == (5, 7)
    assert world.row("B2").qpu == (7, 9)
    assert (world.row("B3").running, world.row("B3").ready) == (7, 12)
    assert (world.row("X").running, world.row("X").ready) == (9, 10)
    assert world.row("B4") == Row(30, 30, 35, (35, 37), 37)
    assert world.group("B", 30).activated_at == 30_000
    assert (world.group("B").closed_at, world.group("B").usage_ms) == (37_000, 8000)
    assert world.usage("A") == 8
    return world


def test_t11a_a_gap_under_the_lock() -> None:
    world = slow_preparation(lock_window=True)
    assert (world.row("B3").qpu, world.row("X").qpu) == ((12, 14), (14, 17))
    assert lock_changes(world)[:2] == [(5, "B"), (14, None)]
    assert world.group("B", 14.999).state is GroupState.ACTIVE
    assert world.group("B", 15).state is GroupState.INACTIVE


def test_t11b_others_fill_the_gap_without_a_lock() -> None:
    world = slow_preparation(lock_window=False)
    assert (world.row("X").qpu, world.row("B3").qpu) == ((10, 13), (13, 15))
    assert world.group("B", 15.999).state is GroupState.ACTIVE
    assert world.group("B", 16).state is GroupState.INACTIVE


@pytest.mark.parametrize("lock_window", [True, False])
def test_t12_cancelling_inside_a_batch(lock_window: bool) -> None:
    world = World(lock_window=lock_window)
    world.batch("B", "A", interactive=1)
    for name in ("B1", "B2", "B3"):
        world.submit(name, "B", (2, 10, 1), 0)
    world.cancel("B2", 16)
    world.cancel("B1", 17)
    world.cancel("B3", 18)
    world.close("B", 30)
    world.run()
    assert world.row("B1") == Row(0, 0, 2, (2, 12), 13)
    assert world.word("B1") == "Completed"
    for name, qpu in (("B2", (12, 16)), ("B3", (16, 18))):
        gone = world.job(name)
        assert (world.row(name).qpu, world.row(name).finished) == (qpu, qpu[1])
        assert (gone.state, gone.code) == (JobState.CANCELLED, 5202)
        assert gone.quantum_ms == (qpu[1] - qpu[0]) * 1000
    assert world.refusals() == [(17, "B1", Refusal.UNKNOWN_JOB)]
    assert lock_changes(world) == ([(2, "B"), (18, None)] if lock_window else [])
    assert world.group("B", 18.999).state is GroupState.ACTIVE
    assert world.group("B", 19).state is GroupState.INACTIVE
    assert (world.group("B").closed_at, world.usage("A")) == (30_000, 16)
