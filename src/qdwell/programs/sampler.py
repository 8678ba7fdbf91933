"""The sampler (V2): per PUB and classical register the outcome of every shot.

PUBs with equal shots form one run, as in Qiskit's backend sampler: the seeds of its circuits are
counted through. So a job with a seed gives the same bits as the stock client's local testing mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from qdwell.programs import options, pubs
from qdwell.programs.cache import Cache
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire import results
from qdwell.wire.device import Batch, Device, Fitted


@dataclass(frozen=True, slots=True)
class Register:
    """A classical register: where each of its bits is among all classical bits, lowest first."""

    name: str
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One PUB, ready for the device."""

    fitted: Fitted
    values: pubs.Values
    shots: int
    #: Place of its first circuit among those with the same shots.
    first: int
    registers: tuple[Register, ...]
    metadata: Any


@dataclass(frozen=True, slots=True)
class Given:
    """What the device gave for one PUB: `bits` of shape `(rows, shots, bytes)`, and when."""

    plan: Plan
    bits: NDArray[np.uint8]
    start: int
    stop: int
    #: The encoded result, where it was given out as an interim result already.
    encoded: bytes | None = None


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Decode, check, and count.

    Raises:
        ProgramError: why the job fails.
    """
    chosen = options.resolved(params)
    reader = pubs.Reader(work, device, cache, chosen.rep_delay_us)
    plans: list[Plan] = []
    loaded: list[pubs.Loaded] = []
    executions = 0
    placed: Counter[int] = Counter()
    for place, parts in enumerate(params.get("pubs") or []):
        field = f"pubs[{place}]"
        circuit_part, values_part, shots_part = pubs.padded(parts, 3)
        entry = reader.circuit(circuit_part, field, measured=True)
        values = reader.values(values_part, entry.circuit, field)
        shots = chosen.shots if shots_part is None else shots_part
        executions += len(values.rows) * shots
        reader.check_executions(executions, field)
        reader.held(entry.fitted, len(values.rows), shots)
        loaded.append(entry)
        plans.append(
            Plan(
                fitted=entry.fitted,
                values=values,
                shots=shots,
                first=placed[shots],
                registers=_registers(entry.circuit),
                metadata=entry.circuit.metadata,
            )
        )
        placed[shots] += len(values.rows)
    prepared = Prepared(
        work.program_id, tuple(plans), chosen.seed, {"version": 2}, chosen.rep_delay_us
    )
    return prepared, pubs.facts(loaded, executions, reader.estimate_ms)


def _registers(circuit: QuantumCircuit) -> tuple[Register, ...]:
    index = {bit: place for place, bit in enumerate(circuit.clbits)}
    return tuple(Register(it.name, tuple(index[bit] for bit in it)) for it in circuit.cregs)


def execute(
    prepared: Prepared, device: Device, emit_interim: Callable[[bytes], None] | None
) -> Raw:
    """Run PUB after PUB. Each but the last is given out as an interim result when it is done.

    Raises:
        ProgramError: a run failed.
    """
    given: list[Given] = []
    for plan in prepared.pubs:
        batch = Batch(
            circuits=(plan.fitted,) * len(plan.values.rows),
            values=tuple(plan.values.rows),
            shots=plan.shots,
            seed=prepared.seed,
            first=plan.first,
            rep_delay_us=prepared.rep_delay_us,
        )
        outcome = device.run(batch)
        width = (plan.fitted.circuit.num_clbits + 7) // 8
        bits = np.empty((len(outcome.samples), plan.shots, width), np.uint8)
        for row, samples in enumerate(outcome.samples):
            bits[row] = samples.bits
        encoded = None
        if emit_interim is not None and len(given) + 1 < len(prepared.pubs):
            encoded = _encoded(plan, bits)
            emit_interim(encoded)
        given.append(Given(plan, bits, outcome.start, outcome.stop, encoded))
    emitted = sum(it.encoded is not None for it in given)
    return Raw(prepared.program_id, tuple(given), prepared.metadata, emitted)


def postprocess(raw: Raw) -> Finished:
    """Split the bits by register and encode the result."""
    encoded = [it.encoded or _encoded(it.plan, it.bits) for it in raw.pubs]
    spans = [
        results.Span(place, (*it.plan.values.shape, it.plan.shots), it.start, it.stop)
        for place, it in enumerate(raw.pubs)
    ]
    metadata = {"execution": {"execution_spans": results.execution_spans(spans)}, **raw.metadata}
    return Finished(results.primitive_result(encoded, metadata), tuple(encoded[raw.emitted :]))


def _encoded(plan: Plan, bits: NDArray[np.uint8]) -> bytes:
    shape = plan.values.shape
    fields = {}
    for register in plan.registers:
        part = _taken(bits, register.places)
        fields[register.name] = results.bit_array(
            part.reshape(*shape, plan.shots, part.shape[-1]), len(register.places)
        )
    return results.sampler_pub(
        results.data_bin(shape, fields),
        {"circuit_metadata": results.free_json(plan.metadata)},
    )


def _taken(bits: NDArray[np.uint8], places: tuple[int, ...]) -> NDArray[np.uint8]:
    """The bits at `places` of each row of packed `bits`, packed again."""
    width = bits.shape[-1]
    if places == tuple(range(len(places))) and (len(places) + 7) // 8 == width:
        if len(places) % 8 == 0:
            return bits
        part = bits.copy()
        # The same bytes hold bits of a later register above ours.
        part[..., 0] &= (1 << len(places) % 8) - 1
        return part
    if not places:
        return np.zeros((*bits.shape[:-1], 0), np.uint8)
    flat = np.unpackbits(bits, axis=-1, bitorder="big")
    # Bit 0 is the last column; within the register, too, the highest bit comes first.
    columns = [8 * width - 1 - place for place in reversed(places)]
    padded = np.zeros((*flat.shape[:-1], 8 * ((len(places) + 7) // 8)), np.uint8)
    padded[..., -len(places) :] = flat[..., columns]
    return np.packbits(padded, axis=-1, bitorder="big")
