"""The shortcut into Aer gives the samples of `run`, however often a circuit is used."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2
from qiskit.circuit.random import random_circuit
from qiskit_aer import AerSimulator

from programs.test_same_samples import bell, dynamic, slow, two_registers
from qdwell.errors import ProgramError
from qdwell.executors import Executor, Spec, base, make
from qdwell.executors.aer import AerExecutor
from qdwell.executors.assembled import assembled
from qdwell.wire.device import Batch, Fitted, Samples

SHOTS = 300
NAMES = {"h", "cx", "rx", "ry", "rz", "x", "sx", "measure", "delay", "barrier", "u"}


def ansatz() -> QuantumCircuit:
    """Parameters as they are, in formulas, and in the global phase, between idle qubits."""
    circuit = QuantumCircuit(7)
    circuit.compose(efficient_su2(3, reps=1).decompose(), [1, 4, 6], inplace=True)
    theta, phi = Parameter("a"), Parameter("b")
    circuit.rz(theta / 2 + phi * np.pi, 4)
    circuit.rx(theta.sin() - 1, 6)
    circuit.global_phase = theta * 3
    circuit.measure_all()
    return circuit


def plain(circuits: list[QuantumCircuit], seed: int, ordered: bool) -> list[Any]:
    result = AerSimulator().run(circuits, shots=SHOTS, memory=ordered, seed_simulator=seed).result()
    return [
        result.get_memory(at) if ordered else result.get_counts(at) for at in range(len(circuits))
    ]


def words(samples: Samples, ordered: bool) -> Any:
    texts = [int.from_bytes(row.tobytes(), "big") for row in samples.bits]
    if ordered:
        return texts
    assert samples.counts is not None
    return dict(zip(texts, samples.counts.tolist(), strict=True))


def number(given: Any) -> Any:
    def whole(text: str) -> int:
        return int(text.replace(" ", ""), 2)

    if isinstance(given, list):
        return [whole(text) for text in given]
    return {whole(text): count for text, count in given.items()}


def run(device: AerExecutor, fits: list[Fitted], rows: list[Any], seed: int, ordered: bool) -> Any:
    batch = Batch(tuple(fits), tuple(rows), SHOTS, seed, ordered=ordered)
    return [words(each, ordered) for each in device.execute(batch).samples]


@pytest.fixture
def device() -> AerExecutor:
    made = make(Spec("box", "aer"))
    assert isinstance(made, AerExecutor)
    return made


@pytest.mark.parametrize("ordered", [True, False])
def test_rows_of_values_over_and_over(device: AerExecutor, ordered: bool) -> None:
    circuit = ansatz()
    fit = device.fit(circuit)
    assert device._shelf.get(fit.circuit) is not None
    chance = np.random.default_rng(5)
    for seed in (1, 2, 99):
        rows = list(chance.uniform(-7, 7, (3, circuit.num_parameters)))
        bound = [circuit.assign_parameters(row) for row in rows]
        wanted = [number(each) for each in plain(bound, seed, ordered)]
        assert run(device, [fit] * 3, rows, seed, ordered) == wanted


def test_circuits_without_parameters_stay_as_they_are(device: AerExecutor) -> None:
    """Aer cuts a circuit down in place to the qubits it uses: the second run must not see that."""
    wide = QuantumCircuit(9, 9)
    wide.compose(bell().remove_final_measurements(inplace=False), [7, 2], inplace=True)
    wide.sx(5)
    wide.measure([5, 7, 2], [8, 0, 4])
    circuits = [wide, two_registers()]
    fits = [device.fit(each) for each in circuits]
    for seed in (3, 3, 4):
        wanted = [number(each) for each in plain(circuits, seed, True)]
        assert run(device, fits, [np.empty(0)] * 2, seed, True) == wanted


@pytest.mark.parametrize("seed", range(6))
def test_any_circuit(device: AerExecutor, seed: int) -> None:
    drawn = random_circuit(5, 8, measure=True, seed=seed)
    circuit = transpile(
        drawn, basis_gates=["u", "cx", "rz", "h", "swap", "ccx"], optimization_level=0
    )
    fit = device.fit(circuit)
    assert device._shelf.get(fit.circuit) is not None
    wanted = number(plain([circuit], seed, False)[0])
    assert run(device, [fit], [np.empty(0)], seed, False) == [wanted]


def test_a_noise_model_is_the_same_written_out(executor: Callable[[str], Executor]) -> None:
    device = executor("fake_manila")
    assert isinstance(device, AerExecutor)
    assert device._noise is not None
    circuit = QuantumCircuit(5)
    angle = Parameter("angle")
    circuit.sx(3)
    circuit.rz(angle, 3)
    circuit.cx(3, 4)
    circuit.measure_all()
    fit = device.fit(circuit)
    assert device._shelf.get(fit.circuit) is not None
    noise = device._noise.cut(fit.names, fit.qubits)
    for seed, value in ((7, 0.3), (8, 1.2), (7, 0.3)):
        result = AerSimulator().run(
            circuit.assign_parameters([value]), shots=SHOTS, seed_simulator=seed, noise_model=noise
        )
        wanted = number(result.result().get_counts())
        assert run(device, [fit], [np.array([value])], seed, False) == [wanted]


@pytest.mark.parametrize("make_circuit", [dynamic, slow])
def test_what_aer_rewrites_has_no_shortcut(
    executor: Callable[[str], Executor], make_circuit: Callable[[], QuantumCircuit]
) -> None:
    device = executor("fake_manila")
    assert isinstance(device, AerExecutor)
    assert device._shelf.get(make_circuit()) is None


def test_a_delay_whose_length_is_open_has_no_shortcut() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.delay(Parameter("t"), 0)
    circuit.measure(0, 0)
    assert assembled(circuit, NAMES) is None


def test_what_was_assembled_goes_with_its_circuit(device: AerExecutor) -> None:
    circuit = bell()
    assert device._shelf.get(circuit) is device._shelf.get(circuit)
    assert len(device._shelf._kept) == 1
    del circuit
    gc.collect()
    assert not device._shelf._kept


def test_an_error_of_the_simulation_is_told(device: AerExecutor) -> None:
    wide = QuantumCircuit(60)
    wide.h(range(60))
    for qubit in range(60):
        wide.t(qubit)
        wide.cx(qubit, (qubit + 1) % 60)
    wide.measure_all()
    with pytest.raises(ProgramError, match="Required memory"):
        # Not fitted: that would refuse it.
        run(device, [base.fitted(wide)], [np.empty(0)], 1, True)
