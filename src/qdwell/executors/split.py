"""Wide circuits, taken apart: qubits that no gate joins are simulated by themselves, exactly.

The newest clients measure every qubit of a machine, 156 for a problem of two. A dense simulation of
all together is impossible, and of no use: qubits that never meet are independent of each other, so
the outcomes of a shot are those of its parts, side by side. That is exact, noise included, because
each error of a device model acts on the qubits of one instruction.

A circuit is split only where that can matter: with more than `WIDE` active qubits, and if it has no
control flow (a condition joins what it reads with what it acts on). Narrower ones run whole, with
the same samples for a seed as in the stock client's local testing mode.

Parts of one qubit are by far the most, and are worked out at once (see `lone`). Each of the others
is a circuit on the same device qubits, so that the noise model fits it as it is; see `methods` for
how the larger ones are simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction

from qdwell.executors import base, lone, methods
from qdwell.wire.device import Batch, Fitted, Samples

#: Up to so many active qubits a circuit stays whole.
WIDE = 12


@dataclass(frozen=True, slots=True)
class Part:
    """Some qubits of a circuit with all that happens to them."""

    fitted: Fitted
    #: For each parameter of the part, its place among the circuit's.
    columns: tuple[int, ...]
    #: For each classical bit of the part, its place among the circuit's.
    places: tuple[int, ...]
    #: What a simulation of it needs; None for one so small that it does not matter.
    needs: methods.Needs | None


@dataclass(frozen=True, slots=True)
class Parts:
    """A circuit in parts: single qubits, and the others."""

    lone: tuple[lone.Track, ...]
    joined: tuple[Part, ...]


def parts_of(fit: Fitted, knows: lone.Noise | None, name: str) -> Parts | None:
    """The parts of a fitted circuit, or None if it should run whole.

    Args:
        fit: the circuit.
        knows: the device's noise; None for an ideal device.
        name: the device's name, for the error.

    Raises:
        ProgramError: 6000, a part can be held by no method of simulation.
    """
    circuit = fit.circuit
    if len(fit.qubits) <= WIDE or any(_blocks(step) for step in circuit.data):
        return None
    groups = _groups(circuit)
    order = {parameter: place for place, parameter in enumerate(circuit.parameters)}
    index = {bit: place for place, bit in enumerate(circuit.clbits)}
    singles: list[lone.Track] = []
    joined: list[Part] = []
    for steps in groups:
        track = lone.track(circuit, steps, order, index, knows)
        if track is not None:
            singles.append(track)
        else:
            joined.append(_part(circuit, steps, order, index, knows, name))
    if not singles and len(joined) == 1 and joined[0].needs is None:
        return None
    return Parts(tuple(singles), tuple(joined))


def _blocks(step: CircuitInstruction) -> bool:
    return bool(getattr(step.operation, "blocks", ())) or step.operation.name == "store"


def _groups(circuit: QuantumCircuit) -> list[list[CircuitInstruction]]:
    """The instructions of each set of qubits and clbits that instructions join; no barriers."""
    above: dict[Any, Any] = {}

    def top(bit: Any) -> Any:
        while above.setdefault(bit, bit) is not bit:
            above[bit] = above[above[bit]]
            bit = above[bit]
        return bit

    steps = [step for step in circuit.data if step.operation.name != "barrier" and step.qubits]
    for step in steps:
        for bit in (*step.qubits[1:], *step.clbits):
            above[top(bit)] = top(step.qubits[0])
    groups: dict[Any, list[CircuitInstruction]] = {}
    for step in steps:
        groups.setdefault(top(step.qubits[0]), []).append(step)
    return list(groups.values())


def _part(
    whole: QuantumCircuit,
    steps: Sequence[CircuitInstruction],
    order: dict[Any, int],
    index: dict[Any, int],
    knows: lone.Noise | None,
    name: str,
) -> Part:
    clbits = sorted({bit for step in steps for bit in step.clbits}, key=index.__getitem__)
    circuit = QuantumCircuit(*whole.qregs, list(clbits))
    if circuit.num_qubits != whole.num_qubits:  # bits outside of registers
        circuit = QuantumCircuit(list(whole.qubits), list(clbits))
    for step in steps:
        circuit.append(step)
    fit = base.fitted(circuit)
    return Part(
        fitted=fit,
        columns=tuple(order[parameter] for parameter in circuit.parameters),
        places=tuple(index[bit] for bit in clbits),
        needs=methods.needs(fit, knows is not None and knows.irregular(fit), name),
    )


Call = Callable[..., list[Samples]]


def run(batch: Batch, every: Sequence[Parts], call: Call) -> list[Samples]:
    """Run circuits that are in parts.

    Args:
        batch: the circuits; `every[i]` are the parts of `batch.circuits[i]`.
        call: runs a batch of narrow circuits on Aer, with its `method` as a keyword.
    """
    seeds = np.random.SeedSequence(None if batch.seed is None else [batch.seed, batch.first])
    chance = np.random.default_rng(seeds)
    shape = (batch.shots,)
    bits = [np.zeros((*shape, fit.circuit.num_clbits), np.uint8) for fit in batch.circuits]
    for at, (parts, row) in enumerate(zip(every, batch.values, strict=True)):
        lone.measure(parts.lone, row, bits[at], chance)
    _run_joined(batch, every, call, bits)
    return [Samples(_packed(it)) for it in bits]


def _run_joined(
    batch: Batch, every: Sequence[Parts], call: Call, bits: list[NDArray[np.uint8]]
) -> None:
    """Run the parts of several qubits, all that have the same method in one call."""
    work: dict[str | None, list[tuple[int, Part, Fitted, NDArray[np.float64]]]] = {}
    for at, (parts, row) in enumerate(zip(every, batch.values, strict=True)):
        for part in parts.joined:
            values = row[list(part.columns)]
            method, fit, values = methods.chosen(part.needs, part.fitted, values)
            work.setdefault(method, []).append((at, part, fit, values))
    ahead = 0
    for method, entries in work.items():
        inner = replace(
            batch,
            circuits=tuple(fit for _, _, fit, _ in entries),
            values=tuple(values for _, _, _, values in entries),
            # Whatever came before in this run had its own seeds, and so have the other methods.
            first=batch.first * max(1, len(entries)) + ahead,
            ordered=True,
        )
        ahead += len(entries)
        more = {} if method is None else {"method": method}
        for (at, part, _, _), samples in zip(entries, call(inner, **more), strict=True):
            flat = np.unpackbits(samples.bits, axis=-1, bitorder="big")
            last = flat.shape[-1] - 1
            for place, column in enumerate(part.places):
                bits[at][:, column] = flat[:, last - place]


def _packed(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Outcomes, one column per classical bit, as bytes with the highest bit first."""
    shots, clbits = bits.shape
    width = (clbits + 7) // 8
    padded = np.zeros((shots, 8 * width), np.uint8)
    if clbits:
        padded[:, -clbits:] = bits[:, ::-1]
    return np.packbits(padded, axis=-1, bitorder="big")
