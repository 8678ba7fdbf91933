"""The V1 estimator: one expectation value for each circuit and observable. The server compiles.

Resilience levels (O21): 0 as measured; 1 with readout errors divided out (see `readout`); 2 besides
with the noise of gates extrapolated to zero: the circuit is run with its gates folded, and a
polynomial through the values is read at zero noise. Level 3 is in `estimator_v1_pec`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from qiskit.primitives.containers.observables_array import ObservablesArray

from qdwell.errors import ProgramError
from qdwell.programs import measure, pubs, readout, v1_options
from qdwell.programs.cache import Cache
from qdwell.programs.compiling import Compiled, compiled, folded
from qdwell.programs.sampler_v1 import one_row
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire.device import Batch, Device, Fitted, Samples

ID = "estimator-v1"
_EMPTY = np.empty(0)


@dataclass(frozen=True, slots=True)
class Twirled:
    """A setting with its readout twirled: the circuits, and those that calibrate it."""

    circuits: tuple[Fitted, ...]
    calibration: tuple[Fitted, ...]
    flips: NDArray[np.bool_]
    #: The classical bits that it measures into.
    clbits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One setting at one noise factor."""

    factor: float
    setting: measure.Setting
    twirled: Twirled | None  #: None at level 0


@dataclass(frozen=True, slots=True)
class Plan:
    """One circuit with its observable, ready for the device."""

    steps: tuple[Step, ...]
    observable: Mapping[str, float]
    row: NDArray[np.float64]
    shots: int
    level: int
    factors: tuple[float, ...]
    extrapolator: str


