"""What users are shown: lists, filters, tags, privacy, deletion, usage, and nothing of others."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace

import pytest

from conformance.stores.world import DAY_MS, NOW, WINDOW_MS, S, World
from qdwell.core.decisions import Held, PutCharge, PutJob
from qdwell.core.group import Ending, GroupState, Mode
from qdwell.core.job import moved
from qdwell.errors import JobNotFinal, UnknownJob
from qdwell.store import Extras


def name_of(content: bytes) -> str:
    """What a blob of this content is called."""
    return hashlib.sha256(content).hexdigest()


def ids(found) -> list[str]:
    """Ids of a page of jobs."""
    rows, count = found
    assert count == len(rows)
    return [row.job.id for row in rows]


def test_nothing_of_another_instance_is_ever_found(world: World) -> None:
    """I1, S13: a foreign id is answered exactly like an unknown one, by every read and write."""
    stage = world.store.blobs.stage
    group = world.open()
    job = world.submit(world.new_job(group=group.id), tags=("mine",))
    world.advance(
        job,
        results={job.id: stage(b"r")},
        logs={job.id: "log"},
        interim=((job.id, 0, stage(b"i")),),
    )
    solo = world.finished(tags=("mine",))
    live = world.advance(world.submit(), S.EXECUTED)
    world.store.commit([], NOW, Extras(raw={live.id: stage(b"raw")}))
    charge = PutCharge("c", world.a, "qpu", Held.JOB, job.id, None, NOW, NOW + 5)
    world.store.commit([charge], NOW)
    store = world.store

    def seen(instance: str) -> list[object]:
        return [
            store.job(instance, job.id) is not None,
            store.params(instance, job.id),
            store.raw(instance, live.id),
            store.read_result(instance, job.id),
            store.logs(instance, job.id),
            store.interim_results(instance, job.id),
            store.group(instance, group.id) is not None,
            store.jobs(instance)[1],
            store.jobs(instance, group=group.id)[1],
            store.jobs(instance, tags=("mine",))[1],
            store.jobs(instance, search=job.id)[1],
            store.groups(instance)[1],
            store.workloads(instance, now=NOW)[1],
            store.usage(instance, NOW, NOW + DAY_MS),
        ]

    empty = [False, None, None, None, None, [], False, 0, 0, 0, 0, 0, 0, 0]
    mine = [True, b"{}", b"raw", b"r", "log", [(0, b"i")], True, 3, 1, 2, 1, 1, 3, 5]
    for stranger in (world.b, "crn:v1:nobody", "", "%"):
        assert seen(stranger) == empty
        assert store.set_tags(stranger, job.id, ()) is False
        with pytest.raises(UnknownJob):
            store.delete_job(stranger, solo.id)
    assert seen(world.a) == mine


def test_jobs_are_listed_newest_first_by_pages_with_an_exact_count(world: World) -> None:
    """J26, J27: the client stops when it has `count` jobs, so the count must be exact."""
    made = [world.submit().id for _ in range(7)]
    store = world.store
    first, count = store.jobs(world.a, limit=3)
    last, count_again = store.jobs(world.a, limit=3, offset=6)
    assert [row.job.id for row in (*first, *last)] == [*made[:3:-1], made[0]]
    assert count == count_again == 7
    assert ids(store.jobs(world.a, ascending=True)) == made
    assert store.jobs(world.a, limit=3, offset=9) == ([], 7)


def test_each_filter_of_the_job_list(world: World) -> None:
    """J26."""
    group = world.open()
    here = world.submit(world.new_job(group=group.id, created=NOW + 10), tags=("red", "big"))
    there = world.submit(world.new_job(backend="other", created=NOW + 20), tags=("red",))
    other = world.submit(world.new_job(created=NOW + 30), program_id="estimator")
    done = world.advance(world.submit(world.new_job(created=NOW)))
    cases = [
        ({"backend": "other"}, [there.id]),
        ({"program": "estimator"}, [other.id]),
        ({"pending": False}, [done.id]),
        ({"pending": True}, [other.id, there.id, here.id]),
        ({"group": group.id}, [here.id]),
        ({"tags": ("red",)}, [there.id, here.id]),
        ({"tags": ("red", "big")}, [here.id]),
        ({"tags": ("re",)}, []),
        ({"created_after": NOW + 20}, [other.id, there.id]),
        ({"created_before": NOW + 10}, [done.id, here.id]),
    ]
    for asked, found in cases:
        assert ids(world.store.jobs(world.a, **asked)) == found, asked
    assert ids(world.store.jobs(world.a, group="unknown")) == []
    assert ids(world.store.jobs(world.a, tags=("red",), pending=True, backend="qpu")) == [here.id]


def test_search_finds_ids_and_parts_of_tags(world: World) -> None:
    """J28: letters inside a tag, in either case; wildcards are letters as any other."""
    job = world.submit(tags=("VQE run_1", "50%"))
    world.submit(tags=("vqd runs1",))
    store = world.store
    for words in (job.id, "vqe", "E RUN_1", "0%"):
        assert ids(store.jobs(world.a, search=words)) == [job.id], words
    assert ids(store.jobs(world.a, search=job.id[:-1])) == []
    assert len(ids(store.jobs(world.a, search="vq"))) == 2


def test_many_jobs_keep_each_their_tags(world: World) -> None:
    """The tags of a page are read together and given back apart."""
    made = [world.submit(tags=(f"b{n}", f"a{n}")) for n in range(5)]
    rows, _ = world.store.jobs(world.a, ascending=True)
    assert [row.details.tags for row in rows] == [(f"b{n}", f"a{n}") for n in range(len(made))]


def test_tags_are_replaced_as_a_whole(world: World) -> None:
    """J28: order kept, each once; an empty list clears."""
    job = world.submit(tags=("x", "y"))

    def tags() -> tuple[str, ...]:
        row = world.store.job(world.a, job.id)
        assert row is not None
        return row.details.tags

    assert world.store.set_tags(world.a, job.id, ["z", "x", "z"])
    assert tags() == ("z", "x")
    assert world.store.set_tags(world.a, job.id, [])
    assert tags() == ()
    assert world.store.set_tags(world.a, "unknown", ["z"]) is False


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_private_job_gives_its_result_once(world: World, size: int) -> None:
    """J29: inputs are erased at the end, the result when it is read; the tags stay."""
    stage = world.store.blobs.stage
    params, result, raw = (letter * size for letter in (b"p", b"r", b"w"))
    job = world.submit(params=params, private=True, tags=("secret",))
    assert world.store.params(world.a, job.id) == params
    names = {"raw": {job.id: stage(raw)}, "results": {job.id: stage(result)}}
    world.advance(job, interim=((job.id, 0, stage(b"early" * size)),), **names)
    row = world.store.job(world.a, job.id)
    assert row is not None
    assert (row.params_erased, row.result_erased) == (True, False)
    assert world.store.params(world.a, job.id) is None
    assert world.store.interim_results(world.a, job.id) == []
    assert world.store.read_result(world.a, job.id) == result
    assert world.store.read_result(world.a, job.id) is None
    row = world.store.job(world.a, job.id)
    assert row is not None
    assert (row.result_erased, row.details.tags) == (True, ("secret",))
    for content in (params, result, raw, b"early" * size):
        assert not world.store.blobs.has(name_of(content))


def test_of_many_readers_of_a_private_result_one_gets_it(world: World) -> None:
    """J29: once is once, also for readers at the same moment."""
    job = world.finished(result=b"secret", private=True)
    start, got = threading.Barrier(8), []

    def read() -> None:
        start.wait()
        got.append(world.store.read_result(world.a, job.id))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=bool) == [None] * 7 + [b"secret"]


def test_a_job_that_is_not_private_keeps_all(world: World) -> None:
    """J32: results and metadata without a limit."""
    job = world.finished(params=b"in", result=b"out")
    for _ in range(2):
        assert world.store.read_result(world.a, job.id) == b"out"
        assert world.store.params(world.a, job.id) == b"in"


def test_a_private_job_takes_no_content_that_another_job_shares(world: World) -> None:
    """Erasing is by reference: equal content of another job stays."""
    private = world.finished(params=b"same", result=b"same too", private=True)
    public = world.finished(params=b"same", result=b"same too")
    assert world.store.read_result(world.a, private.id) == b"same too"
    assert world.store.read_result(world.a, private.id) is None
    assert world.store.read_result(world.a, public.id) == b"same too"
    assert world.store.params(world.a, public.id) == b"same"


@pytest.mark.parametrize("size", [10, 200_000])
def test_deletion_takes_all_but_usage_and_shared_content(world: World, size: int) -> None:
    """J30: later reads find nothing; what was charged stays; a shared blob stays with the other."""
    shared, own = b"s" * size, b"o" * size
    job, other = world.finished(shared, own, tags=("t",)), world.finished(params=shared)
    charge = PutCharge("c", world.a, "qpu", Held.JOB, job.id, None, NOW, NOW + 5)
    world.store.commit([charge], NOW, Extras(logs={job.id: "log"}))
    world.store.delete_job(world.a, job.id)
    store = world.store
    assert store.job(world.a, job.id) is None
    assert (store.params(world.a, job.id), store.read_result(world.a, job.id)) == (None, None)
    assert (store.logs(world.a, job.id), store.story(job.id)) == (None, [])
    assert ids(store.jobs(world.a)) == [other.id]
    assert store.jobs(world.a, tags=("t",))[1] == 0
    assert store.usage(world.a, NOW, NOW + 10) == 5
    assert store.params(world.a, other.id) == shared
    assert not store.blobs.has(name_of(own))
    store.delete_job(world.a, other.id)
    assert not store.blobs.has(name_of(shared))


def test_only_a_job_that_has_ended_is_deleted(world: World) -> None:
    """E21, E19."""
    job = world.advance(world.submit(), S.EXECUTED)
    with pytest.raises(JobNotFinal):
        world.store.delete_job(world.a, job.id)
    assert world.pending() == [job.id]
    with pytest.raises(UnknownJob):
        world.store.delete_job(world.a, "unknown")


def test_a_large_blob_deleted_while_staged_again_is_written_again(world: World) -> None:
    """Whoever refers to a blob last makes sure that it is there."""
    content = b"x" * 200_000
    old, new = world.finished(params=content), world.new_job()
    details = world.details(new, params=content)
    world.store.delete_job(world.a, old.id)
    world.store.commit([PutJob(new, None, "accepted", NOW)], NOW, Extras(details=(details,)))
    assert world.store.params(world.a, new.id) == content


def test_groups_are_listed_by_state_and_backend(world: World) -> None:
    """Newest first, with an exact count."""
    first, second = world.open(), world.open(world.new_group(backend="other"))
    world.change(first, GroupState.CLOSED, accepting=False, closed_at=NOW + 10)
    store = world.store
    assert [row.group.id for row in store.groups(world.a)[0]] == [second.id, first.id]
    assert store.groups(world.a, limit=1, offset=1)[1] == 2
    assert store.groups(world.a, states=[GroupState.CLOSED])[0][0].group.id == first.id
    assert store.groups(world.a, backend="other")[0][0].group.id == second.id


def ended(world: World, ending: Ending) -> str:
    """A group that has ended in some way."""
    group = world.open()
    closing = replace(group, accepting=False, ending=ending)
    world.change(closing, GroupState.CLOSED, closed_at=NOW + 9)
    return group.id


def test_workloads_are_jobs_sessions_and_batches_in_one_list(world: World) -> None:
    """I14: a group's jobs are in its row, and each status has its word."""
    session, batch = world.open(), world.open(world.new_group(mode=Mode.BATCH))
    world.submit(world.new_job(group=session.id))
    times = {"started_at": NOW, "activated_at": NOW, "charging_since": NOW, "usage_ms": 100}
    world.change(session, GroupState.ACTIVE, **times)
    closed = [ended(world, how) for how in (Ending.CLOSE, Ending.MAX_TTL, Ending.UNUSED)]
    canceled = ended(world, Ending.CANCEL)
    queued, running = world.submit(tags=("t",)), world.advance(world.submit(), S.READY)
    done, lost, stopped = world.finished(), world.submit(), world.submit()
    for job, state in ((lost, S.FAILED), (stopped, S.CANCELLED)):
        final = moved(job, state, code=5202, finished_at=NOW + 9)
        world.store.commit([PutJob(final, job.state, "ended", NOW)], NOW)
    rows, count = world.store.workloads(world.a, now=NOW + 50, limit=50, ascending=True)
    assert [(row.id, row.mode, row.status) for row in rows] == [
        (session.id, "session", "in_progress"),
        (batch.id, "batch", "pending"),
        *((name, "session", "completed") for name in closed),
        (canceled, "session", "canceled"),
        (queued.id, "job", "pending"),
        (running.id, "job", "in_progress"),
        (done.id, "job", "completed"),
        (lost.id, "job", "failed"),
        (stopped.id, "job", "canceled"),
    ]
    assert count == len(rows)
    by_id = {row.id: row for row in rows}
    assert (by_id[session.id].usage_ms, by_id[session.id].accepting_jobs) == (150, True)
    assert (by_id[done.id].usage_ms, by_id[done.id].accepting_jobs) == (2, None)
    assert (by_id[canceled].ended, by_id[canceled].accepting_jobs) == (NOW + 9, False)
    assert (by_id[queued.id].tags, by_id[queued.id].ended) == (("t",), None)
    page, again = world.store.workloads(world.a, now=NOW, limit=3, offset=4)
    assert ([row.id for row in page], again) == ([row.id for row in rows[-5:-8:-1]], count)


