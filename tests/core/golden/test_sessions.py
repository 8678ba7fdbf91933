"""T3, T5, T6, T7, T9, T15 a and b, T16: sessions."""

from __future__ import annotations

from core.world import Row, World
from qdwell.core.decisions import Refusal
from qdwell.core.group import Ending, GroupState
from qdwell.core.job import JobState

ACCEPTING = "In progress, accepting new jobs"
NOT_ACCEPTING = "In progress, not accepting new jobs"


def test_t3_think_time_pause_and_second_window() -> None:
    world = World()
    world.session("S", "A", interactive=20, maximum=3600)
    for name, at in (("A1", 0), ("A2", 18), ("A3", 36), ("A4", 70), ("A5", 110)):
        world.submit(name, "S", (2, 5, 1), at)
    world.submit("X", "B", (2, 4, 1), 10)
    world.submit("Y", "C", (2, 20, 1), 30)
    world.submit("Z", "C", (2, 4, 1), 75)
    world.close("S", 112)

    world.run(until=80)
    live = world.forecast(80)
    assert (live["A4"].position, live["Z"].position) == (1, 2)
    assert world.scheduler.state.machines["machine"].reservation == "S"
    assert world.usage("A") == 64
    world.run()

    assert world.row("A1") == Row(0, 0, 2, (2, 7), 8)
    assert world.row("A2") == Row(18, 18, 20, (20, 25), 26)
    assert world.row("A3") == Row(36, 36, 38, (38, 43), 44)
    assert world.row("X") == Row(10, 64, 66, (66, 70), 71)
    assert world.row("Y") == Row(30, 64, 66, (70, 90), 91)
    assert world.row("A4") == Row(70, 91, 93, (93, 98), 99)
    assert world.row("A5") == Row(110, 110, 112, (112, 117), 118)
    assert world.row("Z") == Row(75, 118, 120, (120, 124), 125)

    assert world.reported("S", 5) == ("active", ACCEPTING, True, 5)
    assert world.reported("S", 30) == ("active", ACCEPTING, True, 30)
    assert world.reported("S", 50) == ("active", ACCEPTING, True, 50)
    assert world.reported("S", 80) == ("inactive", "Pending", True, 64)
    assert world.reported("S", 95) == ("active", ACCEPTING, True, 68)
    assert world.reported("S", 115) == ("active", NOT_ACCEPTING, False, 88)
    assert world.reported("S", 118) == ("closed", "Closed", False, 91)

    words = {
        5: {"A1": "Running"},
        30: {"A1": "Completed", "A2": "Completed", "X": "Queued", "Y": "Queued"},
        80: {"X": "Completed", "Y": "Running", "A4": "Queued", "Z": "Queued"},
        95: {"A4": "Running"},
        115: {"A5": "Running", "Z": "Queued"},
    }
    for at, expected in words.items():
        assert {name: world.word(name, at) for name in expected} == expected

    at_80 = world.group("S", 80)
    assert (at_80.started_at, at_80.activated_at) == (0, 0)
    assert (at_80.last_job_started, at_80.last_job_completed) == (36_000, 44_000)
    assert at_80.closed_at is None
    last = world.group("S")
    assert (last.activated_at, last.closed_at, last.usage_ms) == (91_000, 118_000, 91_000)
    assert last.ending is Ending.CLOSE
    assert world.windows("S") == [(0, 64), (91, 118)]
    assert [world.usage(each) for each in "ABC"] == [91, 4, 24]


