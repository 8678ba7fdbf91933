"""The estimator (V2): expectation values of observables, without mitigation (resilience level 0).

Per PUB, parameter values and observables are broadcast against each other; each parameter point is
measured in the settings that its observables need. `stds` are the standard errors of one run: the
sum of |coefficient| times the standard deviation of each term, over the square root of the shots.

PUBs with equal shots form one run, as in Qiskit's backend estimator: the seeds of its circuits are
counted through. So a job with a seed gives the same values as the stock client's local testing
mode.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from qiskit.primitives.containers.observables_array import ObservablesArray

from qdwell.errors import ProgramError
from qdwell.programs import measure, options, pubs
from qdwell.programs.cache import Cache, content_key
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire import results
from qdwell.wire.arrays import pack_array
from qdwell.wire.device import Batch, Device, Samples

#: An observable: coefficients by label.
Observable = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """One PUB, ready for the device."""

    #: The runs: which row of `rows`, measured in which setting.
    runs: tuple[tuple[int, measure.Setting], ...]
    rows: NDArray[np.float64]
    #: For each element of the broadcast shape, the row and the observable.
    points: NDArray[np.int64]
    observables: NDArray[np.object_]
    shots: int
    precision: float
    #: Place of its first circuit among those with the same shots.
    first: int
    metadata: Any


@dataclass(frozen=True, slots=True)
class Given:
    """What the device gave for one PUB: `(row, terms, samples)` per run."""

    measured: tuple[tuple[int, measure.Terms, Samples], ...]
    points: NDArray[np.int64]
    observables: NDArray[np.object_]
    shots: int
    precision: float
    metadata: Any
    #: The encoded result, where it was given out as an interim result already.
    encoded: bytes | None = None


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Decode, check, broadcast, and find the settings to measure.

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
        circuit_part, observables_part, values_part, precision = pubs.padded(parts, 4)
        entry = reader.circuit(circuit_part, field, measured=False)
        values = reader.values(values_part, entry.circuit, field)
        observables = observables_of(observables_part, entry, reader, cache, field)
        points, spread = broadcast(values, observables, reader, field)
        shots, precision = shots_of(chosen, precision, reader, field)
        runs = _runs(points, spread, entry, device, cache)
        executions += len(runs) * shots
        reader.check_executions(executions, field)
        for _, setting in runs:
            reader.held(setting.fitted, 1, shots)
        loaded.append(entry)
        plans.append(
            Plan(
                runs=runs,
                rows=values.rows,
                points=points,
                observables=spread,
                shots=shots,
                precision=precision,
                first=placed[shots],
                metadata=entry.circuit.metadata,
            )
        )
        placed[shots] += len(runs)
    prepared = Prepared(
        work.program_id, tuple(plans), chosen.seed, _metadata(params), chosen.rep_delay_us
    )
    return prepared, pubs.facts(loaded, executions, reader.estimate_ms)


def observables_of(
    part: Any, entry: pubs.Loaded, reader: pubs.Reader, cache: Cache, field: str
) -> NDArray[np.object_]:
    """The observables, an array of `{label: coefficient}`; cached by their text."""

    def make() -> NDArray[np.object_]:
        decoded = reader.decoded(part, field)
        try:
            return np.asarray(ObservablesArray(decoded))
        except (ValueError, TypeError) as error:
            raise ProgramError(
                pubs.BAD_INPUT, f"{field}: the observables cannot be read: {error}"
            ) from error

    key = content_key(orjson.dumps(part).decode())
    made = cache.get(("observables", key), make, _terms_in)
    width = entry.circuit.num_qubits
    for observable in made.ravel():
        for label, coefficient in observable.items():
            if not math.isfinite(coefficient):
                reason = f"{field}: the coefficient of {label} is not a finite number"
                raise ProgramError(pubs.BAD_INPUT, reason)
            if len(label) != width:
                raise ProgramError(
                    pubs.BAD_INPUT,
                    f"{field}: the observable has {len(label)} qubits, the circuit has {width}",
                    "Map it to the circuit with observable.apply_layout(circuit.layout).",
                )
    return made


def _terms_in(observables: NDArray[np.object_]) -> int:
    return observables.size + sum(len(observable) for observable in observables.ravel())


def _weight(settings: tuple[measure.Setting, ...]) -> int:
    return 1 + sum(setting.fitted.weight for setting in settings)


def broadcast(
    values: pubs.Values, observables: NDArray[np.object_], reader: pubs.Reader, field: str
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Rows and observables of each element of the PUB's shape."""
    try:
        shape = np.broadcast_shapes(values.shape, observables.shape)
    except ValueError as error:
        raise ProgramError(
            pubs.BAD_INPUT,
            f"{field}: parameter values of shape {list(values.shape)} and observables of shape "
            f"{list(observables.shape)} cannot be broadcast together",
            "Give shapes that follow NumPy's broadcasting rules.",
        ) from error
    reader.check_executions(math.prod(shape), field)
    points = np.arange(len(values.rows), dtype=np.int64).reshape(values.shape)
    return np.broadcast_to(points, shape), np.broadcast_to(observables, shape)


