"""Noise models that jobs bring along (O18, O42): the samples of Aer itself, and clear refusals.

The samples with a seed are those of Aer, run directly with the same model object. Where they are
drawn in another way, bounds are six standard deviations: a right program fails such a comparison
with a probability below 1e-8.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import UnitaryGate, XGate
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import (
    NoiseModel,
    QuantumError,
    ReadoutError,
    amplitude_damping_error,
    coherent_unitary_error,
    depolarizing_error,
    pauli_error,
    thermal_relaxation_error,
)
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder

from programs.stock import local, ours
from qdwell.client import v1
from qdwell.client.values import dumps
from qdwell.executors import Executor
from qdwell.executors.make import make
from qdwell.executors.mock import Mock
from qdwell.executors.qiskit import BackendExecutor
from qdwell.programs import Cache, ProgramError, Work, check_submission, run_all

Devices = Callable[[str], Executor]
AER, IDEAL, MANILA = "aer_simulator", "ideal_machine", "fake_manila"
SEED, SHOTS = 7, 2_000


@cache
def various() -> NoiseModel:
    """Errors of every form that Aer writes: Paulis, resets, unitaries, Kraus, readout."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.03, 2), ["cx"])
    model.add_quantum_error(thermal_relaxation_error(50, 40, 10), ["sx"], [0])
    model.add_quantum_error(amplitude_damping_error(0.1), ["x"], [1])
    model.add_quantum_error(coherent_unitary_error(np.diag([1, 1j])), ["rz"], [1])
    model.add_all_qubit_quantum_error(amplitude_damping_error(0.05), ["measure", "h"])
    model.add_readout_error(ReadoutError([[0.95, 0.05], [0.1, 0.9]]), [1])
    model.add_readout_error(ReadoutError([[0.99, 0.01], [0.2, 0.8]]), [2])
    return model


@cache
def manila() -> NoiseModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NoiseModel.from_backend(FakeManilaV2())


def circuit(measured: bool = True) -> QuantumCircuit:
    made = QuantumCircuit(3)
    made.sx(0)
    made.cx(0, 1)
    made.x(1)
    made.rz(0.3, 1)
    made.sx(1)
    made.cx(1, 2)
    if measured:
        made.measure_all()
    return made


def aers(model: NoiseModel, made: QuantumCircuit, shots: int = SHOTS) -> dict[str, int]:
    """The counts of Aer itself."""
    simulator = AerSimulator(noise_model=model)
    found: dict[str, int] = (
        simulator.run(made, shots=shots, seed_simulator=SEED).result().get_counts()
    )
    return found


def tilted(label: str | None) -> NoiseModel:
    """A model with a unitary that its user may have given a label."""
    error = QuantumError([(UnitaryGate(np.diag([1, 1j]), label=label), 0.5), (XGate(label), 0.5)])
    model = NoiseModel()
    model.add_all_qubit_quantum_error(error, ["sx", "x"])
    return model


def simulator(model: Any) -> dict[str, Any]:
    return {"noise_model": model, "seed_simulator": SEED}


FORMS: Mapping[str, Callable[[NoiseModel], Any]] = {
    "tagged": lambda it: it,
    "dict": lambda it: it.to_dict(),
    "serializable dict": lambda it: it.to_dict(serializable=True),
}


@pytest.mark.parametrize(
    ("form", "model"), [*((form, various) for form in FORMS), ("tagged", manila)]
)
def test_o42_the_samples_are_those_of_aer(
    form: str, model: Callable[[], NoiseModel], executor: Devices
) -> None:
    options = {"simulator": simulator(FORMS[form](model()))}
    result, _ = ours("sampler", [(circuit(), None, SHOTS)], executor(AER), options)
    counts = result[0].data.meas.get_counts()
    assert counts == aers(model(), circuit())
    assert len(counts) == 8
    options["simulator"]["noise_model"] = None
    result, _ = ours("sampler", [(circuit(), None, SHOTS)], executor(AER), options)
    assert result[0].data.meas.get_counts() != counts


@pytest.mark.parametrize("form", FORMS)
def test_o42_a_label_in_a_model_is_taken_and_changes_nothing(form: str, executor: Devices) -> None:
    """`to_dict` writes the labels of a user's own gates; to Aer itself they mean nothing."""
    model = tilted("tilt")
    assert "'label': 'tilt'" in str(model.to_dict())
    options = {"simulator": simulator(FORMS[form](model))}
    result, _ = ours("sampler", [(circuit(), None, SHOTS)], executor(AER), options)
    counts = result[0].data.meas.get_counts()
    assert counts == aers(model, circuit()) == aers(tilted(None), circuit())


