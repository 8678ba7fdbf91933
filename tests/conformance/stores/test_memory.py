"""What was committed is there again, exactly: after a commit, after a restart, after many steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.stores.world import DAY_MS, NOW, WINDOW_MS, S, World, steps
from qdwell.core.decisions import (
    ForgetGroup,
    Held,
    Note,
    PutBackendState,
    PutCharge,
    PutGroup,
    Refusal,
    Refuse,
)
from qdwell.core.events import BackendMode
from qdwell.core.group import Ending, Group, GroupState, Mode
from qdwell.core.job import FINAL, JobState
from qdwell.store import Extras, JobFacts

INSTANTS = st.integers(NOW, NOW + DAY_MS)
SPANS = st.integers(0, 2**53)
WORDS = st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
TWICE = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, object]:
    """The fields of any job that the rules allow."""
    state = draw(st.sampled_from(JobState))
    started = state is not S.QUEUED and (state not in FINAL or draw(st.booleans()))
    code = st.none() | st.integers(1, 9_999)
    return {
        "state": state,
        "limit_ms": draw(st.integers(1, 2**53)),
        "limit_asked": draw(st.booleans()),
        "estimate_ms": draw(SPANS),
        "attempt": draw(st.integers(0, 9)),
        "prepare_tries": draw(st.integers(0, 3)),
        "execute_tries": draw(st.integers(0, 3)),
        "postprocess_tries": draw(st.integers(0, 3)),
        "running_at": draw(INSTANTS) if started else None,
        "ready_at": draw(st.none() | INSTANTS),
        "executing_at": draw(st.none() | INSTANTS),
        "executed_at": draw(st.none() | INSTANTS),
        "finished_at": NOW + 2 * DAY_MS if state in FINAL else None,
        "quantum_ms": draw(SPANS),
        "downtime_ms": draw(SPANS),
        "code": draw(code) if state in {S.FAILED, S.CANCELLED} else None,
        "reason": draw(WORDS),
        "solution": draw(WORDS),
    }


@st.composite
def groups(draw: st.DrawFn) -> dict[str, object]:
    """The fields of any group that the rules allow."""
    state = draw(st.sampled_from(GroupState))
    over = state in {GroupState.CLOSED, GroupState.PENDING_CLOSED}
    ending = draw(st.sampled_from(Ending)) if over else None
    started = state is not GroupState.OPEN and draw(st.booleans())
    return {
        "mode": draw(st.sampled_from(Mode)),
        "interactive_ttl_ms": draw(SPANS),
        "max_ttl_ms": draw(st.none() | SPANS),
        "max_ttl_cap_ms": draw(SPANS),
        "active_ttl_ms": draw(st.none() | SPANS),
        "state": state,
        "accepting": not over and draw(st.booleans()),
        "ending": ending,
        "idle_since": draw(st.none() | INSTANTS),
        "started_at": NOW + 1 if started else None,
        "activated_at": NOW + 2 if started else None,
        "charging_since": draw(st.none() | INSTANTS),
        "closed_at": NOW + 3 if state is GroupState.CLOSED else None,
        "last_job_started": draw(st.none() | INSTANTS),
        "last_job_completed": draw(st.none() | INSTANTS),
        "usage_ms": draw(SPANS),
    }


@TWICE
@given(fields=jobs(), tags=st.lists(st.text("abc ü", max_size=5), max_size=8))
def test_any_job_comes_back_as_it_went(world: World, fields, tags) -> None:
    """Record to row to record, over every state and field."""
    job = world.submit(world.new_job(**fields), tags=tuple(tags), log_level="INFO", cost_s=7)
    row = world.store.job(world.a, job.id)
    assert row is not None
    assert row.job == job
    described = (row.details.tags, row.details.log_level, row.details.cost_s)
    assert described == (tuple(dict.fromkeys(tags)), "INFO", 7)


@TWICE
@given(fields=groups())
def test_any_group_comes_back_as_it_went(world: World, fields) -> None:
    """Record to row to record, over every state and field."""
    group = world.open(world.new_group(**fields))
    row = world.store.group(world.a, group.id)
    assert row is not None
    assert (row.group, row.user_id) == (group, world.alice.user_id)


def test_a_restart_finds_live_work_in_its_order(world: World, reopen) -> None:
    """P6: nothing accepted is lost; what has ended is not loaded."""
    group = world.open()
    closed = world.open()
    world.change(closed, GroupState.CLOSED, accepting=False, closed_at=NOW + 10)
    late, ended = world.new_job(), world.submit()
    early = world.advance(world.submit(), S.EXECUTED)
    world.advance(ended)
    world.submit(late)
    world.store.touch(NOW + 500)
    again = reopen()
    loaded = again.load(NOW, WINDOW_MS)
    again.close()
    assert list(loaded.snapshot.jobs) == [late, early]
    assert list(loaded.snapshot.groups) == [group]
    assert (loaded.next_seq, loaded.alive_at) == (world.seq + 1, NOW + 500)


def test_an_empty_store_starts_at_one(world: World) -> None:
    """The first `seq`, and nobody has been alive yet."""
    loaded = world.store.load(NOW, WINDOW_MS)
    assert (loaded.next_seq, loaded.alive_at, list(loaded.snapshot.jobs)) == (1, None, [])


def test_a_deleted_job_gives_its_number_to_nobody(world: World) -> None:
    """`seq` breaks ties, so it is never used twice."""
    job = world.finished()
    world.store.delete_job(world.a, job.id)
    assert world.store.load(NOW, WINDOW_MS).next_seq == job.seq + 1


def test_the_state_of_a_backend_is_kept(world: World) -> None:
    """Mode, lease, reservation, and lock survive; the last word counts."""
    first = PutBackendState(
        "qpu", BackendMode.PAUSED, "tea", "job1", 2, NOW, True, "group1", "group2", NOW
    )
    last = PutBackendState("qpu", BackendMode.ONLINE, "", None, None, None, False, None, None, NOW)
    world.store.commit([first], NOW)
    assert list(world.store.load(NOW, WINDOW_MS).snapshot.backends) == [first]
    world.store.commit([first, last], NOW)
    assert list(world.store.load(NOW, WINDOW_MS).snapshot.backends) == [last]


def test_charges_of_the_window_are_loaded(world: World) -> None:
    """Q8: charged ones, open or ended inside (now - W, now]."""

    def charge(name: str, start: int, end: int | None, charged: bool = True) -> PutCharge:
        return PutCharge(name, world.a, "qpu", Held.JOB, name, None, start, end, charged)

    edge = NOW - WINDOW_MS
    kept = [charge("over-the-edge", edge - 9, edge + 1), charge("open", NOW - 5, None)]
    gone = [charge("old", edge - 9, edge), charge("system", NOW - 9, NOW, charged=False)]
    world.store.commit([*kept, *gone], NOW)
    assert list(world.store.load(NOW, WINDOW_MS).snapshot.charges) == kept


def test_a_charge_opens_and_ends_under_one_id(world: World) -> None:
    """One interval, written twice; an empty one may open again in the same millisecond."""
    opened = PutCharge("g:1", world.a, "qpu", Held.SESSION, None, "g", NOW, None)
    for step in (opened, replace(opened, end=NOW), opened, replace(opened, end=NOW + 7)):
        world.store.commit([step], NOW)
    assert world.store.load(NOW, WINDOW_MS).snapshot.charges[0].end == NOW + 7


def test_the_story_has_every_step_of_one_list(world: World) -> None:
    """One UPDATE for the row, one line for each move."""
    job = world.submit()
    world.advance(job)
    story = world.store.story(job.id)
    moves = [(line.before, line.after) for line in story]
    states = [None, *(put.was for put in steps(job)), S.COMPLETED]
    assert moves == list(pairwise(states))
    assert [line.attempt for line in story] == [0, 1, 1, 2, 2, 3, 3]
    assert story[0].cause == "accepted"


def test_notes_are_told_in_their_place(world: World) -> None:
    """A late report that was dropped leaves a line and no change."""
    job = world.submit()
    world.store.commit([Note(job.id, NOW + 1, "late report dropped")], NOW + 1)
    last = world.store.story(job.id)[-1]
    assert (last.at, last.what, last.cause) == (NOW + 1, "note", "late report dropped")
    assert (last.before, last.after, last.attempt) == (None, None, None)


def test_a_groups_story_tells_moves_and_its_ending_once(world: World) -> None:
    """A change of a mere field is no line, but that it stops accepting is one."""
    group = world.open()
    active = world.change(group, GroupState.ACTIVE, started_at=NOW, activated_at=NOW)
    for field in ({"idle_since": NOW}, {"accepting": False, "ending": Ending.CLOSE}, {}):
        active = replace(active, **field, last_job_started=NOW)
        world.store.commit([PutGroup(active, active.state, "a field", NOW)], NOW)
    world.change(active, GroupState.CLOSED, closed_at=NOW + 20)
    moves = [(line.before, line.after) for line in world.store.story(group.id)]
    assert moves == [(None, "open"), ("open", "active"), ("active",) * 2, ("active", "closed")]


def test_the_timestamps_of_a_group_are_its_reported_states(world: World) -> None:
    """S11, S9: the two pending states show as active, so they are no change."""
    group = world.open()
    moves: list[tuple[GroupState, dict[str, object]]] = [
        (GroupState.ACTIVE, {"started_at": NOW, "activated_at": NOW}),
        (GroupState.PENDING_INACTIVE, {}),
        (GroupState.INACTIVE, {}),
        (GroupState.ACTIVE, {}),
        (GroupState.PENDING_CLOSED, {"accepting": False, "ending": Ending.CANCEL}),
        (GroupState.CLOSED, {"closed_at": NOW + 60}),
    ]
    now: Group = group
    for n, (state, changes) in enumerate(moves):
        now = world.change(now, state, NOW + 10 * n, **changes)
    assert world.store.group_timestamps(group.id) == [
        ("open", NOW),
        ("active", NOW),
        ("inactive", NOW + 20),
        ("active", NOW + 30),
        ("closed", NOW + 50),
    ]


def test_facts_logs_and_interim_results_come_back(world: World) -> None:
    """What goes with a commit, and in which words."""
    job = world.submit()
    facts = JobFacts(4096, 2, (5, 7), (11, 13), 2_000, "2.6.2", {"prepare": 1.5})
    stage = world.store.blobs.stage
    interim = ((job.id, 1, stage(b"second")), (job.id, 0, stage(b"first")))
    world.advance(job, S.READY, facts={job.id: facts}, logs={job.id: "one\n"}, interim=interim)
    world.store.commit([], NOW, Extras(logs={job.id: "two\n"}))
    row = world.store.job(world.a, job.id)
    assert row is not None
    assert row.facts == facts
    assert world.store.logs(world.a, job.id) == "one\ntwo\n"
    assert world.store.interim_results(world.a, job.id) == [(0, b"first"), (1, b"second")]


def test_raw_data_lives_until_the_job_has_ended(world: World) -> None:
    """J5: post-processing can be done again from it; after the end nobody needs it."""
    job = world.submit()
    name = world.store.blobs.stage(b"counts")
    executed = world.advance(job, S.EXECUTED, raw={job.id: name})
    assert world.store.raw(world.a, job.id) == b"counts"
    world.advance(executed)
    assert world.store.raw(world.a, job.id) is None
    assert not world.store.blobs.has(name)


def test_actions_and_refusals_are_not_the_stores(world: World) -> None:
    """They are the engine's; the store writes nothing for them but that it is alive."""
    world.store.commit(
        [ForgetGroup("g", "qpu"), Refuse(Refusal.UNKNOWN_JOB, "job9")], NOW + 3, Extras()
    )
    loaded = world.store.load(NOW, WINDOW_MS)
    assert (loaded.alive_at, list(loaded.snapshot.jobs)) == (NOW + 3, [])
