"""What a site does not keep for ever goes by itself, and nothing else does (J30, J32, L19)."""

from __future__ import annotations

import pytest

from conformance.stores.world import DAY_MS, NOW, World
from qdwell.config import Retention
from qdwell.core.decisions import Held, PutCharge
from qdwell.store import deletion
from qdwell.store.doctor import examine
from qdwell.store.ledger import ledger
from qdwell.store.people import People

END = NOW + 6  # of the world's finished jobs
LARGE = b"l" * 200_000  # a file of its own


def lines(world: World) -> list[tuple[str, dict[str, int]]]:
    """The audit log's lines about retention, oldest first."""
    found = People(world.store, "test", NOW, ()).audit()[::-1]
    return [(it["subject"], it["detail"]) for it in found if it["actor"] == "server"]


def files(world: World) -> list[str]:
    """The large blobs on the shelf."""
    there = world.store.blobs.shelf.keys()
    return [key for key in there if key[0] != "."]


def findings(world: World) -> list[str]:
    """What the doctor finds wrong with jobs and blobs; the test's PostgreSQL has fsync off."""
    found = [it for it in examine(world.store) if it.where.startswith(("job", "blob"))]
    return [f"{it.where}: {it.what}" for it in found]


def test_without_a_setting_everything_stays(world: World) -> None:
    """J32: kept until its user deletes it."""
    job = world.finished(result=LARGE)
    retired = world.store.retire(END + 36_500 * DAY_MS, Retention())
    assert (retired.jobs, retired.results) == (0, 0)
    assert world.store.read_result(world.a, job.id) == LARGE
    assert lines(world) == []


def test_results_go_after_their_days_and_the_job_stays(world: World) -> None:
    """J32: at the first sweep after the day; the record, its tags, log, and story stay."""
    old = world.submit(params=LARGE, tags=("mine",))
    interim = ((old.id, 0, world.store.blobs.stage(b"i")),)
    result = world.store.blobs.stage(b"r" * 200_000)
    world.advance(old, results={old.id: result}, interim=interim, logs={old.id: "log"})
    live = world.submit(params=LARGE)
    kept = Retention(results_days=7)
    assert world.store.retire(END + 7 * DAY_MS, kept).results == 0
    assert world.store.retire(END + 7 * DAY_MS + 1, kept).results == 1
    assert world.store.read_result(world.a, old.id) is None
    assert world.store.params(world.a, old.id) is None
    assert world.store.interim_results(world.a, old.id) == []
    row = world.store.job(world.a, old.id)
    assert row is not None
    assert (row.job.state, row.details.tags) == ("completed", ("mine",))
    assert world.store.logs(world.a, old.id) == "log"
    assert world.store.story(old.id)[-1].cause == deletion.ERASED
    assert world.store.params(world.a, live.id) == LARGE, "a live job refers to the same blob"
    assert len(files(world)) == 1
    assert lines(world) == [("results", {"jobs": 1, "older_than_days": 7})]
    assert world.store.retire(END + 8 * DAY_MS, kept).results == 0, "only once"
    assert findings(world) == []


@pytest.mark.parametrize("mode", ["job", "session"])
def test_jobs_go_as_a_whole_and_their_usage_stays(world: World, mode: str) -> None:
    """J30: what was charged is charged; the ledger tells the same as before."""
    group = world.open().id if mode == "session" else None
    job = world.submit(world.new_job(group=group))
    world.advance(job, results={job.id: world.store.blobs.stage(LARGE)})
    kind = Held.SESSION if group else Held.JOB
    whose = None if group else job.id
    charge = PutCharge("c", world.a, "qpu", kind, whose, group, NOW + 3, NOW + 5, charged=True)
    world.store.commit([charge], NOW + 6)
    before = [it.entry for it in ledger(world.store, world.a, NOW, NOW + 1_000)]
    other = world.submit()
    kept = Retention(jobs_days=30)
    assert world.store.retire(END + 30 * DAY_MS, kept).jobs == 0
    assert world.store.retire(END + 30 * DAY_MS + 1, kept).jobs == 1
    assert world.store.job(world.a, job.id) is None
    assert world.store.job(world.a, other.id) is not None
    assert world.store.usage(world.a, NOW, NOW + 1_000) == 2
    assert [it.entry for it in ledger(world.store, world.a, NOW, NOW + 1_000)] == before
    assert files(world) == []
    assert lines(world) == [("jobs", {"jobs": 1, "older_than_days": 30})]


def test_many_go_in_small_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write in between: no transaction deletes more than a few."""
    monkeypatch.setattr(deletion, "AT_ONCE", 3)
    for _ in range(7):
        world.finished()
    assert world.store.retire(END + 2 * DAY_MS, Retention(1, 1)).jobs == 7
    assert [detail["jobs"] for _, detail in lines(world)] == [3, 3, 1]
    assert world.store.jobs(world.a) == ([], 0)


def test_a_result_deleted_while_it_is_read_is_not_there(world: World) -> None:
    """A reader who had found the name of a blob is told as one who comes later."""
    job = world.finished(result=LARGE)
    find = world.store._find_blob  # type: ignore[attr-defined]

    def slow(*what: object) -> object:
        found = find(*what)
        world.store.retire(END + 3 * DAY_MS, Retention(results_days=1))
        world.store.blobs._cache.clear()
        return found

    world.store._find_blob = slow  # type: ignore[attr-defined]
    assert world.store.read_result(world.a, job.id) is None
