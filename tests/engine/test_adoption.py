"""Devices whose runs outlive us: adopted after any death, never begun again (J5, J20, U8, C8)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qiskit.circuit.library import Measure
from qiskit.providers import BackendV2, JobStatus, Options
from qiskit.transpiler import Target

from engine.house import House, sampler, scripted
from qdwell.errors import StoreUnavailable
from qdwell.executors import base
from qdwell.executors.base import RunStatus
from qdwell.executors.qiskit import BackendExecutor
from qdwell.store.records import DeviceRun
from qdwell.wire.device import Batch

Make = Callable[..., House]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the device keeps its runs."""
    return tmp_path / "device"


def lasting(folder: Path, run_ms: int, *, repeatable: bool = False) -> Any:
    return scripted(run_ms=run_ms, runs=str(folder), repeatable=repeatable)


def begun(folder: Path) -> int:
    """How many runs the device was asked for, ever."""
    return len(list(folder.glob("*.json")))


async def known_runs(it: House, job: Any, count: int) -> list[DeviceRun]:
    """The journal of a job's first attempt, once it has so many handles."""
    while True:
        found = it.store.device_runs(job.id, 1)
        if sum(run.handle is not None for run in found) >= count:
            return found
        await it.engine._loop.turned.wait()


async def left_running(it: House, count: int, **changes: Any) -> tuple[Any, list[DeviceRun]]:
    """Submit a job, and let the process die when so many of its runs have begun."""
    async with it:
        job = await it.submit(**changes)
        await it.reaches(job, "executing")
        return job, await known_runs(it, job, count)


async def test_restart_in_a_run_that_goes_on(house: Make, folder: Path) -> None:
    """J5, C8: the run of a dead server is adopted; its downtime is not paid for."""
    job, _ = await left_running(house(lasting(folder, 1_500)), 1)
    async with house(lasting(folder, 1_500)) as it:
        row = await it.final(job)
        assert (row.job.state, row.job.attempt, row.job.execute_tries) == ("completed", 1, 1)
        assert begun(folder) == 1
        assert any("adopted" in line for line in it.story(job.id))
        assert it.engine.usage_ms(it.crn) == row.job.quantum_ms <= 1_600
        assert it.result(job)


async def test_restart_between_two_runs(house: Make, folder: Path) -> None:
    """J5: of a job with three PUBs, the runs that were begun are asked for, the others begun."""
    job, _ = await left_running(house(lasting(folder, 600)), 2, params=sampler(pubs=3))
    async with house(lasting(folder, 600)) as it:
        row = await it.final(job)
        assert row.job.state == "completed"
        assert begun(folder) == 3
        assert [run.n for run in it.store.device_runs(job.id, 1)] == [0, 1, 2]
        assert len(it.result(job)["__value__"]["pub_results"]) == 3


async def test_an_adopted_job_pays_only_for_its_runs(house: Make, folder: Path) -> None:
    """U1, C8: not for our downtime, and not for its wait until its next run's begin is stored."""
    job, (run,) = await left_running(house(lasting(folder, 600)), 1, params=sampler(pubs=2))
    assert run.idle_ms is not None
    async with house(lasting(folder, 600)) as it:
        commit = it.store.commit
        until: list[int] = []

        def deaf(decisions: Any, now: int, extras: Any = None) -> None:
            if extras is not None and any(run.handle is None for run in extras.runs):
                until[:] = until or [now + 2_500]
                if now < until[0]:
                    raise StoreUnavailable("not now")
            commit(decisions, now, extras)

        it.store.commit = deaf  # type: ignore[method-assign]
        row = await it.final(job)
        (kept,) = {run.idle_ms is None for run in it.store.device_runs(job.id, 1)}
        took = row.job.executed_at - row.job.executing_at - row.job.downtime_ms
        assert (row.job.state, begun(folder), kept) == ("completed", 2, False)
        assert row.job.quantum_ms < 2_400 < took, "two runs of 0.6 s, and a wait of 2.5 s"


