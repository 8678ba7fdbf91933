"""The three workloads of every end-to-end benchmark: Bell, VQE-4, and VQE-12."""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit import QuantumCircuit, generate_preset_pass_manager
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import SparsePauliOp

SHOTS = 4096
BELL_SHOTS = 1024
SEED = 11


def bell(backend: Any) -> tuple[QuantumCircuit]:
    """Two qubits, measured: a sampler PUB."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return (_fit(circuit, backend),)


def vqe(qubits: int, backend: Any) -> tuple[QuantumCircuit, SparsePauliOp, Any]:
    """EfficientSU2 with about ten Pauli terms: an estimator PUB."""
    circuit = _fit(efficient_su2(qubits, reps=1, entanglement="linear"), backend)
    singles = [("Z", [qubit], 0.5) for qubit in range(qubits)][:5]
    pairs = [("XX", [qubit, qubit + 1], 0.3) for qubit in range(qubits - 1)][:3]
    pairs += [("ZZ", [qubit, qubit + 1], 0.2) for qubit in range(qubits - 1)][:3]
    observable = SparsePauliOp.from_sparse_list(singles + pairs, num_qubits=qubits)
    values = np.linspace(0.1, 1.0, circuit.num_parameters)
    return circuit, observable.apply_layout(circuit.layout), values


def _fit(circuit: QuantumCircuit, backend: Any) -> QuantumCircuit:
    return generate_preset_pass_manager(1, backend=backend, seed_transpiler=7).run(circuit)


def seeded(primitive: Any) -> Any:
    """Give a primitive of the stock client a fixed seed, so that equal work has equal results."""
    primitive.options.simulator.seed_simulator = SEED
    return primitive
