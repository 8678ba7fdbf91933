"""Wide circuits: taken apart exactly, the method chosen by what fits, refused if nothing does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qdwell.errors import ProgramError
from qdwell.executors import Executor, methods
from qdwell.wire.device import Batch

Devices = Callable[[str], Executor]
AER, SHERBROOKE = "aer_simulator", "fake_sherbrooke"
NONE = np.empty(0)


def bits(samples: Any, clbits: int) -> Any:
    """Outcomes with one column per classical bit, clbit 0 first."""
    return np.unpackbits(samples.bits, axis=-1, bitorder="big")[:, ::-1][:, :clbits]


def run(device: Executor, circuit: QuantumCircuit, row: Any = NONE, shots: int = 4000) -> Any:
    batch = Batch((device.fit(circuit),), (np.asarray(row),), shots, seed=11)
    return bits(device.run(batch).samples[0], circuit.num_clbits)


def busy(qubits: list[int], width: int, angle: Any) -> QuantumCircuit:
    """Gates, delays, and resets on some qubits, measured into classical bits of falling order."""
    circuit = QuantumCircuit(width, width)
    for qubit in qubits:
        circuit.rz(angle, qubit)
        circuit.sx(qubit)
        circuit.rz(0.31 * qubit, qubit)
        circuit.sx(qubit)
        if qubit % 3 == 0:
            circuit.delay(20_000, qubit)
        if qubit % 5 == 0:
            circuit.reset(qubit)
            circuit.x(qubit)
        circuit.measure(qubit, width - 1 - qubit)
    return circuit


def test_parts_have_the_distribution_of_the_whole(executor: Devices) -> None:
    """Each of 60 qubits by itself, against Aer with six at a time. The rate of ones of each qubit
    differs by more than 4.5 standard errors once in 2,500 runs; the seed is fixed.
    """
    device = executor(SHERBROOKE)
    angle = Parameter("a")
    wide = device.fit(busy(list(range(60)), 127, angle))
    assert len(wide.parts.lone) == 60
    ours = bits(device.run(Batch((wide,), (np.array([0.4]),), 8000, seed=3)).samples[0], 127)
    for low in range(0, 60, 6):
        qubits = list(range(low, low + 6))
        narrow = device.fit(busy(qubits, 127, 0.4))
        assert narrow.parts is None
        theirs = bits(device.run(Batch((narrow,), (NONE,), 8000, seed=4)).samples[0], 127)
        for qubit in qubits:
            place = 126 - qubit
            one, other = ours[:, place].mean(), theirs[:, place].mean()
            spread = np.sqrt((one * (1 - one) + other * (1 - other)) / 8000) + 1e-9
            assert abs(one - other) < 4.5 * spread, qubit


def test_joined_qubits_stay_together(executor: Devices) -> None:
    """Bell pairs on a wide machine: each pair agrees, different pairs do not."""
    circuit = QuantumCircuit(40, 40)
    for qubit in range(0, 40, 2):
        circuit.h(qubit)
        circuit.cx(qubit, qubit + 1)
    circuit.measure(range(40), range(40))
    device = executor(AER)
    assert len(device.fit(circuit).parts.joined) == 20
    got = run(device, circuit)
    assert (got[:, ::2] == got[:, 1::2]).all()
    # Agreement of two fair coins over 4000 shots: half, within five standard errors.
    assert abs((got[:, 0] == got[:, 2]).mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)


def test_a_qubit_measured_twice_and_bits_that_join(executor: Devices) -> None:
    """Measuring twice is no lone track; two qubits into one bit are joined by it."""
    circuit = QuantumCircuit(20, 21)
    circuit.x(range(20))
    circuit.measure(range(20), range(20))
    circuit.x(0)
    circuit.measure(0, 20)
    circuit.x(1)
    circuit.measure(1, 2)
    got = run(executor(AER), circuit, shots=5)
    assert got[:, 20].sum() == 0
    assert got[:, 2].sum() == 0
    assert got[:, 3:20].all()
    assert got[:, 0].all()


def test_a_circuit_with_control_flow_is_not_taken_apart(executor: Devices) -> None:
    circuit = QuantumCircuit(20, 20)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(range(1, 20))
    circuit.measure(range(20), range(20))
    device = executor(AER)
    assert device.fit(circuit).parts is None
    assert run(device, circuit, shots=3).all()


def test_one_that_does_not_fit_whole_says_what_it_needs(executor: Devices) -> None:
    """With control flow Aer has the word: it is a matter of size, not of a broken device."""
    circuit = QuantumCircuit(60, 1)
    circuit.t(range(60))
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure_all()
    with pytest.raises(ProgramError, match="Required memory") as failed:
        run(executor(AER), circuit, shots=1)
    assert failed.value.code == 6000


def test_seeds(executor: Devices) -> None:
    circuit = busy(list(range(30)), 30, 1.0)
    device = executor(AER)
    fit = device.fit(circuit)

    def outcome(seed: int | None, first: int = 0) -> Any:
        return device.run(Batch((fit,), (NONE,), 50, seed=seed, first=first)).samples[0].bits

    assert (outcome(1) == outcome(1)).all()
    assert not (outcome(1) == outcome(2)).all()
    assert not (outcome(1) == outcome(1, first=1)).all()
    assert not (outcome(None) == outcome(None)).all()


# ---- the method ----------------------------------------------------------------------------------


def chain(width: int, angle: Any = None, layers: int = 1) -> QuantumCircuit:
    """Qubits joined in a chain; an angle that is no quarter turn makes it no Clifford circuit."""
    circuit = QuantumCircuit(width)
    circuit.h(0)
    for _ in range(layers):
        for qubit in range(width - 1):
            circuit.cx(qubit, qubit + 1)
            if angle is not None:
                circuit.rz(angle, qubit)
    circuit.measure_all()
    return circuit


def method(device: Executor, circuit: QuantumCircuit, row: Any = NONE) -> str | None:
    (part,) = device.fit(circuit).parts.joined
    return methods.chosen(part.needs, part.fitted, np.asarray(row))[0]


def test_clifford_circuits_of_any_width_are_stabilizers(executor: Devices) -> None:
    device = executor(AER)
    assert method(device, chain(300)) == "stabilizer"
    got = run(device, chain(300), shots=200)
    assert (got == got[:, :1]).all()
    assert 40 < got[:, 0].sum() < 160


def test_the_values_decide_what_is_clifford(executor: Devices) -> None:
    device = executor(AER)
    open_chain = chain(40, Parameter("a"))
    nearly = float(np.float32(np.pi / 2))
    assert method(device, open_chain, [nearly]) == "stabilizer"
    assert method(device, open_chain, [0.3]) == "matrix_product_state"
    for value in (nearly, 0.3):
        got = run(device, open_chain, [value], shots=200)
        assert (got == got[:, :1]).all()
        assert 40 < got[:, 0].sum() < 160


def test_noise_that_is_no_pauli_rules_stabilizers_out(executor: Devices) -> None:
    device = executor(SHERBROOKE)
    line = [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
        17,
        30,
        29,
        28,
        27,
        26,
        25,
        24,
        23,
        22,
        21,
        20,
    ]
    circuit = QuantumCircuit(127)
    for a, b in zip([*line, 33], [*line[1:], 33, 39], strict=True):
        pair = (a, b) if ("ecr", (a, b)) in _pairs(device) else (b, a)
        circuit.ecr(*pair)
    circuit.measure_all()
    fit = device.fit(circuit)
    (part,) = fit.parts.joined
    assert part.needs is not None
    assert not part.needs.stabilizer
    assert len(fit.parts.lone) == 127 - 27


def _pairs(device: Executor) -> set[tuple[str, tuple[int, ...]]]:
    return {("ecr", qubits) for qubits in device.target["ecr"]}


def test_what_no_method_can_hold_is_refused_before_it_runs(executor: Devices) -> None:
    """It says how much each method needs, and how much there is."""
    with pytest.raises(ProgramError) as refused:
        executor(AER).fit(chain(80, 0.3, layers=80))
    assert refused.value.code == 6000
    assert "80 qubits" in refused.value.reason
    assert "state vector needs" in refused.value.reason
    assert "there are" in refused.value.reason
    assert refused.value.solution
    # With an open angle it might be Clifford, so only the values tell.
    fit = executor(AER).fit(chain(80, Parameter("a"), layers=80))
    with pytest.raises(ProgramError, match="80 qubits"):
        executor(AER).run(Batch((fit,), (np.array([0.3]),), 10, seed=1))


def test_the_bound_of_a_product_state_is_one(executor: Devices) -> None:
    """It never lies below the true size, which is what Aer holds after the circuit."""
    from qiskit_aer import AerSimulator

    chance = np.random.default_rng(5)
    for _ in range(20):
        circuit = QuantumCircuit(8)
        circuit.h(range(8))
        for _ in range(chance.integers(1, 25)):
            circuit.u(*chance.random(3), int(chance.integers(8)))
            circuit.cx(*(int(it) for it in chance.choice(8, 2, replace=False)))
        bound = methods._product_bytes(executor(AER).fit(circuit))
        circuit.save_matrix_product_state()
        simulator = AerSimulator(method="matrix_product_state")
        gamma, _ = simulator.run(circuit).result().data(0)["matrix_product_state"]
        held = sum(16 * (pair[0].size + pair[1].size) for pair in gamma)
        assert held <= bound


def test_memory_is_what_the_machine_says() -> None:
    assert 10**8 < methods.memory_bytes() < 10**15
