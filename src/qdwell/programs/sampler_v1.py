"""The V1 sampler: for each circuit a distribution over the outcomes of all its classical bits.

The server compiles. Resilience level 1 takes readout errors back, by a calibration on the qubits
that the job's circuits measure (see `readout`); the distributions may then have negative entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from qdwell.clock import stopwatch_ns
from qdwell.errors import ProgramError
from qdwell.programs import pubs, readout, v1_options
from qdwell.programs.cache import Cache
from qdwell.programs.compiling import Compiled, compiled
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire import results
from qdwell.wire.device import Batch, Device, Fitted, Samples

ID = "sampler-v1"


@dataclass(frozen=True, slots=True)
class Plan:
    """One circuit, ready for the device."""

    fitted: Fitted
    row: NDArray[np.float64]
    shots: int
    #: The circuits that calibrate its bits, all qubits in 0 and all in 1; none at level 0.
    calibration: tuple[Fitted, ...]
    #: The classical bits that are measured, lowest first.
    clbits: tuple[int, ...]
    #: Classical bits in all.
    width: int
    metadata: Any


@dataclass(frozen=True, slots=True)
class Given:
    """What the device gave for one circuit."""

    plan: Plan
    samples: Samples
    calibration: tuple[Samples, ...]
    encoded: bytes | None = None  #: where it was given out as an interim result already


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Decode, compile, and count.

    Raises:
        ProgramError: why the job fails.
    """
    chosen = v1_options.settings(params)
    level = chosen.mitigation(device)
    reader = pubs.Reader(work, device, cache)
    given = params.get("parameter_values") or [None] * len(params["circuits"])
    plans: list[Plan] = []
    loaded: list[pubs.Loaded] = []
    executions = 0
    calibrated: set[int] = set()
    for place, (part, values) in enumerate(zip(params["circuits"], given, strict=True)):
        field = f"circuits[{place}]"
        made = compiled(part, chosen, reader, device, cache, field)
        row = made.row(one_row(reader, values, made, field))
        entry = _fitted(made, device, cache)
        plan = _plan(made, entry, row, chosen.shots, level, device, cache, field)
        new = () if id(plan.calibration) in calibrated else plan.calibration
        calibrated.add(id(plan.calibration))  # circuits that measure the same qubits share it
        executions += chosen.shots + len(new) * readout.CALIBRATION_SHOTS
        reader.check_executions(executions, field)
        reader.held(entry.fitted, 1, chosen.shots)
        for fitted in new:
            reader.held(fitted, 1, readout.CALIBRATION_SHOTS)
        plans.append(plan)
        loaded.append(entry)
    return Prepared(ID, tuple(plans), chosen.seed, {}), pubs.facts(
        loaded, executions, reader.estimate_ms
    )


def one_row(reader: pubs.Reader, values: Any, made: Compiled, field: str) -> NDArray[np.float64]:
    """The one row of parameter values of a circuit.

    Raises:
        ProgramError: it is none, or several.
    """
    read = reader.values(values, made.source, field)
    if read.shape != ():
        raise ProgramError(pubs.BAD_INPUT, f"{field}: one row of parameter values is needed")
    row: NDArray[np.float64] = read.rows[0]
    return row


def _fitted(made: Compiled, device: Device, cache: Cache) -> pubs.Loaded:
    address = ("fitted", made.key, device.name, device.version)
    return cache.get(
        address,
        lambda: pubs.Loaded(made.key, made.circuit, device.fit(made.circuit), made.circuit.depth()),
        lambda it: it.fitted.weight,
    )


