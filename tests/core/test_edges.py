"""Corners that mutants of the core had hidden in: each test here has killed at least one."""

from __future__ import annotations

from typing import Any

import pytest

from core.world import BACKEND, World
from qdwell.core.decisions import Held, Note, PutCharge, PutGroup, Refusal, Stop
from qdwell.core.events import (
    BackendMode,
    CancelJob,
    CreateGroup,
    Event,
    JobBegun,
    JobFailed,
    JobLost,
    JobPrepared,
    PutBackend,
    RunStopped,
    ServiceResumed,
)
from qdwell.core.group import Group, GroupState, Mode
from qdwell.core.job import Job, JobState
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings


def decide(world: World, at: float, *events: Event) -> list[Any]:
    return world.scheduler.decide(events, round(at * 1000))


def test_b5_the_lock_is_held_for_a_job_that_is_only_queued() -> None:
    world = World(lanes=2)
    world.batch("B", "A")
    world.submit("B1", "B", (0, 1, 5), 0)
    world.submit("X", "C", (0, 1, 0), 0)
    world.submit("B2", "B", (0, 1, 0), 0.5)
    world.run(until=20)
    assert world.row("B2").running == 6
    assert (world.row("B2").qpu, world.row("X").qpu) == ((6, 7), (7, 8))


def test_i8_a_reservation_is_given_up_when_its_instance_is_held() -> None:
    world = World(lanes=2)
    world.submit("long", "B", (0, 50, 0), 0)
    world.instance("A", limit=5)
    world.session("S", "A", at=1)
    world.submit("A1", "S", (0, 1, 0), 1)
    world.submit("X", "B", (0, 1, 0), 2)
    world.run(until=3)
    assert world.scheduler.state.machines[BACKEND].reservation == "S"
    world.instance("A", at=4, limit=0)
    world.run(until=4)
    assert world.scheduler.state.machines[BACKEND].reservation is None
    assert world.row("X").running == 4


def test_j20_only_a_last_word_frees_the_qpu() -> None:
    world = World()
    world.submit("J", "A", (0, 50, 0), 0)
    world.run(until=1)
    decide(world, 2, CancelJob("J"))
    decide(world, 3, JobPrepared("J", 1))
    machine = world.scheduler.state.machines[BACKEND]
    assert machine.lease is not None
    confirmed = decide(world, 4, RunStopped(BACKEND, "J", 1))
    assert machine.lease is None
    assert not [each for each in confirmed if isinstance(each, Note)]


def test_a_failure_on_a_simulator_costs_nothing() -> None:
    world = World(simulator=True)
    world.submit("J", "A", (0, 5, 0), 0)
    world.run(until=1)
    decide(world, 2, JobFailed("J", 1, 1517, "why"))
    assert world.scheduler.auditor.jobs["J"].quantum_ms == 0


def test_a_batch_whose_last_job_is_lost_is_idle() -> None:
    world = World()
    world.batch("B", "A", interactive=3)
    world.submit("B1", "B", (0, 50, 0), 0)
    world.run(until=1)
    decide(world, 1, JobLost("B1", 1, repeatable=False))
    decide(world, 4)
    assert world.scheduler.auditor.groups["B"].state is GroupState.INACTIVE


def test_a_group_is_not_written_again_when_nothing_of_it_changes() -> None:
    world = World(lanes=1)
    world.session("S", "A")
    world.submit("A1", "S", (5, 5, 5), 0)
    world.submit("A2", "S", (5, 5, 5), 1)
    world.run(until=0)
    before = len(world.replay.trace)
    world.run(until=1)
    assert not [each for _, each in world.replay.trace[before:] if isinstance(each, PutGroup)]


def test_groups_and_unknown_or_simulated_backends() -> None:
    world = World(simulator=True)
    world.submit("J", "A", (0, 1, 0), 0, group="S")
    group = Group("G", 9, Mode.SESSION, "A", "nowhere", 0, 1, 1)
    world.request(0, CreateGroup(group))
    world.run()
    assert [(subject, why) for _, subject, why in world.refusals()] == [
        ("J", Refusal.NO_GROUP_ON_SIMULATOR),
        ("G", Refusal.UNKNOWN_BACKEND),
    ]


