"""A thousand jobs of one process: a connection for requests, one for waiting, and restarts.

The last long run, on 2026-11-21 on two busy cores: 20 of 20 runs in 779 s, no wake-up lost.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
from qiskit import QuantumCircuit

from client.running import QUICK, Running
from qdwell import QiskitRuntimeService, SamplerV2
from qdwell.client.transport import Transport

CROWD = 1_000


async def check_crowd(
    service: QiskitRuntimeService, circuit: QuantumCircuit, running: Running
) -> None:
    """Submit and await a crowd; the server is restarted while it is waited for."""
    sampler = SamplerV2(mode=service.backend("quick_machine"))
    before = threading.active_count()
    jobs = await asyncio.gather(*(sampler.run_async([circuit], shots=1) for _ in range(CROWD)))
    waiting = [asyncio.ensure_future(job.result_async(timeout=150)) for job in jobs]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(restart, running)
    results = await asyncio.gather(*waiting)
    assert sum(result[0].data.meas.num_shots for result in results) == CROWD
    assert threading.active_count() <= before + 3  # the watcher, the sender, the one that restarted
    assert isinstance(service.link.transport, Transport)
    assert len(service.link.transport._idle) <= 2


def check_one_by_one(
    service: QiskitRuntimeService, circuit: QuantumCircuit, running: Running, count: int
) -> None:
    """Submit many and await them in one thread; the server is restarted when the first has come."""
    sampler = SamplerV2(mode=service.backend("quick_machine"))
    before = threading.active_count()
    jobs = [sampler.run([circuit], shots=1) for _ in range(count)]
    restarting = threading.Thread(target=restart, args=(running,))
    shots = 0
    for job in jobs:
        shots += job.result(timeout=150)[0].data.meas.num_shots
        if restarting.ident is None:
            restarting.start()
    restarting.join()
    assert shots == count
    assert threading.active_count() == before  # neither a thread for a job, nor one for waiting
    assert isinstance(service.link.transport, Transport)
    assert len(service.link.transport._idle) == 1


def test_one_thread_has_one_connection(running: Running, bell: QuantumCircuit) -> None:
    """However many jobs it waits for."""
    with running.service() as service:
        check_one_by_one(service, bell, running, 60)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_one_thread_has_one_connection_in_twenty_runs(
    running: Running, bell: QuantumCircuit
) -> None:
    for _ in range(20):
        with running.service() as service:
            check_one_by_one(service, bell, running, CROWD)


def restart(running: Running) -> None:
    assert running.stop() == 0
    running.start()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_wake_up_is_lost_in_twenty_runs(
    tmp_path_factory: pytest.TempPathFactory, bell: QuantumCircuit
) -> None:
    running = Running(tmp_path_factory.mktemp("crowd"), QUICK)
    running.start()
    try:
        for _ in range(20):
            with running.service() as service:
                asyncio.run(check_crowd(service, bell, running))
    finally:
        running.kill()
