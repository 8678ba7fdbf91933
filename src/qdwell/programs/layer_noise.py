"""The noise of an estimator's layers: given with the job, to be learned, or taken as none.

The library boxes each circuit into layers and names each by a reference; noise is injected where
the reference stands. A layer is recognised by its gates. Layers that a given model lacks, or that
are beyond `max_layers_to_learn`, are taken as noiseless and not mitigated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from qiskit.circuit import CircuitInstruction
from qiskit.quantum_info import PauliLindbladMap
from qiskit.transpiler import Target

from qdwell.errors import ProgramError
from qdwell.programs import learning, library, mitigation_options, pubs, quantum
from qdwell.wire.device import Device

#: What tells a layer: its gates, with the device qubits that each is on.
Key = frozenset[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. Without an experiment its noise is `given`."""

    step: CircuitInstruction
    qubits: tuple[int, ...]
    experiment: learning.Experiment | None
    given: Any


@dataclass(frozen=True, slots=True)
class Known:
    """A layer with its noise, a Qiskit `PauliLindbladMap`."""

    layer: Layer
    noise: Any


def layers(
    circuits: Sequence[Any],
    wanted: Any,
    params: Mapping[str, Any],
    device: Device,
    maker: library.Maker,
    model: Any,
    reader: pubs.Reader,
) -> tuple[Layer, ...]:
    """The layers of some PUBs, with their noise or the experiment that learns it.

    Args:
        wanted: the library's form of the options.
        model: the job's own `layer_noise_model`, still encoded; None: learn.

    Raises:
        ProgramError: 1208, there is no coupling map, or the model cannot be read.
    """
    from qiskit_ibm_runtime.executor_estimator.finalize_options import finalize_estimator_options
    from qiskit_ibm_runtime.executor_sampler.utils import find_unique_layers

    if device.simulator or device.target.build_coupling_map() is None:
        raise ProgramError(
            pubs.BAD_INPUT,
            f"{device.name} has no coupling map, so there are no layers to cancel or amplify",
            "Use a machine, or another method of mitigation.",
        )
    final = finalize_estimator_options(wanted)
    readout = final.resilience.measure_noise_learning
    readout = readout if final.resilience.measure_mitigation else None
    unique = library.tried(
        lambda: find_unique_layers(circuits, final.twirling, readout, inject_noise=True), "pubs"
    )
    steps = [step for step in unique if _key(step)]
    known = None if model is None else _given(reader.decoded(model, "layer_noise_model"))
    settings, most = mitigation_options.learning(params)
    backend = library.Shown(device.target, device.name)
    width = device.target.num_qubits or 0
    chosen = _chosen(circuits, steps, wanted.twirling.strategy, most, width)
    made = []
    for place, step in enumerate(steps):
        qubits = tuple(sorted(_place(bit) for bit in step.qubits))
        noise = PauliLindbladMap.identity(len(qubits))
        experiment = None
        if known is not None:
            noise = _fitted(known.get(_key(step)), qubits, noise)
        elif _key(step) in chosen:
            there = _on_machine(step, width)
            experiment = learning.experiment(there, settings, backend, maker, f"layer {place}")
        made.append(Layer(step, qubits, experiment, noise))
    return tuple(made)


def known(layer: Layer, ran: quantum.Ran) -> Known:
    """A layer with the noise that its experiment tells.

    Raises:
        ProgramError: 1208, the results cannot be fitted.
    """
    assert layer.experiment is not None
    return Known(layer, learning.learned(layer.experiment, ran, f"layer on {layer.qubits}").noise)


def expected(layer: Layer, target: Target) -> Known:
    """A layer with the noise that is given, or that the errors of the target's gates let expect.

    A gate with the average error `e` on `n` qubits has Pauli errors with the rates' sum
    `e (1 + 2**-n)`, here spread evenly over all Paulis of its qubits. It is only for estimates.
    """
    if layer.experiment is None:
        return Known(layer, layer.given)
    order = {qubit: place for place, qubit in enumerate(layer.qubits)}
    terms: list[tuple[str, list[int], float]] = []
    for name, qubits in _key(layer.step):
        known = (target[name] or {}).get(qubits) if name in target.operation_names else None
        error = (known.error if known is not None else None) or 0.0
        paulis = ["".join(it) for it in product("IXYZ", repeat=len(qubits))][1:]
        places = [order[qubit] for qubit in qubits]
        rate = error * (1 + 2.0 ** -len(qubits)) / len(paulis)
        for pauli in paulis:
            on = [at for at, letter in enumerate(pauli) if letter != "I"]
            terms.append(("".join(pauli[at] for at in on), [places[at] for at in on], rate))
    return Known(layer, PauliLindbladMap.from_sparse_list(terms, len(layer.qubits)))


