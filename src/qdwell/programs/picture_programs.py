"""The pictures of quantum programs and of the noise learner: items, samplexes, layers, rates.

A samplex item is shown by its template circuit, whose parameters the samplex draws anew for each
element; its outcomes are counted over all of them, with the flips that it made undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from qdwell.programs import picture, program_reader
from qdwell.programs.learning_options import DEFAULTS
from qdwell.programs.work import Limits
from qdwell.wire import arrays, codec

FLIPS = "measurement_flips."
_Error = list[tuple[int, str]]  # qubits of the machine in rising order, each with its Pauli
QUBITS_SHOWN = 12  # of a layer, in its title
_LIMITS = Limits()


def executor(asked: Mapping[str, Any], result: bytes | None) -> list[dict[str, Any]]:
    """A picture of each item of a quantum program; see `picture.describe`."""
    model = program_reader.read_model(asked, _LIMITS)
    circuits = _circuits(model)
    told: list[dict[str, Any]] = []
    broken = picture.empty("")
    answers = picture.attempt(broken, "the result", lambda: _decoded(result)) or []
    for at, (item, circuit) in enumerate(zip(model.quantum_program.items, circuits, strict=True)):
        kind = "samplex" if item.item_type != "circuit" else "circuit"
        entry = picture.empty(f"Item {at}, a {kind}")
        entry["shots"] = model.quantum_program.shots
        entry["circuit"] = picture.attempt(entry, "circuit", partial(picture.drawable, circuit))
        if kind == "circuit":
            entry["parameters"] = (
                picture.attempt(entry, "arguments", partial(_arguments, item, circuit)) or []
            )
        else:
            picture.attempt(entry, "samplex", partial(_samplex, item, entry))
        if at < len(answers):
            entry["result"] = picture.attempt(entry, "result", partial(_result, answers[at]))
        told.append(entry)
    if told:
        told[0]["notes"] += broken["notes"]
    return told


def _circuits(model: Any) -> list[QuantumCircuit]:
    if model.schema_version in ("v0.1", "v0.2"):
        return [it.circuit.to_quantum_circuit() for it in model.quantum_program.items]
    return list(model.quantum_program.circuits.to_python())


def _decoded(result: bytes | None) -> list[Mapping[str, NDArray[Any]]]:
    """The arrays of each item, by the client's own reader."""
    from qiskit_ibm_runtime.decoders.executor.decoder import ExecutorResultDecoder

    if result is None:
        return []
    return list(ExecutorResultDecoder.decode(result.decode()))


def _arguments(item: Any, circuit: QuantumCircuit) -> list[dict[str, Any]]:
    values = item.circuit_arguments.to_numpy()
    names = ", ".join(it.name for it in circuit.parameters)
    return [picture.values(names or "arguments", values)] if values.size else []


def _samplex(item: Any, entry: dict[str, Any]) -> bool:
    """What a samplex is given, and what it draws."""
    samplex = item.samplex.to_samplex().finalize()
    shape = program_reader.model_shape(item)
    drawn = [f"{it.name} {list(it.shape[1:])}" for it in samplex.outputs().specs]
    entry["notes"].append(
        "A samplex draws the parameters of this template circuit anew for each element"
        + (f" of shape {list(shape)}" if shape else "")
        + f", all for the same circuit. It gives {', '.join(drawn)}."
    )
    for name, value in item.samplex_arguments.items():
        if hasattr(value, "to_numpy"):
            entry["parameters"].append(picture.values(str(name), value.to_numpy()))
        else:
            entry["notes"].append(f"{str(name)[:60]}: {str(value)[:100]}")
    return True