def test_t5_max_ttl_with_running_queued_and_late_jobs() -> None:
    world = World(lanes=2)
    world.session("S", "A", interactive=30, maximum=60)
    world.submit("A1", "S", (2, 20, 3), 0)
    world.submit("A2", "S", (2, 30, 3), 0)
    world.submit("A3", "S", (2, 25, 1), 0)
    world.submit("A4", "S", (2, 10, 3), 40)
    world.submit("A5", "S", (2, 10, 3), 45)
    world.submit("A6", "S", (2, 10, 3), 70)
    world.submit("X", "B", (2, 5, 1), 10)
    world.run()

    assert world.row("A1") == Row(0, 0, 2, (2, 22), 25)
    assert world.row("A2") == Row(0, 0, 2, (22, 52), 55)
    assert world.row("A3") == Row(0, 25, 27, (52, 77), 78)
    assert world.row("A4") == Row(40, 55, 57, None, 60)
    assert world.row("A5") == Row(45, None, None, None, 60)
    assert world.row("X") == Row(10, 78, 80, (80, 85), 86)
    for name in ("A1", "A2", "A3", "X"):
        assert world.word(name) == "Completed"
    for name in ("A4", "A5"):
        lost = world.job(name)
        assert (lost.state, lost.code, lost.quantum_ms) == (JobState.FAILED, 4001, 0)
    assert world.job("A4", 59.999).state is JobState.READY
    assert world.refusals() == [(70, "A6", Refusal.GROUP_CLOSED)]
    assert world.group("S", 60).state is GroupState.PENDING_CLOSED
    assert world.reported("S", 60) == ("active", NOT_ACCEPTING, False, 60)
    assert world.reported("S", 78) == ("closed", "Closed", False, 78)
    assert (world.group("S").ending, world.usage("A")) == (Ending.MAX_TTL, 78)


def test_t6_max_ttl_reached_while_inactive() -> None:
    world = World()
    world.session("S", "A", interactive=10, maximum=100)
    world.submit("A1", "S", (1, 5, 1), 0)
    world.submit("A2", "S", (1, 5, 1), 30)
    world.submit("X", "B", (2, 120, 2), 5)
    world.run(until=99)
    assert world.scheduler.state.machines["machine"].reservation == "S"
    world.run(until=100)
    assert world.scheduler.state.machines["machine"].reservation is None
    world.run()
    assert world.row("A1") == Row(0, 0, 1, (1, 6), 7)
    assert world.group("S", 16.999).state is GroupState.ACTIVE
    assert world.group("S", 17).state is GroupState.INACTIVE
    assert world.row("X") == Row(5, 17, 19, (19, 139), 141)
    lost = world.job("A2")
    assert (lost.state, lost.code, lost.finished_at) == (JobState.FAILED, 4001, 100_000)
    assert lost.running_at is None
    last = world.group("S")
    assert (last.state, last.closed_at, last.usage_ms) == (GroupState.CLOSED, 100_000, 17_000)


def test_t7a_close_lets_accepted_jobs_run() -> None:
    world = World(lanes=1)
    world.session("S", "A", interactive=60)
    for name in ("A1", "A2", "A3"):
        world.submit(name, "S", (1, 4, 1), 0)
    world.submit("X", "B", (1, 4, 1), 2)
    world.close("S", 3)
    world.submit("A4", "S", (1, 4, 1), 4)
    world.run()
    assert world.row("A1") == Row(0, 0, 1, (1, 5), 6)
    assert world.row("A2") == Row(0, 6, 7, (7, 11), 12)
    assert world.row("A3") == Row(0, 12, 13, (13, 17), 18)
    assert world.row("X") == Row(2, 18, 19, (19, 23), 24)
    assert {world.word(each) for each in ("A1", "A2", "A3", "X")} == {"Completed"}
    assert [(at, why) for at, _, why in world.refusals()] == [(4, Refusal.GROUP_CLOSED)]
    assert world.reported("S", 2.999)[1] == ACCEPTING
    assert world.reported("S", 3)[1] == NOT_ACCEPTING
    assert world.reported("S", 17.999)[1] == NOT_ACCEPTING
    assert world.reported("S", 18) == ("closed", "Closed", False, 18)
    assert world.group("S").closed_at == 18_000
    assert world.group("S").ending is Ending.CLOSE
    assert world.usage("A") == 18


def test_t7b_cancel_takes_what_is_not_in_the_qpu() -> None:
    world = World(lanes=1)
    world.session("S", "A", interactive=60)
    for name in ("A1", "A2", "A3"):
        world.submit(name, "S", (1, 4, 1), 0)
    world.submit("X", "B", (1, 4, 1), 2)
    world.cancel_group("S", 3)
    world.submit("A4", "S", (1, 4, 1), 4)
    world.run()
    for name in ("A2", "A3"):
        lost = world.job(name)
        assert (lost.state, lost.code, lost.finished_at) == (JobState.CANCELLED, 5202, 3000)
        assert "session" in (lost.reason or "")
        assert "cancelled" in (lost.reason or "")
        assert (lost.running_at, lost.quantum_ms) == (None, 0)
    assert world.row("A1") == Row(0, 0, 1, (1, 5), 6)
    assert world.word("A1") == "Completed"
    assert world.group("S", 3).state is GroupState.PENDING_CLOSED
    assert world.group("S", 5.999).state is GroupState.PENDING_CLOSED
    assert world.reported("S", 6) == ("closed", "Closed", False, 6)
    assert world.group("S").ending is Ending.CANCEL
    assert [(at, why) for at, _, why in world.refusals()] == [(4, Refusal.GROUP_CLOSED)]
    assert world.row("X") == Row(2, 6, 7, (7, 11), 12)
    assert world.usage("A") == 6