def mitigated(circuit: Any, wanted: Any, learned: Sequence[Known]) -> int:
    """How many layers of a circuit have noise that is known, each as often as it occurs."""
    from qiskit_ibm_runtime.executor_estimator.finalize_options import finalize_estimator_options
    from qiskit_ibm_runtime.executor_sampler.utils import (
        box_circuit,
        options_to_boxing_pm_kwargs,
    )

    final = finalize_estimator_options(wanted)
    readout = final.resilience.measure_noise_learning
    readout = readout if final.resilience.measure_mitigation else None
    how = options_to_boxing_pm_kwargs(final.twirling, readout, True)
    noisy = {_key(it.layer.step) for it in learned if len(it.noise)}
    boxes = (it for it in box_circuit(circuit=circuit, **how) if it.operation.name == "box")
    return sum(_key(box) in noisy for box in boxes)


def _place(bit: Any) -> int:
    return int(bit._index)


def _on_machine(step: CircuitInstruction, width: int) -> CircuitInstruction:
    from qiskit.circuit import QuantumRegister

    register = QuantumRegister(width, "q")
    qubits = [register[_place(bit)] for bit in step.qubits]
    return CircuitInstruction(step.operation, qubits, step.clbits)


def _key(step: CircuitInstruction) -> Key:
    """The gates of a box on two qubits; empty for one that only measures."""
    body = step.operation.blocks[0]
    places = {inner: _place(outer) for inner, outer in zip(body.qubits, step.qubits, strict=True)}
    return frozenset(
        (it.operation.name, tuple(places[bit] for bit in it.qubits))
        for it in body.data
        if len(it.qubits) == 2 and it.operation.name != "barrier"
    )


def _chosen(
    circuits: Sequence[Any], steps: Sequence[Any], strategy: str, most: int | None, width: int
) -> set[Key]:
    """The layers to learn: all, or those that occur most often."""
    every = [_key(step) for step in steps]
    if most is None or len(every) <= most:
        return set(every)
    plain = [pub.circuit for pub in circuits]
    return {_key(step) for step in learning.layers(plain, strategy, most, width)}


def _given(decoded: Any) -> dict[Key, tuple[tuple[int, ...], Any]]:
    """A decoded model by layer: on which qubits, and the noise there."""
    found = {}
    entries = decoded.get("data") if isinstance(decoded, Mapping) else decoded
    try:
        for entry in entries or ():
            circuit, qubits, error = entry["circuit"], entry["qubits"], entry["error"]
            key = frozenset(
                (it.operation.name, tuple(qubits[circuit.find_bit(bit).index] for bit in it.qubits))
                for it in circuit.data
                if len(it.qubits) == 2 and it.operation.name != "barrier"
            )
            found[key] = (tuple(qubits), _map(error, len(qubits)))
    except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
        raise ProgramError(
            pubs.BAD_INPUT, f"layer_noise_model cannot be read: {error!r}"
        ) from error
    return found


def _map(error: Any, width: int) -> Any:
    if error is None:
        return PauliLindbladMap.identity(width)
    labels = [next(iter(term)) for term in error["generators"]]
    return PauliLindbladMap(list(zip(labels, [float(it) for it in error["rates"]], strict=True)))


def _fitted(entry: tuple[tuple[int, ...], Any] | None, qubits: tuple[int, ...], none: Any) -> Any:
    """Given noise on the rising qubits of a layer; what lies outside of them is left out."""
    if entry is None:
        return none
    on, noise = entry
    order = {qubit: place for place, qubit in enumerate(qubits)}
    terms = [
        (paulis, [order[on[at]] for at in places], rate)
        for paulis, places, rate in noise.to_sparse_list()
        if all(on[at] in order for at in places)
    ]
    return PauliLindbladMap.from_sparse_list(terms, len(qubits)) if terms else none
