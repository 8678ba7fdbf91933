"""Each way in which a job ends early, through the stock client: its code, its reason, what to do
about it, and what its log tells (semantics section 11).
"""

from __future__ import annotations

from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2, Session
from qiskit_ibm_runtime.exceptions import (
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
)

from e2e.conftest import MACHINE, bell, options

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def sent(service: QiskitRuntimeService, pubs: list[Any], backend: str = MACHINE) -> Any:
    """A sampler's job that the client itself would not send."""
    inputs = {"pubs": pubs, "options": {}, "version": 2, "support_qiskit": True}
    return service._run("sampler", inputs, options(service.backend(backend)))


def state(service: QiskitRuntimeService, job: Any) -> dict[str, Any]:
    """The job's state as the server tells it."""
    told: dict[str, Any] = service._active_api_client.job_get(job.job_id())["state"]
    return told


def check(service: QiskitRuntimeService, job: Any, code: int, *words: str) -> None:
    """The failure as the user meets it, and as an operator of the user's would look it up."""
    with pytest.raises(RuntimeJobFailureError, match=str(code)):
        job.result()
    assert job.status() == "ERROR"
    told = state(service, job)
    assert told["reason_code"] == code
    assert told["reason_solution"]
    for word in words:
        assert word in told["reason"], told
        assert word in job.error_message()
    assert f"ERROR {code}: " in job.logs()


def test_1517_names_the_instruction_and_its_qubits(service: QiskitRuntimeService) -> None:
    """E25."""
    circuit = QuantumCircuit(12)
    circuit.cx(0, 11)
    circuit.measure_all()
    check(service, sent(service, [(circuit, None, 10)]), 1517, "cx", "0, 11", MACHINE)


def test_1603_has_the_parser_s_words(service: QiskitRuntimeService) -> None:
    """E26."""
    text = "OPENQASM 3.0;\nqubit[1] q;\nnothing known q[0];\n"
    check(service, sent(service, [(text, None, 10)]), 1603, "pubs[0]")


def test_6000_names_both_numbers(service: QiskitRuntimeService) -> None:
    """E27, L14."""
    job = sent(service, [(bell(service.backend(MACHINE)), None, 10_000_001)])
    check(service, job, 6000, "10000001", "10000000")
    assert job.metrics()["usage"]["quantum_seconds"] == 0


def test_1208_names_the_field(service: QiskitRuntimeService) -> None:
    """E4, told by the job: well-formed, but it means nothing."""
    circuit = bell(service.backend(MACHINE))
    check(service, sent(service, [(circuit, [[0.5, 0.5]], 10)]), 1208, "pubs[0]", "parameters")


def test_5203_says_that_it_costs_nothing(service: QiskitRuntimeService) -> None:
    """E28, U8."""
    job = sent(service, [(bell(service.backend(MACHINE)), None, 10)], "failing_machine")
    check(service, job, 5203, "execution failed")
    assert job.metrics()["usage"]["quantum_seconds"] == 0


def test_1305_ran_too_long(service: QiskitRuntimeService) -> None:
    """E23, J14: stopped at its limit, and charged for it."""
    backend = service.backend("slow_machine")
    sampler = SamplerV2(mode=backend)
    sampler.options.max_execution_time = 1
    job = sampler.run([bell(backend)], shots=10)
    with pytest.raises(RuntimeJobMaxTimeoutError):
        job.result()
    assert job.status() == "ERROR"
    told = state(service, job)
    assert told["reason_code"] == 1305
    assert told["reason"] == "Ran too long"
    assert told["reason_solution"]
    assert job.metrics()["usage"]["quantum_seconds"] == 1


def test_5202_cancelled_with_its_session(service: QiskitRuntimeService) -> None:
    """E24."""
    backend = service.backend("slow_machine")
    with Session(backend=backend) as session:
        first = SamplerV2(mode=session).run([bell(backend)], shots=10)
        second = SamplerV2(mode=session).run([bell(backend)], shots=10)
        session.cancel()
    first.cancel()
    for job in (first, second):
        with pytest.raises(RuntimeInvalidStateError):
            job.result()
        assert job.status() == "CANCELLED"
        told = state(service, job)
        assert told["reason_code"] == 5202
        assert told["reason_solution"]


def test_4001_lost_to_the_session_s_time_limit(service: QiskitRuntimeService) -> None:
    """E22: the first job may end, the ones behind it are lost."""
    backend = service.backend("slow_machine")
    with Session(backend=backend, max_time=6) as session:
        jobs = [SamplerV2(mode=session).run([bell(backend)], shots=10) for _ in range(2)]
        last = jobs[-1]
        with pytest.raises(RuntimeJobFailureError, match="4001"):
            last.result()
    told = state(service, last)
    assert told["reason_code"] == 4001
    assert told["reason_solution"]
    assert last.metrics()["usage"]["quantum_seconds"] == 0
    for job in jobs:
        if not job.in_final_state():
            job.cancel()
