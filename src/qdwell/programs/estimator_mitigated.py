"""The estimator (V2) with error mitigation: twirling, readout, extrapolation, cancellation.

What is done to the circuits, and what is made of their results, is the client library's own
(`executor_estimator`, `qiskit-mitigation`): PUBs with equal shots become one quantum program, with
one calibration of the readout; it runs on the device, and the library's post-processing gives the
values.

Methods that inject noise need a model of the noise of each layer of gates. If the job brings none,
the layers are learned first, on the device, and the programs can be made only then. Both visits are
one execution stage: the device stays the job's while what was measured is fitted, so that nothing
drifts and nobody waits in between, but only the time of its runs is charged. Preparation makes the
programs with the noise that the target's own error rates tell: so whatever the library refuses is
refused before the device is touched, and the estimate holds the whole job. What ran in the end
replaces it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.transpiler import Target

from qdwell.programs import estimator, library, mitigation_options, narrow, options, pubs, quantum
from qdwell.programs import estimator_results as encoding
from qdwell.programs import layer_noise as noise
from qdwell.programs.cache import Cache
from qdwell.programs.work import Facts, Finished, Limits, Prepared, Raw, Work
from qdwell.wire import results
from qdwell.wire.device import Device

ID = "estimator-mitigated"


@dataclass(frozen=True, slots=True)
class Group:
    """PUBs with equal shots; `places[i]` is where `pubs[i]` stands among all."""

    pubs: tuple[Any, ...]
    places: tuple[int, ...]
    shots: int
    precisions: tuple[float, ...]
    metadata: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """The quantum program of a group, ready for the device."""

    items: tuple[quantum.Item, ...]
    shots: int
    passthrough: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole job. `programs` is empty if layers must be learned first."""

    groups: tuple[Group, ...]
    options: Any
    programs: tuple[Program, ...]
    layers: tuple[noise.Layer, ...]
    limits: Limits
    #: Shots of each randomization of the readout's calibration; None: as many as the circuits'.
    readout_shots: int | None
    #: What the programs are made for, if layers must be learned before they can be made.
    target: Target | None


@dataclass(frozen=True, slots=True)
class Given:
    """What the device gave: per group its program and results, and the noise that was learned."""

    plan: Plan
    programs: tuple[Program, ...]
    ran: tuple[quantum.Ran, ...]
    learned: tuple[noise.Known, ...]


def prepare(
    work: Work, params: Mapping[str, Any], device: Device, cache: Cache
) -> tuple[Prepared, Facts]:
    """Decode, check, and let the library prepare the programs, or the experiments before them.

    Raises:
        ProgramError: why the job fails.
    """
    chosen = options.resolved(params)
    reader = pubs.Reader(work, device, cache, chosen.rep_delay_us)
    maker = library.Maker(reader, device, np.random.default_rng(chosen.seed))
    groups = _groups(params, chosen, reader, cache)
    plan = planned(groups, params, work.limits, reader, maker, device)
    metadata = encoding.job_metadata(plan.options, plan.readout_shots)
    prepared = Prepared(ID, (plan,), chosen.seed, metadata, chosen.rep_delay_us)
    return prepared, maker.facts()


def planned(
    groups: list[Group],
    params: Mapping[str, Any],
    limits: Limits,
    reader: pubs.Reader,
    maker: library.Maker,
    device: Device,
) -> Plan:
    """The whole job, of PUBs that have been read; `params` has the options, in V2's words.

    Raises:
        ProgramError: 1208, the library will not prepare it; 1517 or 6000.
    """
    wanted = mitigation_options.estimator_options(params)
    readout = mitigation_options.readout_shots(params)
    layers: tuple[noise.Layer, ...] = ()
    programs: tuple[Program, ...] = ()
    given = ((params.get("options") or {}).get("resilience") or {}).get("layer_noise_model")
    circuits = [pub for group in groups for pub in group.pubs]
    if mitigation_options.needs_noise(params):
        layers = noise.layers(circuits, wanted, params, device, maker, given, reader)
    learn = any(it.experiment for it in layers)
    known = tuple(noise.expected(it, device.target) for it in layers)
    if learn:
        for program, _, where in _written(groups, wanted, known, device.target):
            maker.expect(program, where, readout)
    else:
        programs = _programs(groups, wanted, known, device.target, maker, readout)
    target = device.target if learn else None
    return Plan(tuple(groups), wanted, programs, layers, limits, readout, target)


def _groups(
    params: Mapping[str, Any], chosen: options.Options, reader: pubs.Reader, cache: Cache
) -> list[Group]:
    """The PUBs as the library takes them, by their shots."""
    found: dict[int, list[tuple[int, Any, float, Any]]] = {}
    for place, parts in enumerate(params.get("pubs") or []):
        field = f"pubs[{place}]"
        circuit_part, observables_part, values_part, precision = pubs.padded(parts, 4)
        entry = reader.circuit(circuit_part, field, measured=False)
        values = reader.values(values_part, entry.circuit, field)
        observables = estimator.observables_of(observables_part, entry, reader, cache, field)
        estimator.broadcast(values, observables, reader, field)
        shots, precision = estimator.shots_of(chosen, precision, reader, field)
        circuit = library.spelled(entry.fitted.circuit).copy()
        names = tuple(circuit.parameters)
        rows = values.rows.reshape(*values.shape, len(names))
        bound = BindingsArray({names: rows} if names else {}, shape=values.shape)
        circuit.metadata = {}
        pub = EstimatorPub(circuit, ObservablesArray(observables.tolist()), bound)
        entry_of = (place, pub, precision, entry.circuit.metadata)
        found.setdefault(shots, []).append(entry_of)
    groups = []
    for shots, every in found.items():
        places, made, precisions, metadata = zip(*every, strict=True)
        groups.append(Group(made, places, shots, precisions, metadata))
    return groups


