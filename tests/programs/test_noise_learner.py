"""The noise learner, V2 and V3, as the stock client sends and reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import BoxOp, CircuitInstruction, ClassicalRegister, QuantumRegister
from qiskit.quantum_info import PTM, SuperOp
from qiskit_ibm_runtime.decoders.defaults import DEFAULT_DECODERS
from qiskit_ibm_runtime.json import RuntimeEncoder
from qiskit_ibm_runtime.noise_learner_v3.params_converters import NOISE_LEARNER_V3_PARAMS_CONVERTERS
from qiskit_ibm_runtime.options_models import NoiseLearnerV3Options
from samplomatic import Twirl

from qdwell.errors import BadInput
from qdwell.executors import Executor
from qdwell.executors.mock import Mock
from qdwell.programs import Cache, Facts, ProgramError, Work, check_submission, run_all
from qdwell.programs.learning_options import DEFAULTS

Devices = Callable[[str], Executor]
AER, IDEAL, MANILA = "aer_simulator", "ideal_machine", "fake_manila"

#: Small enough for a test, deep enough to see errors of one percent.
SMALL = {"num_randomizations": 16, "shots_per_randomization": 128, "layer_pair_depths": [0, 2, 12]}
FEW = {"num_randomizations": 4, "shots_per_randomization": 64, "layer_pair_depths": [0, 4]}


def run(body: dict[str, Any], device: Executor) -> tuple[Any, Facts]:
    """Our result as the stock client's chain of decoders leaves it, and the facts."""
    check_submission("noise-learner", body)
    work = Work("job", "noise-learner", json.dumps(body).encode())
    facts, _, finished = run_all(work, device, Cache())
    decoded = reduce(
        lambda it, decoder: decoder.decode(it) if decoder.is_applicable(it) else it,
        DEFAULT_DECODERS["noise-learner"],
        finished.result.decode(),
    )
    return decoded, facts


def v2(circuits: list[Any], **options: Any) -> dict[str, Any]:
    body = {"circuits": circuits, "options": {**options, "support_qiskit": True}}
    plain: dict[str, Any] = json.loads(json.dumps(body, cls=RuntimeEncoder))
    return plain


def v3(steps: list[CircuitInstruction], version: str = "v0.3", **options: Any) -> dict[str, Any]:
    encoder = NOISE_LEARNER_V3_PARAMS_CONVERTERS[version].encoder
    model = encoder(steps, NoiseLearnerV3Options(**options))
    plain: dict[str, Any] = {**model.model_dump(mode="json"), "version": 3}
    return plain


def gates(*pairs: tuple[int, int], width: int = 5, name: str = "cx") -> CircuitInstruction:
    """A twirled box of gates on a machine's register."""
    circuit = QuantumCircuit(QuantumRegister(width, "q"))
    with circuit.box([Twirl()]):
        for pair in pairs:
            getattr(circuit, name)(*pair)
    return circuit.data[0]


def readings(*qubits: int, width: int = 5) -> CircuitInstruction:
    circuit = QuantumCircuit(QuantumRegister(width, "q"), ClassicalRegister(len(qubits)))
    with circuit.box([Twirl()]):
        for place, qubit in enumerate(qubits):
            circuit.measure(qubit, place)
    return circuit.data[0]


def expected_infidelity(device: Any) -> float:
    """Mean loss of a Pauli on qubits 0 and 1 by a layer: cx, and the two sx that twirl a qubit."""
    noise = device._noise
    whole = np.eye(16)
    for _, gates_there in noise._gates.items():
        for place, gate in gates_there:
            if (gate.gate, list(gate.qubits)) == ("cx", [0, 1]):
                for _, _, error in noise._errors_of(place, gate):
                    whole = np.real(PTM(SuperOp(error)).data) @ whole
    circuit = QuantumCircuit(1)
    circuit.sx(0)
    for _ in range(2):
        one, other = (noise.matrix(circuit.data[0].operation, qubit) for qubit in (0, 1))
        whole = np.kron(other, one) @ whole
    return float(-np.log(np.diag(whole)[1:]).mean())


# ---- V3 ------------------------------------------------------------------------------------------