def test_each_filter_of_the_workload_list(world: World) -> None:
    """I14."""
    session = world.open(world.new_group(created=NOW + 10))
    batch = world.open(world.new_group(mode=Mode.BATCH, backend="other", created=NOW + 20))
    job = world.submit(world.new_job(created=NOW + 30), tags=("red",))
    (owner,) = {row.user_id for row in world.store.workloads(world.a, now=NOW)[0]}
    cases = [
        ({"mode": "session"}, [session.id]),
        ({"mode": "batch"}, [batch.id]),
        ({"mode": "job"}, [job.id]),
        ({"statuses": ("failed",)}, []),
        ({"statuses": ("failed", "pending")}, [job.id, batch.id, session.id]),
        ({"statuses": ("pending",)}, [job.id, batch.id, session.id]),
        ({"backend": "other"}, [batch.id]),
        ({"tags": ("red",)}, [job.id]),
        ({"search": "RE"}, [job.id]),
        ({"search": session.id}, [session.id]),
        ({"created_after": NOW + 20}, [job.id, batch.id]),
        ({"created_before": NOW + 20}, [batch.id, session.id]),
        ({"user": owner}, [job.id, batch.id, session.id]),
        ({"user": "somebody else"}, []),
    ]
    for asked, found in cases:
        rows, count = world.store.workloads(world.a, now=NOW, **asked)
        assert ([row.id for row in rows], count) == (found, len(found)), asked