def _written(
    groups: Sequence[Group], wanted: Any, known: tuple[noise.Known, ...], target: Target
) -> Iterator[tuple[Any, library.Qubits | None, str]]:
    """The library's program of each group, where its qubits are, and what it belongs to.

    Raises:
        ProgramError: 1208, the library will not prepare it.
    """
    from qiskit_ibm_runtime.executor_estimator.prepare import prepare as prepared

    backend = library.Shown(target, "device")
    for group in groups:
        where = ", ".join(f"pubs[{place}]" for place in group.places)
        asked = wanted.model_copy(deep=True)
        asked.default_shots = group.shots
        made, place = group.pubs, None
        if known:
            asked.resilience.layer_noise_model = [(it.layer.step, it.noise) for it in known]
        elif not wanted.dynamical_decoupling.enable and (few := narrow.used(made)):
            place = few, made[0].circuit.num_qubits
            made = tuple(narrow.narrowed(pub, few) for pub in made)
        program, _ = library.dressed(prepared, where, made, asked, backend=backend)
        yield program, place, where


def _programs(
    groups: Sequence[Group],
    wanted: Any,
    known: tuple[noise.Known, ...],
    target: Target,
    maker: library.Maker,
    readout: int | None,
) -> tuple[Program, ...]:
    """The library's programs, one for each group, ready for the device.

    The library gives the readout's calibration, a program's last item, the program's shots;
    `readout` are the job's own.

    Raises:
        ProgramError: 1208, the library will not prepare it; 1517 or 6000.
    """
    return tuple(
        Program(
            maker.items(made, where, place, readout),
            made.shots,
            made.passthrough_data,
        )
        for made, place, where in _written(groups, wanted, known, target)
    )


def execute(
    prepared: Prepared, device: Device, _emit_interim: Callable[[bytes], None] | None
) -> Raw:
    """Run; if layers must be learned, these first.

    Raises:
        ProgramError: a run failed, or what was learned asks for too much.
    """
    plan: Plan = prepared.pubs[0]
    seeds = iter(range(1 << 30))

    def run(items: Any, shots: int) -> quantum.Ran:
        # Each program draws from a stream of its own.
        seed = None if prepared.seed is None else prepared.seed + next(seeds)
        return quantum.run(items, shots, device, seed, prepared.rep_delay_us)

    learned: tuple[noise.Known, ...] = ()
    programs, facts = plan.programs, None
    if plan.layers:
        learned = tuple(
            noise.known(it, run(it.experiment.items, it.experiment.shots))
            if it.experiment
            else noise.Known(it, it.given)
            for it in plan.layers
        )
    if plan.target is not None:
        programs, facts = _after_learning(prepared, plan, learned, device)
    ran = tuple(run(it.items, it.shots) for it in programs)
    given = Given(plan, programs, ran, learned)
    return Raw(prepared.program_id, (given,), prepared.metadata, facts=facts)


def _after_learning(
    prepared: Prepared, plan: Plan, learned: tuple[noise.Known, ...], device: Device
) -> tuple[tuple[Program, ...], Facts]:
    """The programs, and the facts of the whole job: what was learned with, and what is to run."""
    reader = pubs.Reader(
        Work("", "estimator", b"", plan.limits), device, Cache(), prepared.rep_delay_us
    )
    seed = None if prepared.seed is None else prepared.seed + 1
    maker = library.Maker(reader, device, np.random.default_rng(seed))
    for layer in plan.layers:
        if layer.experiment:
            for item in layer.experiment.items:
                maker.count(item.fitted, len(item.rows), layer.experiment.shots, "layers")
    programs = _programs(plan.groups, plan.options, learned, plan.target, maker, plan.readout_shots)
    return programs, maker.facts()


def _split(asked: int, each: int, twirling: Any) -> tuple[int, int]:
    """Shots of a PUB and its randomizations, of `each` shots.

    A job that names both numbers of its twirling has named its shots: they win (O35).
    """
    count = twirling.num_randomizations
    twirled = twirling.enable_gates or twirling.enable_measure
    if twirled and "auto" not in (count, twirling.shots_per_randomization):
        return int(count) * each, int(count)
    return asked, max(1, math.ceil(asked / each))


def postprocess(raw: Raw) -> Finished:
    """The library's post-processing, and the encoding of what it gives.

    Raises:
        ProgramError: 1208, the results cannot be evaluated.
    """
    from qiskit_ibm_runtime.decoders.executor_estimator.post_processor_v0_1 import (
        estimator_v2_post_processor_v0_1,
    )

    given: Given = raw.pubs[0]
    encoded: dict[int, bytes] = {}
    for group, program, ran in zip(given.plan.groups, given.programs, given.ran, strict=True):
        result = library.result(program.items, ran, program.passthrough)
        with warnings.catch_warnings():
            # A fit that does not converge says so; the library then takes the next extrapolator.
            warnings.simplefilter("ignore")
            where = ", ".join(f"pubs[{place}]" for place in group.places)
            made = library.tried(estimator_v2_post_processor_v0_1, where, result)
        shots, randomizations = _split(group.shots, program.shots, given.plan.options.twirling)
        for at, place in enumerate(group.places):
            facts = encoding.PubFacts(
                shots=shots,
                precision=group.precisions[at],
                circuit_metadata=group.metadata[at],
                randomizations=randomizations,
            )
            encoded[place] = encoding.pub(made[at], facts, given.plan.options, given.learned)
    ordered = [encoded[place] for place in sorted(encoded)]
    metadata = encoding.with_noise(raw.metadata, given.learned)
    return Finished(results.primitive_result(ordered, metadata), tuple(ordered))
