"""The sampler (V2) with twirling or dynamical decoupling.

As for the estimator, the circuits are prepared and the results read by the client library's own
functions (`executor_sampler`). A twirled PUB runs as randomizations of `shots_per_randomization`
shots each; their outcomes, flips undone, stand behind each other, cut to the shots asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qdwell.errors import ProgramError
from qdwell.programs import library, mitigation_options, options, pubs, quantum
from qdwell.programs.cache import Cache
from qdwell.programs.estimator_results import circuit_options
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire import results
from qdwell.wire.device import Device

ID = "sampler-mitigated"


@dataclass(frozen=True, slots=True)
class Plan:
    """PUBs with equal shots as one quantum program; `places[i]` is where PUB `i` stands."""

    places: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    metadata: tuple[Any, ...]
    pub_shots: int
    items: tuple[quantum.Item, ...]
    shots: int
    passthrough: Any
    twirled: bool


@dataclass(frozen=True, slots=True)
class Given:
    """What the device gave for one program."""

    plan: Plan
    ran: quantum.Ran


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Decode, check, and let the library prepare the programs.

    Raises:
        ProgramError: why the job fails.
    """
    from qiskit_ibm_runtime.executor_sampler.prepare import prepare as prepared

    chosen = options.resolved(params)
    wanted = mitigation_options.sampler_options(params)
    reader = pubs.Reader(work, device, cache, chosen.rep_delay_us)
    found: dict[int, list[tuple[int, Any, Any]]] = {}
    for place, parts in enumerate(params.get("pubs") or []):
        field = f"pubs[{place}]"
        circuit_part, values_part, shots_part = pubs.padded(parts, 3)
        entry = reader.circuit(circuit_part, field, measured=True)
        if wanted.twirling.enable_measure:
            _check_apart(entry.circuit, field)
        values = reader.values(values_part, entry.circuit, field)
        shots = chosen.shots if shots_part is None else shots_part
        circuit = entry.fitted.circuit.copy()
        if wanted.twirling.enable_gates or wanted.twirling.enable_measure:
            circuit = library.spelled(circuit)
        circuit.metadata = {}
        names = tuple(circuit.parameters)
        rows = values.rows.reshape(*values.shape, len(names))
        bound = BindingsArray({names: rows} if names else {}, shape=values.shape)
        pub = SamplerPub(circuit, bound, shots)
        found.setdefault(shots, []).append((place, pub, entry.circuit.metadata))
    maker = library.Maker(reader, device, np.random.default_rng(chosen.seed))
    backend = library.Shown(device.target, device.name)
    plans = []
    for shots, every in found.items():
        places, made, metadata = zip(*every, strict=True)
        where = ", ".join(f"pubs[{place}]" for place in places)
        program, _ = library.dressed(prepared, where, made, wanted, backend=backend)
        plans.append(
            Plan(
                places=places,
                shapes=tuple(pub.shape for pub in made),
                metadata=metadata,
                pub_shots=shots,
                items=maker.items(program, where),
                shots=program.shots,
                passthrough=program.passthrough_data,
                twirled=bool(program.passthrough_data["post_processor"]["twirling"]),
            )
        )
    told = {**circuit_options(wanted), "version": 2}
    prepared_all = Prepared(ID, tuple(plans), chosen.seed, told, chosen.rep_delay_us)
    return prepared_all, maker.facts()


def _check_apart(circuit: QuantumCircuit, field: str) -> None:
    """`samplomatic` 0.21.0 undoes a flip in one register of a bit, so no bit may have two.

    Raises:
        ProgramError: 1208.
    """
    bits = [bit for register in circuit.cregs for bit in register]
    if len(set(bits)) < len(bits):
        raise ProgramError(
            pubs.BAD_INPUT,
            f"{field}: measurements are not twirled into classical registers that share bits",
            "Give each register bits of its own, or leave twirling.enable_measure off.",
        )


def execute(
    prepared: Prepared, device: Device, _emit_interim: Callable[[bytes], None] | None
) -> Raw:
    """Run program after program.

    Raises:
        ProgramError: a run failed.
    """
    given = []
    for place, plan in enumerate(prepared.pubs):
        seed = None if prepared.seed is None else prepared.seed + place
        ran = quantum.run(plan.items, plan.shots, device, seed, prepared.rep_delay_us)
        given.append(Given(plan, ran))
    return Raw(prepared.program_id, tuple(given), prepared.metadata)


def postprocess(raw: Raw) -> Finished:
    """Undo the flips, put the randomizations behind each other, and encode.

    Raises:
        ProgramError: 1208, the results cannot be evaluated.
    """
    from qiskit_ibm_runtime.decoders.executor_sampler.post_processor_v0_1 import (
        sampler_v2_post_processor_v0_1,
    )

    encoded: dict[int, bytes] = {}
    spans: dict[int, dict[str, Any]] = {}
    for given in raw.pubs:
        plan = given.plan
        result = library.result(plan.items, given.ran, plan.passthrough)
        where = ", ".join(f"pubs[{place}]" for place in plan.places)
        made = library.tried(sampler_v2_post_processor_v0_1, where, result)
        for at, place in enumerate(plan.places):
            encoded[place] = _pub(made[at], plan, at)
            if (span := _span(place, given, at)) is not None:
                spans[place] = span
    metadata = {
        "execution": {
            "execution_spans": results.tagged(
                "ExecutionSpans", {"spans": [spans[place] for place in sorted(spans)]}
            )
        },
        **raw.metadata,
    }
    ordered = [encoded[place] for place in sorted(encoded)]
    return Finished(results.primitive_result(ordered, metadata), tuple(ordered))


def _pub(made: Any, plan: Plan, at: int) -> bytes:
    shape = plan.shapes[at]
    fields = {}
    for register in plan.items[at].registers:
        bits = made.data[register.name]
        array: NDArray[np.uint8] = bits.array[..., : plan.pub_shots, :]
        fields[register.name] = results.bit_array(array, bits.num_bits)
    metadata: dict[str, Any] = {"circuit_metadata": results.free_json(plan.metadata[at])}
    if plan.twirled:
        metadata["num_randomizations"] = plan.items[at].shape[0]
    return results.sampler_pub(results.data_bin(shape, fields), metadata)


def _span(place: int, given: Given, at: int) -> dict[str, Any] | None:
    """When a PUB ran: from the first chunk with a part of it to the last. Empty ones never do."""
    plan = given.plan
    mine = [it for it in given.ran.chunks if any(part.item == at for part in it.parts)]
    if not mine:
        return None
    start, stop = min(it.start for it in mine), max(it.stop for it in mine)
    shape = plan.items[at].shape
    if not plan.twirled:
        return results.span(results.Span(place, (*shape, plan.shots), start, stop))
    return results.twirled_span(
        results.Span(place, (*shape, plan.shots), start, stop), plan.pub_shots
    )
