"""What is refused leaves nothing behind: each guard of a commit, and each check of the schema."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from conformance.stores.world import NOW, WINDOW_MS, S, World, steps
from qdwell.config import Plan
from qdwell.core.decisions import Held, Note, PutCharge, PutGroup, PutJob
from qdwell.core.group import Ending, GroupState
from qdwell.core.job import moved
from qdwell.errors import StaleWrite, StoreError
from qdwell.store import Extras, accounts


def refuse(world: World, decisions, extras: Extras | None = None, error=StaleWrite) -> None:
    """The commit fails, and the store holds what it held."""
    before = world.store.load(NOW, WINDOW_MS)
    marked = [*decisions, Note("canary", NOW, "must not be written")]
    with pytest.raises(error):
        world.store.commit(marked, NOW + 77, extras)
    assert world.store.load(NOW, WINDOW_MS) == before
    assert world.store.story("canary") == []


def submission(world: World, job) -> tuple[list[PutJob], Extras]:
    """The commit that would accept a job."""
    return [PutJob(job, None, "accepted", NOW)], Extras(details=(world.details(job),))


def test_a_job_enters_no_group_that_stopped_accepting(world: World) -> None:
    """P5: the statement that inserts a job looks at its group's flag."""
    group = world.open()
    closing = replace(group, accepting=False, ending=Ending.CLOSE)
    world.store.commit([PutGroup(closing, group.state, "closed by its user", NOW)], NOW)
    refuse(world, *submission(world, world.new_job(group=group.id)))


def test_a_job_enters_no_group_that_is_closed(world: World) -> None:
    """P5."""
    group = world.open()
    world.change(group, GroupState.CLOSED, accepting=False, closed_at=NOW + 10)
    refuse(world, *submission(world, world.new_job(group=group.id)))


def test_a_job_enters_no_group_of_another_instance(world: World) -> None:
    """S13: whose group it is, is part of the guard."""
    group = world.open()
    refuse(world, *submission(world, world.new_job(group=group.id, instance=world.b)))


def test_a_job_enters_no_group_on_another_backend(world: World) -> None:
    """J12."""
    group = world.open()
    refuse(world, *submission(world, world.new_job(group=group.id, backend="other")))


def test_a_job_enters_no_unknown_group(world: World) -> None:
    """S13."""
    refuse(world, *submission(world, world.new_job(group="nowhere")))


def test_a_job_of_an_unknown_instance_is_refused(world: World) -> None:
    """I1."""
    job = world.new_job()
    extras = Extras(details=(world.details(job),))
    stranger = replace(job, instance="crn:v1:x:x:x:x:x:x::")
    refuse(world, [PutJob(stranger, None, "accepted", NOW)], extras)


def test_a_job_id_is_taken_once(world: World) -> None:
    """J6: the same submission twice is refused the second time."""
    job = world.submit()
    refuse(world, *submission(world, replace(job, seq=99)))


def test_the_pending_limit_holds_in_the_statement(world: World) -> None:
    """L11: queued and running jobs count, ended ones do not, others' do not."""
    plans = {"default": Plan(pending_jobs_max=2)}
    accounts.apply_plans(world.store, plans)
    first, second = world.submit(), world.submit()
    world.advance(second, S.EXECUTING)
    world.submit(world.new_job(instance=world.b))
    third = world.new_job()
    refuse(world, *submission(world, third))
    world.advance(first)
    world.submit(third)
    assert world.pending() == [second.id, "job3", third.id]


def test_a_job_that_ends_makes_room_in_the_same_list(world: World) -> None:
    """C6: reports come before requests."""
    accounts.apply_plans(world.store, {"default": Plan(pending_jobs_max=1)})
    first, second = world.submit(), world.new_job()
    puts, extras = submission(world, second)
    world.store.commit([*steps(first), *puts], NOW + 6, extras)
    assert world.pending() == [second.id]


def test_several_submissions_of_one_list_count_each_other(world: World) -> None:
    """L11: a group commit does not get around the limit."""
    accounts.apply_plans(world.store, {"default": Plan(pending_jobs_max=2)})
    jobs = [world.new_job() for _ in range(3)]
    extras = Extras(details=tuple(world.details(job) for job in jobs))
    refuse(world, [PutJob(job, None, "accepted", NOW) for job in jobs], extras)


