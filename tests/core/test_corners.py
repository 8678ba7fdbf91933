"""More corners that mutants of the core had hidden in; `test_edges` has the first of them."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings

from core.world import BACKEND, World
from qdwell.core.decisions import Note, PutCharge, PutJob
from qdwell.core.events import (
    CreateGroup,
    JobFailed,
    JobPrepared,
    PutBackend,
    PutInstance,
    ServiceResumed,
    SubmitJob,
)
from qdwell.core.group import Group, Mode
from qdwell.core.job import Job, JobState
from qdwell.core.moves import Turn
from qdwell.core.replay import Phases, Replay
from qdwell.core.scheduler import Scheduler
from qdwell.core.timers import Timer, Timers
from qdwell.core.usage import Ledger

W = 100


def test_nothing_is_left_behind_when_all_work_is_done() -> None:
    world = World(lanes=2)
    for name in ("A", "B"):
        world.instance(name, account="both")
    world.session("S", "A", interactive=5)
    world.batch("T", "B", interactive=5)
    for owner in ("A", "B", "S", "T", "C"):
        for number in range(3):
            world.submit(f"{owner}{number}", owner, (1, 2, 1), number)
    world.cancel("B2", 2)
    world.cancel_group("S", 40)
    world.close("T", 60)
    world.run()
    state = world.scheduler.state
    machine = state.machines[BACKEND]
    assert (state.jobs, state.groups, state.work) == ({}, {}, {})
    assert (machine.running, machine.ready, machine.queued_count) == ({}, {}, 0)
    for line in (machine.everyone, machine.job_mode):
        assert (line._lines, line._waiting, line._instances) == ({}, {}, {})
        assert line._accounts.first() is None
    for account in state.books.accounts.values():
        assert (account.lines, account.moving) == ({}, {})
    assert state.books.moving_accounts == {}
    assert world.replay._stage_end == {}
    assert world.replay.next_at() is None


def test_what_a_turn_has_changed_is_asked_for_once() -> None:
    world = World()
    turn = Turn(world.scheduler.state, 0)
    turn.add_group(Group("G", 1, Mode.BATCH, world.instance("A"), BACKEND, 0, 1, 1))
    Timers().retime(turn)
    assert (turn.retimed, turn.touched) == ({}, {})


def test_timers_of_one_instant_strike_in_the_order_of_c6() -> None:
    assert [each.name for each in sorted(Timer)] == [
        "JOB_LIMIT",
        "MAX_TTL",
        "ACTIVE_TTL",
        "INTERACTIVE_TTL",
        "UNUSED",
        "SPEND",
        "HOLD",
    ]


def test_c6_reports_about_unknown_jobs_come_last() -> None:
    world = World()
    world.submit("J", "A", (9, 1, 1), 0)
    world.run(until=1)
    out = world.scheduler.decide([JobPrepared("gone", 1), JobPrepared("J", 1)], 2000)
    kinds = [type(each) for each in out if isinstance(each, PutJob | Note)]
    assert kinds[0] is PutJob
    assert kinds[-1] is PutJob  # the grant of the QPU comes at the end of the instant
    assert [each.subject for each in out if isinstance(each, Note)] == ["gone"]
    assert kinds.index(Note) > 0


# ---- usage ---------------------------------------------------------------------------------------


def test_usage_stands_still_once_the_edge_has_passed_it() -> None:
    ledger = Ledger(W)
    ledger.add("A", 10, 30)
    ledger.advance(120)
    assert ledger.of("A").moving
    ledger.advance(130)
    assert not ledger.of("A").moving
    ledger.add("A", 110, 120)
    ledger.advance(220)  # both its ends have passed since the last look
    assert not ledger.of("A").moving
    assert ledger.advance(500) == set()
    ledger.add("A", 510, 530)
    ledger.advance(615)
    assert ledger.used("A", 630) == 0  # asked between two turns


spans = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30)), min_size=3, max_size=9)


@settings(max_examples=200, derandomize=True, database=None)
@given(spans, st.sets(st.integers(0, 8), max_size=4), st.integers(0, 90))
def test_u8_refunds_leave_the_rest_as_it_was(
    starts: list[tuple[int, int]], back: set[int], at: int
) -> None:
    ledger = Ledger(W)
    charges = [(start, start + length) for start, length in starts]
    for charge in charges:
        ledger.add("A", *charge)
    now = 120 + at
    ledger.advance(now)
    kept = [charge for number, charge in enumerate(charges) if number not in back]
    for number in back & set(range(len(charges))):
        ledger.refund("A", *charges[number])
    for then in range(now, now + 120):
        ledger.advance(then)
        used = sum(max(0, end - max(start, then - W)) for start, end in kept)
        assert ledger.used("A", then) == used


# ---- fair share ----------------------------------------------------------------------------------


def two_machines() -> World:
    world = World(lanes=1)
    world.request(0, PutBackend("second", False, 1, True))
    return world


def test_q8_usage_that_grows_elsewhere_counts_at_each_instant() -> None:
    world = two_machines()
    for name in ("A", "A2"):
        world.instance(name, account="K", account_allocation=36_000)
    world.submit("b used", "B", (0, 20, 0), 0)
    world.submit("c used", "C", (0, 5, 0), 0)
    # A's run elsewhere began at 0 and has used 22 s when the next job is picked, at 25 s.
    world.submit("a runs", "A", (0, 90, 0), 0, backend="second", estimate=0)
    for name in ("A", "B", "A2"):
        world.submit(f"next of {name}", name, (0, 1, 0), 1)
    world.run()
    order = ["next of B", "next of A2", "next of A"]
    assert [world.row(name).running for name in order] == [25, 26, 27]


def test_q8_a_session_elsewhere_that_used_less_goes_first() -> None:
    world = two_machines()
    world.submit("b used", "B", (0, 20, 0), 0)
    world.submit("busy", "C", (0, 5, 0), 0)
    world.instance("A")
    group = Group("T", 99, Mode.SESSION, "A", "second", 10_000, 90_000, 900_000)
    world.request(10, CreateGroup(group))
    world.submit("a holds", "A", (0, 1, 0), 10, backend="second", group="T")
    world.submit("next of B", "B", (0, 4, 0), 11)
    world.submit("next of A", "A", (0, 1, 0), 12)
    world.submit("last of B", "B", (0, 1, 0), 26)
    world.run(until=50)
    # At 25 s A's session has held the second machine for 15 s, and B has used 20 s.
    assert world.row("next of A").running == 25
    assert world.row("next of B").running == 26


def test_q8_an_account_with_two_open_charges_moves_until_both_have_ended() -> None:
    world = two_machines()
    world.request(0, PutBackend("third", False, 1, True))
    for name in ("A1", "A2"):
        world.instance(name, account="K", account_allocation=36_000)
    world.submit("b used", "B", (0, 20, 0), 0)
    world.submit("one", "A1", (0, 90, 0), 0, backend="second", estimate=0)
    world.submit("two", "A2", (0, 3, 0), 0, backend="third", estimate=0)
    world.submit("next of K", "A2", (0, 1, 0), 5)
    world.submit("next of B", "B", (0, 1, 0), 6)
    world.run()
    # At 20 s the account K has used 20 + 3 s, B 20 s.
    assert world.row("next of B").running == 20
    assert world.row("next of K").running == 21
    assert world.scheduler.state.books.moving_accounts == {}


def test_q8_ties_between_accounts_go_to_the_oldest_job_of_any_of_their_instances() -> None:
    world = World(lanes=1)
    for name in ("K1", "K2"):
        world.instance(name, account="K")
    world.submit("busy", "Z", (0, 10, 0), 0)
    world.submit("K1 first", "K1", (0, 0, 0), 1)
    world.submit("L", "L", (0, 0, 0), 2)
    world.submit("K2 later", "K2", (0, 0, 0), 3)
    world.run(until=9)
    line = world.scheduler.state.machines[BACKEND].everyone
    picked = line.pick(9000)
    assert picked is not None
    assert picked.id == "K1 first"


def test_q8_a_changed_allocation_counts_for_the_instance_and_its_account() -> None:
    world = World(lanes=1)
    for name in ("A", "B"):
        world.instance(name, allocation=100)
        world.submit(f"{name} used", name, (0, 10, 0), 0)
    world.instance("B", at=15, allocation=50)
    world.submit("b", "B", (0, 1, 0), 17)
    world.submit("a", "A", (0, 1, 0), 18)
    world.run()
    assert (world.row("a").running, world.row("b").running) == (20, 21)


def test_i8_a_held_instance_does_not_run_beside_a_batch_either() -> None:
    world = World(lanes=3)
    world.instance("A", limit=5)
    world.submit("used", "A", (0, 6, 0), 0)
    world.batch("B", "B", at=7, interactive=50)
    world.submit("B1", "B", (0, 20, 0), 7)
    world.submit("held", "A", (0, 1, 0), 8)
    world.submit("free", "C", (0, 1, 0), 9)
    world.run(until=15)
    assert world.row("held").running is None
    assert world.row("free").running == 9


# ---- groups and limits ---------------------------------------------------------------------------


def test_i9_a_group_that_is_created_late_ends_with_its_instances_limit() -> None:
    world = World()
    world.instance("A", spend_limit=10)
    world.submit("J", "A", (0, 50, 0), 0)
    world.batch("G", "A", at=5)
    world.run(until=20)
    assert world.group("G").closed_at == 10_000


def test_i9_a_session_that_idles_through_a_restart_still_meets_the_limit() -> None:
    world = World()
    world.instance("A", spend_limit=30)
    world.session("S", "A", interactive=100)
    world.submit("J", "S", (1, 1, 1), 0)
    world.run(until=5)
    auditor = world.scheduler.auditor
    again = Scheduler(auditor.settings, auditor.snapshot(5000))
    plan = PutInstance("A", "account of A", 36_000_000, spend_limit_ms=30_000)
    again.decide([PutBackend(BACKEND, False, 5, True), plan], 5000)
    again.decide([ServiceResumed(5000)], 6000)
    assert again.next_deadline() == 31_000  # a second of it was down, and is not charged
    again.decide([], 31_000)
    assert again.state.groups == {}


def test_c7_a_job_at_the_deadline_keeps_a_session_active_after_a_restart_too() -> None:
    world = World()
    world.session("S", "A", interactive=10)
    world.submit("J", "S", (1, 1, 1), 0)
    world.run(until=5)
    auditor = world.scheduler.auditor
    again = Scheduler(auditor.settings, auditor.snapshot(5000))
    again.decide([PutBackend(BACKEND, False, 5, True)], 5000)
    job = Job("K", 9, "A", BACKEND, 13_000, group="S")
    again.decide([ServiceResumed(5000), SubmitJob(job)], 13_000)
    assert again.state.groups["S"].activated_at == 0
    assert again.state.jobs["K"].state is JobState.PREPARING


def test_u8_a_system_error_without_a_charge_writes_no_refund() -> None:
    world = World()
    world.submit("J", "A", (0, 0, 50), 0)
    world.run(until=1)
    out = world.scheduler.decide([JobFailed("J", 1, 9999, "why", system=True)], 2000)
    assert not [each for each in out if isinstance(each, PutCharge)]
    assert world.scheduler.auditor.jobs["J"].quantum_ms == 0


# ---- the driver ----------------------------------------------------------------------------------


def test_a_step_settles_all_of_its_instant() -> None:
    world = World()
    world.submit("J", "A", (0, 0, 0), 3)
    decided = world.replay.step()
    assert [each.job.state for each in decided if isinstance(each, PutJob)][-1] is (
        JobState.COMPLETED
    )


def test_an_adopted_run_is_told_in_its_story_and_ends_when_the_device_ends_it() -> None:
    world = World()
    world.submit("J", "A", (0, 20, 0), 0)
    world.run(until=5)
    auditor = world.scheduler.auditor
    again = Scheduler(auditor.settings, auditor.snapshot(5000))
    again.decide([PutBackend(BACKEND, False, 5, True)], 5000)
    replay = Replay(again, lambda _: Phases(0, 20_000, 0), 5000)
    replay.request(9000, ServiceResumed(5000))
    replay.run(until=10_000)
    notes = [each.text for _, each in replay.trace if isinstance(each, Note)]
    assert notes == ["the device still knows attempt 1: adopted"]
    # A second driver finds the run with 4 s of downtime; the device ran on through them.
    assert again.state.jobs["J"].downtime_ms == 4000
    second = Replay(again, lambda _: Phases(0, 20_000, 0), 10_000)
    second.resume()
    second.run()
    ended = [each.job for _, each in second.trace if isinstance(each, PutJob)][-1]
    assert (ended.state, ended.finished_at) == (JobState.COMPLETED, 20_000)


def test_a_stage_that_was_stopped_ends_nothing_of_its_instant() -> None:
    world = World()
    world.submit("J1", "A", (5, 1, 1), 0)
    world.submit("J2", "A", (5, 1, 1), 0)
    world.cancel("J1", 2)
    world.run()
    assert (world.word("J1"), world.word("J2")) == ("Cancelled", "Completed")