def test_the_settings_of_a_backend_change_while_it_works() -> None:
    world = World(lanes=1)
    world.submit("J1", "A", (5, 5, 5), 0)
    world.submit("J2", "A", (5, 5, 5), 0)
    world.request(2, PutBackend(BACKEND, False, 2, False))
    world.run()
    assert world.row("J2").running == 2
    assert not world.scheduler.state.machines[BACKEND].lock_window


def test_a_limit_that_is_lowered_holds_at_once_and_lets_go_in_time() -> None:
    day = 86_400
    world = World(lanes=1)
    world.instance("A", limit=100)
    world.submit("J1", "A", (0, 9, 0), 0)
    world.submit("busy", "B", (0, 90, 0), 1)
    world.submit("J2", "A", (0, 1, 0), 50)
    world.instance("A", at=60, limit=5)
    world.run(until=27 * day)
    assert world.word("J2") == "Queued"
    world.run()
    assert world.row("J2").running == 28 * day + 4.001


def test_a_spend_limit_that_is_lowered_ends_sessions_at_once() -> None:
    world = World()
    world.instance("A", spend_limit=100)
    world.session("S", "A", interactive=60)
    world.submit("A1", "S", (1, 1, 1), 0)
    world.instance("A", at=20, spend_limit=10)
    world.run(until=20)
    assert world.group("S").state is GroupState.CLOSED
    assert world.group("S").usage_ms == 20_000


def test_a_limit_that_passed_while_memory_was_loaded_again_still_strikes() -> None:
    world = World()
    world.submit("J", "A", (2, 40, 2), 0, limit=5)
    world.run(until=6.5)
    auditor = world.scheduler.auditor
    for up in (6.999, 7, 10):
        again = Scheduler(auditor.settings, auditor.snapshot(6500))
        again.decide([PutBackend(BACKEND, False, 5, True)], 6500)
        again.decide([ServiceResumed(6500, work_lost=False)], round(up * 1000))
        assert ("J" in again.state.jobs) == (up < 7)
        assert again.next_deadline() == (7000 if up < 7 else None)


def test_a_second_resume_loads_nothing_twice() -> None:
    world = World()
    world.submit("J", "A", (2, 40, 2), 0)
    world.run(until=1)
    auditor = world.scheduler.auditor
    again = Scheduler(auditor.settings, auditor.snapshot(1000))
    again.decide([PutBackend(BACKEND, False, 5, True)], 1000)
    for at in (1000, 1001):
        again.decide([ServiceResumed(at, work_lost=False)], at)
    assert again.state.instances["A"].pending == 1


@pytest.mark.parametrize("mode", [BackendMode.PAUSED, BackendMode.OFFLINE])
def test_a_simulator_that_is_not_online_starts_nothing_and_goes_on(mode: BackendMode) -> None:
    world = World(simulator=True)
    world.submit("J1", "A", (5, 5, 5), 0)
    world.mode(mode, 1)
    world.submit("J2", "A", (5, 5, 5), 2)
    world.run(until=20)
    assert world.row("J1").finished == 15
    if mode is BackendMode.PAUSED:
        assert world.word("J2") == "Queued"
        world.mode(BackendMode.ONLINE, 30)
        world.run()
        assert world.row("J2").running == 30


def test_j15_the_limit_on_a_simulator_counts_from_when_a_pool_takes_the_job_up() -> None:
    world = World(simulator=True)
    world.submit("J", "A", (90, 5, 5), 0, limit=10)
    scheduler = world.scheduler
    world.replay.next_at()
    scheduler.decide([each.event for each in world.replay._due], 0)
    scheduler.decide([], 50_000)
    assert scheduler.state.jobs["J"].state is JobState.PREPARING
    scheduler.decide([JobBegun("J", 1)], 50_000)
    assert scheduler.next_deadline() == 60_000


