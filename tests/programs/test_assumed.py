"""A simulator taken for a machine by `coupling_map` and `basis_gates` (O42)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping

from programs.stock import ours
from programs.test_mitigation import LEARN
from qdwell.executors import Executor
from qdwell.programs import ProgramError
from qdwell.programs.simulator_options import STANDARD_GATES

Devices = Callable[[str], Executor]
AER, MANILA = "aer_simulator", "fake_manila"
LINE = [[0, 1], [1, 0], [1, 2], [2, 1]]


def pair(a: int, b: int) -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.x(a)
    circuit.cx(a, b)
    circuit.measure(range(3), range(3))
    return circuit


def counts(device: Executor, circuit: QuantumCircuit, **simulator: Any) -> Any:
    result, _ = ours("sampler", [(circuit, None, 20)], device, {"simulator": simulator})
    return result[0].data.c.get_counts()


def test_the_gates_that_may_be_named_are_qiskits() -> None:
    assert set(get_standard_gate_name_mapping()) == STANDARD_GATES


def test_neighbours_are_checked(executor: Devices) -> None:
    device = executor(AER)
    assert counts(device, pair(0, 1), coupling_map=LINE) == {"011": 20}
    with pytest.raises(ProgramError, match="cx on qubits 0, 2") as failed:
        counts(device, pair(0, 2), coupling_map=LINE)
    assert failed.value.code == 1517
    assert counts(device, pair(0, 2)) == {"101": 20}


def test_gates_are_checked(executor: Devices) -> None:
    device = executor(AER)
    assert counts(device, pair(0, 2), basis_gates=["x", "cx"]) == {"101": 20}
    with pytest.raises(ProgramError, match="x on qubit 0"):
        counts(device, pair(0, 2), basis_gates=["sx", "cx"])


def test_machines_have_their_own(executor: Devices) -> None:
    with pytest.raises(ProgramError, match="fake_manila is a machine"):
        counts(executor(MANILA), pair(0, 1), coupling_map=LINE)


def test_cancellation_on_a_simulator_needs_neighbours(executor: Devices) -> None:
    """O38: without a coupling map there are no layers; with one, the ideal simulator has none."""
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    resilience = {"pec_mitigation": True, "layer_noise_learning": LEARN}
    options: dict[str, Any] = {"resilience": resilience, "default_precision": 0.1}
    with pytest.raises(ProgramError, match="coupling map"):
        ours("estimator", [(circuit, "IZZ")], executor(AER), options)
    options["simulator"] = {"coupling_map": LINE, "seed_simulator": 1}
    result, _ = ours("estimator", [(circuit, "IZZ")], executor(AER), options)
    assert result[0].data.evs == pytest.approx(1.0, abs=0.3)
