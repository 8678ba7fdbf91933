"""The noise learner, V2 and V3: rates of Pauli errors of layers of gates, and of measurements.

V2 gets circuits, cuts them into layers of two-qubit gates, and learns those that occur most often;
V3 gets the layers themselves, as annotated boxes, and takes boxes of measurements too. Each layer
has an experiment of its own (see `learning`), and they run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction

from qdwell.errors import BadInput, ProgramError
from qdwell.programs import learning, library, pubs, quantum
from qdwell.programs.cache import Cache
from qdwell.programs.learning import Experiment
from qdwell.programs.learning_options import DEFAULTS, STRATEGY, Settings
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire import arrays, codec, tensors
from qdwell.wire.device import Device

_TOO_SMALL = (
    "Use a machine: a simulator without a coupling map has no neighbours whose noise to learn."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One layer and its experiment."""

    step: CircuitInstruction
    experiment: Experiment
    #: Device qubits of the layer, rising.
    qubits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """What the device gave for one layer."""

    plan: Plan
    ran: quantum.Ran


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Find the layers, and prepare their experiments.

    Raises:
        ProgramError: why the job fails.
    """
    options = dict(params.get("options") or {})
    rep_delay_s = options.get("rep_delay")
    rep_delay_us = None if rep_delay_s is None else rep_delay_s * 1e6
    seed = (options.get("simulator") or {}).get("seed_simulator")
    reader = pubs.Reader(work, device, cache, rep_delay_us)
    if device.simulator or device.target.build_coupling_map() is None:
        raise ProgramError(
            pubs.BAD_INPUT, f"{device.name} has no coupling map, so no layers", _TOO_SMALL
        )
    v3 = "schema_version" in params
    steps = _instructions(params, work, device) if v3 else _layers(params, options, reader, device)
    chosen = {**DEFAULTS, **{key: it for key, it in options.items() if it is not None}}
    settings = Settings(
        randomizations=chosen["num_randomizations"],
        shots=chosen["shots_per_randomization"],
        depths=tuple(chosen["layer_pair_depths"]),
        checks=_checks(chosen.get("bit_flip_checks")),
    )
    maker = library.Maker(reader, device, np.random.default_rng(seed))
    backend = library.Shown(device.target, device.name)
    plans = []
    for place, step in enumerate(steps):
        where = f"{'instructions' if v3 else 'layers'}[{place}]"
        made = learning.experiment(step, settings, backend, maker, where)
        plans.append(Plan(step, made, tuple(sorted(it._index for it in step.qubits))))
    metadata = {"version": params.get("schema_version"), "backend": device.name, "options": options}
    prepared = Prepared(work.program_id, tuple(plans), seed, metadata, rep_delay_us)
    return prepared, maker.facts()


def _checks(given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Both checks, all fields filled in."""
    if not given:
        return None
    default = {"enable": False, "x_pulse_type": "xslow", "strategy": "node"}
    return {
        name: {**default, **(given.get(name) or {})} for name in ("pre_circuit", "post_circuit")
    }


def _layers(
    params: Mapping[str, Any], options: Mapping[str, Any], reader: pubs.Reader, device: Device
) -> list[CircuitInstruction]:
    circuits = [
        reader.circuit(part, f"circuits[{place}]", measured=False).circuit
        for place, part in enumerate(params["circuits"])
    ]
    most = options.get("max_layers_to_learn", DEFAULTS["max_layers_to_learn"])
    strategy = options.get("twirling_strategy") or STRATEGY
    return learning.layers(circuits, strategy, most, device.target.num_qubits or 0)


def _instructions(
    params: Mapping[str, Any], work: Work, device: Device
) -> list[CircuitInstruction]:
    """The boxes of a V3 submission, each checked as the client checks it."""
    from qiskit_ibm_runtime.exceptions import IBMInputValueError
    from qiskit_ibm_runtime.noise_learner_v3.params_converters import (
        NOISE_LEARNER_V3_PARAMS_CONVERTERS,
    )
    from qiskit_ibm_runtime.noise_learner_v3.validation import validate_instruction

    try:
        raw = arrays.unbase64(params["instructions"]["circuit_b64"], "instructions")
        codec.check_qpy(raw, "instructions", work.limits.qpy_version_min)
        version = params["schema_version"]
        model = NOISE_LEARNER_V3_PARAMS_CONVERTERS[version].model.model_validate(dict(params))
        circuit = model.instructions.to_quantum_circuit()
    except BadInput as error:
        raise ProgramError(codec.CircuitError.code, error.message, error.solution) from error
    except Exception as error:  # The models and the loader raise whatever the bytes lead them to.
        raise ProgramError(
            codec.CircuitError.code, f"instructions cannot be read: {error}"
        ) from error
    width = device.target.num_qubits or 0
    steps = [_on_machine(step, circuit, width) for step in circuit.data]
    for place, step in enumerate(steps):
        try:
            validate_instruction(step, device.target)
        except IBMInputValueError as error:
            code = 1517 if "not supported by the target" in str(error) else pubs.BAD_INPUT
            raise ProgramError(code, f"instructions[{place}]: {error.args[0]}") from error
    return steps


