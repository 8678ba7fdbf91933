"""Readout mitigation, as the V1 primitives have it (O21).

*Twirled readout*, for expectation values: before each measurement half of the qubits, chosen at
random, are flipped, and the outcomes are flipped back. Averaged over such circuits, readout errors
multiply the expectation value of each Pauli string by a factor; the same circuits on the ground
state measure that factor, and the value is divided by it.

*Inversion*, for distributions: the error of each bit is measured with all qubits in 0 and all in 1;
the errors are taken as independent of each other, and the system of equations is solved for the
outcomes that were seen, not for all that there could be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from qdwell.errors import ProgramError
from qdwell.programs.burden import TOO_MUCH
from qdwell.wire.device import Samples

TWIRLS = 16  # O23
CALIBRATION_SHOTS = 8_192  # O23
OUTCOMES_MAX = 2_048  # the system of equations is dense
FACTOR_LEAST = 0.05  # below, a string has no signal left, and dividing would only blow up noise


def flips(bits: int, seed: int | None) -> NDArray[np.bool_]:
    """Which bits to flip in each twirled circuit, of shape `(TWIRLS, bits)`.

    Each pattern comes with its complement, so that every bit is flipped in exactly half of them.
    """
    chance = np.random.default_rng(seed)
    half = chance.integers(0, 2, size=(TWIRLS // 2, bits)).astype(bool)
    return np.concatenate([half, ~half])


def flipped(
    circuit: QuantumCircuit, clbits: Sequence[int], which: Sequence[bool]
) -> QuantumCircuit:
    """The circuit with an X before the measurement into each of `clbits` that `which` names."""
    wanted = {circuit.clbits[at] for at, flip in zip(clbits, which, strict=True) if flip}
    result = circuit.copy_empty_like()
    for step in circuit.data:
        if step.operation.name == "measure" and step.clbits[0] in wanted:
            result.x(step.qubits[0])
        result.append(step)
    return result


def calibration(like: QuantumCircuit, qubits: Sequence[int]) -> QuantumCircuit:
    """A circuit that measures `qubits` of the ground state, into bits in their order."""
    circuit = QuantumCircuit(like.num_qubits, len(qubits))
    for place, qubit in enumerate(qubits):
        circuit.measure(qubit, place)
    return circuit


def columns(samples: Samples, clbits: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Outcomes of some bits, of shape `(rows, len(clbits))`, and how often each row came."""
    flat = np.unpackbits(samples.bits, axis=-1, bitorder="big")
    last = flat.shape[-1] - 1
    rows = flat[:, [last - bit for bit in clbits]]
    counts = samples.counts
    return rows, np.ones(len(rows), np.int64) if counts is None else counts


def parity_mean(
    parts: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]],
    which: NDArray[np.bool_],
    places: Sequence[int],
) -> float:
    """The mean sign of the bits at `places` over all twirled circuits, flips taken back."""
    total = signed = 0
    for (rows, counts), flip in zip(parts, which, strict=True):
        odd = (rows[:, places].sum(axis=1) + int(flip[places].sum())) & 1
        total += int(counts.sum())
        signed += int(counts.sum() - 2 * counts[odd == 1].sum())
    return signed / total


@dataclass(frozen=True, slots=True)
class BitErrors:
    """Probability that a bit is read wrong: of a 0, and of a 1, each of shape `(bits,)`."""

    of_zero: NDArray[np.float64]
    of_one: NDArray[np.float64]


def bit_errors(calibration: Sequence[Samples], bits: int) -> BitErrors:
    """The errors of bits from what was read with all of them 0, and with all of them 1."""
    shares = []
    for samples in calibration:
        rows, counts = columns(samples, range(bits))
        shares.append((rows * counts[:, None]).sum(axis=0) / counts.sum())
    return BitErrors(shares[0], 1.0 - shares[1])


def inverted(
    outcomes: NDArray[np.uint8], counts: NDArray[np.int64], errors: BitErrors
) -> NDArray[np.float64]:
    """Quasi-probabilities of the outcomes that were seen, readout errors taken back.

    Raises:
        ProgramError: there are too many different outcomes.
    """
    if len(outcomes) > OUTCOMES_MAX:
        raise ProgramError(
            TOO_MUCH,
            f"{len(outcomes)} different outcomes are more than readout mitigation takes "
            f"({OUTCOMES_MAX})",
            "Measure fewer qubits, or set resilience_level to 0.",
        )
    chance = np.ones((len(outcomes), len(outcomes)))
    for bit in range(outcomes.shape[1]):
        wrong = np.where(outcomes[:, bit], errors.of_one[bit], errors.of_zero[bit])
        same = outcomes[:, bit, None] == outcomes[None, :, bit]
        chance *= np.where(same, 1.0 - wrong[None, :], wrong[None, :])
    chance /= chance.sum(axis=0)  # what leads out of the seen outcomes is shared among them
    solved: NDArray[np.float64] = np.linalg.solve(chance, counts / counts.sum())
    return solved
