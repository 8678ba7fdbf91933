"""The promise of the device models: for a seed, the samples of the stock local testing mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2
from qiskit.providers import BackendV2
from qiskit.quantum_info import SparsePauliOp

from programs.stock import fitted_to, local, ours
from qdwell.executors import Executor

Devices = Callable[[str], Executor]
Backends = Callable[[str], BackendV2]

# Torino's noise model takes the local mode seconds to build.
MODELS = ["fake_manila", "fake_sherbrooke", pytest.param("fake_torino", marks=pytest.mark.long)]


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, metadata={"name": "bell"})
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def ghz(width: int) -> QuantumCircuit:
    circuit = QuantumCircuit(width)
    circuit.h(0)
    for qubit in range(width - 1):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    return circuit


def two_registers() -> QuantumCircuit:
    low, high = ClassicalRegister(3, "low"), ClassicalRegister(9, "high")
    circuit = QuantumCircuit(QuantumRegister(3), low, high)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.x(2)
    circuit.measure(0, low[0])
    circuit.measure(1, high[8])
    circuit.measure(2, high[1])
    return circuit


def slow() -> QuantumCircuit:
    """Reset, mid-circuit measurement, and delays long enough to relax."""
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    circuit.delay(20_000, 0, unit="ns")
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.sx(0)
    circuit.measure(0, 1)
    circuit.x(1)
    circuit.measure(1, 2)
    return circuit


def dynamic() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "mid"))
    circuit.add_register(ClassicalRegister(2, "end"))
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(1)
    with otherwise:
        circuit.sx(1)
    circuit.measure([0, 1], [1, 2])
    return circuit


def rotation() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("b"), 0)
    circuit.ry(Parameter("a"), 1)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def seeded(seed: int, **more: Any) -> dict[str, Any]:
    return {"simulator": {"seed_simulator": seed}, **more}


def assert_same_bits(mine: Any, theirs: Any) -> None:
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert list(one.data) == list(other.data)
        assert one.data.shape == other.data.shape
        for register in one.data:
            assert np.array_equal(one.data[register].array, other.data[register].array)
            assert one.data[register].num_bits == other.data[register].num_bits
        assert one.metadata["circuit_metadata"] == other.metadata["circuit_metadata"]


@pytest.mark.parametrize("name", MODELS)
def test_sampler_on_device_models(name: str, executor: Devices, backend: Backends) -> None:
    model = backend(name)
    pubs: list[Any] = [
        (fitted_to(bell(), model), None, 500),
        (fitted_to(ghz(4), model), None, 300),
        (fitted_to(two_registers(), model), None, 500),
        (fitted_to(slow(), model), None, 500),
        (fitted_to(dynamic(), model), None, 300),
        (fitted_to(rotation(), model), np.linspace(0, 3, 12).reshape(2, 3, 2), 300),
    ]
    mine, _ = ours("sampler", pubs, executor(name), seeded(1234))
    assert_same_bits(mine, local("sampler", pubs, model, seeded(1234)))


@pytest.mark.parametrize("name", MODELS)
def test_estimator_on_device_models(name: str, executor: Devices, backend: Backends) -> None:
    model = backend(name)
    ansatz = fitted_to(efficient_su2(3, reps=1), model)
    energy = SparsePauliOp(["ZZI", "IXX", "YYI", "IIZ", "III"], [0.3, -1.2, 0.7, 0.1, 2.0])
    terms = [SparsePauliOp([label]).apply_layout(ansatz.layout) for label in ("ZZZ", "XIX", "IYI")]
    values = np.random.default_rng(3).random((4, ansatz.num_parameters))
    pubs: list[Any] = [
        (ansatz, energy.apply_layout(ansatz.layout), values[0]),
        (ansatz, [[term] for term in terms], values, 0.05),
        (ansatz, terms, values[:1], 0.05),
    ]
    mine, _ = ours("estimator", pubs, executor(name), seeded(99), resilience_level=0)
    theirs = local("estimator", pubs, model, seeded(99))
    for one, other in zip(mine, theirs, strict=True):
        assert one.data.evs.shape == other.data.evs.shape
        assert np.array_equal(one.data.evs, other.data.evs)
        assert np.array_equal(one.data.stds, other.data.stds)
        assert one.metadata["shots"] == other.metadata["shots"]


def test_clifford_circuit_on_quiet_qubits_keeps_the_simulation_method(
    executor: Devices, backend: Backends
) -> None:
    # These qubits have T2 <= T1, so no error near them has a Kraus part. Without the pin Aer would
    # take the stabilizer simulator for them, and other random numbers.
    model = backend("fake_sherbrooke")
    properties = model.properties()
    quiet = [q for q in range(model.num_qubits) if properties.t2(q) <= properties.t1(q)]
    circuit = QuantumCircuit(127, 6)
    for qubit in quiet[:6]:
        circuit.sx(qubit)
    circuit.measure(quiet[:6], range(6))
    pub = [(circuit, None, 60)]
    mine, _ = ours("sampler", pub, executor("fake_sherbrooke"), seeded(5))
    assert_same_bits(mine, local("sampler", pub, model, seeded(5)))


def test_ideal_simulator_runs_as_the_local_mode(executor: Devices, backend: Backends) -> None:
    pubs: list[Any] = [(bell(), None, 400), (rotation(), [[0.1, 0.2], [1.0, 2.0]], 400)]
    mine, _ = ours("sampler", pubs, executor("aer_simulator"), seeded(8))
    assert_same_bits(mine, local("sampler", pubs, backend("aer_simulator"), seeded(8)))


def test_other_seeds_differ_and_no_seed_is_fresh(executor: Devices, backend: Backends) -> None:
    device = executor("fake_manila")
    pub = [(fitted_to(ghz(4), backend("fake_manila")), None, 200)]

    def bits(options: Any) -> bytes:
        result, _ = ours("sampler", pub, device, options)
        return bytes(result[0].data.meas.array.tobytes())

    assert bits(seeded(1)) == bits(seeded(1))
    assert bits(seeded(0)) == bits(seeded(0))
    assert bits(seeded(1)) != bits(seeded(2))
    assert bits({}) != bits({})


def test_parts_of_a_run_give_the_samples_of_the_whole(
    executor: Devices, backend: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = executor("fake_manila")
    pub = [(fitted_to(rotation(), backend("fake_manila")), np.linspace(0, 3, 10).reshape(5, 2), 50)]
    whole, _ = ours("sampler", pub, device, seeded(4))
    monkeypatch.setattr("qdwell.executors.aer._CALL_EXECUTIONS_MAX", 100)
    parts, _ = ours("sampler", pub, device, seeded(4))
    assert_same_bits(parts, whole)
