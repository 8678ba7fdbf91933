"""How to simulate many qubits that are joined: which method, and whether there is memory for it.

- *State vector*: 16 bytes for each of 2^n amplitudes, whatever the circuit.
- *Stabilizer*: Clifford circuits of any width. Angles are open until a job gives them, so it is
  decided for each row: rotations by multiples of pi/2 are Clifford, within 1e-6. Noise must be
  made of Paulis and resets, too.
- *Matrix product state*: exact as well; what it takes depends on the entanglement between the left
  and the right of each cut of the line of qubits. Before it runs, its size is bounded from above: a
  gate on neighbours cannot make the bond between them larger than twice either bond beside it; Aer
  brings qubits that are no neighbours together by swaps, which are gates, too.

Up to `SMALL` joined qubits Aer chooses by itself. Beyond, the first method that can hold the
circuit is taken, and if none can, the job fails before anything runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from qdwell.errors import ProgramError
from qdwell.wire.device import Fitted

#: Up to so many joined qubits (256 MB as a state vector), Aer chooses the method.
SMALL = 24
TOO_MUCH = 6000

_CLIFFORD = frozenset(
    {"id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "swap", "ecr", "dcx"}
    | {"iswap", "measure", "reset", "delay", "barrier"}
)
_QUARTER_TURNS = frozenset({"rz", "p", "rx", "ry", "rzz"})
_STEP = np.pi / 2
_NEAR = 1e-6
_AMPLITUDE_BYTES = 16
_HOPELESS_BYTES = 1 << 50  # no need to count further


@dataclass(frozen=True, slots=True)
class Needs:
    """What a circuit needs of each method; bytes, or None if the method cannot have it."""

    vector: int
    product: int
    #: False: an instruction or error that no stabilizer simulation can have, whatever the values.
    stabilizer: bool
    name: str
    qubits: int

    def exact(self) -> str | None:
        """The method for circuits that are not Clifford; None if there is none."""
        room = memory_bytes()
        if min(self.vector, self.product) > room:
            return None
        return "statevector" if self.vector <= self.product else "matrix_product_state"


def needs(fit: Fitted, irregular: bool, name: str) -> Needs | None:
    """What a circuit with open parameters needs; None if it is small.

    Args:
        irregular: an error on it is neither Pauli nor reset.
        name: the device's name, for the error.

    Raises:
        ProgramError: 6000, no method can hold it, whatever the values.
    """
    count = len(fit.qubits)
    if count <= SMALL:
        return None
    made = Needs(
        vector=_AMPLITUDE_BYTES << count,
        product=_product_bytes(fit),
        stabilizer=not irregular and all(_may_be_clifford(it) for it in fit.circuit.data),
        name=name,
        qubits=count,
    )
    if not made.stabilizer and made.exact() is None:
        raise _too_large(made)
    return made


def chosen(
    need: Needs | None, fit: Fitted, values: NDArray[np.float64]
) -> tuple[str | None, Fitted, NDArray[np.float64]]:
    """The method for a row of values, with the circuit and the values that it is to run on.

    Raises:
        ProgramError: 6000, no method can hold it.
    """
    if need is None:
        return None, fit, values
    if need.stabilizer:
        bound = fit.circuit.assign_parameters(values) if len(values) else fit.circuit
        if (rounded := _rounded(bound)) is not None:
            return "stabilizer", replace(fit, circuit=rounded), np.empty(0)
    method = need.exact()
    if method is None:
        raise _too_large(need)
    return method, fit, values


def memory_bytes() -> int:
    """Memory that there is: what the system says is available, else all of it."""
    told = Path("/proc/meminfo")
    for line in told.read_text("ascii").splitlines() if told.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _too_large(need: Needs) -> ProgramError:
    return ProgramError(
        TOO_MUCH,
        f"{need.name} cannot simulate {need.qubits} qubits that gates join: a state vector needs "
        f"{_shown(need.vector)}, a matrix product state up to {_shown(need.product)}, and there "
        f"are {_shown(memory_bytes())}; and it is no Clifford circuit with Pauli noise",
        "Use fewer qubits, fewer gates between distant ones, or Clifford gates only.",
    )


def _shown(size: int) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size = size // 1000
    return f"{size:.0f} EB" if size < 10**6 else "far more than any computer has"


def _may_be_clifford(step: object) -> bool:
    operation = step.operation  # type: ignore[attr-defined]
    if operation.name in _CLIFFORD:
        return True
    if operation.name not in _QUARTER_TURNS:
        return False
    angle = operation.params[0]
    return not isinstance(angle, int | float) or _turns(float(angle)) is not None


def _turns(angle: float) -> int | None:
    """How many quarter turns an angle is, if it is any whole number of them."""
    turns = round(angle / _STEP)
    return turns if abs(angle - turns * _STEP) <= _NEAR else None


def _rounded(circuit: QuantumCircuit) -> QuantumCircuit | None:
    """A bound circuit with its angles made exact quarter turns; None if it is not Clifford."""
    result = circuit.copy_empty_like()
    for step in circuit.data:
        operation = step.operation
        if operation.name in _QUARTER_TURNS:
            turns = _turns(float(operation.params[0]))
            if turns is None:
                return None
            operation = type(operation)(turns * _STEP)
        elif operation.name not in _CLIFFORD:
            return None
        result.append(operation, step.qubits, step.clbits)
    return result


class _Line:
    """The qubits of a product state in a line, and how large each bond may have become."""

    def __init__(self, count: int) -> None:
        self.qubits = list(range(count))
        self.position = list(range(count))
        self.bonds = [0] * (count + 1)  # base-2 logarithms; bonds[j] is left of position j
        self.largest = 2 * _AMPLITUDE_BYTES * count

    def join(self, one: int, other: int) -> None:
        """A gate on two qubits: the right one comes to the left one by swaps, and stays there."""
        left, right = sorted((self.position[one], self.position[other]))
        for at in range(right - 1, left, -1):
            self.swap(at)
        grown = min(self.bonds[left], self.bonds[left + 2]) + 1
        self.bonds[left + 1] = min(grown, self.bonds[left + 1] + 2)
        self._count()

    def swap(self, at: int) -> None:
        """The qubits at `at` and `at + 1` change places."""
        qubits, position = self.qubits, self.position
        qubits[at], qubits[at + 1] = qubits[at + 1], qubits[at]
        position[qubits[at]], position[qubits[at + 1]] = at, at + 1
        self.bonds[at + 1] = min(self.bonds[at], self.bonds[at + 2]) + 1
        self._count()

    def sort(self) -> None:
        """Back to the order of the start, as for a measurement of all."""
        for qubit in range(len(self.qubits)):
            for at in range(self.position[qubit] - 1, qubit - 1, -1):
                self.swap(at)

    def _count(self) -> None:
        held = sum(2 * _AMPLITUDE_BYTES << (a + b) for a, b in pairwise(self.bonds))
        self.largest = max(self.largest, held)


def _product_bytes(fit: Fitted) -> int:
    """An upper bound of the size of the circuit's matrix product state, in bytes."""
    index = {bit: place for place, bit in enumerate(fit.circuit.qubits)}
    places = {qubit: at for at, qubit in enumerate(sorted(fit.qubits))}
    line = _Line(len(places))
    for step in fit.circuit.data:
        if step.operation.name == "barrier" or len(step.qubits) < 2:
            continue
        first, *others = (places[index[bit]] for bit in step.qubits)
        for other in others:
            line.join(first, other)
        if line.largest > _HOPELESS_BYTES:
            return line.largest
    line.sort()
    return line.largest