def test_errors_that_a_circuit_does_not_meet_count_for_the_method(executor: Devices) -> None:
    """Aer looks at the whole model when it chooses how to simulate; here it sees a part of it."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.03, 2), ["cx"])
    made = QuantumCircuit(5)
    made.h(0)
    for qubit in range(4):
        made.cx(qubit, qubit + 1)
    made.measure_all()
    counts = []
    for place in range(2):
        options = {"simulator": simulator(model)}
        result, _ = ours("sampler", [(made, None, 20)], executor(AER), options)
        counts.append(result[0].data.meas.get_counts())
        assert counts[-1] == aers(model, made, 20)
        if place == 0:
            model.add_quantum_error(amplitude_damping_error(0.1), ["x"], [7])
    assert counts[0] != counts[1]  # stabilizers, and then a state vector


def test_o45_the_samples_are_those_of_local_mode(executor: Devices) -> None:
    pubs = [(circuit(), None, SHOTS)]
    options = {"simulator": simulator(various())}
    theirs = local("sampler", pubs, AerSimulator(), options)
    result, _ = ours("sampler", pubs, executor(AER), options)
    assert result[0].data.meas.get_counts() == theirs[0].data.meas.get_counts()


def ran_v1(
    program: str, device: Executor, circuits: Any, observables: Any = None, **options: Any
) -> Any:
    """A V1 submission, as our own client encodes it."""
    sent = dumps(v1.params(program, circuits, observables, None, options))
    check_submission(program, json.loads(sent))
    _, _, finished = run_all(Work("j", program, sent), device, Cache())
    return v1.decoder_of(program)(json.loads(finished.result))


def test_o18_the_v1_sampler_compiles_and_runs_as_aer(executor: Devices) -> None:
    """What it compiles to are the gates of the model, at level 3 (O2): Aer's own choice."""
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    sent = simulator(manila())
    result = ran_v1(
        "sampler", executor(AER), bell, simulator=sent, execution={"shots": SHOTS},
        resilience_level=0,
    )  # fmt: skip
    got = {
        key: round(it * SHOTS) for key, it in result.quasi_dists[0].binary_probabilities().items()
    }
    compiled = transpile(
        bell, AerSimulator(noise_model=manila()), optimization_level=3, seed_transpiler=0
    )
    assert {it.operation.name for it in compiled.data} <= {"rz", "sx", "cx", "measure", "barrier"}
    assert got == aers(manila(), compiled)


def test_o18_the_stock_encoding_of_v1(executor: Devices) -> None:
    """The body that the stock clients up to 0.27 send, by the stock client's encoder."""
    body = {
        "circuits": [circuit()],
        "parameter_values": [[]],
        "transpilation_settings": {"skip_transpilation": True},
        "resilience_settings": {"level": 0},
        "run_options": {"shots": SHOTS, "init_qubits": True, **simulator(various())},
    }
    raw = json.dumps(body, cls=RuntimeEncoder)
    check_submission("sampler", json.loads(raw))
    _, _, finished = run_all(Work("j", "sampler", raw.encode()), executor(AER), Cache())
    (shares,) = json.loads(finished.result, cls=RuntimeDecoder)["quasi_dists"]
    got = {format(int(key, 16), "03b"): round(share * SHOTS) for key, share in shares.items()}
    assert got == aers(various(), circuit())


def exact(model: NoiseModel, observable: str) -> float:
    made = circuit(measured=False)
    made.save_expectation_value(SparsePauliOp(observable), range(3))
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    return float(simulator.run(made).result().data()["expectation_value"])


def gates_only() -> NoiseModel:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 2), ["cx"])
    model.add_quantum_error(amplitude_damping_error(0.2), ["sx"], [1])
    return model


def test_estimators_see_the_noise(executor: Devices) -> None:
    """V2 at level 0, and V1 at levels 0 and 1, against the density matrix."""
    pauli, shots = "ZZI", 40_000
    without = exact(NoiseModel(), pauli)
    sent = simulator(gates_only())
    expected = exact(gates_only(), pauli)
    bound = 6 / np.sqrt(shots)
    assert abs(expected - without) > 3 * bound
    result, _ = ours(
        "estimator", [(circuit(False), pauli)], executor(AER),
        {"simulator": sent, "default_shots": shots}, resilience_level=0,
    )  # fmt: skip
    assert result[0].data.evs == pytest.approx(expected, abs=bound)
    for level in (0, 1):
        made = ran_v1(
            "estimator", executor(AER), circuit(False), SparsePauliOp(pauli), simulator=sent,
            execution={"shots": shots}, resilience_level=level,
            transpilation={"skip_transpilation": True},
        )  # fmt: skip
        assert made.values[0] == pytest.approx(expected, abs=bound)


