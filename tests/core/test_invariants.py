"""The checks can fail: each is shown a sound world with one thing wrong, and must name the rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.world import BACKEND, World
from qdwell.core.events import BackendMode, CancelJob
from qdwell.core.group import GroupState, Mode
from qdwell.core.invariants import check
from qdwell.core.job import Job, JobState
from qdwell.core.state import Lease, State
from qdwell.errors import BrokenInvariant

# ---- one state -----------------------------------------------------------------------------------


def busy(kind: str = "session") -> State:
    """A group live with one job in the QPU, one READY, and others queued; two lanes."""
    world = World(lanes=2)
    getattr(world, kind)("G", "A")
    world.session("later", "C")
    for name in ("qpu", "ready", "queued"):
        world.submit(name, "G", (1, 9, 1), 0)
    world.submit("other", "B", (1, 9, 1), 0)
    world.submit("of later", "later", (1, 9, 1), 0)
    world.run(until=2)
    return world.scheduler.state


def draining() -> State:
    """A reservation waits for empty lanes."""
    world = World(lanes=2)
    world.submit("other", "B", (0, 50, 0), 0)
    world.session("G", "A", at=1)
    world.submit("queued", "G", (0, 1, 0), 1)
    world.submit("late", "B", (0, 1, 0), 1)
    world.run(until=2)
    return world.scheduler.state


def stopping() -> State:
    """A run is told to stop and has not said a last word."""
    world = World(lanes=2)
    world.submit("gone", "B", (0, 50, 0), 0)
    world.submit("ready", "B", (0, 50, 0), 0)
    world.run(until=1)
    world.scheduler.decide([CancelJob("gone")], 2000)
    return world.scheduler.state


def set_job(state: State, job: str, /, **changes: Any) -> None:
    state.jobs[job] = replace(state.jobs[job], **changes)


def set_group(state: State, group: str, /, **changes: Any) -> None:
    state.groups[group] = state.groups[group].evolve(**changes)


def add_job(state: State, job: str, to: JobState, **fields: Any) -> Job:
    """A job with all its indexes, so that only the rule itself is broken."""
    new = Job(job, 99, fields.pop("instance", "B"), BACKEND, 0, state=to, **fields)
    state.jobs[job] = new
    state.instances[new.instance].pending += 1
    machine = state.machines[BACKEND]
    if to is JobState.QUEUED:
        machine.queued_count += 1
    else:
        machine.running[job] = None
        if to is JobState.READY:
            machine.ready[job] = None
    if new.group is not None:
        state.work[new.group].running[job] = None
    return new


def machine_of(state: State) -> Any:
    return state.machines[BACKEND]


def drop_group(state: State, group: str) -> None:
    del state.groups[group]


def second_live(state: State) -> None:
    set_group(
        state,
        "later",
        state=GroupState.ACTIVE,
        started_at=1,
        activated_at=1,
        last_job_started=1,
        charging_since=1,
    )
    set_job(state, "of later", state=JobState.PREPARING)
    machine = machine_of(state)
    machine.queued_count -= 1
    machine.running["of later"] = None
    state.work["later"].queued_count -= 1
    state.work["later"].running["of later"] = None


def foreign_executes(state: State) -> None:
    """Under a batch's lock the lease is somebody else's."""
    machine = machine_of(state)
    set_job(state, "qpu", state=JobState.PREPARING)
    state.instances["A"].executing.clear()
    state.instances["A"].reserved_ms += 9000
    add_job(state, "thief", JobState.EXECUTING, attempt=1, executing_at=1)
    machine.lease = Lease("thief", 1, 1)


def only_stopping_lane(state: State) -> None:
    """All lanes are empty, and still the reserved session waits."""
    machine = machine_of(state)
    del state.jobs["other"]
    machine.running.clear()
    machine.lease = None
    state.instances["B"].pending -= 1
    state.instances["B"].executing.clear()


def own_job_waits(state: State) -> None:
    """A lane is free for the batch's own job; the other one is held by its limit."""
    machine_of(state).lanes = 3
    state.instances["B"].limit_ms = 0


