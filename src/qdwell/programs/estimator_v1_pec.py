"""Level 3 of the V1 estimator: probabilistic error cancellation, after readout mitigation (O21).

The circuits are compiled here, as at the other levels; from there on it is the mitigation that the
V2 estimator has, by the client's library: the noise of each layer of gates is learned, and circuits
drawn at random from its inverse cancel it on average. What that costs is told with the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray

from qdwell.errors import ProgramError
from qdwell.programs import assumed, library, pubs, v1_options
from qdwell.programs import estimator_mitigated as mitigated
from qdwell.programs import layer_noise as noise
from qdwell.programs.cache import Cache
from qdwell.programs.compiling import Compiled, compiled
from qdwell.programs.estimator_v1 import placed
from qdwell.programs.sampler_v1 import one_row
from qdwell.programs.simulator_options import STANDARD_GATES
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire.device import Device

ID = "estimator-v1-pec"
LEVEL = 3
CONFIDENCE = 0.95
_DEVIATIONS = 1.959964  # of a normal distribution, that hold CONFIDENCE of it
_GATES = ["cx", "rz", "sx", "x"]  #: that the library takes, of all that a simulator does
_OPTIONS = {
    "resilience_level": 0,
    "options": {"resilience": {"pec_mitigation": True, "measure_mitigation": True}},
}

execute: Callable[..., Raw] = mitigated.execute


def wanted(params: Mapping[str, Any]) -> bool:
    """Does a V1 submission ask for level 3?"""
    return (params.get("resilience_settings") or {}).get("level") == LEVEL


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Decode, compile, and let the library prepare the experiments that learn the noise.

    Raises:
        ProgramError: why the job fails.
    """
    chosen = v1_options.settings(params)
    if device.simulator and not chosen.transpile.get("basis_gates"):
        how = {**chosen.transpile, "basis_gates": _GATES}
        chosen = replace(chosen, transpile=how)
    reader = pubs.Reader(work, device, cache)
    given = params.get("parameter_values") or [None] * len(params["circuits"])
    every = []
    parts = zip(params["circuits"], params["observables"], given, strict=True)
    for place, (circuit_part, observable_part, values) in enumerate(parts):
        field = f"circuits[{place}]"
        made = compiled(circuit_part, chosen, reader, device, cache, field)
        row = made.row(one_row(reader, values, made, field))
        observable = placed(reader, observable_part, made, f"observables[{place}]")
        every.append(_pub(made, row, observable, field))
    count = len(every)
    group = mitigated.Group(
        tuple(every), tuple(range(count)), chosen.shots, (0.0,) * count, (None,) * count
    )
    if device.simulator:
        # With a map it has neighbours, and so layers of gates (O20).
        basis = [name for name in chosen.transpile["basis_gates"] if name in STANDARD_GATES]
        how = {"coupling_map": chosen.transpile.get("coupling_map"), "basis_gates": basis}
        device = assumed.assumed({"options": {"simulator": how}}, device)
        reader = pubs.Reader(work, device, cache)
    maker = library.Maker(reader, device, np.random.default_rng(chosen.seed))
    plan = mitigated.planned([group], _OPTIONS, work.limits, reader, maker, device)
    prepared = Prepared(ID, (plan,), chosen.seed, {"resilience": {}})
    return prepared, maker.facts()


def _pub(made: Compiled, row: Any, observable: Mapping[str, float], field: str) -> EstimatorPub:
    if made.circuit.num_clbits:
        raise ProgramError(
            pubs.BAD_INPUT,
            f"{field} has measurements, and level {LEVEL} takes circuits without",
            "Leave the measurements out, or use level 2.",
        )
    circuit = library.spelled(made.circuit).copy()
    circuit.metadata = {}
    names = tuple(circuit.parameters)
    bound = BindingsArray({names: row} if names else {}, shape=())
    return EstimatorPub(circuit, ObservablesArray(dict(observable)), bound)


def postprocess(raw: Raw) -> Finished:
    """The library's post-processing; values and metadata as V1 has them (O23).

    Raises:
        ProgramError: 1208, the results cannot be evaluated.
    """
    from qiskit_ibm_runtime.decoders.executor_estimator.post_processor_v0_1 import (
        estimator_v2_post_processor_v0_1,
    )

    given: mitigated.Given = raw.pubs[0]
    (group,), (program,), (ran,) = given.plan.groups, given.programs, given.ran
    result = library.result(program.items, ran, program.passthrough)
    made = library.tried(estimator_v2_post_processor_v0_1, "circuits", result)
    tasks = program.passthrough["qiskit_mitigation"]
    entries = []
    for at, pub in enumerate(group.pubs):
        value, error = float(made[at].data.evs), float(made[at].data.stds)
        samples = int(program.items[tasks[at]["program_item_index"]].shape[0])
        metadata = {
            "standard_error": error,
            "confidence_interval": [value - _DEVIATIONS * error, value + _DEVIATIONS * error],
            "confidence_level": CONFIDENCE,
            "shots": samples * program.shots,
            "samples": samples,
            "sampling_overhead": float(tasks[at]["pec_gamma"]) ** 2,
            "total_mitigated_layers": noise.mitigated(
                pub.circuit, given.plan.options, given.learned
            ),
        }
        entries.append((value, metadata))
    interim = tuple(_document([entry]) for entry in entries)
    return Finished(_document(entries), interim)


def _document(entries: list[tuple[float, dict[str, Any]]]) -> bytes:
    return orjson.dumps(
        {"values": [value for value, _ in entries], "metadata": [meta for _, meta in entries]}
    )