@dataclass(frozen=True, slots=True)
class Given:
    """What the device gave for one plan: for each step its samples, and its calibration's."""

    plan: Plan
    samples: tuple[tuple[Samples, ...], ...]
    calibration: tuple[tuple[Samples, ...], ...]
    encoded: bytes | None = None  #: where it was given out as an interim result already


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Decode, compile, find the settings to measure, and count.

    Raises:
        ProgramError: why the job fails.
    """
    chosen = v1_options.settings(params)
    level = chosen.mitigation(device)
    # Twirled circuits share the shots, so these are rounded up (O23).
    shots = -(-chosen.shots // readout.TWIRLS) * readout.TWIRLS if level else chosen.shots
    factors = chosen.noise_factors if level == 2 else (1.0,)
    reader = pubs.Reader(work, device, cache)
    given = params.get("parameter_values") or [None] * len(params["circuits"])
    plans: list[Plan] = []
    loaded: list[pubs.Loaded] = []
    executions = 0
    parts = zip(params["circuits"], params["observables"], given, strict=True)
    for place, (circuit_part, observable_part, values) in enumerate(parts):
        field = f"circuits[{place}]"
        made = compiled(circuit_part, chosen, reader, device, cache, field)
        row = made.row(one_row(reader, values, made, field))
        observable = placed(reader, observable_part, made, f"observables[{place}]")
        steps = tuple(_steps(made, observable, factors, level, chosen.seed, device, cache))
        each = shots + (readout.CALIBRATION_SHOTS if level else 0)
        executions += len(steps) * each
        reader.check_executions(executions, field)
        for step in steps:
            _held(reader, step, shots)
        depth = made.circuit.depth()
        loaded.append(pubs.Loaded(made.key, made.circuit, steps[0].setting.fitted, depth))
        plans.append(
            Plan(
                steps, observable, row, shots, level, tuple(factors), chosen.extrapolator,
            )
        )  # fmt: skip
    return Prepared(ID, tuple(plans), chosen.seed, {}), pubs.facts(
        loaded, executions, reader.estimate_ms
    )


def _held(reader: pubs.Reader, step: Step, shots: int) -> None:
    """Count the circuits of a step, and those that calibrate it.

    Raises:
        ProgramError: 6000, more than a machine's electronics take.
    """
    if step.twirled is None:
        reader.held(step.setting.fitted, 1, shots)
        return
    for every, total in (
        (step.twirled.circuits, shots),
        (step.twirled.calibration, readout.CALIBRATION_SHOTS),
    ):
        for fitted in every:
            reader.held(fitted, 1, total // len(every))


def placed(reader: pubs.Reader, part: Any, made: Compiled, field: str) -> dict[str, float]:
    """An observable as `{label: coefficient}` on the device's qubits.

    Raises:
        ProgramError: 1208, it cannot be read, or its width is not the circuit's.
    """
    decoded = reader.decoded(part, field)
    try:
        (terms,) = np.asarray(ObservablesArray(decoded)).ravel()
    except (ValueError, TypeError) as error:
        raise ProgramError(
            pubs.BAD_INPUT, f"{field}: one observable is needed that can be read: {error}"
        ) from error
    width = made.source.num_qubits
    layout = made.circuit.layout
    places = layout.final_index_layout() if layout is not None else list(range(width))
    found: dict[str, float] = {}
    for label, coefficient in terms.items():
        if len(label) != width:
            raise ProgramError(
                pubs.BAD_INPUT,
                f"{field}: the observable has {len(label)} qubits, the circuit has {width}",
            )
        letters = ["I"] * made.circuit.num_qubits
        for qubit, place in enumerate(places):
            letters[-1 - place] = label[-1 - qubit]
        key = "".join(letters)
        found[key] = found.get(key, 0.0) + float(coefficient)
    return found


def _steps(
    made: Compiled,
    observable: Mapping[str, float],
    factors: tuple[float, ...],
    level: int,
    seed: int | None,
    device: Device,
    cache: Cache,
) -> Iterator[Step]:
    """Every setting at every noise factor."""
    terms = tuple(sorted(observable))
    for factor in factors:
        address = ("settings v1", made.key, device.name, device.version, terms, factor)

        def make(factor: float = factor) -> tuple[measure.Setting, ...]:
            return measure.settings(folded(made.circuit, factor), terms, device)

        settings = cache.get(address, make, lambda it: sum(one.fitted.weight for one in it))
        for place, setting in enumerate(settings):
            twirled = None
            if level:
                twirled = cache.get(
                    (*address, place, seed),
                    partial(_twirled, setting, made, seed, device),
                    lambda it: sum(one.weight for one in it.circuits),
                )
            yield Step(factor, setting, twirled)


def _twirled(setting: measure.Setting, made: Compiled, seed: int | None, device: Device) -> Twirled:
    circuit = setting.fitted.circuit
    index = {bit: place for place, bit in enumerate(circuit.clbits)}
    places = {bit: place for place, bit in enumerate(circuit.qubits)}
    # The setting's own measurements are those behind the circuit's classical bits.
    own = made.circuit.num_clbits
    measured = {
        index[step.clbits[0]]: places[step.qubits[0]]
        for step in circuit.data
        if step.operation.name == "measure" and index[step.clbits[0]] >= own
    }
    clbits = tuple(sorted(measured))
    which = readout.flips(len(clbits), seed)
    ground = readout.calibration(circuit, [measured[bit] for bit in clbits])
    everywhere = range(len(clbits))
    return Twirled(
        tuple(device.fit(readout.flipped(circuit, clbits, flip)) for flip in which),
        tuple(device.fit(readout.flipped(ground, everywhere, flip)) for flip in which),
        which,
        clbits,
    )


def execute(
    prepared: Prepared, device: Device, emit_interim: Callable[[bytes], None] | None
) -> Raw:
    """Run circuit after circuit. Each but the last is given out as an interim result when done.

    Raises:
        ProgramError: a run failed.
    """
    given: list[Given] = []
    first = 0
    for place, plan in enumerate(prepared.pubs):
        samples, calibration = [], []
        for step in plan.steps:
            circuits = step.twirled.circuits if step.twirled else (step.setting.fitted,)
            shots = plan.shots // len(circuits)
            rows = (plan.row,) * len(circuits)
            batch = Batch(circuits, rows, shots, prepared.seed, first, ordered=False)
            samples.append(tuple(device.run(batch).samples))
            first += len(circuits)
            got: tuple[Samples, ...] = ()
            if step.twirled:
                circuits = step.twirled.calibration
                each = readout.CALIBRATION_SHOTS // len(circuits)
                rows = (_EMPTY,) * len(circuits)
                batch = Batch(circuits, rows, each, prepared.seed, first, ordered=False)
                got = tuple(device.run(batch).samples)
                first += len(circuits)
            calibration.append(got)
        made = Given(plan, tuple(samples), tuple(calibration))
        if emit_interim is not None and place + 1 < len(prepared.pubs):
            encoded = orjson.dumps(_document([_value(made)]))
            emit_interim(encoded)
            made = Given(plan, made.samples, made.calibration, encoded)
        given.append(made)
    return Raw(ID, tuple(given), {}, sum(it.encoded is not None for it in given))


def postprocess(raw: Raw) -> Finished:
    """Average, take errors back, extrapolate, and encode."""
    entries = [_value(it) for it in raw.pubs]
    late = [orjson.dumps(_document([entry])) for entry in entries[raw.emitted :]]
    return Finished(orjson.dumps(_document(entries)), tuple(late))


def _document(entries: list[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    return {"values": [value for value, _ in entries], "metadata": [meta for _, meta in entries]}


def _value(given: Given) -> tuple[float, dict[str, Any]]:
    """The value of one plan, and its metadata (O23)."""
    plan = given.plan
    values, variances = [], []
    for factor in plan.factors:
        mean, variance = _at(given, factor)
        values.append(mean)
        variances.append(variance)
    value, variance = values[0], variances[0]
    metadata: dict[str, Any] = {}
    if plan.level == 2:
        degree = v1_options.EXTRAPOLATORS[plan.extrapolator]
        value, variance = extrapolated(plan.factors, values, variances, degree)
        metadata["zne"] = {
            "noise_amplification": {
                "noise_amplifier": v1_options.AMPLIFIERS[0],
                "noise_factors": list(plan.factors),
                "values": values,
                "variance": variances,
                "shots": [plan.shots] * len(plan.factors),
            },
            "extrapolation": {"extrapolator": plan.extrapolator},
        }
    metadata |= {"variance": variance, "shots": plan.shots}
    if plan.level:
        metadata["readout_mitigation_num_twirled_circuits"] = readout.TWIRLS
        metadata["readout_mitigation_shots_calibration"] = readout.CALIBRATION_SHOTS
    return value, metadata


def _at(given: Given, factor: float) -> tuple[float, float]:
    """Value and variance at one noise factor; the variance is that of one shot."""
    value = variance = 0.0
    coefficients = given.plan.observable
    for step, samples, calibration in zip(
        given.plan.steps, given.samples, given.calibration, strict=True
    ):
        if step.factor != factor:
            continue
        terms = step.setting.terms
        if step.twirled is None:
            means, spreads = measure.expectation(terms, samples[0])
        else:
            means, spreads = _untwirled(step, step.twirled, samples, calibration)
        for label, mean, spread in zip(terms.labels, means, spreads, strict=True):
            value += coefficients[label] * float(mean)
            variance += coefficients[label] ** 2 * max(0.0, float(spread))
    return value, variance


def _untwirled(
    step: Step,
    twirled: Twirled,
    samples: tuple[Samples, ...],
    calibration: tuple[Samples, ...],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of the terms with readout errors divided out, and the variances of one shot."""
    measured = [readout.columns(it, twirled.clbits) for it in samples]
    ground = [readout.columns(it, range(len(twirled.clbits))) for it in calibration]
    means, spreads = [], []
    for label, parity in zip(step.setting.terms.labels, step.setting.terms.parity, strict=True):
        if set(label) - set("IXYZ"):
            raise ProgramError(
                pubs.BAD_INPUT,
                f"readout mitigation takes Pauli observables, not {label!r}",
                "Use Paulis, or set resilience_level to 0.",
            )
        flat = np.unpackbits(parity, bitorder="big")
        places = [place for place, bit in enumerate(twirled.clbits) if flat[len(flat) - 1 - bit]]
        factor = readout.parity_mean(ground, twirled.flips, places) if places else 1.0
        if abs(factor) < readout.FACTOR_LEAST:
            raise ProgramError(
                5203,
                f"readout is too noisy to measure {label!r}: its factor is {factor:.3f}",
                "Set resilience_level to 0, or measure fewer qubits at once.",
            )
        mean = readout.parity_mean(measured, twirled.flips, places) if places else 1.0
        means.append(mean / factor)
        spreads.append((1 - mean**2) / factor**2)
    return np.array(means), np.array(spreads)


def extrapolated(
    factors: tuple[float, ...], values: list[float], variances: list[float], degree: int
) -> tuple[float, float]:
    """The value at zero of the polynomial that fits best, and its variance."""
    powers = np.vander(np.asarray(factors, float), degree + 1, increasing=True)
    # The value at zero is the first coefficient, a weighted sum of the values.
    weights = np.linalg.pinv(powers)[0]
    value = float(weights @ np.asarray(values))
    return value, float(weights**2 @ np.asarray(variances))
