"""What the stock client raises for each refusal and each failure, and who sees what."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMRuntimeError,
    RuntimeJobFailureError,
    RuntimeJobNotFound,
    RuntimeProgramNotFound,
)

from e2e.conftest import MACHINE, Served, bell, options

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_a_circuit_that_the_machine_cannot_run_fails_with_its_reason(
    service: QiskitRuntimeService,
) -> None:
    """The job fails with the code, and `result()` raises (E25)."""
    backend = service.backend(MACHINE)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.measure_all()
    sent = {"pubs": [(circuit, None, 10)], "options": {}, "version": 2, "support_qiskit": True}
    job = service._run("sampler", sent, options(backend))
    with pytest.raises(RuntimeJobFailureError, match="1517"):
        job.result()
    assert job.status() == "ERROR"
    assert "1517" in job.error_message()


def test_a_failed_run_is_an_error(service: QiskitRuntimeService) -> None:
    """A machine that fails says so, and costs nothing (U8)."""
    backend = service.backend("failing_machine")
    job = SamplerV2(mode=backend).run([bell(backend)], shots=10)
    with pytest.raises(RuntimeJobFailureError):
        job.result()
    assert job.metrics()["usage"]["quantum_seconds"] == 0


def test_what_the_client_raises_for_each_refusal(
    service: QiskitRuntimeService, served: Served, connect: Callable[..., QiskitRuntimeService]
) -> None:
    """The table of errors, seen from the client (wire-protocol 2.4)."""
    backend = service.backend(MACHINE)
    with pytest.raises(RuntimeProgramNotFound):
        service._run("no-such-program", {}, options(backend))
    with pytest.raises(RuntimeJobNotFound):
        service.job("nosuchjob")
    with pytest.raises(RuntimeJobNotFound):
        service.delete_job("nosuchjob")
    with pytest.raises(IBMInputValueError):
        Session.from_id("nosuchsession", service=service)
    with pytest.raises(RequestsApiError, match="max_ttl"):
        Session(backend=backend, max_time=10**6)
    inputs = {"pubs": [], "version": 2}
    tagged = options(backend, job_tags=[str(n) for n in range(9)])
    with pytest.raises(IBMRuntimeError, match="1204"):
        service._run("sampler", inputs, tagged)
    resilient = {**inputs, "resilience_level": 3}
    with pytest.raises(IBMRuntimeError, match="resilience_level"):
        service._run("estimator", resilient, options(backend))
    tight = connect(served.account(f"tight-{uuid.uuid4().hex[:6]}", "tight"))
    slow = tight.backend("slow_machine")
    with pytest.raises(RequestsApiError, match="1352"):
        Session(backend=slow)
    sampler = SamplerV2(mode=slow)
    jobs = [sampler.run([bell(slow)]) for _ in range(2)]
    with pytest.raises(IBMRuntimeError, match="3458"):
        sampler.run([bell(slow)])
    for job in jobs:
        job.cancel()


def test_two_users_do_not_see_each_other(
    service: QiskitRuntimeService, served: Served, connect: Callable[..., QiskitRuntimeService]
) -> None:
    """Another user's job and session are unknown, in every call."""
    backend = service.backend(MACHINE)
    session = Session(backend=backend)
    job = SamplerV2(mode=session).run([bell(backend)], shots=10)
    job.result()
    other = connect(served.account(f"other-{uuid.uuid4().hex[:6]}"))
    with pytest.raises(RuntimeJobNotFound):
        other.job(job.job_id())
    assert other.jobs() == []
    assert other.usage()["usage_consumed_seconds"] == 0
    with pytest.raises(IBMInputValueError):
        Session.from_id(session.session_id, service=other)
    session.close()
