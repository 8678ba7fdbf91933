"""Results of the estimator with mitigation, encoded: data, and what is told about it (O44)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from qdwell.programs.layer_noise import Known
from qdwell.wire import results
from qdwell.wire.arrays import pack_array

_FIELDS = (
    "evs", "stds", "ensemble_standard_error", "evs_noise_factors", "stds_noise_factors",
    "ensemble_stds_noise_factors", "evs_extrapolated", "stds_extrapolated",
)  # fmt: skip

#: The extrapolator that takes the value at the least noise factor as it is (O37).
_FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class PubFacts:
    """What is told about a PUB beside its values."""

    shots: int
    precision: float
    circuit_metadata: Any
    randomizations: int


def pub(made: Any, facts: PubFacts, wanted: Any, learned: Sequence[Known]) -> bytes:
    """The library's result of a PUB as JSON text."""
    fields = {name: pack_array(value) for name, value in _values(made, facts, wanted).items()}
    resilience: dict[str, Any] = {}
    if "zne" in (made.metadata.get("resilience") or {}):
        chosen = np.asarray(made.metadata["resilience"]["zne"]["extrapolators"])
        # The client's drawings read the other three beside the one that was chosen.
        resilience["zne"] = {**_zne(wanted), "extrapolator": chosen.tolist()}
    if learned:
        gammas = [float(it.noise.inverse().gamma()) for it in learned]
        resilience["layer_noise"] = {
            "unique_mitigated_layers": sum(len(it.noise) > 0 for it in learned),
            "unique_mitigated_layers_noise_overhead": [gamma**2 for gamma in gammas],
        }
    return results.estimator_pub(
        results.data_bin(made.data.shape, fields),
        {
            "shots": facts.shots,
            "target_precision": facts.precision,
            "circuit_metadata": results.free_json(facts.circuit_metadata),
            "resilience": resilience,
            "num_randomizations": facts.randomizations,
        },
    )


def _values(made: Any, facts: PubFacts, wanted: Any) -> dict[str, np.ndarray]:
    """The library's values, and their standard errors.

    In extrapolations `qiskit-mitigation` 0.1.1 tells the spread of one shot where nothing is
    twirled, and where it falls back to the least noise that was measured. There the standard error
    of all shots is put, as the library tells it without extrapolation. An observable of which only
    some terms fell back keeps the library's, which is too large.
    """
    data = made.data
    values = {name: np.array(data[name], np.float64) for name in _FIELDS if name in data}
    errors = values.get("ensemble_stds_noise_factors")
    if errors is None:
        return values
    if facts.randomizations == 1:
        values["stds_noise_factors"] = errors
    told = _zne(wanted)
    least = errors[..., int(np.argmin(told["noise_factors"]))]
    chosen = np.asarray(made.metadata["resilience"]["zne"]["extrapolators"])
    values["stds"] = np.where(chosen == _FALLBACK, least, values["stds"])
    at = [name == _FALLBACK for name in told["extrapolators"]]
    values["stds_extrapolated"][..., at, :] = least[..., np.newaxis, np.newaxis]
    return values


def _zne(wanted: Any) -> dict[str, Any]:
    from qiskit_ibm_runtime.executor_estimator.utils import resolve_noise_factors

    zne = wanted.resilience.zne
    factors, evaluated = resolve_noise_factors(zne)
    names = [zne.extrapolator] if isinstance(zne.extrapolator, str) else list(zne.extrapolator)
    return {
        "noise_factors": factors.tolist(),
        "extrapolators": names,
        "extrapolated_noise_factors": evaluated.tolist(),
    }


def circuit_options(wanted: Any) -> dict[str, Any]:
    """What was done to the circuits."""
    twirling = wanted.twirling.model_dump()
    twirling.pop("group", None)
    return {
        "dynamical_decoupling": wanted.dynamical_decoupling.model_dump(),
        "twirling": twirling,
    }


def job_metadata(wanted: Any, readout_shots: int | None) -> dict[str, Any]:
    """The options that held for the whole job."""
    on = wanted.resilience
    resilience: dict[str, Any] = {
        name: getattr(on, name) for name in ("measure_mitigation", "zne_mitigation")
    }
    resilience["pec_mitigation"] = on.pec_mitigation
    if on.zne_mitigation:
        told = _zne(wanted)
        told["extrapolator"] = told.pop("extrapolators")
        resilience["zne"] = {**told, "amplifier": on.zne.amplifier}
    if on.pec_mitigation:
        resilience["pec"] = on.pec.model_dump()
    if on.measure_mitigation:
        learning = on.measure_noise_learning.model_dump()
        learning["shots_per_randomization"] = readout_shots or "auto"
        resilience["measure_noise_learning"] = learning
    return {
        **circuit_options(wanted),
        "resilience_level": wanted.resilience_level,
        "resilience": resilience,
        "version": 2,
    }


def with_noise(metadata: Mapping[str, Any], learned: Sequence[Known]) -> dict[str, Any]:
    """The job's metadata with the noise of its layers, as the client's noise learner gives it."""
    if not learned:
        return dict(metadata)
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import PauliList
    from qiskit_ibm_runtime.json import RuntimeEncoder
    from qiskit_ibm_runtime.results.noise_learner import LayerError, PauliLindbladError

    errors = []
    for it in learned:
        order = {qubit: place for place, qubit in enumerate(it.layer.qubits)}
        circuit = QuantumCircuit(len(order))
        body = it.layer.step.operation.blocks[0]
        outer = dict(zip(body.qubits, it.layer.step.qubits, strict=True))
        for step in body.data:
            circuit.append(step.operation, [order[outer[bit]._index] for bit in step.qubits])
        noise = it.noise
        error = None
        if len(noise):
            labels = [_label(letters, at, len(order)) for letters, at, _ in noise.to_sparse_list()]
            error = PauliLindbladError(PauliList(labels), noise.rates)
        errors.append(LayerError(circuit, list(it.layer.qubits), error))
    text = json.dumps(errors, cls=RuntimeEncoder)
    resilience = {**metadata["resilience"], "layer_noise_model": orjson.Fragment(text)}
    return {**metadata, "resilience": resilience}


def _label(letters: str, places: Sequence[int], width: int) -> str:
    label = ["I"] * width
    for letter, place in zip(letters, places, strict=True):
        label[width - 1 - place] = letter
    return "".join(label)
