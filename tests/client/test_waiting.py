"""Waiting is pushed: one connection for all jobs, no thread for each, and no wake-up is lost."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from qiskit import QuantumCircuit

from client.running import QUICK, Running
from qdwell import (
    Backend,
    QiskitRuntimeService,
    RuntimeInvalidStateError,
    RuntimeJobTimeoutError,
    SamplerV2,
)
from qdwell.client.transport import Transport

MANY = 200


def connections(service: QiskitRuntimeService) -> int:
    """How many connections the service has idle; none is busy when nobody waits."""
    assert isinstance(service.link.transport, Transport)
    return len(service.link.transport._idle)


def test_many_jobs_one_after_the_other_use_one_connection(
    quick: Backend, bell: QuantumCircuit
) -> None:
    sampler = SamplerV2(mode=quick)
    jobs = [sampler.run([bell], shots=5) for _ in range(MANY)]
    threads = threading.active_count()
    assert {job.result()[0].data.meas.num_shots for job in jobs} == {5}
    assert threading.active_count() <= threads
    assert connections(quick.service) == 1


def test_a_crowd_is_waited_for_on_one_connection(quick: Backend, bell: QuantumCircuit) -> None:
    sampler = SamplerV2(mode=quick)
    jobs = [sampler.run([bell], shots=5) for _ in range(MANY)]
    threads = threading.active_count()
    quick.service.wait(jobs, timeout=60)
    assert threading.active_count() <= threads + 1  # the watcher
    assert all(job.in_final_state() for job in jobs)
    assert connections(quick.service) <= 2


async def test_coroutines_wait_without_threads_of_their_own(
    quick: Backend, bell: QuantumCircuit
) -> None:
    sampler = SamplerV2(mode=quick)
    before = threading.active_count()
    jobs = await asyncio.gather(*(sampler.run_async([bell], shots=5) for _ in range(MANY)))
    results = await asyncio.gather(*(job.result_async(timeout=60) for job in jobs))
    assert {result[0].data.meas.num_shots for result in results} == {5}
    assert threading.active_count() <= before + 2  # the watcher, and the sender
    await quick.service.wait_async(jobs)
    await jobs[0].wait_async()
    assert connections(quick.service) <= 2


async def test_coroutines_see_timeouts_and_ends(
    service: QiskitRuntimeService, bell: QuantumCircuit
) -> None:
    job = await SamplerV2(mode=service.backend("slow_machine")).run_async([bell])
    with pytest.raises(Exception, match="it goes on"):
        await job.result_async(timeout=0.1)
    waiting = asyncio.ensure_future(job.result_async())
    await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(RuntimeInvalidStateError):
        await waiting


def test_many_threads_share_the_watcher(quick: Backend, bell: QuantumCircuit) -> None:
    sampler = SamplerV2(mode=quick)
    done: list[Any] = []

    def one() -> None:
        done.append(sampler.run([bell], shots=5).result(timeout=60))

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 20


def test_callbacks_come_once_each_in_order(quick: Backend, bell: QuantumCircuit) -> None:
    heard: list[tuple[str, Any]] = []
    inputs = {"pubs": [[bell, None, shots] for shots in (1, 2, 3)], "version": 2}
    job = quick.service.run(
        "sampler",
        inputs,
        {"backend": "quick_machine"},
        callback=lambda job_id, result: heard.append((threading.current_thread().name, result)),
    )
    job.wait_for_final_state()
    assert [_shots(result) for _, result in heard] == [[1], [2], [3], [1, 2, 3]]
    assert threading.current_thread().name not in {name for name, _ in heard}
    with pytest.raises(RuntimeInvalidStateError):
        job.stream_results(print)


def _shots(result: Any) -> list[int]:
    pubs = [result] if hasattr(result, "data") else list(result)
    return [pub.data.meas.num_shots for pub in pubs]


def test_a_callback_that_fails_misses_nothing(quick: Backend, bell: QuantumCircuit) -> None:
    heard: list[Any] = []

    def call(_: str, result: Any) -> None:
        heard.append(result)
        raise ZeroDivisionError

    inputs = {"pubs": [[bell, None, 1], [bell, None, 2]], "version": 2}
    job = quick.service.run("sampler", inputs, {"backend": "quick_machine"}, callback=call)
    job.wait_for_final_state()
    assert len(heard) == 3


def test_a_callback_may_wait_for_its_own_job(quick: Backend, bell: QuantumCircuit) -> None:
    heard: list[Any] = []

    def call(_: str, result: Any) -> None:
        job.wait_for_final_state(timeout=30)
        heard.append(job.result())

    inputs = {"pubs": [[bell, None, 1]], "version": 2}
    job = quick.service.run("sampler", inputs, {"backend": "quick_machine"})
    job.stream_results(call)
    job.wait_for_final_state(timeout=60)
    assert len(heard) == 2


def test_a_callback_that_takes_too_long_is_not_waited_for_beyond_the_timeout(
    quick: Backend, bell: QuantumCircuit
) -> None:
    go = threading.Event()
    job = quick.service.run(
        "sampler",
        {"pubs": [[bell, None, 1]], "version": 2},
        {"backend": "quick_machine"},
        callback=lambda *_: go.wait(60) and None,
    )
    quick.service.wait([job], timeout=60)
    with pytest.raises(RuntimeJobTimeoutError, match="callback"):
        job.wait_for_final_state(timeout=0.1)
    go.set()
    job.wait_for_final_state(timeout=60)


def test_cancelling_ends_the_stream(service: QiskitRuntimeService, bell: QuantumCircuit) -> None:
    heard: list[Any] = []
    slow = service.backend("slow_machine")
    job = SamplerV2(mode=slow).run([bell])
    job.stream_results(lambda _, result: heard.append(result))
    with pytest.raises(RuntimeInvalidStateError, match="already"):
        job.stream_results(print)
    job.cancel()
    job.wait_for_final_state()
    assert heard == []


@pytest.mark.timeout(300)
def test_no_wake_up_is_lost_when_the_server_restarts(
    tmp_path_factory: pytest.TempPathFactory, bell: QuantumCircuit
) -> None:
    server = Running(tmp_path_factory.mktemp("restarted"), QUICK)
    server.start()
    try:
        with server.service() as service:
            sampler = SamplerV2(mode=service.backend("quick_machine"))
            for stop in (server.stop, server.kill):
                jobs = [sampler.run([bell], shots=5) for _ in range(50)]
                waiter = threading.Thread(target=service.wait, args=(jobs, 120), daemon=True)
                waiter.start()
                late = [sampler.run([bell], shots=5) for _ in range(20)]
                stop()
                server.start()
                waiter.join(120)
                assert not waiter.is_alive()
                more = [sampler.run([bell], shots=5) for _ in range(20)]
                counts = [job.result(timeout=60)[0].data.meas.num_shots for job in jobs]
                assert counts == [5] * 50
                assert all(job.result(timeout=60) for job in (*late, *more))
            ids = {job.job_id() for job in service.jobs(limit=None)}
            assert len(ids) == 180  # each submission is one job, however often it was sent
    finally:
        server.kill()