@pytest.mark.parametrize("repeatable", [True, False])
async def test_run_that_nobody_can_name(house: Make, folder: Path, *, repeatable: bool) -> None:
    """J5, U8: dead between a run's beginning and its handle's storing: never again, never paid."""
    first = house(lasting(folder, 300, repeatable=repeatable))
    async with first:
        commit = first.store.commit

        def deaf(decisions: Any, now: int, extras: Any = None) -> None:
            if extras is not None and extras.runs:
                raise StoreUnavailable("dead before the handle is stored")
            commit(decisions, now, extras)

        first.store.commit = deaf  # type: ignore[method-assign]
        job = await first.submit()
        await first.reaches(job, "executing")
        while not begun(folder):
            await first.engine._loop.turned.wait()
    async with house(lasting(folder, 300, repeatable=repeatable)) as it:
        row = await it.final(job)
        assert it.row(job).job.state == ("completed" if repeatable else "failed")
        assert begun(folder) == (2 if repeatable else 1)
        assert it.engine.usage_ms(it.crn) == row.job.quantum_ms
        assert repeatable or (row.job.code, row.job.quantum_ms) == (5203, 0)


async def test_the_devices_process_dies_in_a_run(house: Make, folder: Path) -> None:
    """J5: the next process asks for the run; the job does not notice."""
    async with house(lasting(folder, 1_000)) as it:
        job = await it.submit()
        await it.reaches(job, "executing")
        await known_runs(it, job, 1)
        it.kill_machine()
        row = await it.final(job)
        assert (row.job.state, row.job.attempt) == ("completed", 1)
        assert begun(folder) == 1


async def test_the_device_has_forgotten(house: Make, folder: Path) -> None:
    """J5: a run that the device does not know any more is lost: failed, and not charged."""
    job, _ = await left_running(house(lasting(folder, 60_000)), 1)
    shutil.rmtree(folder)
    async with house(lasting(folder, 60_000)) as it:
        row = await it.final(job)
        assert (row.job.state, row.job.code, row.job.quantum_ms) == ("failed", 5203, 0)
        assert begun(folder) == 0


async def test_cancelled_and_dead(house: Make, folder: Path) -> None:
    """J20, C4: a run that was told to stop by a server that died is stopped by the next one."""
    first = house(lasting(folder, 60_000))
    async with first:
        job = await first.submit()
        await first.reaches(job, "executing")
        (run,) = await known_runs(first, job, 1)
        for pid in first.engine.worker_pids(first.backend):
            os.kill(pid, signal.SIGSTOP)  # the stop does not reach the device
        await first.engine.cancel_job(first.crn, job.id)
    async with house(lasting(folder, 60_000)) as it:
        following = await it.submit()
        await it.reaches(following, "executing")
        assert b'"stopped":true' in (folder / f"{run.handle}.json").read_bytes()


async def test_cancelled_before_the_device_is_asked(house: Make, folder: Path) -> None:
    """J18, J20: a job that is cancelled while its runs are looked up begins no further one."""
    two = sampler(pubs=2)
    job, (run,) = await left_running(house(lasting(folder, 60_000)), 1, params=two)
    second = house(lasting(folder, 60_000))
    look_up, asked, cancelled = second.engine._shelf.device_runs, asyncio.Event(), asyncio.Event()

    async def late(*which: Any) -> list[DeviceRun]:
        asked.set()
        await cancelled.wait()
        return await look_up(*which)

    second.engine._shelf.device_runs = late  # type: ignore[method-assign]
    async with second:
        await asyncio.wait_for(asked.wait(), 30)
        await second.engine.cancel_job(second.crn, job.id)
        cancelled.set()
        await second.reaches(await second.submit(), "executing")
        assert job.id not in second.engine._actions.runs
        assert b'"stopped":true' in (folder / f"{run.handle}.json").read_bytes()


async def test_cancelled_while_its_run_is_taken_up(house: Make, folder: Path) -> None:
    """J18, J20: no worker has it yet, but the device still does it, and is told to stop."""
    job, (run,) = await left_running(house(lasting(folder, 60_000)), 1)
    second = house(lasting(folder, 60_000))
    load, loads = second.engine._actions.dispatch.load, asyncio.Event()

    def never(taken: Any, then: Any) -> None:
        if taken.job == job.id:
            loads.set()
        else:
            load(taken, then)

    second.engine._actions.dispatch.load = never  # type: ignore[method-assign]
    async with second:
        await asyncio.wait_for(loads.wait(), 30)
        await second.engine.cancel_job(second.crn, job.id)
        await second.reaches(await second.submit(), "executing")
        assert b'"stopped":true' in (folder / f"{run.handle}.json").read_bytes()


