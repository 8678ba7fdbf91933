"""Seed document 001, the reference of the class Session: its example, and each name it documents.

| Part | Test |
|---|---|
| the example | `test_the_example` |
| constructor | `test_the_constructor` |
| service, session_id, backend() | `test_attributes` |
| details() | `test_details` |
| status() | `test_status` |
| cancel() | `test_cancel` |
| close() | `test_close` |
| from_id() | `test_from_id` |
| run() | `test_run` |
"""

from __future__ import annotations

from typing import Any

import pytest
from qiskit import transpile
from qiskit.circuit import QuantumCircuit
from qiskit.providers import JobStatus

from qdwell import (
    IBMInputValueError,
    IBMRuntimeError,
    QiskitRuntimeService,
    RequestsApiError,
    RuntimeInvalidStateError,
    Sampler,
    SamplerV2,
    Session,
)


def one_bit(service: QiskitRuntimeService, backend: str) -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    compiled: QuantumCircuit = transpile(circuit, service.backend(backend))
    return compiled


def test_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    from qiskit.circuit import ClassicalRegister, QuantumCircuit, QuantumRegister

    from qdwell import Options, Sampler, Session

    # Bell Circuit
    qr = QuantumRegister(2, name="qr")
    cr = ClassicalRegister(2, name="cr")
    qc = QuantumCircuit(qr, cr, name="bell")
    qc.h(qr[0])
    qc.cx(qr[0], qr[1])
    qc.measure(qr, cr)

    options = Options(optimization_level=3)

    with Session(backend="ibmq_qasm_simulator") as session:
        sampler = Sampler(session=session, options=options)
        job = sampler.run(qc)
        print(f"Sampler job ID: {job.job_id()}")
        print(f"Sampler job result: {job.result()}")

    assert "Sampler job result: SamplerResult(quasi_dists=" in capsys.readouterr().out
    (shares,) = job.result().quasi_dists
    assert set(shares) == {0, 3}
    assert shares[0] == pytest.approx(0.5, abs=0.05)


def test_the_constructor() -> None:
    service = QiskitRuntimeService()
    for max_time in (100, "2m 3s", None):
        with Session(service=service, backend="ideal_machine", max_time=max_time) as session:
            told = session.details()
        assert told is not None
        assert told["max_time"] == {100: 100, "2m 3s": 123, None: 28_800}[max_time]
    with Session(backend=service.backend("ideal_machine")) as session:
        assert session.service is service
    for wrong in ("soon", "2 years", -1, 1.5):
        with pytest.raises(ValueError, match="max_time"):
            Session(service, "ideal_machine", wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestsApiError, match="28800"):
        Session(service=service, backend="ideal_machine", max_time="8h 1s")


def test_attributes() -> None:
    service = QiskitRuntimeService()
    with Session(service=service, backend="ideal_machine") as session:
        assert session.service is service
        assert isinstance(session.session_id, str)
        assert session.backend() == "ideal_machine"
    assert Session(service=service, backend="aer_simulator").session_id is None


def test_details() -> None:
    with Session(backend="ideal_machine") as session:
        details = session.details()
        assert details is not None
        assert {
            "id", "backend_name", "interactive_timeout", "max_time", "active_timeout", "state",
            "accepting_jobs", "last_job_started", "last_job_completed", "started_at", "closed_at",
            "activated_at",
        } <= set(details)  # fmt: skip
        assert (details["id"], details["state"]) == (session.session_id, "open")
        assert details["accepting_jobs"] is True
        assert details["started_at"] is None
        SamplerV2(mode=session).run([one_bit(session.service, "ideal_machine")]).result()
        details = session.details()
        assert details is not None
        assert details["state"] == "active"
        assert details["started_at"] == details["activated_at"] == details["last_job_started"]
        assert details["last_job_completed"] >= details["last_job_started"]
    details = session.details()
    assert details is not None
    assert (details["state"], details["accepting_jobs"]) == ("closed", False)
    assert details["closed_at"] is not None
    assert Session(backend="aer_simulator").details() is None


