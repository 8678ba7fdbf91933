"""The executor: quantum programs as the newest clients send them, schemas v0.1 to v2.0.

The client's published models (`ibm_quantum_schemas`) read the parameters, after every payload has
been weighed: they inflate without limit, and must not meet more than a job may hold. The answer is
in the schema of the question. `passthrough_data` and `semantic_role` come back as they were sent;
the client's own post-processing lives on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from qdwell.clock import iso
from qdwell.errors import BadInput, ProgramError
from qdwell.programs import quantum
from qdwell.programs.cache import Cache
from qdwell.programs.program_reader import Reader, read_model
from qdwell.programs.pubs import BAD_INPUT
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire import tensors
from qdwell.wire.device import Device


@dataclass(frozen=True, slots=True)
class Plan:
    """A quantum program, ready for the device."""

    version: str
    items: tuple[quantum.Item, ...]
    shots: int
    #: JSON texts, given back as they came.
    passthrough: bytes
    role: str | None


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Weigh, decode, check against the device, and draw the samplexes.

    Raises:
        ProgramError: why the job fails.
    """
    program = params["quantum_program"]
    options = params.get("options") or {}
    seed = (options.get("experimental") or {}).get("seed_simulator")
    try:
        model = read_model(params, work.limits)
    except BadInput as error:
        raise ProgramError(BAD_INPUT, error.message, error.solution) from error
    rep_delay_s = options.get("rep_delay")
    rep_delay_us = None if rep_delay_s is None else rep_delay_s * 1e6
    reader = Reader(work, device, cache, np.random.default_rng(seed), rep_delay_us)
    items, loaded = reader.items(model, program)
    shots = model.quantum_program.shots
    executions = quantum.size(items) * shots
    plan = Plan(
        version=model.schema_version,
        items=tuple(items),
        shots=shots,
        passthrough=json.dumps(program.get("passthrough_data")).encode(),
        role=program.get("semantic_role"),
    )
    prepared = Prepared(work.program_id, (plan,), seed, {}, rep_delay_us)
    return prepared, reader.facts(loaded, executions)


@dataclass(frozen=True, slots=True)
class Given:
    """What the device gave for the program."""

    plan: Plan
    ran: quantum.Ran


def execute(
    prepared: Prepared, device: Device, _emit_interim: Callable[[bytes], None] | None
) -> Raw:
    """Run the program. It has one result, so nothing is given out before its end.

    Raises:
        ProgramError: a run failed.
    """
    plan: Plan = prepared.pubs[0]
    ran = quantum.run(plan.items, plan.shots, device, prepared.seed, prepared.rep_delay_us)
    return Raw(prepared.program_id, (Given(plan, ran),), prepared.metadata)


def postprocess(raw: Raw) -> Finished:
    """Encode the result in the program's schema."""
    given: Given = raw.pubs[0]
    plan = given.plan
    data = [
        {
            "results": {
                name: tensors.pack(array, compressed=plan.version == "v2.0")
                for name, array in quantum.arrays(item, bits, plan.shots).items()
            },
            "metadata": None if plan.version == "v0.1" else {},
        }
        for item, bits in zip(plan.items, given.ran.bits, strict=True)
    ]
    timing = [_chunk(chunk, plan) for chunk in given.ran.chunks]
    body: dict[str, Any] = {"schema_version": plan.version, "data": data}
    body["metadata"] = {"chunk_timing": timing}
    if plan.version != "v0.1":
        body["passthrough_data"] = orjson.Fragment(plan.passthrough)
    if plan.version not in ("v0.1", "v0.2"):
        body["semantic_role"] = plan.role
    return Finished(orjson.dumps(body))


def _chunk(chunk: quantum.Chunk, plan: Plan) -> dict[str, Any]:
    parts = []
    for part in chunk.parts:
        told: dict[str, Any] = {"idx_item": part.item, "size": part.stop - part.start}
        if plan.version not in ("v0.1", "v0.2"):
            axes = len(plan.items[part.item].shape)
            told |= {"permutation": list(range(axes)), "element_range": [part.start, part.stop, 1]}
        parts.append(told)
    return {"start": iso(chunk.start), "stop": iso(chunk.stop), "parts": parts}
