"""Learning the noise of layers: experiments to run on the device, and what their results say.

A layer is a box of gates that act at once, or of measurements. Its noise is described by rates of
Pauli errors on single qubits and neighbours (a Pauli-Lindblad model). The experiment repeats the
layer to growing depth, twirled, and fits how expectation values decay; for measurements it reads
out twirled ground states. Experiments and fits are those of the client's libraries; the estimator's
mitigation and the noise learner, both versions, use them through this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.circuit import CircuitInstruction, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import PauliLindbladMap
from qiskit.transpiler.exceptions import TranspilerError

from qdwell.errors import ProgramError
from qdwell.programs import library, pubs, quantum
from qdwell.programs.learning_options import Settings


@dataclass(frozen=True, slots=True)
class Experiment:
    """The experiment of one layer, ready for the device."""

    items: tuple[quantum.Item, ...]
    shots: int
    passthrough: Any
    measures: bool
    checks: Mapping[str, Any] | None
    #: Device qubits of the layer, rising.
    qubits: tuple[int, ...]
    depths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Learned:
    """The noise of one layer. Its qubit `j` is the layer's `j`-th in rising order."""

    noise: Any  #: a Qiskit `PauliLindbladMap`
    metadata: dict[str, Any]


def placed(step: CircuitInstruction, circuit: QuantumCircuit, width: int) -> CircuitInstruction:
    """The instruction on a machine's own register of qubits, which the library asks for."""
    register = QuantumRegister(width, "q")
    qubits = [register[circuit.find_bit(bit).index] for bit in step.qubits]
    return CircuitInstruction(step.operation, qubits, step.clbits)


def experiment(
    step: CircuitInstruction, settings: Settings, backend: library.Shown, maker: library.Maker,
    where: str,
) -> Experiment:  # fmt: skip
    """The experiment of one boxed layer, drawn and counted.

    Raises:
        ProgramError: 1208, the layer cannot be learned; 6000, it would take too much.
    """
    from qiskit_noise_learning.protocols import prepare_vanilla_program

    program = library.tried(
        lambda: prepare_vanilla_program(
            backend,
            [step],
            num_randomizations=settings.randomizations,
            shots_per_randomization=settings.shots,
            fragment_depths=settings.depths,
            pass_manager=_checked(backend, settings.checks),
        ),
        where,
    )
    body = step.operation.blocks[0]
    return Experiment(
        items=maker.items(program, where),
        shots=program.shots,
        passthrough=program.passthrough_data,
        measures=any(it.operation.name == "measure" for it in body.data),
        checks=settings.checks,
        qubits=tuple(sorted(int(bit._index) for bit in step.qubits)),
        depths=settings.depths,
    )


def _checked(backend: library.Shown, checks: Mapping[str, Any] | None) -> Any:
    """Passes that add the checks by extra pulses, in the order of the client's own preparation."""
    from qiskit.transpiler import PassManager
    from qiskit_mitigation.postselection import passes

    coupling = backend.target.build_coupling_map()
    chosen: list[Any] = []
    if checks and checks["pre_circuit"]["enable"]:
        pulse = checks["pre_circuit"]["x_pulse_type"]
        chosen.append(passes.AddPreCircuitNonMarkovianErrorChecks(pulse))
        chosen.append(passes.AddSpectatorPreCircuitNonMarkovianErrorChecks(coupling, pulse))
    if checks and checks["post_circuit"]["enable"]:
        pulse = checks["post_circuit"]["x_pulse_type"]
        chosen.append(passes.AddPostCircuitNonMarkovianErrorChecks(pulse))
        chosen.append(passes.AddSpectatorPostCircuitNonMarkovianErrorChecks(coupling, pulse))
    return PassManager(chosen) if chosen else None


def learned(made: Experiment, ran: quantum.Ran, where: str) -> Learned:
    """The noise that an experiment's results tell.

    Raises:
        ProgramError: 1208, the results cannot be fitted.
    """
    from qiskit_noise_learning.protocols import process_vanilla_result

    if ran.mock:
        return _pretended(made)
    result = library.result(made.items, ran, made.passthrough)
    try:
        maps, _, fit = process_vanilla_result(result, raw_data_stage=_selection(made.checks))
    except (ValueError, TypeError, KeyError, np.linalg.LinAlgError) as error:
        raise ProgramError(
            pubs.BAD_INPUT,
            f"{where}: its noise cannot be fitted to the results: {error}",
            "Use more randomizations, more shots, or other layer_pair_depths.",
        ) from error
    return Learned(maps[0], _metadata(made, fit))