def test_a_moved_job_must_be_where_it_was_believed_to_be(world: World) -> None:
    """A second writer on an old belief loses."""
    job = world.submit()
    put = steps(job, S.PREPARING)[0]
    cancelled = moved(job, S.CANCELLED, finished_at=NOW + 1, code=5202)
    world.store.commit([PutJob(cancelled, job.state, "cancelled", NOW)], NOW)
    refuse(world, [put])


def test_an_older_attempt_writes_nothing(world: World) -> None:
    """Style 3.1: a late report has an old number."""
    job = world.advance(world.submit(), S.EXECUTED)
    late = replace(moved(job, S.POSTPROCESSING), attempt=1)
    refuse(world, [PutJob(late, S.EXECUTED, "late", NOW)])


def test_a_list_that_contradicts_itself_is_refused(world: World) -> None:
    """Each step of a job or group must begin where the one before ended."""
    job = world.submit()
    first, _, third = steps(job, S.EXECUTING)
    refuse(world, [first, third])
    group = world.open()
    changed = PutGroup(replace(group, idle_since=NOW), group.state, "a field", NOW)
    refuse(world, [changed, replace(changed, was=GroupState.ACTIVE)])


def test_a_job_decided_after_its_group_closed_in_one_list_is_refused(world: World) -> None:
    """P5, within a list as well."""
    group, job = world.open(), world.new_job(group="group1")
    closing = replace(group, accepting=False, ending=Ending.CLOSE)
    puts, extras = submission(world, job)
    refuse(world, [PutGroup(closing, group.state, "closed", NOW), *puts], extras)


def test_a_group_that_closes_later_in_the_list_takes_the_job(world: World) -> None:
    """Requests of one instant are in arrival order (C6)."""
    group, job = world.open(), world.new_job(group="group1")
    closing = replace(group, accepting=False, ending=Ending.CLOSE)
    puts, extras = submission(world, job)
    world.store.commit([*puts, PutGroup(closing, group.state, "closed", NOW)], NOW, extras)
    assert world.pending() == [job.id]


def test_a_group_is_made_used_and_closed_in_one_list(world: World) -> None:
    """The guards see each group as it stood when the job came."""
    group, job = world.new_group(), world.new_job(group="group1")
    closing = replace(group, accepting=False, ending=Ending.CLOSE)
    puts, extras = submission(world, job)
    users = {group.id: world.alice.user_id}
    world.store.commit(
        [
            PutGroup(group, None, "created", NOW),
            *puts,
            PutGroup(closing, group.state, "closed", NOW),
        ],
        NOW,
        replace(extras, group_users=users),
    )
    loaded = world.store.load(NOW, WINDOW_MS).snapshot
    assert (list(loaded.jobs), list(loaded.groups)) == ([job], [closing])


def test_a_moved_group_must_be_where_it_was_believed_to_be(world: World) -> None:
    """As for jobs."""
    group = world.open()
    world.change(group, GroupState.CLOSED, accepting=False, closed_at=NOW + 10)
    started = replace(group, started_at=NOW, activated_at=NOW, state=GroupState.ACTIVE)
    refuse(world, [PutGroup(started, group.state, "started", NOW)])


def test_a_group_never_accepts_again(world: World) -> None:
    """S32: a write that would open it again is refused."""
    group = world.open()
    closing = replace(group, accepting=False, ending=Ending.CLOSE)
    world.store.commit([PutGroup(closing, group.state, "closed by its user", NOW)], NOW)
    refuse(world, [PutGroup(group, group.state, "open again", NOW)])


def test_an_ended_charge_stays(world: World) -> None:
    """U1: what was charged once is not rewritten; the same again is no change."""
    charge = PutCharge("j:1", world.a, "qpu", Held.JOB, "j", None, NOW, NOW + 5)
    world.store.commit([charge], NOW)
    world.store.commit([charge], NOW)
    refuse(world, [replace(charge, end=NOW + 9)])
    refuse(world, [replace(charge, end=None)])