def test_v3_learns_gates_and_readout(executor: Devices) -> None:
    """Mean log-fidelity within a third of the model's; readout errors within 0.015."""
    device = executor(MANILA)
    many = {**SMALL, "num_randomizations": 64}  # its chance flips make readout's error then 0.007
    result, facts = run(v3([gates((0, 1)), readings(0, 3)], **many), device)
    assert len(result.data) == 2
    lindblad, trex = result.to_pauli_lindblad_maps()
    assert lindblad.num_qubits == 2
    labels = [a + b for a in "IXYZ" for b in "IXYZ"][1:]
    losses = [-np.log(lindblad.pauli_fidelity(_sparse(label))) for label in labels]
    assert np.mean(losses) == pytest.approx(expected_infidelity(device), rel=0.35)
    assert trex.num_qubits == 2
    for place, qubit in enumerate((0, 3)):
        zero, one = device._noise.readout(qubit)  # type: ignore[attr-defined]
        label = "IZ" if place == 0 else "ZI"
        assert trex.pauli_fidelity(_sparse(label)) == pytest.approx(1 - zero - one, abs=0.03)
    assert result.data[0].metadata["learning_protocol"] == "lindblad"
    assert result.data[1].metadata["learning_protocol"] == "trex"
    assert result.data[0].metadata["post_selection"]["fraction_kept"] == {0: 1.0, 2: 1.0, 12: 1.0}
    assert result.data[0]._rates_std.shape == result.data[0]._rates.shape
    assert facts.executions > 16 * 128


@pytest.mark.parametrize("version", ["v0.1", "v0.2"])
def test_older_requests_of_v3_get_the_same_form(version: str, executor: Devices) -> None:
    """What is learned does not depend on the version, which `test_v3_learns...` sees."""
    result, _ = run(v3([gates((0, 1)), readings(0, 3)], version, **FEW), executor(MANILA))
    assert [it.metadata["learning_protocol"] for it in result.data] == ["lindblad", "trex"]
    assert [it.num_qubits for it in result.to_pauli_lindblad_maps()] == [2, 2]
    assert result.data[0].metadata["post_selection"]["fraction_kept"] == {0: 1.0, 4: 1.0}


def _sparse(label: str) -> Any:
    from qiskit.quantum_info import QubitSparsePauli

    return QubitSparsePauli(label)


FAILS: list[tuple[CircuitInstruction, int, str]] = [
    (gates((0, 2)), 1517, r"cx on qubits \(0, 2\)"),
    (gates((0, 1), name="cz"), 1517, "cz"),
    (
        CircuitInstruction(BoxOp(QuantumCircuit(2)), QuantumRegister(5, "q")[:2]),
        1208,
        "Twirl",
    ),
]


@pytest.mark.parametrize(("step", "code", "said"), FAILS, ids=["pair", "gate", "twirl"])
def test_v3_says_what_it_cannot_learn(
    step: CircuitInstruction, code: int, said: str, executor: Devices
) -> None:
    with pytest.raises(ProgramError, match=said) as failed:
        run(v3([step], **SMALL), executor(MANILA))
    assert failed.value.code == code
    assert "instructions[0]" in failed.value.reason


# ---- V2 ------------------------------------------------------------------------------------------


def layered() -> QuantumCircuit:
    """Layer cx(0, 1) twice and layer cx(2, 3) once, on a machine of five qubits."""
    circuit = QuantumCircuit(QuantumRegister(5, "q"))
    for pair in ((0, 1), (2, 3), (0, 1)):
        circuit.sx(pair[0])
        circuit.cx(*pair)
        circuit.barrier()
    return circuit


def test_v2_learns_the_most_frequent_layers(executor: Devices) -> None:
    device = executor(MANILA)
    simulator = {"seed_simulator": 3}
    options = {**SMALL, "max_layers_to_learn": 1, "twirling_strategy": "active"}
    result, _ = run(v2([layered()], simulator=simulator, **options), device)
    assert len(result) == 1
    (layer,) = result
    assert layer.qubits == [0, 1]
    assert layer.circuit.count_ops() == {"cx": 1}
    assert layer.error.num_qubits == 2
    assert 0.001 < layer.error.rates.sum() < 0.1
    assert result.metadata["backend"] == MANILA
    told = result.metadata["input_options"]  # with the defaults of what nobody said
    assert (told["max_layers_to_learn"], told["twirling_strategy"]) == (1, "active")
    assert set(told) == {*DEFAULTS, "twirling_strategy", "simulator"}