def _pretended(made: Experiment) -> Learned:
    """What a dry run tells: rates of the right form. Random bits could not be fitted."""
    width = len(made.qubits)
    letters = "X" if made.measures else "XYZ"
    terms = [(letter, [at], 0.001) for at in range(width) for letter in letters]
    noise = PauliLindbladMap.from_sparse_list(terms, width)
    depths = [0] if made.measures else list(made.depths)
    rates = {depth: dict.fromkeys(made.qubits, 1.0) for depth in depths}
    if made.measures:
        told: dict[str, Any] = {"fraction_kept": 1.0, "success_rates": rates[0]}
        return Learned(noise, {"learning_protocol": "trex", "post_selection": told})
    told = {"fraction_kept": dict.fromkeys(depths, 1.0), "success_rates": rates}
    return Learned(noise, {"learning_protocol": "lindblad", "post_selection": told})


def _selection(checks: Mapping[str, Any] | None) -> Any:
    """The stage of the analysis that drops shots whose checks failed."""
    from qiskit_mitigation.postselection import constants
    from qiskit_noise_learning.analysis import flip_post_select as select

    stage = None
    suffixes = {
        "pre_circuit": constants.DEFAULT_PRE_CHECK_SUFFIX,
        "post_circuit": constants.DEFAULT_POST_CHECK_SUFFIX,
    }
    for name, suffix in suffixes.items():
        if checks and checks[name]["enable"]:
            more = select.FlipPostSelect(
                creg_identifier=select.suffix_creg_identifier(suffix), mode=checks[name]["strategy"]
            )
            stage = more if stage is None else stage + more
    return stage


def _metadata(made: Experiment, fit: Any) -> dict[str, Any]:
    """Metadata of a V3 result: the protocol, and what the checks have kept of the shots."""
    from qiskit_noise_learning.protocols import vanilla

    kept = vanilla._fraction_kept(fit.raw_data)
    rates = vanilla._success_rates(fit.raw_data)
    if not made.measures:
        told: dict[str, Any] = {"fraction_kept": kept, "success_rates": rates}
        return {"learning_protocol": "lindblad", "post_selection": told}
    depth = next(iter(rates), 0)
    told = {"fraction_kept": kept.get(depth, 1.0), "success_rates": rates.get(depth, {})}
    return {"learning_protocol": "trex", "post_selection": told}


def layers(
    circuits: Sequence[QuantumCircuit], strategy: str, most: int | None, width: int
) -> list[CircuitInstruction]:
    """The layers of two-qubit gates of some circuits, the most frequent ones first.

    Those that occur equally often are ordered by their number of gates. Layers beyond `most` are
    left out.

    Raises:
        ProgramError: 1208, a circuit cannot be cut into layers.
    """
    from samplomatic.transpiler import generate_boxing_pass_manager
    from samplomatic.utils import BoxKey, find_unique_box_instructions

    boxing = generate_boxing_pass_manager(
        enable_gates=True, enable_measures=False, twirling_strategy=strategy.replace("-", "_")
    )
    counts: dict[Any, int] = {}
    found: dict[Any, CircuitInstruction] = {}
    for place, circuit in enumerate(circuits):
        try:
            boxed = boxing.run(circuit)
            for step in boxed.data:
                for bare in find_unique_box_instructions([step], undress_boxes=True):
                    there = placed(bare, boxed, width)
                    if not _gates(there):
                        continue
                    key = BoxKey(there)
                    counts[key] = counts.get(key, 0) + 1
                    found.setdefault(key, there)
        except (ValueError, TypeError, TranspilerError) as error:
            raise library.refused(error, f"circuits[{place}]") from error
    ordered = sorted(found, key=lambda key: (-counts[key], -_gates(found[key])))
    return [found[key] for key in ordered[:most]]


def _gates(step: CircuitInstruction) -> int:
    body = step.operation.blocks[0]
    return sum(len(it.qubits) == 2 and it.operation.name != "barrier" for it in body.data)
