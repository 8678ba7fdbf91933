"""Quantum programs: circuits with arrays of arguments, and samplexes that draw the arguments.

A quantum program is what the `executor` takes, and what the mitigation of the `sampler` and the
`estimator` and the noise learner are made of. A *samplex* is a recipe: for a template circuit it
draws random parameter values that all mean the same circuit (twirling), or the same circuit with a
noise channel added, and tells what must be undone in the outcomes (measurement flips).

Samplexes are drawn in preparation. The device sees circuits with rows of values, nothing else; the
program's items run one after the other, as many elements in one *chunk* as the device should take.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from qdwell.errors import ProgramError
from qdwell.programs.pubs import BAD_INPUT
from qdwell.wire.device import Batch, Device, Fitted

#: Executions in one chunk where nobody says: results of a chunk are in memory at once.
CHUNK_EXECUTIONS = 1_000_000

#: Every output of a samplex but this one belongs to the result.
ARGUMENTS = "parameter_values"


@dataclass(frozen=True, slots=True)
class Register:
    """A classical register: where each of its bits is among all classical bits, lowest first."""

    name: str
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One item, ready for the device: `rows` has shape `(prod(shape), parameters)`."""

    fitted: Fitted
    rows: NDArray[np.float64]
    shape: tuple[int, ...]
    registers: tuple[Register, ...]
    #: What the samplex gave beside the arguments; each array has the item's shape in front.
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    #: Elements in one chunk; None leaves it to us.
    chunk: int | None = None
    #: Shots of each element; None: the program's.
    shots: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Elements `start` to `stop` of an item, in row-major order."""

    item: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """What ran in one go, and when (ms since the epoch)."""

    start: int
    stop: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """What the device gave: per item packed bits of shape `(elements, shots, bytes)`."""

    bits: tuple[NDArray[np.uint8], ...]
    chunks: tuple[Chunk, ...]
    shots: int
    #: The bits are random, and mean nothing: a dry run.
    mock: bool = False


def registers(circuit: QuantumCircuit) -> tuple[Register, ...]:
    """The classical registers of a circuit."""
    index = {bit: place for place, bit in enumerate(circuit.clbits)}
    return tuple(Register(it.name, tuple(index[bit] for bit in it)) for it in circuit.cregs)


def drawn(
    samplex: Any, arguments: Any, shape: Sequence[int], chance: np.random.Generator, where: str
) -> tuple[tuple[int, ...], dict[str, NDArray[Any]]]:
    """Draw a samplex for each element of an item; returns the item's shape and all outputs.

    Args:
        samplex: a finalized `samplomatic` samplex.
        arguments: its bound, broadcastable inputs.
        shape: the shape asked for; axes that the arguments lack enumerate randomizations.

    Raises:
        ProgramError: 1208, the shapes do not fit, or the samplex cannot be drawn.
    """
    from qiskit_ibm_runtime.fake_provider.executor.broadcast_sample import broadcast_sample

    try:
        whole = tuple(np.broadcast_shapes(tuple(shape), arguments.shape))
        if math.prod(whole) == 0:
            return whole, _empty(samplex, whole)
        return whole, broadcast_sample(samplex, arguments, whole, chance)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ProgramError(BAD_INPUT, f"{where}: the samplex cannot be drawn: {error}") from error


def _empty(samplex: Any, shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """The outputs of an item without elements."""
    specs = samplex.outputs().specs
    return {it.name: np.empty((*shape, *it.shape[1:]), it.dtype) for it in specs}


def size(items: Iterable[Item]) -> int:
    """Elements of all items: circuits to run, each `shots` times."""
    return sum(len(it.rows) for it in items)


def run(
    items: Sequence[Item],
    shots: int,
    device: Device,
    seed: int | None,
    rep_delay_us: float | None = None,
) -> Ran:
    """Run all items on the device, chunk by chunk.

    Raises:
        ProgramError: a run failed.
    """
    bits = [
        np.zeros(
            (len(it.rows), it.shots or shots, (it.fitted.circuit.num_clbits + 7) // 8), np.uint8
        )
        for it in items
    ]
    chunks = []
    mock = False
    first = 0
    for parts in _chunks(items, shots):
        circuits: list[Fitted] = []
        values: list[NDArray[np.float64]] = []
        for part in parts:
            rows = items[part.item].rows[part.start : part.stop]
            circuits += [items[part.item].fitted] * len(rows)
            values += list(rows)
        each = items[parts[0].item].shots or shots
        batch = Batch(tuple(circuits), tuple(values), each, seed, first, rep_delay_us=rep_delay_us)
        outcome = device.run(batch)
        mock = mock or bool(outcome.metadata.get("mock"))
        first += len(circuits)
        samples = iter(outcome.samples)
        for part in parts:
            for row in range(part.start, part.stop):
                bits[part.item][row] = next(samples).bits
        chunks.append(Chunk(outcome.start, outcome.stop, tuple(parts)))
    return Ran(tuple(bits), tuple(chunks), shots, mock)


def _chunks(items: Sequence[Item], shots: int) -> Iterable[list[Part]]:
    """The program in chunks: of the size that an item asks for, else as many as fit in one."""
    waiting: list[Part] = []
    room = most = max(1, CHUNK_EXECUTIONS // max(1, shots))
    for place, item in enumerate(items):
        count = len(item.rows)
        alone = item.chunk or (item.shots and max(1, CHUNK_EXECUTIONS // item.shots))
        if alone:
            for start in range(0, count, alone):
                yield [Part(place, start, min(count, start + alone))]
            continue
        start = 0
        while start < count:
            stop = min(count, start + room)
            waiting.append(Part(place, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield waiting
                waiting, room = [], most
    if waiting:
        yield waiting


def arrays(item: Item, packed: NDArray[np.uint8], shots: int) -> dict[str, NDArray[Any]]:
    """The item's results by name. Registers are booleans of shape `shape + (shots, bits)`."""
    shots = item.shots or shots
    flat = np.unpackbits(packed, axis=-1, bitorder="little")
    width = packed.shape[-1]
    results: dict[str, NDArray[Any]] = dict(item.outputs)
    for register in item.registers:
        # Bytes are in falling order, bits within a byte (as unpacked here) in rising order.
        columns = [8 * (width - 1 - place // 8) + place % 8 for place in register.places]
        taken = flat[..., columns].astype(bool)
        results[register.name] = taken.reshape(*item.shape, shots, len(columns))
    return results
