"""A job's way through the engine: states, results, bills, and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import orjson
import pytest

from engine.house import House, sampler, scripted
from qdwell.config import Plan
from qdwell.core.events import BackendMode
from qdwell.core.group import Mode
from qdwell.engine import actions, inputs
from qdwell.engine.pools import Task
from qdwell.engine.runs import STAGES
from qdwell.errors import (
    BackendOffline,
    JobIsFinal,
    PendingLimit,
    SessionClosed,
    UnknownBackend,
    UnknownJob,
    UnknownSession,
    WrongBackend,
)

Make = Callable[..., House]
STEPS = [
    "submitted",
    "lane granted",
    "prepared",
    "QPU granted",
    "left the QPU",
    "post-processing",
    "result stored",
]


async def test_small_job_costs_two_commits(house: Make) -> None:
    """A job alone on a machine is stored twice: when it is accepted, and when it is finished."""
    async with house() as it:
        commits = 0
        commit = it.store.commit

        def counted(*args: object) -> None:
            nonlocal commits
            commits += 1
            commit(*args)  # type: ignore[arg-type]

        it.store.commit = counted  # type: ignore[method-assign, assignment]
        row = await it.final(await it.submit())
        assert row.job.state == "completed"
        assert commits == 2
        assert it.story(row.job.id) == STEPS


async def test_stages_in_several_processes_tell_the_same_story(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large job goes through three processes; its story, facts, and result are the same."""
    async with house() as it:
        small = await it.final(await it.submit(params=sampler(pubs=3)))
        monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
        large = await it.final(await it.submit(params=sampler(pubs=3)))
        assert it.story(large.job.id) == it.story(small.job.id) == STEPS
        assert large.facts is not None
        assert small.facts is not None
        assert large.facts.executions == small.facts.executions == 30
        assert set(large.facts.timings) == {"prepare", "execute", "device", "postprocess"}
        assert it.result(large.job)["__type__"] == "PrimitiveResult"
        for row in (small, large):
            interim = it.store.interim_results(it.crn, row.job.id)
            assert [n for n, _ in interim] == [0, 1, 2]


