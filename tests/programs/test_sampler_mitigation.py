"""The sampler's twirling and dynamical decoupling (O34, O35)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector

from programs.stock import params
from programs.test_mitigation import AER, IDEAL, estimate, run, turn
from qdwell.executors import Executor
from qdwell.programs import Facts, ProgramError

Devices = Callable[[str], Executor]


def sample(device: Executor, options: dict[str, Any], pubs: list[Any]) -> tuple[Any, Facts]:
    body = params("sampler", pubs, {"simulator": {"seed_simulator": 7}, **options})
    return run("sampler", body, device)


def counted() -> QuantumCircuit:
    circuit = turn(27)
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize("gates", [None, True, False])
@pytest.mark.parametrize("measure", [None, True, False])
@pytest.mark.parametrize("decoupling", [None, "XX", "XpXm", "XY4"])
def test_the_sampler_with_all_its_options(
    gates: bool | None, measure: bool | None, decoupling: str | None, executor: Devices
) -> None:
    """The angle 0 gives 11 with certainty on a machine without noise, whatever is twirled."""
    options = {
        "twirling": {"enable_gates": gates, "enable_measure": measure},
        "dynamical_decoupling": {"enable": bool(decoupling), "sequence_type": decoupling or "XX"},
    }
    result, _ = sample(
        executor(IDEAL), options, [(counted(), [[0.0], [np.pi]], 70), (counted(), 0)]
    )
    meas = result[0].data.meas
    assert (meas.shape, meas.num_shots, meas.num_bits) == ((2,), 70, 27)
    pair = meas.slice_bits([0, 1])
    assert pair.get_counts(0) == {"11": 70}
    assert pair.get_counts(1) == {"00": 70}
    assert result[1].data.meas.num_shots == 4096
    assert result[0].metadata["circuit_metadata"] == {"mine": 1}
    twirled = bool(gates or measure)
    assert result[0].metadata.get("num_randomizations") == (2 if twirled else None)
    spans = result.metadata["execution"]["execution_spans"]
    assert len(spans) == 2
    assert spans[0].mask(0).shape == (2, 70)
    assert spans[0].mask(0).all()
    assert result.metadata["version"] == 2


def turned(gate: str, angles: list[list[Any]]) -> QuantumCircuit:
    """Two gates of a name side by side, twice, each with angles of its own."""
    circuit = QuantumCircuit(2)
    circuit.sx([0, 1])
    for at, own in enumerate(angles):
        getattr(circuit, gate)(*own, at % 2)
        if at % 2:
            circuit.sx([0, 1])
            circuit.cx(0, 1)
            circuit.h([0, 1])
    return circuit


@pytest.mark.parametrize(("gate", "count"), [("p", 1), ("r", 2), ("rx", 1), ("ry", 1), ("u", 3)])
@pytest.mark.parametrize("opened", [False, True])
def test_twirling_leaves_every_rotation_its_angles(
    gate: str, count: int, opened: bool, executor: Devices
) -> None:
    """O35: with the library's own reading, `ry(0.4)` beside `ry(1.1)` were two `ry(1.1)`."""
    angles: list[list[Any]] = [[0.4, 0.7, 1.3][:count], [1.1, -0.5, 0.2][:count]]
    closed = turned(gate, [*angles, *angles[::-1]])
    circuit, values = closed, []
    if opened:
        circuit, values = turned(gate, [[Parameter("a"), *angles[0][1:]], *angles]), [0.4]
        closed = circuit.assign_parameters(values)
    exact = Statevector(closed).probabilities()
    measured = circuit.copy()
    measured.measure_all()
    twirling = {"twirling": {"enable_gates": True, "enable_measure": True}}
    result, _ = sample(executor(AER), twirling, [(measured, values, 20_000)])
    found = result[0].data.meas.get_int_counts()
    shares = np.array([found.get(it, 0) for it in range(4)]) / 20_000
    assert shares == pytest.approx(exact, abs=0.02)  # over five standard errors
    pub = (circuit, SparsePauliOp(["ZI", "XX"], [1.0, 0.5]), values, 0.01)
    told, _ = estimate(executor(AER), twirling, 0, [pub])
    expected = Statevector(closed).expectation_value(SparsePauliOp(["ZI", "XX"], [1.0, 0.5]))
    assert told[0].data.evs == pytest.approx(expected.real, abs=0.06)


def test_twirled_measurements_take_no_registers_that_share_bits(executor: Devices) -> None:
    """The library would undo a flip in one of them; without twirled measurements both are right."""
    own = ClassicalRegister(3, "own")
    shared = ClassicalRegister(bits=[own[0], own[2]], name="shared")
    circuit = QuantumCircuit(QuantumRegister(2), own, shared)
    circuit.x(0)
    circuit.measure([0, 1], [own[2], own[1]])
    with pytest.raises(ProgramError, match="share bits"):
        sample(executor(AER), {"twirling": {"enable_measure": True}}, [(circuit, None, 100)])
    result, _ = sample(executor(AER), {"twirling": {"enable_gates": True}}, [(circuit, None, 100)])
    assert result[0].data.own.get_counts() == {"100": 100}
    assert result[0].data.shared.get_counts() == {"10": 100}
