"""PUBs on the few qubits that they use, and the library's circuits back on the whole machine.

The library boxes, twirls, and measures every qubit of a circuit. On a machine of 127 qubits that
costs a hundred times what the four qubits of a problem cost, for outcomes that no observable asks
for. So it is shown the qubits that a gate touches or an observable needs, and what it makes of them
is put back where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Qubit
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray


def used(pubs: Sequence[EstimatorPub]) -> tuple[int, ...] | None:
    """The qubits that any of the PUBs uses, rising; None: leave them as they are.

    They stay as they are if they use all qubits, differ in width, or declare real-time variables,
    whose scopes are not worth copying.
    """
    widths = {pub.circuit.num_qubits for pub in pubs}
    if len(widths) != 1 or any(pub.circuit.num_identifiers for pub in pubs):
        return None
    (width,) = widths
    found: set[int] = set()
    for pub in pubs:
        index = {bit: place for place, bit in enumerate(pub.circuit.qubits)}
        for step in pub.circuit.data:
            if step.operation.name != "barrier":
                found.update(index[bit] for bit in step.qubits)
        for observable in pub.observables.ravel():
            for label in observable:
                found.update(width - 1 - at for at, letter in enumerate(label) if letter != "I")
    if len(found) == width:
        return None
    return tuple(sorted(found or {0}))


def narrowed(pub: EstimatorPub, qubits: tuple[int, ...]) -> EstimatorPub:
    """The PUB on these qubits alone; qubit `i` of it is `qubits[i]`."""
    source = pub.circuit
    bits = [Qubit() for _ in qubits]
    inner = {source.qubits[place]: bit for place, bit in zip(qubits, bits, strict=True)}
    circuit = QuantumCircuit(
        bits, source.clbits, *source.cregs, global_phase=source.global_phase, name=source.name
    )
    circuit.metadata = source.metadata
    for step in source.data:
        kept = [inner[bit] for bit in step.qubits if bit in inner]
        if step.operation.name == "barrier":
            circuit.barrier(kept)
        else:
            circuit.append(step.operation, kept, step.clbits)
    width = source.num_qubits
    observables = [
        {"".join(label[width - 1 - place] for place in reversed(qubits)): weight
         for label, weight in observable.items()}
        for observable in pub.observables.ravel()
    ]  # fmt: skip
    shape = pub.observables.shape
    array = np.empty(len(observables), object)
    array[:] = observables
    return EstimatorPub(circuit, ObservablesArray(array.reshape(shape).tolist()),
                        pub.parameter_values)  # fmt: skip


def widened(circuit: QuantumCircuit, qubits: tuple[int, ...], width: int) -> QuantumCircuit:
    """The library's circuit with its qubit `i` at `qubits[i]` of `width`."""
    wide: Any = QuantumCircuit(
        [Qubit() for _ in range(width)], circuit.clbits, *circuit.cregs,
        global_phase=circuit.global_phase,
    )  # fmt: skip
    places = {bit: wide.qubits[place] for bit, place in zip(circuit.qubits, qubits, strict=True)}
    for step in circuit.data:
        wide.append(step.operation, [places[bit] for bit in step.qubits], step.clbits)
    return wide