Break = Callable[[State], Any]
SESSION: list[tuple[str, Break]] = [
    ("P6", lambda s: set_job(s, "queued", state=JobState.FAILED)),
    ("P6", lambda s: set_group(s, "G", state=GroupState.CLOSED)),
    ("index", lambda s: machine_of(s).running.pop("ready")),
    ("index", lambda s: machine_of(s).running.update(queued=None)),
    ("index", lambda s: machine_of(s).ready.clear()),
    ("index", lambda s: setattr(machine_of(s), "queued_count", 7)),
    ("index", lambda s: setattr(s.work["G"], "queued_count", 0)),
    ("index", lambda s: s.work["G"].queued.clear()),
    ("index", lambda s: s.work["G"].running.pop("qpu")),
    ("P13", lambda s: set_group(s, "G", idle_since=0)),
    ("S10", lambda s: set_group(s, "G", state=GroupState.INACTIVE)),
    ("S27", lambda s: set_group(s, "G", state=GroupState.PENDING_CLOSED)),
    ("S27", lambda s: set_group(s, "G", state=GroupState.PENDING_CLOSED, accepting=False)),
    ("U4", lambda s: set_group(s, "G", charging_since=None)),
    ("U4", lambda s: set_group(s, "later", charging_since=1)),
    ("P12", lambda s: set_group(s, "G", started_at=None)),
    ("P12", lambda s: set_group(s, "later", started_at=1)),
    ("P12", lambda s: set_group(s, "G", last_job_started=None)),
    ("P12", lambda s: set_group(s, "G", activated_at=None)),
    ("P12", lambda s: set_group(s, "G", activated_at=-1)),
    ("P1", lambda s: setattr(machine_of(s), "lease", None)),
    ("P1", lambda s: setattr(machine_of(s), "lease", Lease("qpu", 2, 1000))),
    ("P1", lambda s: setattr(machine_of(s), "lease", Lease("qpu", 1, 999))),
    ("P1", lambda s: setattr(machine_of(s), "lease", Lease("ready", 1, 1000))),
    ("P1", lambda s: setattr(machine_of(s), "lease", Lease("qpu", 1, 1000, stopping=True))),
    ("P1", lambda s: add_job(s, "second", JobState.EXECUTING, group="G", instance="A")),
    ("B5", lambda s: setattr(machine_of(s), "lock", "G")),
    ("B5", lambda s: setattr(machine_of(s), "lock", "nobody")),
    ("P4", lambda s: setattr(machine_of(s), "live_group", None)),
    ("P4", lambda s: setattr(machine_of(s), "live_group", "later")),
    ("P4", second_live),
    ("P3", lambda s: add_job(s, "foreign", JobState.PREPARING)),
    ("S19", lambda s: setattr(machine_of(s), "reservation", "later")),
    ("P14", lambda s: setattr(machine_of(s), "lanes", 3)),
    ("L11", lambda s: setattr(s.instances["A"], "pending", 4)),
    ("Q8", lambda s: setattr(s.instances["A"], "reserved_ms", 1)),
    ("Q8", lambda s: s.instances["A"].executing.update(qpu=(1, 1))),
]
BATCH: list[tuple[str, Break]] = [
    ("B5", lambda s: setattr(machine_of(s), "lock", "later")),
    ("P11", foreign_executes),
    ("P14", lambda s: setattr(machine_of(s), "lanes", 3)),
    ("P14", own_job_waits),
    ("U4", lambda s: set_group(s, "G", charging_since=1)),
    ("Q8", lambda s: setattr(s.instances["A"], "reserved_ms", 0)),
    ("Q8", lambda s: s.instances["A"].executing.clear()),
]
DRAINING: list[tuple[str, Break]] = [
    ("S19", lambda s: setattr(machine_of(s), "reservation", "nobody")),
    ("S19", lambda s: set_group(s, "G", mode=Mode.BATCH)),
    ("S28", lambda s: set_group(s, "later", accepting=False)),
    ("P14", lambda s: setattr(machine_of(s), "reservation", None)),
    ("S19", only_stopping_lane),
]
STOPPING: list[tuple[str, Break]] = [
    ("J20", lambda s: setattr(machine_of(s), "lease", Lease("ready", 1, 0, stopping=True))),
    ("P14", lambda s: setattr(machine_of(s), "lease", None)),
]