def test_a_simulator_with_noise_is_mitigated_by_default(executor: Devices) -> None:
    """O3, O33: level 1, where a simulator without a noise model has level 0."""
    device, readout = executor(AER), NoiseModel()
    readout.add_all_qubit_readout_error(ReadoutError([[0.9, 0.1], [0.1, 0.9]]))
    one = QuantumCircuit(1)
    one.x(0)
    for model, level in ((readout, 1), (None, 0)):
        sent = simulator(model)
        result, _ = ours("estimator", [(one, "Z")], device, {"simulator": sent})
        assert result[0].data.evs == pytest.approx(-1.0, abs=0.1)  # -0.8 as it is read
        told = result.metadata["resilience"]
        assert bool(told.get("measure_mitigation")) is bool(level), told
        made = ran_v1("estimator", device, one, SparsePauliOp("Z"), simulator=sent)
        assert made.values[0] == pytest.approx(-1.0, abs=0.1)
        assert ("readout_mitigation_num_twirled_circuits" in made.metadata[0]) is bool(level)


def test_an_ideal_machine_takes_one(executor: Devices) -> None:
    """It has none of its own, and is played by Aer; its instructions stay what they are."""
    sent = {"simulator": simulator(various())}
    wide = transpile(
        circuit(), basis_gates=["cx", "sx", "x", "rz"], coupling_map=[[0, 1], [1, 2]],
        initial_layout=[0, 1, 2], optimization_level=0,
    )  # fmt: skip
    result, _ = ours("sampler", [(wide, None, SHOTS)], executor(IDEAL), sent)
    assert result[0].data.meas.get_counts() == aers(various(), wide)
    h = QuantumCircuit(1)
    h.h(0)
    h.measure_all()
    with pytest.raises(ProgramError) as failed:
        ours("sampler", [(h, None, 10)], executor(IDEAL), sent)
    assert failed.value.code == 1517


def test_devices_with_noise_of_their_own_refuse_it(executor: Devices) -> None:
    lab = BackendExecutor("lab", AerSimulator(), simulator=True)
    scripted = make_scripted()
    for device in (executor(MANILA), Mock("mock_manila", executor(MANILA)), lab, scripted):
        with pytest.raises(ProgramError, match="noise_model") as failed:
            sent = {"simulator": simulator(various())}
            ours("sampler", [(circuit(), None, 10)], device, sent)
        assert failed.value.code == 1208
        assert device.name.removeprefix("mock_") in failed.value.reason
        with pytest.raises(ProgramError, match="noise_model"):
            ran_v1("sampler", device, circuit(), simulator=simulator(various()))


def make_scripted() -> Executor:
    from qdwell.executors import Spec

    return make(Spec("scripted_one", "scripted"))


def test_the_twin_of_a_machine_takes_what_the_machine_takes(executor: Devices) -> None:
    mock = Mock("mock_machine", executor(IDEAL))
    sent = {"simulator": simulator(various())}
    result, _ = ours("sampler", [(circuit(), None, 100)], mock, sent)
    assert result[0].data.meas.num_shots == 100


def test_wide_circuits_are_taken_apart_with_it(executor: Devices) -> None:
    """30 qubits, in pairs and alone: too wide for Aer with Kraus errors, and exact all the same."""
    model, width = NoiseModel(), 30
    model.add_all_qubit_quantum_error(amplitude_damping_error(0.2), ["x"])
    model.add_quantum_error(pauli_error([("X", 0.3), ("I", 0.7)]), ["x"], [1])
    model.add_all_qubit_quantum_error(pauli_error([("XX", 0.1), ("II", 0.9)]), ["cx"])
    model.add_all_qubit_readout_error(ReadoutError([[0.95, 0.05], [0.1, 0.9]]))
    made = QuantumCircuit(width)
    for qubit in range(width):
        made.x(qubit)
    for qubit in range(20, width, 2):
        made.cx(qubit, qubit + 1)
    made.measure_all()
    shots = 4_000
    result, _ = ours(
        "sampler", [(made, None, shots)], executor(AER), {"simulator": simulator(model)}
    )
    bits = result[0].data.meas.get_bitstrings()
    means = np.array([[int(it) for it in text[::-1]] for text in bits]).mean(axis=0)
    ones = np.full(width, 0.8)  # after x
    ones[1] = 0.7
    for left in range(20, width, 2):
        target = 2 * 0.8 * 0.2
        ones[left], ones[left + 1] = 0.9 * 0.8 + 0.1 * 0.2, 0.9 * target + 0.1 * (1 - target)
    expected = 0.9 * ones + 0.05 * (1 - ones)
    assert np.abs(means - expected).max() < 6 * 0.5 / np.sqrt(shots)


def test_it_is_read_once_in_a_session(executor: Devices) -> None:
    kept, one, sent = Cache(), circuit(), {"simulator": simulator(various())}
    for _ in range(2):
        ours("sampler", [(one, None, 10)], executor(AER), sent, cache=kept)
    assert (kept.hits, kept.misses) == (2, 2)  # the model, and the circuit
