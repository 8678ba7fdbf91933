"""Measurement circuits: from observables to as few settings as possible, and back to expectation
values.

Terms that agree qubit by qubit on a basis are measured together. A setting is the PUB's circuit
with basis changes and measurements added; it keeps the circuit's parameters open, is made once for
each (circuit, set of terms), and then kept in the group's cache. The grouping, the basis changes,
and the order of everything are those of Qiskit's backend estimator, so that a seed gives the same
values.

Besides Paulis a term may hold projectors: `0 1` in the Z basis, `+ -` in X, `r l` in Y. They are
measured in their basis; a shot counts only if the outcome is the projector's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import Pauli, PauliList
from qiskit.transpiler import PassManager, Target
from qiskit.transpiler.passes import Optimize1qGatesDecomposition

from qdwell.wire.device import Device, Fitted, Samples

#: Basis in which each projector is measured, and the outcome that it stands for.
_PROJECTORS = {
    "0": ("Z", 0), "1": ("Z", 1), "+": ("X", 0), "-": ("X", 1), "r": ("Y", 0), "l": ("Y", 1)
}  # fmt: skip
#: What one table of `expectation` may take.
_TABLE_BYTES_MAX = 4_000_000
_TO_PAULI = str.maketrans({symbol: basis for symbol, (basis, _) in _PROJECTORS.items()})


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms that one setting measures, as masks over the packed classical bits.

    For term `i` and packed outcome `o`: the sign is the parity of `o & parity[i]`, and the shot
    counts if `o & select[i] == wanted[i]`. All three have shape `(terms, bytes)`.
    """

    labels: tuple[str, ...]
    parity: NDArray[np.uint8]
    select: NDArray[np.uint8]
    wanted: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Setting:
    """A circuit that measures some terms."""

    fitted: Fitted
    terms: Terms


def settings(circuit: QuantumCircuit, labels: Sequence[str], device: Device) -> tuple[Setting, ...]:
    """Settings that measure all `labels` on `circuit`; `labels` are sorted and of its width."""
    if not circuit.num_qubits:
        return (_without_qubits(circuit, device),)
    by_pauli: dict[str, list[str]] = {}
    for label in labels:
        by_pauli.setdefault(label.translate(_TO_PAULI), []).append(label)
    paulis = PauliList(sorted(by_pauli))
    made = []
    for group in paulis.group_commuting(qubit_wise=True):
        basis = Pauli((np.logical_or.reduce(group.z), np.logical_or.reduce(group.x)))
        # The identity alone still needs a run to have a value: it measures the first qubit.
        qubits = [q for q in range(circuit.num_qubits) if basis.z[q] or basis.x[q]] or [0]
        rotated = _basis_change(basis, qubits, device.target)
        combined = circuit.copy()
        register = ClassicalRegister(len(qubits), _free_name(circuit))
        combined.add_register(register)
        combined.compose(rotated, clbits=register, inplace=True)
        terms = [label for pauli in group.to_labels() for label in by_pauli[pauli]]
        masks = _terms(terms, qubits, circuit.num_clbits)
        made.append(Setting(device.fit(combined), masks))
    return tuple(made)


def _without_qubits(circuit: QuantumCircuit, device: Device) -> Setting:
    """A setting for the only term of a circuit without qubits, the identity: devices run none."""
    wider = circuit.copy()
    wider.add_register(QuantumRegister(1))
    (setting,) = settings(wider, ["I"], device)
    return replace(setting, terms=replace(setting.terms, labels=("",)))


def _free_name(circuit: QuantumCircuit) -> str:
    name = "measured"
    taken = {register.name for register in circuit.cregs}
    while name in taken:
        name = f"_{name}"
    return name


def _basis_change(basis: Pauli, qubits: list[int], target: Target) -> QuantumCircuit:
    """Turn `qubits` from `basis` to Z and measure them, in the device's own gates."""
    width = basis.num_qubits
    circuit = QuantumCircuit(QuantumRegister(width, "q"), ClassicalRegister(len(qubits), "m"))
    for clbit, qubit in enumerate(qubits):
        if basis.x[qubit]:
            if basis.z[qubit]:
                circuit.sdg(qubit)
            circuit.h(qubit)
        circuit.measure(qubit, clbit)
    basis_gates = list(target.operation_names)
    one_qubit = Optimize1qGatesDecomposition(basis=basis_gates, target=target)
    result: QuantumCircuit = PassManager([one_qubit]).run(circuit)
    return result


def _terms(labels: list[str], qubits: list[int], offset: int) -> Terms:
    """Masks for `labels`; qubit `qubits[i]` is measured into classical bit `offset + i`."""
    bits = offset + len(qubits)
    width = (bits + 7) // 8
    masks = np.zeros((3, len(labels), width * 8), np.uint8)
    for row, label in enumerate(labels):
        for place, qubit in enumerate(qubits):
            symbol = label[-1 - qubit]
            # Bit 0 is the last one of the packed row.
            column = width * 8 - 1 - (offset + place)
            if symbol in _PROJECTORS:
                masks[1, row, column] = 1
                masks[2, row, column] = _PROJECTORS[symbol][1]
            elif symbol != "I":
                masks[0, row, column] = 1
    packed = np.packbits(masks, axis=-1, bitorder="big")
    return Terms(tuple(labels), packed[0], packed[1], packed[2])


def expectation(terms: Terms, samples: Samples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each term over the samples; both of shape `(terms,)`."""
    rows = samples.bits
    counts = samples.counts
    weights = np.ones(len(rows), np.int64) if counts is None else counts
    total = int(weights.sum())
    means, squares = np.empty(len(terms.labels)), np.empty(len(terms.labels))
    # All terms at once, but for so many that the table of terms and outcomes would be large.
    step = max(1, _TABLE_BYTES_MAX // max(1, rows.size))
    for at in range(0, len(terms.labels), step):
        part = slice(at, at + step)
        odd = np.bitwise_count(rows & terms.parity[part, None]).sum(axis=2) & 1
        # Sums of integers: exact, whatever order the outcomes come in.
        if terms.select[part].any():
            chosen = ((rows & terms.select[part, None]) == terms.wanted[part, None]).all(axis=2)
            kept = chosen @ weights
            odds = (chosen & (odd == 1)) @ weights
        else:
            kept, odds = total, odd @ weights
        means[part] = (kept - 2 * odds) / total
        squares[part] = kept / total
    return means, squares - means**2