def _plan(
    made: Compiled,
    entry: pubs.Loaded,
    row: NDArray[np.float64],
    shots: int,
    level: int,
    device: Device,
    cache: Cache,
    field: str,
) -> Plan:
    circuit = made.circuit
    index = {bit: place for place, bit in enumerate(circuit.clbits)}
    places = {bit: place for place, bit in enumerate(circuit.qubits)}
    measured = {
        index[step.clbits[0]]: places[step.qubits[0]]
        for step in circuit.data
        if step.operation.name == "measure"
    }
    if not measured:
        raise ProgramError(
            pubs.BAD_INPUT,
            f"{field}: the circuit has no measurement, so the sampler has nothing to return",
            "Add measurements, for example with circuit.measure_all().",
        )
    clbits = tuple(sorted(measured))
    calibration: tuple[Fitted, ...] = ()
    if level:
        qubits = tuple(measured[bit] for bit in clbits)

        def make() -> tuple[Fitted, ...]:
            zeros = readout.calibration(circuit, qubits)
            ones = readout.flipped(zeros, range(len(qubits)), [True] * len(qubits))
            return device.fit(zeros), device.fit(ones)

        address = ("bit errors", qubits, circuit.num_qubits, device.name, device.version)
        calibration = cache.get(address, make)
    return Plan(
        entry.fitted,
        row,
        shots,
        calibration,
        clbits,
        circuit.num_clbits,
        made.source.metadata,
    )


def execute(
    prepared: Prepared, device: Device, emit_interim: Callable[[bytes], None] | None
) -> Raw:
    """Run circuit after circuit. Each but the last is given out as an interim result when done.

    Raises:
        ProgramError: a run failed.
    """
    given: list[Given] = []
    known: dict[int, tuple[Samples, ...]] = {}  # calibrations of this job
    for place, plan in enumerate(prepared.pubs):
        samples = device.run(
            Batch((plan.fitted,), (plan.row,), plan.shots, prepared.seed, place, ordered=False)
        ).samples
        calibration: tuple[Samples, ...] = ()
        if plan.calibration:
            calibration = known.get(id(plan.calibration)) or tuple(
                device.run(_calibration(plan, prepared.seed)).samples
            )
            known[id(plan.calibration)] = calibration
        made = Given(plan, samples[0], calibration)
        if emit_interim is not None and place + 1 < len(prepared.pubs):
            encoded = orjson.dumps(_document([_entry(made)]))
            emit_interim(encoded)
            made = Given(plan, samples[0], calibration, encoded)
        given.append(made)
    return Raw(ID, tuple(given), {}, sum(it.encoded is not None for it in given))


def _calibration(plan: Plan, seed: int | None) -> Batch:
    empty = np.empty(0)
    return Batch(plan.calibration, (empty, empty), readout.CALIBRATION_SHOTS, seed, ordered=False)


def postprocess(raw: Raw) -> Finished:
    """Count, take errors back, and encode."""
    entries = [_entry(it) for it in raw.pubs]
    late = [orjson.dumps(_document([entry])) for entry in entries[raw.emitted :]]
    return Finished(orjson.dumps(_document(entries)), tuple(late))


def _entry(given: Given) -> tuple[dict[str, float], dict[str, Any]]:
    """The distribution of one circuit by hexadecimal outcome, and its metadata."""
    plan = given.plan
    rows, counts = readout.columns(given.samples, plan.clbits)
    # Bits that nothing is measured into are 0, and several rows may differ in nothing that counts.
    rows, inverse = np.unique(rows, axis=0, return_inverse=True)
    counts = np.bincount(inverse.ravel(), weights=counts).astype(np.int64)
    shares = counts / counts.sum()
    metadata: dict[str, Any] = {"shots": plan.shots, "header_metadata": plan.metadata or {}}
    if given.calibration:
        began = stopwatch_ns()
        errors = readout.bit_errors(given.calibration, len(plan.clbits))
        shares = readout.inverted(rows, counts, errors)
        metadata["readout_mitigation_overhead"] = float(np.abs(shares).sum() ** 2)
        metadata["readout_mitigation_time"] = (stopwatch_ns() - began) / 1e9
    weights = [1 << bit for bit in plan.clbits]
    keys = [
        hex(sum(weight for weight, bit in zip(weights, row, strict=True) if bit))
        for row in rows.tolist()
    ]
    metadata["header_metadata"] = results.free_json(metadata["header_metadata"])
    return dict(zip(keys, shares.tolist(), strict=True)), metadata


def _document(entries: list[tuple[dict[str, float], dict[str, Any]]]) -> dict[str, Any]:
    return {
        "quasi_dists": [shares for shares, _ in entries],
        "metadata": [metadata for _, metadata in entries],
    }
