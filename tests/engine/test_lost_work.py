"""Workers that die, runs that are stopped, and a server that comes back: J5, J14, J20, C8."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.house import House, pass_time, sampler, scripted, wait_gone
from qdwell.clock import ManualClock
from qdwell.config import Retention
from qdwell.core.events import JobExecuted, JobPostprocessed
from qdwell.core.job import TRIES_MAX
from qdwell.engine import actions, dispatch, inputs
from qdwell.engine.inbox import Item
from qdwell.engine.pools import TaskState
from qdwell.engine.runs import Findings
from qdwell.errors import StoreUnavailable

Make = Callable[..., House]
LONG = 60_000  # ms; a run that takes this long never ends within a test


async def test_device_process_killed_in_a_run(house: Make) -> None:
    """A repeatable run whose process dies is done again; only the run that counted is paid."""
    async with house(scripted(run_ms=400)) as it:
        job = await it.submit()
        await it.reaches(job, "executing")
        before = await it.machine_pid()
        it.kill_machine()
        row = await it.final(job)
        assert row.job.state == "completed"
        assert row.job.attempt == 2
        assert "run lost, again" in it.story(job.id)
        assert row.job.quantum_ms < 800
        assert it.engine.usage_ms(it.crn) == row.job.quantum_ms
        assert await it.machine_pid() != before


async def test_device_process_that_always_dies(house: Make) -> None:
    """After three attempts the job fails with 5203, is not charged, and the next job runs (J5)."""
    async with house(scripted(lose_rate=1.0)) as it:
        row = await it.final(await it.submit())
        assert (row.job.state, row.job.code) == ("failed", 5203)
        assert row.job.execute_tries == TRIES_MAX
        assert it.engine.usage_ms(it.crn) == 0
        assert it.engine.pending(it.crn) == 0
        machine = it.engine._machine("machine")
        assert machine is not None
        assert machine.lease is None


async def test_lost_run_of_a_real_device_fails(house: Make) -> None:
    """A run that must not be repeated is not: the job fails with 5203 and pays nothing (J5)."""
    async with house(scripted(run_ms=LONG, repeatable=False)) as it:
        job = await it.submit()
        await it.reaches(job, "executing")
        it.kill_machine()
        row = await it.final(job)
        assert (row.job.state, row.job.code, row.job.quantum_ms) == ("failed", 5203, 0)


async def test_real_device_is_leased_on_disk_before_it_is_touched(house: Make) -> None:
    """A device whose runs cannot be repeated sees a job only when its lease is stored."""
    async with house(scripted(run_ms=5, repeatable=False)) as it:
        job = await it.submit()
        leased: list[bool] = []
        submit = it.engine._stations["machine"].pool.submit

        def noted(task: object) -> None:
            leased.append(it.row(job).job.state == "executing")
            submit(task)  # type: ignore[arg-type]

        it.engine._stations["machine"].pool.submit = noted  # type: ignore[method-assign]
        row = await it.final(job)
        assert row.job.state == "completed"
        assert leased == [True]


@pytest.mark.parametrize("stage", ["prepare", "postprocess"])
async def test_classical_worker_killed(
    house: Make, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """A classical worker that dies in a stage costs that stage a second attempt, nothing else."""
    monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    async with house() as it:
        warm = await it.final(await it.submit())
        assert warm.job.state == "completed"
        pids = set(it.engine.worker_pids())
        classical = it.engine._classical
        submit = classical.submit
        killed = []

        def deadly(task: object) -> None:
            """Hand the first task of the stage to workers that stand still, and kill them."""
            head = task.head  # type: ignore[attr-defined]
            if killed or head["stages"] != [stage]:
                submit(task)  # type: ignore[arg-type]
                return
            for pid in it.engine.worker_pids():
                os.kill(pid, signal.SIGSTOP)
            submit(task)  # type: ignore[arg-type]
            for pid in it.engine.worker_pids():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        monkeypatch.setattr(classical, "submit", deadly)
        row = await it.final(await it.submit())
        assert killed
        assert row.job.state == "completed"
        assert row.job.attempt == 2
        tries = {"prepare": row.job.prepare_tries, "postprocess": row.job.postprocess_tries}
        assert tries[stage] == 2
        assert row.job.execute_tries == 1
        assert not pids & set(it.engine.worker_pids())


@pytest.mark.parametrize("repeatable", [True, False])
async def test_cancel_in_the_qpu(house: Make, *, repeatable: bool) -> None:
    """Cancelled in a run: final at once; the next job gets the device when the run has stopped."""
    async with house(scripted(run_ms=LONG, repeatable=repeatable)) as it:
        job = await it.submit()
        await it.reaches(job, "executing")
        before = await it.machine_pid()
        await it.engine.cancel_job(it.crn, job.id)
        row = it.row(job)
        assert (row.job.state, row.job.code) == ("cancelled", 5202)
        following = await it.submit()
        await it.reaches(following, "executing")
        # A model's process is killed; a real device is asked to stop, and keeps its process.
        assert (await it.machine_pid() == before) is not repeatable


async def test_reports_of_a_cancelled_job_leave_nothing(house: Make) -> None:
    """What a worker says after the cancel is dropped, noted, and nothing of it is stored (J5)."""
    async with house(scripted(run_ms=LONG)) as it:
        job = await it.submit(private=True)
        live = await it.reaches(job, "executing")
        await it.engine.cancel_job(it.crn, job.id)
        found = Findings(
            results={job.id: b"{}"},
            raw={job.id: b"raw"},
            interim=[(job.id, 0, b"{}")],
            logs={job.id: "late\n"},
        )
        for report in (JobExecuted, JobPostprocessed):
            it.engine._inbox.post(Item(it.clock.now(), report(job.id, live.attempt), found))
        async with asyncio.timeout(30):
            while not any("came late" in line for line in it.story(job.id)):
                await it.engine._loop.turned.wait()
        assert it.store.read_result(it.crn, job.id) is None
        assert it.store.interim_results(it.crn, job.id) == []
        assert it.store.logs(it.crn, job.id) is None


async def test_ran_too_long(house: Make) -> None:
    """A run is stopped when it has used its limit, and pays exactly the limit (J14, T8)."""
    async with house(scripted(run_ms=LONG)) as it:
        row = await it.final(await it.submit(limit_ms=150, limit_asked=True))
        assert (row.job.state, row.job.code) == ("cancelled", 1305)
        assert row.job.quantum_ms == 150
        following = await it.submit()
        await it.reaches(following, "executing")


async def test_simulator_job_stopped_at_its_limit(house: Make) -> None:
    """On a simulator the limit counts from the start of the work (J15); its worker is replaced."""
    async with house(scripted(simulator=True, run_ms=LONG)) as it:
        row = await it.final(await it.submit(limit_ms=150, limit_asked=True))
        assert (row.job.state, row.job.code) == ("cancelled", 1305)
        assert row.job.quantum_ms == 0


async def test_cancelled_session_frees_the_machine(house: Make) -> None:
    """Cancelling a session takes what waits; the job in the QPU ends, then others run (S29)."""
    async with house(scripted(run_ms=100)) as it:
        group = await it.session()
        jobs = [await it.submit(group=group.id) for _ in range(3)]
        other = await it.submit()
        await it.reaches(jobs[0], "executing")
        await it.engine.cancel_group(it.crn, group.id)
        states = [(await it.final(job)).job.state for job in (*jobs, other)]
        assert states == ["completed", "cancelled", "cancelled", "completed"]


async def test_restart_in_a_run(house: Make) -> None:
    """A server that dies in a run does it again after its return, and bills that alone (J5)."""
    first = house(scripted(run_ms=300))
    async with first:
        jobs = [await first.submit() for _ in range(2)]
        await first.reaches(jobs[0], "executing")
    async with house(scripted(run_ms=300)) as it:
        rows = [await it.final(job) for job in jobs]
        assert [row.job.state for row in rows] == ["completed"] * 2
        assert rows[0].job.attempt == 2
        assert it.engine.usage_ms(it.crn) == sum(row.job.quantum_ms for row in rows)


async def test_restart_of_a_real_device_in_a_run(house: Make) -> None:
    """After a restart nobody knows what became of the run: the job fails, others go on (J5)."""
    first = house(scripted(run_ms=100, repeatable=False))
    async with first:
        jobs = [await first.submit() for _ in range(2)]
        await first.reaches(jobs[0], "executing")
    async with house(scripted(run_ms=100, repeatable=False)) as it:
        rows = [await it.final(job) for job in jobs]
        assert [row.job.state for row in rows] == ["failed", "completed"]
        assert rows[0].job.code == 5203


async def test_restart_before_post_processing(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw data is stored before a job counts as executed: the QPU is not used twice (J5)."""
    monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(actions.Actions, "_postprocess", lambda *_: None)
    first = house()
    async with first:
        job = await first.submit()
        await first.reaches(job, "postprocessing")
    monkeypatch.undo()
    async with house() as it:
        row = await it.final(job)
        assert row.job.state == "completed"
        assert (row.job.execute_tries, row.job.postprocess_tries) == (1, 2)