def restarted(world: World, down: float, up: float) -> Any:
    """A scheduler after an outage, and what it decided on waking up."""
    world.run(until=down)
    auditor = world.scheduler.auditor
    since = round(down * 1000)
    again = Scheduler(auditor.settings, auditor.snapshot(since))
    again.decide([*auditor.machines.values()], since)
    return again, again.decide([ServiceResumed(since)], round(up * 1000))


def test_an_outage_of_no_length_leaves_no_trace_in_the_ledger() -> None:
    world = World()
    world.session("S", "A")
    world.submit("A1", "S", (1, 9, 1), 0)
    again, decisions = restarted(world, 3, 3)
    assert not [each for each in decisions if isinstance(each, PutCharge) and not each.charged]
    assert again.state.jobs["A1"].downtime_ms == 0


def test_downtime_is_that_of_the_run_alone() -> None:
    world = World(lanes=1)
    world.submit("post", "A", (0, 1, 50), 0)
    again, _ = restarted(world, 3, 9)
    assert again.state.jobs["post"].downtime_ms == 0
    world = World(lanes=1, simulator=True)
    world.submit("not begun", "A", (50, 1, 1), 0)
    world.scheduler.decide([world.replay._due[0].event], 0)
    auditor = world.scheduler.auditor
    again = Scheduler(auditor.settings, auditor.snapshot(1))
    again.decide([*auditor.machines.values()], 1)
    again.decide([ServiceResumed(1)], 5)
    assert again.state.jobs["not begun"].attempt == 2


def test_a_backend_without_configuration_counts_as_a_machine() -> None:
    world = World(lanes=2)
    world.submit("J", "A", (0, 50, 0), 0)
    world.run(until=1)
    auditor = world.scheduler.auditor
    again = Scheduler(auditor.settings, auditor.snapshot(1000))
    again.decide([ServiceResumed(1000)], 1000)
    machine = again.state.machines[BACKEND]
    assert (machine.simulator, machine.lanes, machine.lock_window) == (False, 1, True)


def reserved() -> World:
    """S is reserved and has two jobs queued; C has used less than A and comes later."""
    world = World(lanes=2)
    world.submit("before", "A", (0, 5, 0), 0)
    world.submit("long", "B", (0, 50, 0), 0)
    world.session("S", "A", at=6)
    world.session("T", "A", at=6)
    world.submit("A1", "S", (0, 1, 0), 6)
    world.submit("A2", "S", (0, 1, 0), 6)
    world.submit("T1", "T", (0, 1, 0), 7)
    world.submit("X", "C", (0, 1, 0), 8)
    return world


@pytest.mark.parametrize("ends", ["one of its own", "another's", "another group", "nothing"])
def test_s19_a_reservation_stays_until_its_own_last_job_is_gone(ends: str) -> None:
    world = reserved()
    if ends == "one of its own":
        world.cancel("A2", 9)
    elif ends == "another's":
        world.cancel("T1", 9)
    elif ends == "another group":
        world.cancel_group("T", 9)
    world.run(until=10)
    assert world.scheduler.state.machines[BACKEND].reservation == "S"
    assert world.row("X").running is None


@pytest.mark.parametrize("how", ["close", "cancel_group"])
def test_s19_a_reservation_goes_with_its_session(how: str) -> None:
    world = reserved()
    world.cancel("A1", 9)
    world.cancel("A2", 9)
    if how == "cancel_group":
        world = reserved()
    getattr(world, how)("S", 9)
    world.run(until=10)
    assert world.scheduler.state.machines[BACKEND].reservation in (None, "T")
    assert world.group("S").state is GroupState.CLOSED


def test_what_a_charge_was_for() -> None:
    world = World()
    world.batch("B", "A", interactive=1)
    world.submit("B1", "B", (0, 1, 0), 0)
    world.submit("J", "A", (0, 1, 0), 0)
    world.session("S", "A", at=5)
    world.submit("S1", "S", (0, 1, 0), 5)
    world.run(until=20)
    kinds = {each.job or each.group: each.kind for each in world.scheduler.auditor.charges.values()}
    assert kinds == {"B1": Held.BATCH, "J": Held.JOB, "S": Held.SESSION}


