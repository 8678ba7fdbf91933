"""Samples of an ideal circuit drawn from its exact distribution, for runs without a seed.

Aer keeps a text for each shot, which for a small circuit takes ten times as long as its state. If
all measurements come last, the outcomes are independent draws from one distribution, and that Aer
can be asked for: `save_probabilities` in place of the measurements. The draws are then ours, from
fresh entropy as Aer's would be. A run with a seed is never sampled here: its samples are those that
Aer has for that seed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit_aer.library import SaveProbabilities

from qdwell.executors.assembled import Assembled, Controller, Shelf, assembled
from qdwell.wire.device import Batch, Samples

#: More outcomes than this, or than shots, are quicker to sample one by one.
OUTCOMES_MAX = 4_096

_SAVE = "save_probabilities"


@dataclass(slots=True)
class Exact:
    """A circuit whose distribution can be asked for.

    Bit `i` of an outcome belongs into classical bit `clbits[i]` of `width`.
    """

    circuit: QuantumCircuit
    assembled: Assembled
    clbits: tuple[int, ...]
    width: int
    #: The chance of each outcome, once it is known; of a circuit with parameters it never is.
    weights: NDArray[np.float64] | None = None

    @property
    def outcomes(self) -> int:
        """How many outcomes there are."""
        return 1 << len(self.clbits)


def exact(circuit: QuantumCircuit, names: Collection[str]) -> Exact | None:
    """The circuit without its measurements; None if they are not all at its end, or it has other
    instructions than `names`, or too many outcomes.
    """
    bare = circuit.copy_empty_like()
    clbits: dict[int, Any] = {}  # and the qubit that is measured into it
    measured: set[Any] = set()
    place = {bit: at for at, bit in enumerate(circuit.clbits)}
    for step in circuit.data:
        name = step.operation.name
        if name == "barrier":
            continue
        if name == "reset" or not measured.isdisjoint(step.qubits):
            return None
        if name != "measure":
            bare.append(step)
            continue
        clbit = place[step.clbits[0]]
        if clbit in clbits:
            return None
        clbits[clbit] = step.qubits[0]
        measured.add(step.qubits[0])
    if not clbits or 1 << len(clbits) > OUTCOMES_MAX:
        return None
    order = sorted(clbits)
    bare.append(SaveProbabilities(len(order)), [clbits[clbit] for clbit in order])
    made = assembled(bare, {*names, _SAVE})
    return None if made is None else Exact(bare, made, tuple(order), circuit.num_clbits)


class Sampler:
    """Draws the samples of batches.

    Args:
        controller: asks Aer.
        names: instructions that may be in a circuit.
    """

    def __init__(self, controller: Controller, names: Collection[str]) -> None:
        self._controller = controller
        self._shelf: Shelf[Exact] = Shelf(lambda circuit: exact(circuit, names))
        self._chance = np.random.default_rng()

    def samples(self, batch: Batch) -> list[Samples] | None:
        """The samples of a batch without a seed; None if some circuit must be run by Aer itself."""
        if batch.seed is not None:
            return None
        found: list[Exact] = []
        for fit in batch.circuits:
            one = self._shelf.get(fit.circuit)
            if one is None or one.outcomes > batch.shots:
                return None
            found.append(one)
        chances = self._chances(found, batch)
        if chances is None:
            return None  # Aer may know another method for a circuit with measurements
        return [self._draw(*pair, batch) for pair in zip(found, chances, strict=True)]

    def _chances(self, found: list[Exact], batch: Batch) -> list[NDArray[np.float64]] | None:
        """The distribution of each circuit with its values; None if Aer cannot tell."""
        asked = [at for at, one in enumerate(found) if one.weights is None]
        chances = [one.weights for one in found]
        if asked:
            answer = self._controller.run(
                [found[at].circuit for at in asked],
                [found[at].assembled for at in asked],
                [batch.values[at] for at in asked],
                {},
                shots=1,
            )
            if not answer["success"]:
                return None
            for at, result in zip(asked, answer["results"], strict=True):
                weights = np.maximum(np.asarray(result["data"][_SAVE.removeprefix("save_")]), 0.0)
                chances[at] = weights / weights.sum()
                if not len(batch.values[at]):
                    found[at].weights = chances[at]
        return [weights for weights in chances if weights is not None]

    def _draw(self, one: Exact, weights: NDArray[np.float64], batch: Batch) -> Samples:
        if batch.ordered:
            words = self._chance.choice(len(weights), batch.shots, p=weights)
            return Samples(packed(words, one.clbits, one.width))
        counts = self._chance.multinomial(batch.shots, weights)
        words = np.flatnonzero(counts)
        return Samples(packed(words, one.clbits, one.width), counts[words])


def packed(words: NDArray[np.int64], clbits: Sequence[int], width: int) -> NDArray[np.uint8]:
    """Outcomes as rows of packed classical bits, of shape `(words, ceil(width / 8))`."""
    size = (width + 7) // 8
    if size <= 8 and list(clbits) == list(range(len(clbits))):
        return words.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - size :]
    bits = np.zeros((len(words), size * 8), np.uint8)
    for at, clbit in enumerate(clbits):
        bits[:, size * 8 - 1 - clbit] = words >> at & 1  # bit 0 is the last one of the row
    return np.packbits(bits, axis=1, bitorder="big")
