"""The V1 interface: what its `run` is given, what the server is sent, what comes back (O22, O23).

Circuits need not be compiled: the server transpiles them for its backend, and in a session it does
so once for each circuit. Results are Qiskit's own `EstimatorResult` and `SamplerResult`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.primitives import EstimatorResult, SamplerResult
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import Clifford, Operator, ScalarOp, SparsePauliOp
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit.result import QuasiDistribution

from qdwell.client import values
from qdwell.client.errors import IBMInputValueError
from qdwell.client.options import check_v1

RESILIENCE_MAX = {"estimator": 3, "sampler": 1}  # O3
PEC_LEVEL = 3  #: of resilience: errors of gates are cancelled (O21)


def params(
    program_id: str,
    circuits: Any,
    observables: Any,
    parameter_values: Any,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What the program is sent.

    Raises:
        IBMInputValueError: the numbers of circuits, observables, and values do not agree, or an
            option cannot be used.
    """
    check_v1(options, RESILIENCE_MAX[program_id])
    listed = _circuits(circuits)
    sent: dict[str, Any] = {}
    count = len(listed)
    if program_id == "estimator":
        terms = _observables(observables)
        if len(terms) != count:
            raise IBMInputValueError(
                f"There are {count} circuits and {len(terms)} observables: one for each is needed."
            )
        sent["observables"] = terms
    rows = _rows(parameter_values, listed)
    sent["circuits"] = listed
    if any(len(row) for row in rows):
        sent["parameter_values"] = [values.array_value(row) for row in rows]
    sent.update(_settings(options))
    return sent


def _circuits(circuits: Any) -> list[QuantumCircuit]:
    listed = [circuits] if isinstance(circuits, QuantumCircuit) else list(circuits)
    for circuit in listed:
        if not isinstance(circuit, QuantumCircuit):
            raise IBMInputValueError(f"A circuit is needed, not a {type(circuit).__name__}.")
    if not listed:
        raise IBMInputValueError("There are no circuits.")
    return listed


def _observables(observables: Any) -> list[dict[str, float]]:
    single = isinstance(observables, str | BaseOperator) and not _is_pauli_list(observables)
    listed = [observables] if single else list(observables)
    try:
        return [ObservablesArray.coerce(_terms(it)).tolist() for it in listed]
    except (QiskitError, TypeError, ValueError) as error:
        raise IBMInputValueError(f"The observables cannot be used: {error}") from error


def _terms(observable: Any) -> Any:
    """An observable as its Pauli terms, as Qiskit's V1 primitives took any operator."""
    if isinstance(observable, Operator | ScalarOp | Clifford):
        return SparsePauliOp.from_operator(Operator(observable)).simplify()
    return observable


def _is_pauli_list(value: Any) -> bool:
    return type(value).__name__ == "PauliList"


def _rows(given: Any, circuits: Sequence[QuantumCircuit]) -> list[np.ndarray[Any, Any]]:
    """One row of values for each circuit."""
    count = len(circuits)
    if given is None:
        rows: list[Any] = [()] * count
    elif count == 1 and (np.ndim(given) <= 1 if _is_regular(given) else False):
        rows = [given]
    else:
        rows = list(given)
    if len(rows) != count:
        raise IBMInputValueError(
            f"There are {count} circuits and {len(rows)} sets of parameter values: "
            "one for each is needed."
        )
    arrays = [np.atleast_1d(np.asarray(row, dtype=float)) for row in rows]
    for place, (circuit, row) in enumerate(zip(circuits, arrays, strict=True)):
        if row.shape != (circuit.num_parameters,):
            raise IBMInputValueError(
                f"Circuit {place} has {circuit.num_parameters} parameters, but {row.size} values."
            )
    return arrays


def _is_regular(given: Any) -> bool:
    try:
        np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        return False
    return True


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The three groups of options of the wire."""
    simulator = dict(options.get("simulator") or {})
    transpilation: dict[str, Any] = dict(options.get("transpilation") or {})
    if options.get("optimization_level") is not None:
        transpilation["optimization_settings"] = {"level": options["optimization_level"]}
    for name in ("coupling_map", "basis_gates"):
        if simulator.get(name) is not None:
            transpilation[name] = simulator.pop(name)
    resilience = dict(options.get("resilience") or {})
    if options.get("resilience_level") is not None:
        resilience["level"] = options["resilience_level"]
    groups = {
        "transpilation_settings": transpilation,
        "resilience_settings": resilience,
        "run_options": dict(options.get("execution") or {}) | simulator,
    }
    return {name: group for name, group in groups.items() if group}


# ---- what comes back -----------------------------------------------------------------------------


def decoder_of(program_id: str) -> Callable[[Any], Any]:
    """What makes the result of a job that was submitted elsewhere."""
    return functools.partial(_decoded, program_id)


def _decoded(program_id: str, raw: Any) -> Any:
    if isinstance(raw, dict) and "__type__" not in raw:
        if program_id == "estimator" and "values" in raw:
            return estimator_result(raw)
        if program_id == "sampler" and "quasi_dists" in raw:
            return sampler_result(raw)
    return values.from_wire(raw)


def estimator_result(raw: Mapping[str, Any]) -> EstimatorResult:
    """The result of the V1 estimator."""
    return EstimatorResult(
        values=np.asarray(values.from_wire(raw["values"]), dtype=float),
        metadata=values.from_wire(raw["metadata"]),
    )


def sampler_result(raw: Mapping[str, Any]) -> SamplerResult:
    """The result of the V1 sampler; keys are integers (O23)."""
    metadata = values.from_wire(raw["metadata"])
    distributions = [
        QuasiDistribution(
            {int(key, 0 if key.startswith("0x") else 2): value for key, value in entry.items()},
            shots=meta.get("shots"),
        )
        for entry, meta in zip(raw["quasi_dists"], metadata, strict=True)
    ]
    return SamplerResult(quasi_dists=distributions, metadata=metadata)
