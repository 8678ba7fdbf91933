"""Runs without a seed on ideal devices: drawn from the exact distribution, into the right bits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator

from programs.test_same_samples import bell, dynamic, slow
from qdwell.executors import Spec, make
from qdwell.executors.aer import AerExecutor
from qdwell.executors.exact import OUTCOMES_MAX, exact, packed
from qdwell.wire.device import Batch, Samples

NAMES = {"h", "cx", "x", "rx", "ry", "rz", "sx", "measure", "delay", "barrier", "id", "reset"}


@pytest.fixture
def device() -> AerExecutor:
    made = make(Spec("box", "ideal"))
    assert isinstance(made, AerExecutor)
    return made


def run(
    device: AerExecutor, circuit: QuantumCircuit, shots: int, row: object = (), **more: bool
) -> Samples:
    """One circuit by the shortcut; it must not be None."""
    assert device._sampler is not None
    batch = Batch((device.fit(circuit),), (np.array(row, dtype=float),), shots, **more)
    drawn = device._sampler.samples(batch)
    assert drawn is not None
    return drawn[0]


def words(samples: Samples) -> list[int]:
    return [int.from_bytes(row.tobytes(), "big") for row in samples.bits]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ordered", [True, False])
def test_each_outcome_is_in_its_bits(device: AerExecutor, seed: int, ordered: bool) -> None:
    """A basis state has one outcome: that of Aer, wherever it is measured into."""
    chance = np.random.default_rng(seed)
    clbits = int(chance.integers(1, 20))
    circuit = QuantumCircuit(
        QuantumRegister(12), ClassicalRegister(clbits, "a"), ClassicalRegister(3, "b")
    )
    circuit.x(np.flatnonzero(chance.integers(0, 2, 12)).tolist())
    count = int(chance.integers(1, min(9, clbits + 3)))
    qubits, places = chance.permutation(12)[:count], chance.permutation(clbits + 3)[:count]
    for qubit, clbit in zip(qubits.tolist(), places.tolist(), strict=True):
        circuit.measure(qubit, clbit)
    (text,) = AerSimulator().run(circuit, shots=1).result().get_counts()
    samples = run(device, circuit, 600, ordered=ordered)
    assert set(words(samples)) == {int(text.replace(" ", ""), 2)}
    if ordered:
        assert len(samples.bits) == 600
    else:
        assert samples.counts is not None
        assert samples.counts.tolist() == [600]
    assert samples.bits.shape[1] == (clbits + 3 + 7) // 8


def test_frequencies_are_those_of_the_state(device: AerExecutor) -> None:
    """Six sigma: fails once in 10^8 runs by chance."""
    theta = Parameter("theta")
    circuit = QuantumCircuit(3, 3)
    circuit.ry(theta, 0)
    circuit.cx(0, 2)
    circuit.h(1)
    circuit.measure([0, 1, 2], [2, 0, 1])
    shots, angle = 100_000, 0.9
    one = np.sin(angle / 2) ** 2
    wanted = {0b000: 1 - one, 0b001: 1 - one, 0b110: one, 0b111: one}
    for ordered in (True, False):
        samples = run(device, circuit, shots, [angle], ordered=ordered)
        found = np.bincount(words(samples), samples.counts, minlength=8)
        assert found.sum() == shots
        for word, count in enumerate(found):
            share = wanted.get(word, 0.0) / 2
            assert abs(count - shots * share) <= 6 * np.sqrt(shots * share * (1 - share))


def test_shots_are_independent_and_differ_between_runs(device: AerExecutor) -> None:
    first, second = words(run(device, bell(), 400)), words(run(device, bell(), 400))
    assert first != second
    assert set(first) == set(second) == {0b00, 0b11}
    changes = sum(a != b for a, b in pairwise(first))
    assert 100 < changes < 300


def test_what_has_no_parameters_is_simulated_once(
    device: AerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its distribution stays the same; that of a circuit with parameters does not."""
    asked: list[int] = []
    simulate = device._controller.run

    def counted(circuits: list[QuantumCircuit], *rest: object, **more: object) -> object:
        asked.append(len(circuits))
        return simulate(circuits, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(device._controller, "run", counted)
    theta = Parameter("theta")
    turned = QuantumCircuit(1, 1)
    turned.ry(theta, 0)
    turned.measure(0, 0)
    fixed, open_ = device.fit(bell()), device.fit(turned)
    assert device._sampler is not None
    for angle, word in ((0.0, 0), (np.pi, 1)):
        batch = Batch((fixed, open_, fixed), (np.empty(0), np.array([angle]), np.empty(0)), 600)
        first, second, third = device._sampler.samples(batch) or []
        assert set(words(first)) == set(words(third)) == {0b00, 0b11}
        assert words(first) != words(third)
        assert set(words(second)) == {word}
    assert asked == [3, 1]


def test_a_seed_is_never_sampled_here(device: AerExecutor) -> None:
    assert device._sampler is not None
    batch = Batch((device.fit(bell()),), (np.empty(0),), 400, seed=1)
    assert device._sampler.samples(batch) is None
    # The reference is Aer itself.
    memory = AerSimulator().run(bell(), shots=400, memory=True, seed_simulator=1).result()
    wanted = [int(text, 2) for text in memory.get_memory()]
    assert words(device.execute(batch).samples[0]) == wanted


def test_a_device_model_is_never_sampled_here() -> None:
    device = make(Spec("fake_manila", "fake"))
    assert isinstance(device, AerExecutor)
    assert device._sampler is None


def measured_twice() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.measure(0, 1)
    return circuit


def overwritten() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.measure(1, 0)
    return circuit


def used_again() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.cx(0, 1)
    return circuit


def reset() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.reset(0)
    circuit.measure(0, 0)
    return circuit


def many() -> QuantumCircuit:
    circuit = QuantumCircuit(OUTCOMES_MAX.bit_length())
    circuit.h(range(circuit.num_qubits))
    circuit.measure_all()
    return circuit


def nothing() -> QuantumCircuit:
    return QuantumCircuit(1, 1)


@pytest.mark.parametrize(
    "make_circuit",
    [measured_twice, overwritten, used_again, reset, many, nothing, dynamic, slow],
)
def test_other_circuits_are_run_by_aer(make_circuit: object) -> None:
    assert callable(make_circuit)
    assert exact(make_circuit(), NAMES) is None


def test_fewer_shots_than_outcomes_are_run_by_aer(device: AerExecutor) -> None:
    assert device._sampler is not None
    fit = device.fit(bell())
    assert device._sampler.samples(Batch((fit,), (np.empty(0),), 3)) is None
    assert device._sampler.samples(Batch((fit,), (np.empty(0),), 4)) is not None


def test_outcomes_wider_than_a_word() -> None:
    rows = packed(np.array([0, 1, 2, 3]), [0, 69], 70)
    assert [int.from_bytes(row.tobytes(), "big") for row in rows] == [0, 1, 1 << 69, 1 | 1 << 69]


def test_a_state_too_large_to_ask_for_is_left_to_aer(device: AerExecutor) -> None:
    assert device._sampler is not None
    wide = QuantumCircuit(60, 2)
    wide.h(range(60))
    for qubit in range(60):
        wide.t(qubit)
        wide.cx(qubit, (qubit + 1) % 60)
    wide.measure([0, 59], [0, 1])
    assert device._sampler.samples(Batch((device.fit(wide),), (np.empty(0),), 100)) is None
