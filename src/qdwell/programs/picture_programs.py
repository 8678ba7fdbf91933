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
from qdwell.programs.work import Limits
from qdwell.wire import arrays, codec

FLIPS = "measurement_flips."
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
                picture.attempt(entry, "arguments", partial(_arguments, item)) or []
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


def _arguments(item: Any) -> list[dict[str, Any]]:
    values = item.circuit_arguments.to_numpy()
    return [picture.values("arguments", values)] if values.size else []


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
        return _boxes(asked, [] if result is None else _maps(result))
    return [*_sources(asked), *([] if result is None else _found(result))]


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
        entry = picture.empty(f"Layer {at}")
        entry["circuit"] = picture.attempt(entry, "layer", partial(_drawn, step))
        if at < len(maps):
            entry["result"] = picture.attempt(entry, "result", partial(_noise, maps[at]))
        told.append(entry)
    return told


def _drawn(step: Any) -> dict[str, Any]:
    return picture.drawable(_body(step))


def _body(step: Any) -> QuantumCircuit:
    """What is in a box, on the qubits of the machine that it is on."""
    places = [it._index if it._register is not None else at for at, it in enumerate(step.qubits)]
    drawn = QuantumCircuit(max(places, default=0) + 1, len(step.clbits), name="layer")
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
        entry = picture.empty(f"Layer {at}, on qubits {list(layer.qubits)}")
        entry["circuit"] = picture.attempt(entry, "layer", partial(_layer, layer))
        entry["result"] = picture.attempt(
            entry,
            "result",
            partial(_error, layer.error),
        )
        told.append(entry)
    return told


def _rates(names: Sequence[str], values: NDArray[Any]) -> dict[str, Any]:
    """Rates of Pauli errors as bars, the largest first in choice."""
    pairs = [[name, float(rate)] for name, rate in zip(names, values, strict=True)]
    told = picture.top("rates", pairs, shots=None)
    others = told["others"] if told["others"] > 1e-9 else 0  # of rounding nothing is said
    return {**told, "others": others, "rates": True}


def _layer(layer: Any) -> dict[str, Any]:
    """A layer that was found, on the machine's qubits."""
    whole = QuantumCircuit(max(layer.qubits, default=0) + 1, name="layer")
    whole.compose(layer.circuit, layer.qubits, inplace=True)
    return picture.drawable(whole)


def _error(error: Any) -> dict[str, Any]:
    return {"counts": [_rates(error.generators.to_labels(), error.rates)]}


def _noise(noise: Any) -> dict[str, Any]:
    terms = noise.to_sparse_list()
    names = [_pauli(paulis, places) for paulis, places, _ in terms]
    return {"counts": [_rates(names, np.array([rate for _, _, rate in terms]))]}


def _pauli(letters: str, places: Sequence[int]) -> str:
    return " ".join(f"{letter}{at}" for letter, at in zip(letters, places, strict=True))