def test_t9_two_sessions_and_two_jobs() -> None:
    world = World()
    world.session("S1", "A", interactive=10)
    world.session("S2", "B", interactive=10)
    for name, owner, at in (
        ("P1", "S1", 0),
        ("Q1", "S2", 1),
        ("X", "C", 2),
        ("P2", "S1", 14),
        ("P3", "S1", 33),
        ("Y", "C", 34),
    ):
        world.submit(name, owner, (1, 4, 1), at)
    world.close("S1", 60)
    world.close("S2", 60)
    world.run()
    assert world.row("P1") == Row(0, 0, 1, (1, 5), 6)
    assert world.row("P2") == Row(14, 14, 15, (15, 19), 20)
    assert world.row("Q1") == Row(1, 30, 31, (31, 35), 36)
    assert world.row("X") == Row(2, 46, 47, (47, 51), 52)
    assert world.row("Y") == Row(34, 46, 47, (51, 55), 56)
    assert world.row("P3") == Row(33, 56, 57, (57, 61), 62)
    assert world.windows("S1") == [(0, 30), (56, 62)]
    assert world.windows("S2") == [(30, 46)]
    assert (world.group("S1").closed_at, world.group("S2").closed_at) == (62_000, 60_000)
    assert world.group("S1", 60).state is GroupState.ACTIVE
    assert not world.group("S1", 60).accepting
    assert [world.usage(each) for each in "ABC"] == [36, 16, 8]


def test_t15a_a_submission_exactly_at_the_deadline_keeps_the_session() -> None:
    world = World()
    world.session("S", "A", interactive=10)
    world.submit("A1", "S", (1, 3, 1), 0)
    world.submit("A2", "S", (1, 3, 1), 15)
    world.submit("A3", "S", (1, 3, 1), 31)
    world.run(until=46)
    assert world.row("A1").finished == 5
    assert (world.row("A2").running, world.row("A2").finished) == (15, 20)
    assert world.row("A3").running == 31
    assert world.windows("S") == [(0, 30), (31, 46)]
    assert world.usage("A") == 45


def test_t15b_at_the_same_instant_timers_go_before_scheduling() -> None:
    world = World(lanes=1)
    world.session("S", "A", maximum=10)
    world.submit("A1", "S", (2, 7, 1), 0)
    world.submit("A2", "S", (2, 7, 1), 1)
    world.run()
    assert (world.word("A1"), world.row("A1").finished) == ("Completed", 10)
    lost = world.job("A2")
    assert (lost.state, lost.code, lost.finished_at) == (JobState.FAILED, 4001, 10_000)
    assert lost.running_at is None
    assert (world.group("S").closed_at, world.usage("A")) == (10_000, 10)


def test_t16_active_ttl_splits_the_work_into_windows() -> None:
    world = World(lanes=1)
    world.session("S", "A", interactive=60, active=20, maximum=3600)
    for name in ("A1", "A2", "A3", "A4"):
        world.submit(name, "S", (1, 6, 1), 0)
    world.submit("X", "B", (1, 6, 1), 5)
    world.close("S", 40)
    world.run()
    assert [world.row(each).running for each in ("A1", "A2", "A3", "X", "A4")] == [0, 8, 16, 24, 32]
    assert [world.row(each).finished for each in ("A1", "A2", "A3", "X", "A4")] == [
        8,
        16,
        24,
        32,
        40,
    ]
    assert world.group("S", 19.999).state is GroupState.ACTIVE
    assert world.group("S", 20).state is GroupState.PENDING_INACTIVE
    assert world.reported("S", 20) == ("active", ACCEPTING, True, 20)
    assert world.group("S", 24).state is GroupState.INACTIVE
    assert world.windows("S") == [(0, 24), (32, 40)]
    assert (world.group("S").closed_at, world.usage("A"), world.usage("B")) == (40_000, 32, 6)
