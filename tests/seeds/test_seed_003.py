"""Seed document 003, "Introduction to Qiskit Runtime execution modes".

| Part | Test |
|---|---|
| job, session, and batch mode by `mode=` | `test_modes` |
| "or run the job in a context manager" | `test_context_managers` |
| `job.metrics()["usage"]["quantum_seconds"]` | `test_usage_of_a_job` |
| `session.details()["usage_time"]`, `batch.details()["usage_time"]` | `test_usage_of_groups` |
| "no other users' jobs can run" in a session | `test_a_session_is_exclusive` |
| "combining several into one larger job" | `test_several_pubs_in_one_job` |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from qiskit import transpile
from qiskit.circuit import QuantumCircuit

from client.running import Running
from qdwell import Batch, QiskitRuntimeService, SamplerV2, Session


def flip(backend: Any) -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    compiled: QuantumCircuit = transpile(circuit, backend)
    return compiled


MODES: dict[str, Callable[[Any], Any]] = {
    "job": lambda backend: backend,
    "session": lambda backend: Session(backend=backend),
    "batch": lambda backend: Batch(backend=backend),
}


@pytest.mark.parametrize("name", MODES)
def test_modes(name: str) -> None:
    backend = QiskitRuntimeService().backend("ideal_machine")
    mode = MODES[name](backend)
    sampler = SamplerV2(mode=mode)
    jobs = [sampler.run([flip(backend)], shots=10) for _ in range(3)]
    assert all(job.result()[0].data.meas.get_counts() == {"1": 10} for job in jobs)
    assert {job.session_id for job in jobs} == {None if name == "job" else mode.session_id}
    if name != "job":
        mode.close()
        assert mode.status() == "Closed"
        assert mode.details()["mode"] == {"session": "dedicated", "batch": "batch"}[name]


def test_context_managers() -> None:
    backend = QiskitRuntimeService().backend("ideal_machine")
    for kind in (Session, Batch):
        with kind(backend=backend) as group:
            job = SamplerV2().run([flip(backend)])
        assert job.session_id == group.session_id
        job.result()


def test_usage_of_a_job() -> None:
    backend = QiskitRuntimeService().backend("ideal_machine")
    job = SamplerV2(mode=backend).run([flip(backend)])
    job.result()
    seconds = job.metrics()["usage"]["quantum_seconds"]
    assert 0 < seconds < 5
    assert job.usage() == seconds


def test_usage_of_groups() -> None:
    backend = QiskitRuntimeService().backend("ideal_machine")
    with Session(backend=backend) as session:
        inside = [SamplerV2(mode=session).run([flip(backend)]) for _ in range(2)]
        for job in inside:
            job.result()
    with Batch(backend=backend) as batch:
        bundle = [SamplerV2(mode=batch).run([flip(backend)]) for _ in range(2)]
        for job in bundle:
            job.result()
    while "Closed" not in (session.status(), batch.status()):
        pass
    held, used = session.details(), batch.details()
    assert held is not None
    assert used is not None
    assert held["usage_time"] >= sum(job.usage() for job in inside)
    assert used["usage_time"] == pytest.approx(sum(job.usage() for job in bundle))
    assert batch.usage() == used["usage_time"]


def test_a_session_is_exclusive(running: Running) -> None:
    service = QiskitRuntimeService()
    backend = service.backend("ideal_machine")
    with Session(backend=backend) as session:
        SamplerV2(mode=session).run([flip(backend)]).result()
        session.keep_alive(60)
        with running.account("somebody") as others:
            waiting = SamplerV2(mode=others.backend("ideal_machine")).run([flip(backend)])
            info = waiting.queue_info()
            assert waiting.status() == "QUEUED"
            assert info is not None
            assert info.position == 1
            held = "ideal_machine is held by a session of another instance until "
            assert info.reason.startswith(held)
            session.close()
            assert waiting.result(timeout=30)[0].data.meas.get_counts() == {"1": 4096}


def test_several_pubs_in_one_job() -> None:
    backend = QiskitRuntimeService().backend("ideal_machine")
    job = SamplerV2(mode=backend).run([flip(backend)] * 3, shots=7)
    assert [pub.data.meas.get_counts() for pub in job.result()] == [{"1": 7}] * 3
    assert len(job.interim_results()) == 3
