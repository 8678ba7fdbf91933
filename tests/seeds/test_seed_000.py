"""Seed document 000, "Run a primitive in a session": its code, as a user pastes it.

| Example | Test |
|---|---|
| initialize the service | `test_initialize_the_service` |
| run a job in a session | `test_run_a_job_in_a_session` |
| session options | `test_session_options` |
| full example | `test_full_example` |
| retrieve previous job results | `test_retrieve_previous_job_results` |
"""

from __future__ import annotations

import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Statevector


def test_initialize_the_service() -> None:
    from qdwell import QiskitRuntimeService

    service = QiskitRuntimeService()
    assert service.backends()


def test_run_a_job_in_a_session() -> None:
    from qiskit.quantum_info import SparsePauliOp

    from qdwell import Estimator, Options, QiskitRuntimeService, Session

    service = QiskitRuntimeService()
    options = Options(resilience_level=0)
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    parameters, observable = [0.0], SparsePauliOp("Z")

    with Session(service) as session:
        estimator = Estimator(session=session, options=options)  # primitive constructor
        job = estimator.run(circuit, parameters, observable)  # job call
        # Close the session only if all jobs are finished, and you don't need to run more in it

    assert job.result().values[0] == pytest.approx(1.0)
    assert session.session_id is not None
    assert session.backend() == "ideal_machine"  # the least busy machine


def test_session_options() -> None:
    from qiskit.quantum_info import SparsePauliOp

    from qdwell import Estimator, Options, QiskitRuntimeService, Session

    service = QiskitRuntimeService()
    options = Options()
    with Session(service=service, backend="ibmq_qasm_simulator") as session:
        estimator = Estimator(options=options)

    assert estimator.backend().name == "ibmq_qasm_simulator"
    assert session.session_id is None
    with Session(service=service, backend="ibmq_qasm_simulator"):
        estimator = Estimator(options=options)
        result = estimator.run(QuantumCircuit(1), SparsePauliOp("Z")).result()
    assert result.values[0] == 1.0


def test_full_example(capsys: pytest.CaptureFixture[str]) -> None:
    from qiskit.circuit.random import random_circuit
    from qiskit.quantum_info import SparsePauliOp

    from qdwell import Estimator, Options, QiskitRuntimeService, Session

    circuit = random_circuit(2, 2, seed=1).decompose(reps=1)
    observable = SparsePauliOp("IY")

    options = Options()
    options.optimization_level = 2
    options.resilience_level = 2

    service = QiskitRuntimeService()
    with Session(service=service, backend="ibmq_qasm_simulator") as session:
        estimator = Estimator(session=session, options=options)
        job = estimator.run(circuit, observable)
        result = job.result()
        # Close the session only if all jobs are finished, and you don't need to run more in it

    print(f" > Observable: {observable.paulis}")
    print(f" > Expectation value: {result.values[0]}")
    print(f" > Metadata: {result.metadata[0]}")

    exact = Statevector(circuit).expectation_value(observable).real
    assert result.values[0] == pytest.approx(exact, abs=0.12)
    zne = result.metadata[0]["zne"]
    assert zne["noise_amplification"]["noise_factors"] == [1, 3, 5]
    assert zne["extrapolation"]["extrapolator"] == "LinearExtrapolator"


def test_retrieve_previous_job_results() -> None:
    from qdwell import QiskitRuntimeService, Sampler

    service = QiskitRuntimeService()
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    job = Sampler(backend="ibmq_qasm_simulator").run(circuit)
    job_id = job.job_id()
    assert job.result().quasi_dists[0] == {0: 1.0}

    job = service.job(job_id)
    assert job.status() == "DONE"
    assert job.result().quasi_dists[0] == {0: 1.0}