def test_status() -> None:
    with Session(backend="slow_machine") as session:
        assert session.status() == "Pending"
        job = SamplerV2(mode=session).run([one_bit(session.service, "slow_machine")])
        while job.status() != "RUNNING":
            pass
        assert session.status() == "In progress, accepting new jobs"
    assert session.status() == "In progress, not accepting new jobs"
    job.cancel()
    job.wait_for_final_state()
    while session.status() != "Closed":
        pass
    assert Session(backend="aer_simulator").status() is None


def test_cancel() -> None:
    session = Session(backend="slow_machine")
    sampler = SamplerV2(mode=session)
    jobs = [sampler.run([one_bit(session.service, "slow_machine")]) for _ in range(3)]
    while jobs[0].status() != "RUNNING":
        pass
    session.cancel()
    for job in jobs[1:]:
        with pytest.raises(RuntimeInvalidStateError, match="cancelled"):
            job.result(timeout=30)
        assert job.status() == JobStatus.CANCELLED
    with pytest.raises(IBMRuntimeError, match="closed"):
        sampler.run([one_bit(session.service, "slow_machine")])
    if jobs[0].status() == "RUNNING":  # it had reached the QPU, so it was left alone
        jobs[0].cancel()


def test_close() -> None:
    session = Session(backend="ideal_machine")
    sampler = SamplerV2(mode=session)
    jobs = [sampler.run([one_bit(session.service, "ideal_machine")]) for _ in range(3)]
    session.close()
    with pytest.raises(IBMRuntimeError, match="closed"):
        sampler.run([one_bit(session.service, "ideal_machine")])
    assert all(job.result()[0].data.meas.get_counts() == {"1": 4096} for job in jobs)
    assert session.status() == "Closed"


def test_from_id() -> None:
    service = QiskitRuntimeService()
    with Session(service=service, backend="ideal_machine") as session:
        assert session.session_id is not None
        before = session.details()
        twin = Session.from_id(session.session_id, service=service, backend="ideal_machine")
        assert session.details() == before == twin.details()
        assert twin.backend() == "ideal_machine"
        job = SamplerV2(mode=twin).run([one_bit(service, "ideal_machine")])
        assert job.session_id == session.session_id
        job.result()
    closed = Session.from_id(session.session_id, service=service)
    with pytest.raises(IBMRuntimeError, match="closed"):
        SamplerV2(mode=closed).run([one_bit(service, "ideal_machine")])
    with pytest.raises(IBMInputValueError, match="no session"):
        Session.from_id("01nothing", service=service)


def test_run() -> None:
    service = QiskitRuntimeService()
    heard: list[tuple[str, Any]] = []
    circuit = one_bit(service, "ideal_machine")
    inputs = {"pubs": [[circuit, None, 10], [circuit, None, 20]], "version": 2}
    with Session(service=service, backend="ideal_machine") as session:
        job = session.run(
            "sampler",
            inputs,
            options={"job_tags": ["seed"], "log_level": "INFO"},
            callback=lambda job_id, result: heard.append((job_id, result)),
            result_decoder=lambda raw: raw,
        )
        result = job.result()
        job.wait_for_final_state()
    assert result["__type__"] == "PrimitiveResult"
    assert [job_id for job_id, _ in heard] == [job.job_id()] * 3  # one for each PUB, and the end
    assert [each["__type__"] for _, each in heard] == ["SamplerPubResult"] * 2 + ["PrimitiveResult"]
    assert job.tags == ["seed"]
    with pytest.raises(IBMRuntimeError, match="closed"):
        session.run("sampler", inputs)


def test_a_sampler_of_a_session_needs_no_compiled_circuit() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    with Session(backend="fake_manila") as session:
        sampler = Sampler(session=session)
        (shares,) = sampler.run(circuit).result().quasi_dists
        sampler.run(circuit).result()
        details = session.details()
    assert shares[0] + shares[3] == pytest.approx(1, abs=0.05)
    assert details is not None
    assert details["cache"]["hits"] > 0  # S37: compiled once