def test_on_a_simulator_cancel_and_limit_stop_each_stage() -> None:
    world = World(simulator=True)
    world.submit("cancelled", "A", (0, 50, 0), 0)
    world.submit("preparing", "A", (50, 1, 0), 0, limit=3)
    world.submit("executing", "A", (0, 50, 0), 0, limit=4)
    world.cancel("cancelled", 2)
    world.run()
    stops = [each for _, each in world.replay.trace if isinstance(each, Stop)]
    assert stops == [
        Stop("cancelled", 1, BACKEND, executing=True),
        Stop("preparing", 1, BACKEND, executing=False),
        Stop("executing", 1, BACKEND, executing=True),
    ]
    assert {world.job(name).quantum_ms for name in world.plan} == {0}
    assert [world.job(name).code for name in world.plan] == [5202, 1305, 1305]


def test_a_batch_whose_last_job_ran_too_long_is_idle() -> None:
    world = World()
    world.batch("B", "A", interactive=3)
    world.submit("B1", "B", (0, 50, 0), 0, limit=5)
    world.run(until=8)
    assert world.group("B").state is GroupState.INACTIVE


def test_defaults_of_records() -> None:
    job = Job("j", 1, "A", "m", 0)
    assert (job.limit_ms, job.limit_asked, job.estimate_ms) == (10_800_000, False, 0)
    assert (job.attempt, job.quantum_ms, job.downtime_ms) == (0, 0, 0)
    assert (job.prepare_tries, job.execute_tries, job.postprocess_tries) == (0, 0, 0)
    group = Group("g", 1, Mode.BATCH, "A", "m", 0, 1, None)
    assert (group.max_ttl_cap_ms, group.usage_ms, group.accepting) == (28_800_000, 0, True)
    settings = Settings()
    assert settings.window_ms == 28 * 24 * 3_600_000
    assert settings.unused_close_ms == 1_800_000


def test_the_queues_length() -> None:
    world = World(lanes=1)
    for number in range(3):
        world.submit(f"J{number}", "A", (0, 9, 0), 0)
    world.run(until=1)
    assert world.scheduler.state.queue_length(BACKEND) == 2


def test_a_changed_plan_counts_from_then_on() -> None:
    world = World(lanes=1)
    for name in ("A", "B"):
        world.instance(name, allocation=100, pending_max=9)
        world.submit(f"{name} used", name, (0, 10, 0), 0)
    world.instance("B", at=15, allocation=50, pending_max=2, account_allocation=50)
    world.submit("a", "A", (0, 1, 0), 18)
    world.submit("b", "B", (0, 1, 0), 17)
    world.submit("too many", "B", (0, 1, 0), 18)
    world.run()
    assert (world.row("a").running, world.row("b").running) == (20, 21)
    assert world.refusals() == [(18, "too many", Refusal.PENDING_LIMIT)]


def test_the_lower_of_two_limits_holds() -> None:
    for limits in ({"limit": 5, "spend_limit": 50}, {"limit": 50, "spend_limit": 5}):
        world = World(lanes=1)
        world.instance("A", **limits)
        world.submit("J1", "A", (0, 9, 0), 0)
        world.submit("J2", "A", (0, 9, 0), 0)
        world.run(until=100)
        assert world.row("J2").running is None


def test_q8_what_is_used_and_what_is_left_of_a_run_are_its_estimate() -> None:
    world = World(lanes=2)
    world.submit("J", "A", (0, 30, 0), 0, estimate=20)
    world.submit("waits", "A", (0, 30, 0), 0, estimate=7)
    world.run(until=0)
    books = world.scheduler.state.books
    instance = books.instances["A"]
    for now, demand in ((0, 27), (5, 27), (20, 27), (25, 32)):
        assert books.demand(instance, now * 1000) == demand * 1000
        assert books.account_demand(books.accounts[instance.account], now * 1000) == demand * 1000
    world.run(until=30)
    # J has used 30 s; "waits" is on the QPU, and its 7 s are still to come.
    assert books.demand(instance, 30_000) == 37_000