def shots_of(
    chosen: options.Options, precision: float | None, reader: pubs.Reader, field: str
) -> tuple[int, float]:
    """Shots and precision of a PUB: its own precision, else `default_shots`, else the default."""
    if precision is None and chosen.estimator_shots is not None:
        return chosen.estimator_shots, 1 / math.sqrt(chosen.estimator_shots)
    precision = chosen.precision if precision is None else float(precision)
    needed = math.inf if precision < 1e-100 else 1.0 / precision**2
    reader.check_executions(needed, field)
    return math.ceil(needed), precision


def _runs(
    points: NDArray[np.int64],
    observables: NDArray[np.object_],
    entry: pubs.Loaded,
    device: Device,
    cache: Cache,
) -> tuple[tuple[int, measure.Setting], ...]:
    """Each row with the settings for all the terms that any observable wants there."""
    wanted: dict[int, set[str]] = {}
    for point, observable in zip(points.ravel().tolist(), observables.ravel(), strict=True):
        wanted.setdefault(point, set()).update(observable)
    runs: list[tuple[int, measure.Setting]] = []
    for point, labels in wanted.items():
        terms = tuple(sorted(labels))
        key = ("settings", entry.key, device.name, device.version, terms)

        def make(terms: tuple[str, ...] = terms) -> tuple[measure.Setting, ...]:
            return measure.settings(entry.circuit, terms, device) if terms else ()

        runs += [(point, setting) for setting in cache.get(key, make, _weight)]
    return tuple(runs)


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
            circuits=tuple(setting.fitted for _, setting in plan.runs),
            values=tuple(plan.rows[row] for row, _ in plan.runs),
            shots=plan.shots,
            seed=prepared.seed,
            first=plan.first,
            ordered=False,
            rep_delay_us=prepared.rep_delay_us,
        )
        samples = device.run(batch).samples
        made = Given(
            measured=tuple(
                (row, setting.terms, got)
                for (row, setting), got in zip(plan.runs, samples, strict=True)
            ),
            points=plan.points,
            observables=plan.observables,
            shots=plan.shots,
            precision=plan.precision,
            metadata=plan.metadata,
        )
        if emit_interim is not None and len(given) + 1 < len(prepared.pubs):
            encoded = _encoded(made)
            emit_interim(encoded)
            # The samples are not needed again; what is stored between stages stays small.
            made = Given((), made.points, made.observables, 0, 0.0, None, encoded)
        given.append(made)
    emitted = sum(it.encoded is not None for it in given)
    return Raw(prepared.program_id, tuple(given), prepared.metadata, emitted)


def postprocess(raw: Raw) -> Finished:
    """Average the samples and encode the result."""
    encoded = [it.encoded or _encoded(it) for it in raw.pubs]
    return Finished(results.primitive_result(encoded, raw.metadata), tuple(encoded[raw.emitted :]))


def _encoded(given: Given) -> bytes:
    averages: dict[tuple[int, str], tuple[float, float]] = {}
    for row, terms, samples in given.measured:
        means, variances = measure.expectation(terms, samples)
        for label, mean, variance in zip(
            terms.labels, means.tolist(), variances.tolist(), strict=True
        ):
            averages[row, label] = mean, max(variance, 0.0)
    shape = given.points.shape
    evs, stds = np.zeros(shape), np.zeros(shape)
    for index in np.ndindex(*shape):
        observable: Observable = given.observables.item(index)
        for label, coeff in observable.items():
            mean, variance = averages[int(given.points[index]), label]
            evs[index] += mean * coeff
            stds[index] += abs(coeff) * variance**0.5
    stds = np.asarray(stds / np.sqrt(given.shots))
    data = results.data_bin(shape, {"evs": pack_array(evs), "stds": pack_array(stds)})
    return results.estimator_pub(
        data,
        {
            "shots": given.shots,
            "target_precision": given.precision,
            "circuit_metadata": results.free_json(given.metadata),
            "resilience": {},
            "num_randomizations": 1,
        },
    )


def _metadata(params: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved options, as the result shows them (O44)."""
    given = params.get("options") or {}
    decoupling = {
        "enable": False,
        "sequence_type": "XX",
        "extra_slack_distribution": "middle",
        "scheduling_method": "alap",
    }
    twirling = {
        "enable_gates": False,
        "enable_measure": False,
        "num_randomizations": "auto",
        "shots_per_randomization": "auto",
        "strategy": "active-accum",
    }
    return {
        "dynamical_decoupling": decoupling | _set(given.get("dynamical_decoupling")),
        "twirling": twirling | _set(given.get("twirling")),
        "resilience_level": params.get("resilience_level") or 0,
        "resilience": {"measure_mitigation": False, "zne_mitigation": False}
        | {"pec_mitigation": False},
        "version": 2,
    }


def _set(section: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (section or {}).items() if value is not None}
