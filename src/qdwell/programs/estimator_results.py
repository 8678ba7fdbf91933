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


@dataclass(frozen=True, slots=True)
class PubFacts:
    """What is told about a PUB beside its values."""

    shots: int
    precision: float
    circuit_metadata: Any
    randomizations: int


def pub(made: Any, facts: PubFacts, wanted: Any, learned: Sequence[Known]) -> bytes:
    """The library's result of a PUB as JSON text."""
    data = made.data
    fields = {
        name: pack_array(np.asarray(data[name], np.float64)) for name in _FIELDS if name in data
    }
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
        results.data_bin(data.shape, fields),
        {
            "shots": facts.shots,
            "target_precision": facts.precision,
            "circuit_metadata": results.free_json(facts.circuit_metadata),
            "resilience": resilience,
            "num_randomizations": facts.randomizations,
        },
    )


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
