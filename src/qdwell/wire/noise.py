"""A noise model that a job brings along (O18): what stands in it, without a simulator's classes.

It is read and checked by programs, and made into a simulator's own model by an executor; both may
be in different processes. The form is that of Aer's `NoiseModel.to_dict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of an error: a standard gate, `reset`, `pauli`, `unitary`, or `kraus`."""

    name: str
    #: Qubits of the error, counted from 0; not those of the device.
    qubits: tuple[int, ...]
    #: `pauli`: its label; `unitary`, `kraus`: complex matrices.
    params: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class GateError:
    """What may happen with an instruction: with `probabilities[i]` the steps `ways[i]`."""

    #: Names or labels of the instructions.
    operations: tuple[str, ...]
    #: Device qubits of the instructions; None: wherever there is no error of its own.
    qubits: tuple[tuple[int, ...], ...] | None
    ways: tuple[tuple[Step, ...], ...]
    probabilities: tuple[float, ...]

    @property
    def width(self) -> int:
        """How many qubits it acts on."""
        return 1 + max((max(it.qubits) for way in self.ways for it in way), default=0)


@dataclass(frozen=True, slots=True)
class ReadoutError:
    """What is read: `probabilities[i][j]` of reading `j` for an `i`; shape `(2, 2)`."""

    #: Device qubits; None: wherever there is no error of its own.
    qubits: tuple[int, ...] | None
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class JobNoise:
    """The errors of a job's own noise model, in the order in which they came."""

    gates: tuple[GateError, ...]
    readout: tuple[ReadoutError, ...]
    #: Of its content: models with equal marks are equal.
    mark: str