def _result(found: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Counts of each register, and the other arrays by shape."""
    counts: list[dict[str, Any]] = []
    others = []
    for name, array in found.items():
        flips = found.get(FLIPS + name)
        if array.dtype != bool or array.ndim < 2 or name.startswith(FLIPS):
            others.append(f"{name} {list(array.shape)} of {array.dtype}")
        elif flips is not None:
            counts.append(_counted(f"{name}, all elements, flips undone", array ^ flips))
        else:
            counts += _elements(name, array)
    return {"counts": counts, "arrays": others}


def _elements(name: str, bits: NDArray[Any]) -> list[dict[str, Any]]:
    rows = bits.reshape(-1, *bits.shape[-2:])
    counted = [_pairs(each) for each in rows[: picture.VALUES_MAX]]
    return picture.elements(name, counted, len(rows))


def _counted(name: str, bits: NDArray[Any]) -> dict[str, Any]:
    pairs = _pairs(bits.reshape(-1, bits.shape[-1]))
    return picture.top(name, pairs, shots=sum(number for _, number in pairs))


def _pairs(rows: NDArray[Any]) -> list[list[Any]]:
    """Outcomes of booleans of shape `(shots, bits)`, the lowest bit first, and their numbers."""
    packed, counts = np.unique(np.packbits(rows[:, ::-1], axis=1), axis=0, return_counts=True)
    width = rows.shape[1]
    return [
        ["".join(f"{byte:08b}" for byte in each)[:width], int(number)]
        for each, number in zip(packed, counts, strict=True)
    ]


# ---- the noise learner ---------------------------------------------------------------------------


def noise_learner(asked: Mapping[str, Any], result: bytes | None) -> list[dict[str, Any]]:
    """A picture of each layer with its rates: of V3's own, or of those that V2 found."""
    if "schema_version" in asked:
        told = _boxes(asked, [] if result is None else _maps(result))
    else:
        told = [*_sources(asked), *([] if result is None else _found(result))]
    if told:
        told[0]["notes"].insert(0, _experiment(asked))
    return told


def _experiment(asked: Mapping[str, Any]) -> str:
    """How layers are learned."""
    options = {**DEFAULTS, **(asked.get("options") or {})}
    depths = str(options["layer_pair_depths"])[:200].strip("[]")
    return (
        f"{options['num_randomizations']} randomizations of "
        f"{options['shots_per_randomization']} shots each, at layer pair depths {depths}."
    )


def _maps(result: bytes) -> list[Any]:
    from qiskit_ibm_runtime.decoders.noise_learner_v3.decoder import NoiseLearnerV3ResultDecoder

    return list(NoiseLearnerV3ResultDecoder.decode(result.decode()).to_pauli_lindblad_maps())


def _boxes(asked: Mapping[str, Any], maps: Sequence[Any]) -> list[dict[str, Any]]:
    from qiskit_ibm_runtime.noise_learner_v3.params_converters import (
        NOISE_LEARNER_V3_PARAMS_CONVERTERS,
    )

    raw = arrays.unbase64(asked["instructions"]["circuit_b64"], "instructions")
    codec.check_qpy(raw, "instructions", _LIMITS.qpy_version_min)
    model = NOISE_LEARNER_V3_PARAMS_CONVERTERS[asked["schema_version"]].model
    circuit = model.model_validate(dict(asked)).instructions.to_quantum_circuit()
    told = []
    for at, step in enumerate(circuit.data):
        qubits = sorted(_places(step))
        entry = picture.empty(_title(at, qubits))
        entry["circuit"] = picture.attempt(entry, "layer", partial(_drawn, step))
        if at < len(maps):
            entry["result"] = picture.attempt(entry, "result", partial(_noise, maps[at], qubits))
        told.append(entry)
    return told


def _drawn(step: Any) -> dict[str, Any]:
    return _as_layer(_body(step), len(step.qubits))


def _title(at: int, qubits: Sequence[int]) -> str:
    shown = [str(it) for it in qubits]
    if len(shown) > QUBITS_SHOWN:
        shown[QUBITS_SHOWN - 1 : -1] = ["…"]
    return f"Layer {at}, on qubits [{', '.join(shown)}]"


def _as_layer(circuit: QuantumCircuit, width: int) -> dict[str, Any]:
    """A layer that is on `width` of the machine's qubits."""
    return {**picture.drawable(circuit), "name": "", "qubits": width}


def _places(step: Any) -> list[int]:
    """The qubits of the machine that a box is on."""
    return [it._index if it._register is not None else at for at, it in enumerate(step.qubits)]


def _body(step: Any) -> QuantumCircuit:
    """What is in a box, on the qubits of the machine that it is on."""
    places = _places(step)
    drawn = QuantumCircuit(max(places, default=0) + 1, len(step.clbits))
    outer = [drawn.qubits[at] for at in places]
    if not getattr(step.operation, "blocks", ()):
        drawn.append(step.operation, outer, drawn.clbits)
        return drawn
    body = step.operation.blocks[0]
    qubits = dict(zip(body.qubits, outer, strict=True))
    bits = dict(zip(body.clbits, drawn.clbits, strict=True))
    for it in body.data:
        drawn.append(it.operation, [qubits[q] for q in it.qubits], [bits[c] for c in it.clbits])
    return drawn


def _sources(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The circuits whose layers are learned."""
    given = asked.get("circuits", [])
    told = []
    for at, part in enumerate(given if isinstance(given, list) else [given]):
        entry = picture.empty(f"Circuit {at}")
        entry["circuit"] = picture.attempt(entry, "circuit", partial(_source, part))
        told.append(entry)
    return told


def _source(part: Any) -> dict[str, Any]:
    tags = codec.TAGS.get("noise-learner", frozenset({"QuantumCircuit"}))
    return picture.drawable(picture.load(part, codec.Decoder(tags)))


def _found(result: bytes) -> list[dict[str, Any]]:
    """The layers that were found, each with its rates."""
    from qiskit_ibm_runtime.decoders.noise_learner import NoiseLearnerResultDecoder

    told = []
    for at, layer in enumerate(NoiseLearnerResultDecoder.decode(result.decode()).data):
        entry = picture.empty(_title(at, list(layer.qubits)))
        entry["circuit"] = picture.attempt(entry, "layer", partial(_layer, layer))
        entry["result"] = picture.attempt(
            entry,
            "result",
            partial(_error, layer),
        )
        told.append(entry)
    return told


def _rates(errors: Sequence[_Error], values: NDArray[Any]) -> dict[str, Any]:
    """Rates of Pauli errors as bars: of those that are shown, single qubits first."""
    names = [_named(it) for it in errors]
    places = dict(zip(names, errors, strict=True))
    pairs = [[name, float(rate)] for name, rate in zip(names, values, strict=True)]
    told = picture.top("rates", pairs, shots=None)
    counts = sorted(told["counts"], key=lambda it: _rank(places[it[0]]))
    others = told["others"] if told["others"] > 1e-9 else 0  # of rounding nothing is said
    return {**told, "counts": counts, "others": others, "rates": True}


def _rank(error: _Error) -> tuple[int, list[int], list[str]]:
    return len(error), [qubit for qubit, _ in error], [letter for _, letter in error]


def _named(error: _Error) -> str:
    return " ".join(f"{letter}{qubit}" for qubit, letter in error) or "I"


def _layer(layer: Any) -> dict[str, Any]:
    """A layer that was found, on the machine's qubits."""
    whole = QuantumCircuit(max(layer.qubits, default=0) + 1)
    whole.compose(layer.circuit, layer.qubits, inplace=True)
    return _as_layer(whole, len(layer.qubits))


def _error(layer: Any) -> dict[str, Any]:
    """The rates of V2; the last letter of a label is the layer's first qubit."""
    errors = [
        [(layer.qubits[at], it) for at, it in enumerate(reversed(label)) if it != "I"]
        for label in layer.error.generators.to_labels()
    ]
    return {"counts": [_rates(errors, layer.error.rates)]}


def _noise(noise: Any, qubits: Sequence[int]) -> dict[str, Any]:
    """The rates of V3, whose qubits are counted within the layer."""
    terms = noise.to_sparse_list()
    errors = [
        sorted((qubits[at], letter) for letter, at in zip(paulis, places, strict=True))
        for paulis, places, _ in terms
    ]
    return {"counts": [_rates(errors, np.array([rate for _, _, rate in terms]))]}