def test_an_ended_charge_is_given_back_once(world: World) -> None:
    """U8: a system error after the QPU refunds the run; what is given back is not taken again."""
    charge = PutCharge("j:1", world.a, "qpu", Held.JOB, "j", None, NOW, NOW + 5)
    world.store.commit([charge], NOW)
    world.store.commit([replace(charge, charged=False)], NOW)
    assert world.store.usage(world.a, NOW, NOW + 9) == 0
    world.store.commit([replace(charge, charged=False)], NOW)
    refuse(world, [charge])


@pytest.mark.parametrize(
    "broken",
    [
        {"finished_at": NOW},
        {"running_at": NOW},
        {"state": S.PREPARING},
        {"state": S.COMPLETED},
        {"state": S.COMPLETED, "finished_at": NOW, "code": 1},
        {"attempt": -1},
        {"execute_tries": -1},
        {"limit_ms": 0},
        {"quantum_ms": -1},
        {"state": S.PREPARING, "running_at": NOW - 1},
        {"state": S.FAILED, "running_at": NOW + 5, "finished_at": NOW + 4},
        {"state": "lost"},
    ],
    ids=str,
)
def test_the_schema_refuses_an_impossible_job(world: World, broken) -> None:
    """CHECKs of `jobs`, whoever writes."""
    job = world.new_job(**broken)
    refuse(world, *submission(world, job), error=StoreError)


@pytest.mark.parametrize(
    "broken",
    [
        {"state": GroupState.CLOSED, "accepting": False},
        {"closed_at": NOW, "accepting": False},
        {"state": GroupState.CLOSED, "closed_at": NOW},
        {"ending": Ending.CLOSE},
        {"started_at": NOW, "activated_at": NOW},
        {"state": GroupState.ACTIVE, "started_at": NOW},
        {"state": GroupState.ACTIVE, "started_at": NOW, "activated_at": NOW - 1},
        {"state": GroupState.ACTIVE, "started_at": NOW - 1, "activated_at": NOW},
        {"usage_ms": -1},
        {"mode": "solo"},
    ],
    ids=str,
)
def test_the_schema_refuses_an_impossible_group(world: World, broken) -> None:
    """CHECKs of `groups`."""
    group = world.new_group(**broken)
    extras = Extras(group_users={group.id: world.alice.user_id})
    refuse(world, [PutGroup(group, None, "created", NOW)], extras, StoreError)


def test_the_schema_refuses_a_charge_that_ends_before_it_starts(world: World) -> None:
    """P8: usage is never negative."""
    charge = PutCharge("j:1", world.a, "qpu", Held.JOB, "j", None, NOW, NOW - 1)
    refuse(world, [charge], error=StoreError)


@pytest.mark.parametrize("tags", [("x" * 1_001,), tuple(map(str, range(101)))], ids=len)
def test_the_schema_refuses_absurd_tags(world: World, tags) -> None:
    """The last bound behind the plan's own (L17)."""
    job = world.new_job()
    extras = Extras(details=(world.details(job, tags=tags),))
    refuse(world, [PutJob(job, None, "accepted", NOW)], extras, StoreError)


def test_a_new_job_needs_its_details_and_a_group_its_user(world: World) -> None:
    """Nothing is kept by halves."""
    refuse(world, [PutJob(world.new_job(), None, "accepted", NOW)], error=StoreError)
    refuse(world, [PutGroup(world.new_group(), None, "created", NOW)], error=StoreError)


def test_a_job_never_refers_to_a_blob_that_is_not_there(world: World) -> None:
    """A name alone is not a blob."""
    job = world.new_job()
    details = replace(world.details(job), params="0" * 64)
    refuse(world, [PutJob(job, None, "accepted", NOW)], Extras(details=(details,)), StoreError)


def test_racing_submissions_never_pass_the_limit(world: World) -> None:
    """P5 and L11 hold whatever the threads do."""
    accounts.apply_plans(world.store, {"default": Plan(pending_jobs_max=5)})
    jobs = [world.new_job() for _ in range(16)]
    start, outcomes = threading.Barrier(4), []

    def submit(mine) -> None:
        start.wait()
        for job in mine:
            try:
                world.submit(job)
                outcomes.append("taken")
            except StaleWrite:
                outcomes.append("refused")

    threads = [threading.Thread(target=submit, args=(jobs[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("taken"), outcomes.count("refused")) == (5, 11)
    assert len(world.pending()) == 5