def _on_machine(
    step: CircuitInstruction, circuit: QuantumCircuit, width: int
) -> CircuitInstruction:
    """A V3 box is on the machine's register already, though its circuit holds just some of it."""
    if all(bit._register is not None and bit._register.size == width for bit in step.qubits):
        return step
    return learning.placed(step, circuit, width)


def execute(
    prepared: Prepared, device: Device, _emit_interim: Callable[[bytes], None] | None
) -> Raw:
    """Run experiment after experiment.

    Raises:
        ProgramError: a run failed.
    """
    given = []
    for place, plan in enumerate(prepared.pubs):
        # Each experiment draws from a stream of its own.
        seed = None if prepared.seed is None else prepared.seed + place
        made = plan.experiment
        ran = quantum.run(made.items, made.shots, device, seed, prepared.rep_delay_us)
        given.append(Given(plan, ran))
    return Raw(prepared.program_id, tuple(given), prepared.metadata)


def postprocess(raw: Raw) -> Finished:
    """Fit the results, and encode the rates.

    Raises:
        ProgramError: 1208, a layer's results cannot be fitted.
    """
    found = [
        learning.learned(it.plan.experiment, it.ran, f"layer {place}")
        for place, it in enumerate(raw.pubs)
    ]
    if raw.metadata["version"] is not None:
        return Finished(_v3(found, raw.metadata["version"]))
    return Finished(_v2([it.plan for it in raw.pubs], found, raw.metadata))


def _v3(found: list[learning.Learned], version: str) -> bytes:
    data = [
        {
            "generators_sparse": [[term] for term in _terms(it.noise)],
            "num_qubits": it.noise.num_qubits,
            "rates": tensors.pack(it.noise.rates, compressed=False),
            # The fit has no errors of its own; the client's own analysis gives zeros, too.
            "rates_std": tensors.pack(np.zeros_like(it.noise.rates), compressed=False),
            "metadata": it.metadata,
        }
        for it in found
    ]
    return orjson.dumps({"schema_version": version, "data": data}, option=orjson.OPT_NON_STR_KEYS)


def _terms(noise: Any) -> list[tuple[str, list[int]]]:
    """Each generator as its Paulis and the qubits that they are on."""
    return [(paulis, list(places)) for paulis, places, _ in noise.to_sparse_list()]


def _v2(plans: list[Plan], found: list[learning.Learned], metadata: Mapping[str, Any]) -> bytes:
    import json

    from qiskit.quantum_info import PauliList
    from qiskit_ibm_runtime.json import RuntimeEncoder
    from qiskit_ibm_runtime.results.noise_learner import LayerError, PauliLindbladError

    data = []
    for plan, it in zip(plans, found, strict=True):
        labels = [_label(paulis, at, it.noise.num_qubits) for paulis, at in _terms(it.noise)]
        error = PauliLindbladError(PauliList(labels), it.noise.rates)
        data.append(LayerError(_bare(plan), list(plan.qubits), error))
    # As they held, with the defaults where nobody said (wire-protocol 11.3).
    options = {**DEFAULTS, "twirling_strategy": STRATEGY}
    for name, value in metadata["options"].items():
        if name != "support_qiskit" and (value is not None or name == "max_layers_to_learn"):
            options[name] = value
    told = {"backend": metadata["backend"], "input_options": options}
    return json.dumps({"data": data, "metadata": told}, cls=RuntimeEncoder).encode()


def _label(paulis: str, places: list[int], width: int) -> str:
    letters = ["I"] * width
    for letter, place in zip(paulis, places, strict=True):
        letters[width - 1 - place] = letter
    return "".join(letters)


def _bare(plan: Plan) -> QuantumCircuit:
    """The layer's gates on its own qubits, in rising order of the device's."""
    order = {qubit: place for place, qubit in enumerate(plan.qubits)}
    body = plan.step.operation.blocks[0]
    places = {
        bit: order[outer._index] for bit, outer in zip(body.qubits, plan.step.qubits, strict=True)
    }
    circuit = QuantumCircuit(len(plan.qubits))
    for step in body.data:
        circuit.append(step.operation, [places[bit] for bit in step.qubits])
    return circuit
