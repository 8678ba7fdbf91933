"""A laboratory's own device: one process opens it, the others only know what it is."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit

from engine.house import House, sampler, wait_gone
from qdwell.clock import stopwatch_ns
from qdwell.config import Backend
from qdwell.core.job import JobState
from qdwell.engine.workers import ForkServer, preload_for
from qdwell.errors import ProgramError
from qdwell.executors.base import Batch, Spec
from qdwell.executors.qiskit import backend_executor


def ions() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.x(0)
    circuit.cz(0, 1)
    circuit.measure([0, 1, 2], [0, 1, 2])
    return circuit


def test_one_process_opens_the_device(tmp_path: Path) -> None:
    log = tmp_path / "opened"
    row = Backend("lab", "qiskit", "machines.lab:lab", options={"log": str(log), "run_s": 0.05})
    server = ForkServer(preload_for(["qiskit"]))

    async def run() -> None:
        async with House(tmp_path / "data", server, row) as house:
            params = sampler(pubs=3, circuit=ions())
            jobs = [await house.submit(params=params) for _ in range(4)]
            twin = await house.submit(params=params, backend="mock")
            for job in (*jobs, twin):
                ended = await house.final(job)
                assert ended.job.state is JobState.COMPLETED, ended.job.reason
            assert house.engine.worker_pids(), "no classical worker took part: nothing is shown"
            assert set(map(int, log.read_text().split())) == set(house.engine.worker_pids("lab"))

    try:
        asyncio.run(run())
    finally:
        server.close()


@pytest.mark.parametrize(("factory", "came"), [("Short", 99), ("Uncounted", 0)])
def test_shots_that_are_missing_fail_the_job_by_their_number(factory: str, came: int) -> None:
    """E28: they were zeros without a word, or NumPy's complaint about shapes."""
    spec = Spec("lab", "qiskit", target=f"machines.lab:{factory}")
    device = backend_executor(spec)
    batch = Batch((device.fit(ions()),), (np.empty(0),), 100)
    with pytest.raises(ProgramError, match=f"asked for 100 shots .* gave {came}") as failed:
        device.run(batch)
    assert failed.value.code == 5203
    unmeasured = Batch((device.fit(QuantumCircuit(3, 3)),), (np.empty(0),), 100)
    if factory == "Uncounted":
        assert not device.run(unmeasured).samples[0].bits.any()


def test_a_stopped_run_holds_the_device_no_longer_than_it_runs() -> None:
    """Qiskit's own wait looks every five seconds, and the next job's turn would wait as long."""
    device = backend_executor(Spec("lab", "qiskit", target="machines.lab:Plain"))
    device.acquire()
    device.backend.run_s = 60.0
    run = device.start(Batch((device.fit(ions()),), (np.empty(0),), 100))
    began = stopwatch_ns()
    device.stop(run)
    assert stopwatch_ns() - began < 3e9


def test_a_device_that_dies_takes_along_what_it_has_forked(tmp_path: Path) -> None:
    """A process of its control software keeps its socket open, and would keep the hardware.

    The device's death is seen, its helper is ended before the next process opens the device, and
    the next one's helper ends with the fork server, which lives no longer than the server.
    """
    helpers = tmp_path / "helpers"
    options = {"helpers": str(helpers), "run_s": 60.0}
    row = Backend("lab", "qiskit", "machines.lab:with_helper", options=options)
    server = ForkServer(preload_for(["qiskit"]))

    async def run() -> None:
        async with House(tmp_path / "data", server, row) as house:
            job = await house.submit(params=sampler(circuit=ions()))
            await house.reaches(job, "executing")
            dead = await house.machine_pid()
            house.kill_machine()
            ended = await house.final(job)
            assert (ended.job.state, ended.job.code) == (JobState.FAILED, 5203)
            assert await house.machine_pid() != dead
            first = int(helpers.read_text().split()[0])
            assert await asyncio.to_thread(wait_gone, first)

    try:
        asyncio.run(run())
        second = int(helpers.read_text().split()[1])
        assert wait_gone(second)
    finally:
        server.close()


def test_a_dead_server_leaves_no_process_of_a_lab(tmp_path: Path) -> None:
    """It was killed: the fork server notices, and ends the device's whole group."""
    helpers = tmp_path / "helpers"
    server = ForkServer(preload_for(["qiskit"]))

    async def run() -> None:
        spec = Spec(
            "lab", "qiskit", target="machines.lab:with_helper", options={"helpers": str(helpers)}
        )
        heard = asyncio.Event()
        role = {"spec": asdict(spec)}
        worker = await server.worker(role, lambda *_: heard.set(), lambda _: None)
        worker._leads_group = False  # a server that was killed ends no group itself
        await asyncio.wait_for(heard.wait(), 60)
        assert server._door is not None
        server._door.close()  # as the kernel does when the server is killed
        assert await asyncio.to_thread(wait_gone, int(helpers.read_text()))
        await asyncio.wait_for(worker.ended.wait(), 60)

    try:
        asyncio.run(run())
    finally:
        server.close()
