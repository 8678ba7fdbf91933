"""The V1 interface against a real server: callbacks, interim results, logs, tags (O4, O7-O9)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import PrimitiveResult, SamplerResult
from qiskit.quantum_info import Clifford, Operator, Pauli, ScalarOp, SparsePauliOp
from qiskit_aer.noise import NoiseModel, ReadoutError

from qdwell import Estimator, Options, QiskitRuntimeService, Sampler, Session
from qdwell.client.errors import IBMInputValueError, RuntimeJobFailureError


def turned() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    return circuit


def test_a_callback_hears_of_each_circuit_and_of_the_end(service: QiskitRuntimeService) -> None:
    """O8, R5: one call for each circuit, in order, and one for the whole."""
    heard: list[tuple[str, Any]] = []
    options = Options(optimization_level=1)
    options.environment.callback = lambda job_id, result: heard.append((job_id, result))
    options.environment.job_tags = ["heard"]
    options.environment.log_level = "INFO"
    options.max_execution_time = 100
    estimator = Estimator(backend=service.backend("aer_simulator"), options=options)
    job = estimator.run([turned()] * 3, [SparsePauliOp("Z")] * 3, [[0.0], [np.pi], [0.0]])
    result = job.result()
    job.wait_for_final_state()
    assert list(result.values) == [1, -1, 1]
    assert [job_id for job_id, _ in heard] == [job.job_id()] * 4
    assert [list(part.values) for _, part in heard] == [[1], [-1], [1], [1, -1, 1]]
    assert [list(part.values) for part in job.interim_results()] == [[1], [-1], [1]]
    assert job.tags == ["heard"]
    assert "execute" in job.logs()
    found = service.job(job.job_id())
    assert list(found.result().values) == [1, -1, 1]


def test_level_3_is_for_machines(service: QiskitRuntimeService) -> None:
    """O20: a simulator without a coupling map is refused before anything is sent."""
    options = Options(resilience_level=3)
    estimator = Estimator(backend=service.backend("aer_simulator"), options=options)
    with pytest.raises(ValueError, match="coupling map"):
        estimator.run(QuantumCircuit(1), "Z")
    with Session(service=service, backend="fake_manila") as session:
        circuit = QuantumCircuit(2)
        circuit.x(0)
        circuit.cx(0, 1)
        estimator = Estimator(session=session, options=options)
        result = estimator.run(circuit, "ZZ", shots=640, seed_simulator=5).result()
    assert result.values[0] == pytest.approx(1, abs=0.1)
    assert result.metadata[0]["samples"] >= 10


def test_any_operator_is_an_observable(service: QiskitRuntimeService) -> None:
    """As in Qiskit's own V1 primitives: what is no sum of Paulis yet is taken apart."""
    circuit = QuantumCircuit(2)
    circuit.x(0)
    wanted = {
        "ZZ": ("ZZ", -1),
        "Pauli": (Pauli("IZ"), -1),
        "SparsePauliOp": (SparsePauliOp(["IZ", "ZI"], [1, 2]), 1),
        "Operator": (Operator(SparsePauliOp(["IZ", "ZI"], [0.5, 2])), 1.5),
        "ScalarOp": (ScalarOp((2, 2), 3), 3),
        "Clifford": (Clifford.from_label("ZZ"), -1),
    }
    observables, values = zip(*wanted.values(), strict=True)
    estimator = Estimator(backend=service.backend("aer_simulator"))
    result = estimator.run([circuit] * len(wanted), list(observables)).result()
    assert list(result.values) == pytest.approx(values)
    assert estimator.run(circuit, observables[3]).result().values[0] == pytest.approx(1.5)
    for wrong in (Operator([[0, 1], [0, 0]]), Operator(np.eye(3))):
        with pytest.raises(IBMInputValueError, match="observables cannot be used"):
            estimator.run(QuantumCircuit(1), wrong)


def test_options_of_one_run_win_for_that_run(service: QiskitRuntimeService) -> None:
    """O1."""
    sampler = Sampler(backend=service.backend("aer_simulator"), options={"shots": 30})
    circuit = QuantumCircuit(1)
    circuit.measure_all()
    shots = [
        sampler.run(circuit, **more).result().metadata[0]["shots"]
        for more in ({"shots": 20}, {}, {"seed_simulator": 3})
    ]
    assert shots == [20, 30, 30]
    with pytest.raises(ValueError, match="no 'shoots'"):
        sampler.run(circuit, shoots=3)


def test_the_call_styles_of_the_sampler(service: QiskitRuntimeService) -> None:
    """Which interface is meant is decided by the arguments of `run`; see `primitives_v1`."""
    backend = service.backend("aer_simulator")
    circuit = turned()
    circuit.measure_all()
    bound = circuit.assign_parameters([0.0])
    new, old = Sampler(mode=backend), Sampler(backend=backend)
    for job in (
        new.run([bound]),
        new.run([(bound,)]),
        new.run([(circuit, [0.0])]),
        old.run([(circuit, [0.0])]),
    ):
        assert isinstance(job.result(), PrimitiveResult)
    for job in (
        new.run(bound),
        new.run(circuits=[bound]),
        new.run([circuit], [[0.0]]),
        new.run([bound], seed_simulator=1),
        old.run([bound]),
        Sampler(mode=backend, options=Options()).run([bound]),
    ):
        assert isinstance(job.result(), SamplerResult)
    with pytest.raises(ValueError, match="parameters"):
        new.run(circuit)  # V1, without its values


def test_o18_a_noise_model_goes_along(service: QiskitRuntimeService) -> None:
    """With Aer's own object; what it does is in `programs/test_noise_model.py`."""
    model = NoiseModel()
    model.add_all_qubit_readout_error(ReadoutError([[0.0, 1.0], [1.0, 0.0]]))
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    options = Options(resilience_level=0)
    options.simulator.noise_model = model
    sampler = Sampler(backend=service.backend("aer_simulator"), options=options)
    assert sampler.run(circuit, shots=20).result().quasi_dists == [{0: 1.0}]
    sampler = Sampler(backend=service.backend("fake_manila"), options=options)
    with pytest.raises(RuntimeJobFailureError, match="noise_model is for ideal simulators"):
        sampler.run(circuit, shots=20).result()