async def test_session_deadline_passes_while_the_server_is_down(house: Make) -> None:
    """A session whose idle time ran out during an outage is inactive since its deadline (C8)."""
    clock = ManualClock(1_767_225_600_000)
    first = house(clock=clock)
    async with first:
        group = await first.session()
        await first.final(await first.submit(group=group.id))
    ended = clock.now()
    clock.advance(100_000)
    async with house(clock=clock) as it:
        live = it.engine.live_group(group.id)
        assert live is not None
        assert live.state == "inactive"
        assert ("inactive", ended + 60_000) in it.store.group_timestamps(group.id)


async def test_idle_session_deactivates_by_itself(house: Make) -> None:
    """No event is needed: the loop wakes at the deadline that the core gave it."""
    clock = ManualClock(1_767_225_600_000)
    async with house(clock=clock) as it:
        group = await it.session()
        await it.final(await it.submit(group=group.id))
        async with asyncio.timeout(10):
            while (live := it.engine.live_group(group.id)) and live.state != "inactive":
                await pass_time(clock)
        assert live is not None
        assert live.usage_ms == 60_000


async def test_stop_leaves_the_queue(house: Make) -> None:
    """A stopped server leaves what waits in the store, and the next one runs it."""
    first = house(scripted(run_ms=50, lanes=1))
    await first.engine.start()
    await first.engine.ready()
    jobs = [await first.submit() for _ in range(4)]
    await first.engine.stop(5_000)
    first.store.close()
    async with house(scripted(run_ms=50, lanes=1)) as it:
        assert [(await it.final(job)).job.state for job in jobs] == ["completed"] * 4