@pytest.mark.parametrize("bound", ["KEPT_INPUT_BYTES_MAX", "KEPT_BYTES_MAX"])
async def test_an_input_that_memory_has_no_room_for_is_read_from_the_store(
    house: Make, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """A large input, or one too many, waits on disk; its job runs as any other."""
    monkeypatch.setattr(inputs, bound, 100)
    async with house() as it:
        row = await it.final(await it.submit())
        assert (row.job.state, row.job.reason) == ("completed", None)
        assert it.story(row.job.id) == STEPS


async def test_a_result_may_come_with_an_interim_one_for_each_of_very_many_pubs(
    house: Make,
) -> None:
    """Mitigated results are made at the end (R5): all PUBs' interim results come with the last."""
    params = orjson.loads(sampler(pubs=100))
    params["options"] = {"twirling": {"enable_measure": True}}
    async with house() as it:
        row = await it.final(await it.submit(params=orjson.dumps(params)))
        assert (row.job.state, row.job.reason) == ("completed", None)
        interim = it.store.interim_results(it.crn, row.job.id)
        assert [n for n, _ in interim] == list(range(100))


async def test_only_a_job_alone_takes_the_short_way(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another job at work on the machine, preparation goes to a classical worker (S21)."""
    async with house(scripted(run_ms=300)) as it:
        first = await it.submit()
        await it.reaches(first, "executing")
        ways: list[list[str]] = []
        for pool in (it.engine._classical, it.engine._stations["machine"].pool):
            monkeypatch.setattr(pool, "submit", _noting(pool.submit, ways))
        second = await it.submit()
        assert (await it.final(second)).job.state == "completed"
        third = await it.submit()
        assert (await it.final(third)).job.state == "completed"
        assert ways == [["prepare"], ["execute"], ["postprocess"], list(STAGES)]


async def test_two_at_once_both_go_the_long_way(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two jobs that start together neither may run ahead of the core's grants."""
    async with house() as it:
        ways: list[list[str]] = []
        monkeypatch.setattr(
            it.engine._classical, "submit", _noting(it.engine._classical.submit, ways)
        )
        await it.engine.set_backend_mode("machine", BackendMode.PAUSED)
        jobs = [await it.submit() for _ in range(2)]
        await it.engine.set_backend_mode("machine", BackendMode.ONLINE)
        assert {(await it.final(job)).job.state for job in jobs} == {"completed"}
        assert ways.count(["prepare"]) == 2


def _noting(submit: Callable[[Task], None], ways: list[list[str]]) -> Callable[[Task], None]:
    def noted(task: Task) -> None:
        ways.append(task.head["stages"])
        submit(task)

    return noted


async def test_quantum_time_is_measured_and_charged(house: Make) -> None:
    """The bill of a job is its time on the device, not that of its preparation (U1)."""
    async with house(scripted(run_ms=40)) as it:
        row = await it.final(await it.submit())
        assert 40 <= row.job.quantum_ms < 400
        assert it.engine.usage_ms(it.crn) == row.job.quantum_ms


async def test_jobs_side_by_side_all_finish(house: Make) -> None:
    """More jobs than lanes: all finish, one at a time on the device, the queue is counted."""
    async with house(scripted(lanes=2, run_ms=5)) as it:
        jobs = await asyncio.gather(*(it.submit() for _ in range(8)))
        rows = [await it.final(job) for job in jobs]
        assert {row.job.state for row in rows} == {"completed"}
        times = sorted((row.job.executing_at, row.job.executed_at) for row in rows)
        assert all(end <= start for (_, end), (start, _) in pairwise(times))
        view = it.engine.backend("machine")
        assert view is not None
        assert view.queue_length == 0
        assert it.engine.pending(it.crn) == 0


async def test_submissions_that_wait_share_a_commit(house: Make) -> None:
    """A crowd of submissions is decided and stored together."""
    async with house(scripted(run_ms=10_000)) as it:
        await it.engine.set_backend_mode("machine", BackendMode.PAUSED, "test")
        sizes = []
        commit = it.store.commit

        def noted(decisions: list[object], *args: object) -> None:
            sizes.append(len(decisions))
            commit(decisions, *args)  # type: ignore[arg-type]

        it.store.commit = noted  # type: ignore[method-assign, assignment]
        jobs = await asyncio.gather(*(it.submit() for _ in range(50)))
        assert len(sizes) <= 3
        assert [it.row(job).job.state for job in jobs] == ["queued"] * 50
        assert [job.seq for job in jobs] == sorted({job.seq for job in jobs})


async def test_fault_of_a_circuit_fails_the_job_with_its_code(house: Make) -> None:
    """Input that cannot be prepared ends the job as failed, with a code and what to do (J10)."""
    async with house() as it:
        bad = b'{"pubs": [["OPENQASM 3.0; nonsense", null, 10]], "version": 2}'
        row = await it.final(await it.submit(params=bad))
        assert (row.job.state, row.job.code) == ("failed", 1603)
        assert row.job.reason
        assert it.store.logs(it.crn, row.job.id)


async def test_device_failure_fails_the_job(house: Make) -> None:
    """A run that the device fails is the end of its job (E28)."""
    async with house(scripted(fail_rate=1.0)) as it:
        row = await it.final(await it.submit())
        assert (row.job.state, row.job.code) == ("failed", 5203)


async def test_simulator_has_no_queue(house: Make) -> None:
    """On a simulator every job is RUNNING at once, whatever its pool can do (C5)."""
    async with house(scripted(simulator=True, run_ms=50)) as it:
        jobs = [await it.submit() for _ in range(6)]
        view = it.engine.backend("machine")
        assert view is not None
        assert view.queue_length == 0
        rows = [await it.final(job) for job in jobs]
        assert {row.job.state for row in rows} == {"completed"}
        assert it.engine.usage_ms(it.crn) == 0


async def test_log_holds_what_its_level_asks_for(house: Make) -> None:
    """A job that asks for INFO finds its stages in its log; one that does not has no log (J31)."""
    async with house() as it:
        quiet = await it.final(await it.submit())
        loud = await it.final(await it.submit(log_level="INFO"))
        assert it.store.logs(it.crn, quiet.job.id) is None
        text = it.store.logs(it.crn, loud.job.id) or ""
        assert [line.split()[2] for line in text.splitlines()] == [
            "prepare:",
            "execute:",
            "postprocess:",
        ]


async def test_session_cache_counts_are_kept(house: Make) -> None:
    """The second job of a session finds its circuit prepared; that is known ever after (S37)."""
    async with house() as it:
        group = await it.session()
        params = sampler()
        for _ in range(3):
            await it.final(await it.submit(group=group.id, params=params))
        hits, misses = it.store.cache_counts(group.id)
        assert hits >= 2
        assert misses >= 1
        await it.engine.close_group(it.crn, group.id)
        assert it.engine.live_group(group.id) is None
        assert it.store.cache_counts(group.id) == (hits, misses)
        await it.final(await it.submit(params=params))
        assert it.store.cache_counts(group.id) == (hits, misses)


async def test_refusals_are_the_errors_of_the_table(house: Make) -> None:
    """What the core refuses reaches the user as the error of its row, and leaves nothing behind."""
    rows = (scripted(), scripted("other"))
    async with house(*rows, plans={"default": Plan(pending_jobs_max=1)}) as it:
        group = await it.session()
        await it.engine.set_backend_mode("machine", BackendMode.PAUSED, "test")
        with pytest.raises(UnknownBackend):
            await it.submit(backend="none")
        with pytest.raises(UnknownSession):
            await it.submit(group="none")
        with pytest.raises(WrongBackend):
            await it.submit(group=group.id, backend="other")
        await it.submit()
        with pytest.raises(PendingLimit):
            await it.submit()
        await it.engine.close_group(it.crn, group.id)
        with pytest.raises(SessionClosed):
            await it.submit(group=group.id)
        await it.engine.set_backend_mode("other", BackendMode.OFFLINE, "service")
        with pytest.raises(BackendOffline):
            await it.submit(backend="other")
        assert it.store.jobs(it.crn)[1] == 1


async def test_a_stranger_can_touch_nothing(house: Make) -> None:
    """Another instance's job and session are answered like unknown ones (I1)."""
    async with house(scripted(run_ms=10_000)) as it:
        job = await it.submit()
        group = await it.session(Mode.BATCH)
        with pytest.raises(UnknownJob):
            await it.engine.cancel_job("crn:else", job.id)
        with pytest.raises(UnknownSession):
            await it.engine.cancel_group("crn:else", group.id)
        assert it.engine.live_job(job.id) is not None
        assert it.engine.live_group(group.id) is not None


async def test_cancel_of_a_final_job_is_refused(house: Make) -> None:
    """A job that has ended cannot be cancelled (J22)."""
    async with house() as it:
        row = await it.final(await it.submit())
        with pytest.raises(JobIsFinal):
            await it.engine.cancel_job(it.crn, row.job.id)
        with pytest.raises(UnknownJob):
            await it.engine.cancel_job(it.crn, "none")


async def test_accounts_made_beside_the_server_are_known(house: Make) -> None:
    """An account that another process made may submit at once."""
    from qdwell.store import accounts

    async with house() as it:
        made = accounts.create_account(it.store, "late", "default", it.clock.now())
        job = await it.submit(instance=made.instance_crn, user_id=made.user_id)
        await it.engine.wait_final(job.id, it.clock.now() + 30_000)
        found = it.store.job(made.instance_crn, job.id)
        assert found is not None
        assert found.job.state == "completed"
