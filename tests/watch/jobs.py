"""Circuits of these tests."""

from __future__ import annotations

from qiskit import QuantumCircuit


def bell() -> QuantumCircuit:
    """What a scripted machine takes."""
    circuit = QuantumCircuit(2, name="bell")
    circuit.x(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def bad() -> QuantumCircuit:
    """What it does not know."""
    circuit = QuantumCircuit(2, name="bad")
    circuit.rzz(0.1, 0, 1)
    circuit.measure_all()
    return circuit