def test_usage_is_the_part_of_each_charge_inside_the_asked_time(world: World) -> None:
    """U7, I4: system time is not owed, an open charge runs to the end."""

    def charge(name: str, start: int, end: int | None, charged: bool = True) -> PutCharge:
        return PutCharge(name, world.a, "qpu", Held.JOB, name, None, start, end, charged)

    world.store.commit(
        [
            charge("before", NOW - 50, NOW),
            charge("into", NOW - 50, NOW + 10),
            charge("inside", NOW + 20, NOW + 25),
            charge("system", NOW + 30, NOW + 40, charged=False),
            charge("out-of", NOW + 90, NOW + 200),
            charge("after", NOW + 100, NOW + 200),
            charge("open", NOW + 70, None),
        ],
        NOW,
    )
    assert world.store.usage(world.a, NOW, NOW + 100) == 10 + 5 + 10 + 30
    assert world.store.usage(world.b, NOW, NOW + 100) == 0


def test_interim_results_go_two_days_after_the_end(world: World) -> None:
    """J32; the result stays, and so do interim results of what still runs."""
    stage = world.store.blobs.stage
    job, live = world.submit(), world.submit()
    interim = ((job.id, 0, stage(b"i" * 200_000)), (live.id, 0, stage(b"live")))
    world.advance(job, results={job.id: stage(b"result")}, interim=interim)
    end = NOW + 6
    assert world.store.sweep(end + 2 * DAY_MS) == 0
    assert len(world.store.interim_results(world.a, job.id)) == 1
    assert world.store.sweep(end + 2 * DAY_MS + 1) == 1
    assert world.store.interim_results(world.a, job.id) == []
    assert world.store.read_result(world.a, job.id) == b"result"
    assert len(world.store.interim_results(world.a, live.id)) == 1
    assert len(world.store.load(NOW, WINDOW_MS).snapshot.jobs) == 1