@pytest.mark.parametrize("kept_bytes", [0, inputs.KEPT_INPUT_BYTES_MAX])
async def test_stop_finishes_the_running_job(
    house: Make, monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    """A job in the QPU ends with its result, also if its input must be read for its last stage;
    what is queued waits for the next start.
    """
    monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(inputs, "KEPT_INPUT_BYTES_MAX", kept_bytes)
    first = house(scripted(run_ms=400, lanes=1))
    await first.engine.start()
    await first.engine.ready()
    running, queued = [await first.submit() for _ in range(2)]
    await first.reaches(running, "executing")
    await first.engine.stop(20_000)
    assert first.row(running).job.state == "completed"
    assert not first.row(queued).job.final
    with pytest.raises(StoreUnavailable):
        await first.submit()
    first.store.close()


async def test_interim_results_are_swept_at_run_time(house: Make) -> None:
    """J32: two days after a job's end, within the hour, and with no restart."""
    clock = ManualClock(1_767_225_600_000)
    async with house(clock=clock) as it:
        job = await it.submit(params=sampler(pubs=2))
        await it.final(job)
        assert it.store.interim_results(it.crn, job.id)
        async with asyncio.timeout(30):
            while it.store.interim_results(it.crn, job.id):
                await pass_time(clock, 1_800_000)
        assert it.store.read_result(it.crn, job.id)


async def test_old_jobs_are_deleted_at_run_time(house: Make) -> None:
    """J32: by the setting, within the hour, and with no restart; usage stays (J30)."""
    clock = ManualClock(1_767_225_600_000)
    async with house(clock=clock, retention=Retention(results_days=1, jobs_days=20)) as it:
        job = await it.submit()
        await it.final(job)
        # The clock runs beside the thread that deletes: the second date is far behind the first.
        async with asyncio.timeout(100):
            while it.store.read_result(it.crn, job.id):
                await pass_time(clock, 1_800_000)
            assert "input and results deleted" in it.story(job.id)
            while it.store.job(it.crn, job.id):
                await pass_time(clock, 7_200_000)


def test_worker_dies_with_the_server(tmp_path: Path) -> None:
    """kill -9 of the server leaves no process behind, not even one in the middle of a run."""
    script = f"""
import asyncio, sys
from pathlib import Path
from engine.house import House, scripted
from qdwell.engine.workers import ForkServer
async def main():
    server = ForkServer(("qdwell.engine.child",))
    async with House(Path({str(tmp_path / "data")!r}), server, scripted(run_ms={LONG})) as it:
        job = await it.submit()
        await it.reaches(job, "executing")
        print(await it.machine_pid(), server._process.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])},
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        lines = iter(process.stdout.readline, "")
        pids = next(line for line in lines if line[:1].isdigit() and "[" not in line).split()
    process.kill()
    process.wait()
    assert all([wait_gone(int(pid)) for pid in pids])  # noqa: C419 - each one is looked at


async def test_unwanted_preparation_is_stopped(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job cancelled while a worker prepares it ends that work, and the worker is free again."""
    monkeypatch.setattr(actions, "INLINE_BYTES_MAX", 0)
    monkeypatch.setattr(dispatch, "STOP_GRACE_S", 0)
    async with house() as it:
        await it.final(await it.submit())
        for pid in it.engine.worker_pids():
            os.kill(pid, signal.SIGSTOP)  # so it prepares for ever
        job = await it.submit()
        await it.begun(job)
        task = it.engine._actions.runs[job.id].task
        assert task is not None
        assert task.state is TaskState.WORKING
        await it.engine.cancel_job(it.crn, job.id)
        following = await it.final(await it.submit())
        assert following.job.state == "completed"