class Cloud:
    """A provider's side of things: jobs by id, whoever asks."""

    jobs: dict[str, Any] = {}

    class Job:
        def __init__(self, name: str, count: int, shots: int) -> None:
            self.name, self.count, self.shots = name, count, shots
            self.done = threading.Event()

        def job_id(self) -> str:
            return self.name

        def status(self) -> JobStatus:
            return JobStatus.DONE if self.done.is_set() else JobStatus.RUNNING

        def cancel(self) -> None:
            self.done.set()

        def wait_for_final_state(self) -> None:
            self.done.wait()

        def result(self) -> Any:
            data = type("Data", (), {"memory": ["0x1"] * self.shots})
            entry = type("Entry", (), {"data": data})
            return type("Result", (), {"results": [entry] * self.count})


class CloudBackend(BackendV2):
    """A backend whose provider finds old jobs."""

    def __init__(self, *, retrieves: bool = True) -> None:
        super().__init__(name="cloud")
        self._target = Target(num_qubits=1)
        self._target.add_instruction(Measure(), {(0,): None})
        if retrieves:
            self.retrieve_job = Cloud.jobs.__getitem__

    @property
    def target(self) -> Target:
        return self._target

    @property
    def max_circuits(self) -> int:
        return 2

    @classmethod
    def _default_options(cls) -> Options:
        return Options(shots=1, memory=True)

    def run(self, run_input: Any, **options: Any) -> Any:
        name = f"c{len(Cloud.jobs)}"
        Cloud.jobs[name] = Cloud.Job(name, len(run_input), options["shots"])
        return Cloud.jobs[name]


def test_any_backend_whose_provider_retrieves_jobs() -> None:
    """J5: `BackendV2` with `retrieve_job`: its own job ids are the handle, several as one."""
    from qiskit import QuantumCircuit

    circuit = base.fitted(QuantumCircuit(1, 1))
    batch = Batch((circuit,) * 3, ((),) * 3, shots=5)  # type: ignore[arg-type]
    handle = BackendExecutor("cloud", CloudBackend()).start(batch)
    assert handle == "c0+c1"
    later = BackendExecutor("cloud", CloudBackend())
    assert later.outlives
    assert later.adopt("c0+nobody", batch) is RunStatus.UNKNOWN
    assert later.adopt(handle, batch) is RunStatus.RUNNING
    for job in Cloud.jobs.values():
        job.done.set()
    assert later.status(handle) is RunStatus.DONE
    assert [len(it.bits) for it in later.result(handle).samples] == [5, 5, 5]
    another = BackendExecutor("cloud", CloudBackend())
    handle = another.start(batch)
    BackendExecutor("cloud", CloudBackend()).stop(handle)
    assert another.status(handle) is RunStatus.DONE
    assert not BackendExecutor("cloud", CloudBackend(retrieves=False)).outlives


async def test_a_run_begins_only_when_its_beginning_is_stored(house: Make, folder: Path) -> None:
    """J5: while the store refuses, the second run of a job waits; then it goes on, once."""
    async with house(lasting(folder, 50)) as it:
        commit, refused = it.store.commit, asyncio.Event()
        loop = asyncio.get_running_loop()

        def picky(decisions: Any, now: int, extras: Any = None) -> None:
            begins = extras is not None and any(run.handle is None for run in extras.runs)
            if begins and not refused.is_set():
                loop.call_soon_threadsafe(refused.set)
                raise StoreUnavailable("not now")
            commit(decisions, now, extras)

        it.store.commit = picky  # type: ignore[method-assign]
        job = await it.submit(params=sampler(pubs=2))
        await asyncio.wait_for(refused.wait(), 30)
        assert begun(folder) == 1
        assert (await it.final(job)).job.state == "completed"
        assert begun(folder) == 2