@pytest.mark.parametrize(("rule", "spoil"), SESSION)
def test_a_sound_session_with_one_thing_wrong(rule: str, spoil: Break) -> None:
    state = busy()
    check(state, 2000)
    spoil(state)
    with pytest.raises(BrokenInvariant, match=f"^{rule} does not hold: ."):
        check(state, 2000)


@pytest.mark.parametrize(("rule", "spoil"), BATCH)
def test_a_sound_batch_with_one_thing_wrong(rule: str, spoil: Break) -> None:
    state = busy("batch")
    check(state, 2000)
    spoil(state)
    with pytest.raises(BrokenInvariant, match=f"^{rule} does not hold"):
        check(state, 2000)


@pytest.mark.parametrize(("rule", "spoil"), DRAINING)
def test_a_sound_drain_with_one_thing_wrong(rule: str, spoil: Break) -> None:
    world_state = draining()
    if rule == "S28":
        world_state.groups["later"] = world_state.groups["G"].evolve(
            id="later", idle_since=1, state=GroupState.OPEN
        )
        world_state.work["later"] = type(world_state.work["G"])()
    check(world_state, 2000)
    spoil(world_state)
    with pytest.raises(BrokenInvariant, match=f"^{rule} does not hold"):
        check(world_state, 2000)


@pytest.mark.parametrize(("rule", "spoil"), STOPPING)
def test_a_sound_stop_with_one_thing_wrong(rule: str, spoil: Break) -> None:
    state = stopping()
    check(state, 2000)
    spoil(state)
    with pytest.raises(BrokenInvariant, match=f"^{rule} does not hold"):
        check(state, 2000)


@pytest.mark.parametrize("ended", [GroupState.PENDING_INACTIVE, GroupState.PENDING_CLOSED])
def test_a_pending_group_waits_for_something(ended: GroupState) -> None:
    state = busy()
    group = state.groups["later"]
    del state.jobs["of later"]
    machine_of(state).queued_count -= 1
    state.instances["C"].pending -= 1
    state.work["later"].queued_count = 0
    state.groups["later"] = group.evolve(state=ended, idle_since=1, accepting=False)
    with pytest.raises(BrokenInvariant, match="^S10"):
        check(state, 2000)


def test_who_may_wait_is_not_reported() -> None:
    """P14 knows the reasons to wait: offline, paused, held, and another group's batch."""
    state = draining()
    machine = machine_of(state)
    machine.reservation = None
    for mode, sound in ((BackendMode.OFFLINE, True), (BackendMode.PAUSED, True)):
        machine.mode = mode
        check(state, 2000)
        assert sound
    machine.mode = BackendMode.ONLINE
    for limit in ("limit_ms", "spend_limit_ms"):
        for name in ("A", "B"):
            setattr(state.instances[name], limit, 0)
        check(state, 2000)
        setattr(state.instances["A"], limit, 1)
        with pytest.raises(BrokenInvariant, match="^P14"):
            check(state, 2000)
        for name in ("A", "B"):
            setattr(state.instances[name], limit, None)
    batch = busy("batch")
    batch.machines[BACKEND].lanes = 3
    set_job(batch, "queued", state=JobState.PREPARING)
    moved = batch.machines[BACKEND]
    moved.queued_count -= 1
    moved.running["queued"] = None
    batch.work["G"].queued_count -= 1
    batch.work["G"].running["queued"] = None
    batch.instances["A"].reserved_ms += 9000
    check(batch, 2000)  # all lanes used
    moved.lanes = 4
    with pytest.raises(BrokenInvariant, match=r"^P14.*other"):
        check(batch, 2000)
    moved.mode = BackendMode.PAUSED
    check(batch, 2000)


def test_a_paused_machine_still_owes_an_active_session_its_lanes() -> None:
    state = busy()
    machine = machine_of(state)
    machine.mode = BackendMode.PAUSED
    machine.lanes = 3
    with pytest.raises(BrokenInvariant, match=r"^P14.*queued"):
        check(state, 2000)
    machine.mode = BackendMode.OFFLINE
    check(state, 2000)
    set_group(state, "G", state=GroupState.PENDING_INACTIVE)
    machine.mode = BackendMode.ONLINE
    check(state, 2000)
