"""Qubits that meet no other: gates, delays, and resets, then at most one measurement at the end.

The state of one qubit is a vector of three numbers, its expectation values of X, Y, and Z; each
instruction with its noise is a real 4x4 matrix on (1, x, y, z). The matrices of fixed instructions
are made once for a circuit and multiplied together; only rotations about Z with an open angle stay
apart (the templates of the newest clients have no other open gates). What is left for each row of
values are a few products for all such qubits at once, and a coin toss per qubit and shot. So it is
exact where Aer would sample trajectories, and a machine's worth of idle qubits costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Parameter
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import PTM, Operator

from qdwell.wire.device import Fitted

_IDENTITY = np.eye(4)
_RESET = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])


class Noise(Protocol):
    """What a device's noise model tells of single instructions."""

    def matrix(self, operation: Any, qubit: int) -> NDArray[np.float64] | None:
        """The noise after an instruction on one qubit, as a 4x4 matrix; None: not known so."""
        ...

    def readout(self, qubit: int) -> tuple[float, float]:
        """Probability of reading 1 for a 0, and 0 for a 1."""
        ...

    def irregular(self, fit: Fitted) -> bool:
        """Is there an error on the circuit that a stabilizer simulation cannot have?"""
        ...


@dataclass(frozen=True, slots=True)
class Track:
    """One qubit: fixed matrices, with a rotation about Z by an open angle between each two."""

    #: Shape `(rotations + 1, 4, 4)`.
    fixed: NDArray[np.float64]
    #: Which parameter turns each rotation.
    columns: tuple[int, ...]
    #: The classical bit that it is measured into; None: it is not.
    place: int | None
    #: Probability of reading 1 for a 0, and 0 for a 1.
    wrong: tuple[float, float]


def track(
    circuit: QuantumCircuit,
    steps: Sequence[CircuitInstruction],
    order: Mapping[Any, int],
    index: Mapping[Any, int],
    noise: Noise | None,
) -> Track | None:
    """The track of instructions on one qubit; None if they are on several, or not of this kind."""
    if len({bit for step in steps for bit in step.qubits}) != 1:
        return None
    qubit = circuit.find_bit(steps[0].qubits[0]).index
    fixed, columns = [_IDENTITY], []
    place = None
    for step in steps:
        if place is not None:  # something comes after the measurement
            return None
        after = _IDENTITY if noise is None else noise.matrix(step.operation, qubit)
        if after is None:
            return None
        if step.operation.name == "measure":
            if not np.array_equal(after, _IDENTITY):  # it would come before the readout
                return None
            place = index[step.clbits[0]]
            continue
        if (parameter := _open_angle(step.operation)) is not None:
            columns.append(order[parameter])
            fixed.append(_IDENTITY)
        elif (matrix := _matrix(step.operation)) is not None:
            fixed[-1] = matrix @ fixed[-1]
        else:
            return None
        fixed[-1] = after @ fixed[-1]
    wrong = (0.0, 0.0) if noise is None else noise.readout(qubit)
    return Track(np.array(fixed), tuple(columns), place, wrong)


def _open_angle(operation: Any) -> Parameter | None:
    if operation.name == "rz" and isinstance(operation.params[0], Parameter):
        return operation.params[0]
    return None


def _matrix(operation: Any) -> NDArray[np.float64] | None:
    if operation.name == "reset":
        return _RESET
    if operation.name in ("delay", "id"):
        return _IDENTITY
    try:
        made: NDArray[np.float64] = np.real(PTM(Operator(operation)).data)
    except (QiskitError, TypeError, AttributeError):  # open parameters, or no gate at all
        return None
    return made


def measure(
    tracks: Sequence[Track],
    row: NDArray[np.float64],
    bits: NDArray[np.uint8],
    chance: np.random.Generator,
) -> None:
    """Measure the tracks for one row of values, into the columns of `bits` (`shots` by clbits)."""
    measured = [it for it in tracks if it.place is not None]
    if not measured:
        return
    # Tracks of equal length are worked out together.
    ones = np.empty(len(measured))
    lengths = np.array([len(it.columns) for it in measured])
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        fixed = np.stack([measured[at].fixed for at in chosen])
        angles = row[np.array([measured[at].columns for at in chosen], np.int64)]
        ones[chosen] = (1.0 - _last_z(fixed, angles.reshape(len(chosen), length))) / 2.0
    zero_wrong, one_wrong = np.array([it.wrong for it in measured]).T
    read = np.clip(ones * (1.0 - one_wrong) + (1.0 - ones) * zero_wrong, 0.0, 1.0)
    places = [it.place for it in measured if it.place is not None]
    bits[:, places] = chance.random((len(bits), len(measured))) < read


def _last_z(fixed: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expectation value of Z at the end of each track, all starting from the ground state."""
    state = fixed[:, 0] @ np.array([1.0, 0.0, 0.0, 1.0])
    for at in range(angles.shape[1]):
        cos, sin = np.cos(angles[:, at]), np.sin(angles[:, at])
        x, y = state[:, 1].copy(), state[:, 2].copy()
        state[:, 1], state[:, 2] = cos * x - sin * y, sin * x + cos * y
        state = np.einsum("qij,qj->qi", fixed[:, at + 1], state)
    return np.asarray(state[:, 3])