def test_v2_learns_all_layers_and_for_a_seed_the_same(executor: Devices) -> None:
    body = v2([layered()], simulator={"seed_simulator": 3}, twirling_strategy="active", **FEW)
    every, _ = run(body, executor(MANILA))
    assert [it.qubits for it in every] == [[0, 1], [2, 3]]
    again, _ = run(body, executor(MANILA))
    for one, other in zip(every, again, strict=True):
        assert (one.error.rates == other.error.rates).all()


def test_v2_without_noise_finds_none(executor: Devices) -> None:
    circuit = QuantumCircuit(QuantumRegister(27, "q"))
    circuit.cx(0, 1)
    result, _ = run(v2([circuit], twirling_strategy="active", **SMALL), executor(IDEAL))
    assert result[0].error.rates.max() < 0.003


def test_a_simulator_has_no_layers(executor: Devices) -> None:
    with pytest.raises(ProgramError, match="coupling map"):
        run(v2([layered()], **SMALL), executor(AER))


def test_a_circuit_outside_of_the_instruction_set_is_named(executor: Devices) -> None:
    circuit = QuantumCircuit(5)
    circuit.cz(0, 1)
    with pytest.raises(ProgramError, match="cz on qubits 0, 1") as failed:
        run(v2([circuit]), executor(MANILA))
    assert failed.value.code == 1517


def test_too_many_executions_are_refused_before_they_are_drawn(executor: Devices) -> None:
    with pytest.raises(ProgramError, match="executions") as failed:
        run(v2([layered()], num_randomizations=10**9), executor(MANILA))
    assert failed.value.code == 6000


AT_THE_DOOR = [
    ({"options": {}}, "circuits"),
    ({"circuits": [3]}, "circuits[0]"),
    ({"circuits": [], "options": {"layer_pair_depths": [-1]}}, "layer_pair_depths"),
    ({"circuits": [], "options": {"num_randomizations": 0}}, "num_randomizations"),
    ({"circuits": [], "options": {"twirling_strategy": "some"}}, "twirling_strategy"),
    ({"circuits": [], "options": {"simulator": {"noise_model": {}}}}, "noise_model"),
    ({"circuits": [], "options": {"surprise": 1}}, "surprise"),
    ({"schema_version": "v0.3"}, "instructions"),
    ({"schema_version": "v9.9", "instructions": {"circuit_b64": ""}}, "schema_version"),
]


@pytest.mark.parametrize(("body", "named"), AT_THE_DOOR)
def test_the_field_that_is_refused_at_the_door_is_named(body: Any, named: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_submission("noise-learner", body)
    assert named in refused.value.message


def test_checks_by_extra_pulses(executor: Devices) -> None:
    """Pulses of a kind that the machine lacks are refused by name; the older switch, too."""
    checks = {"post_circuit": {"enable": True, "x_pulse_type": "xslow"}}
    with pytest.raises(ProgramError, match="xslow"):
        run(v3([gates((0, 1))], bit_flip_checks=checks, **SMALL), executor(MANILA))
    body = v3([gates((0, 1))])
    body["options"]["post_selection"] = {"enable": True}
    with pytest.raises(BadInput, match="bit_flip_checks"):
        check_submission("noise-learner", body)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_dry_run_has_the_form_of_a_result(version: str, executor: Devices) -> None:
    """Random bits cannot be fitted; the mock twin's answer is made up instead."""
    device = Mock("mock_manila", executor(MANILA))
    if version == "v2":
        result, _ = run(v2([layered()], twirling_strategy="active", **SMALL), device)
        assert [it.qubits for it in result] == [[0, 1], [2, 3]]
        return
    result, _ = run(v3([gates((0, 1)), readings(0, 3)], **SMALL), device)
    assert [it.num_qubits for it in result.to_pauli_lindblad_maps()] == [2, 2]
    assert result.data[0].metadata["post_selection"]["fraction_kept"] == {0: 1.0, 2: 1.0, 12: 1.0}
