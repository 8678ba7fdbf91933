"""Limits of a machine's electronics: L15 and L16, checked before the QPU is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from programs.stock import ours
from qdwell.errors import ProgramError
from qdwell.executors import Executor, Spec, make
from qdwell.executors.base import fitted
from qdwell.programs import burden


def circuit(**gates: int) -> QuantumCircuit:
    made = QuantumCircuit(2, 1)
    for name, count in gates.items():
        for _ in range(count):
            {"cx": lambda: made.cx(0, 1), "rz": lambda: made.rz(0.1, 0)}.get(
                name, lambda name=name: getattr(made, name)(0)
            )()
    return made


def refused(made: QuantumCircuit, runs: int) -> str:
    with pytest.raises(ProgramError) as failed:
        burden.Burden("box").add(fitted(made), runs)
    assert failed.value.code == 6000
    return failed.value.reason


@pytest.mark.parametrize(
    ("gate", "weight"), [("rz", 1), ("sx", 2), ("x", 2), ("cx", 5), ("reset", 17)]
)
def test_l15_weights_to_the_last_instruction(gate: str, weight: int) -> None:
    made = circuit(**{gate: 10})
    each = 50 + 10 * weight  # init, and the gates
    fits = burden.INSTRUCTIONS_MAX // each
    burden.Burden("box").add(fitted(made), fits)
    said = refused(made, fits + 1)
    assert f"{(fits + 1) * each} control instructions on qubit 0" in said
    assert str(burden.INSTRUCTIONS_MAX) in said


def test_l15_adds_up_circuits_that_are_small_each() -> None:
    job = burden.Burden("box")
    each = 50 + 10
    for _ in range(4):
        job.add(fitted(circuit(rz=10)), burden.INSTRUCTIONS_MAX // each // 4)
    with pytest.raises(ProgramError, match="control instructions on qubit 0"):
        job.add(fitted(circuit(rz=10)), 100)


def test_l15_is_per_qubit() -> None:
    one, other = QuantumCircuit(2), QuantumCircuit(2)
    one.x(0)
    other.x(1)
    job = burden.Burden("box")
    job.add(fitted(one), burden.INSTRUCTIONS_MAX // 52)
    job.add(fitted(other), burden.INSTRUCTIONS_MAX // 52)
    with pytest.raises(ProgramError, match="on qubit 1"):
        job.add(fitted(other), 1)


def test_l15_loops_count_all_their_rounds() -> None:
    made = QuantumCircuit(1)
    with made.for_loop(range(1_000)):
        made.x(0)
    burden.Burden("box").add(fitted(made), burden.INSTRUCTIONS_MAX // 2_050)
    assert "on qubit 0" in refused(made, burden.INSTRUCTIONS_MAX // 2_050 + 1)


def test_l16_two_qubit_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limits need circuits that take seconds to build.
    monkeypatch.setattr(burden, "TWO_QUBIT_MAX", 40)
    monkeypatch.setattr(burden, "TWO_QUBIT_DYNAMIC_MAX", 10)
    burden.Burden("box").add(fitted(circuit(cx=40)), 1)
    assert "41 two-qubit gates; at most 40" in refused(circuit(cx=41), 1)


def test_l16_dynamic_circuits_may_have_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burden, "TWO_QUBIT_DYNAMIC_MAX", 10)
    made = QuantumCircuit(2)
    with made.for_loop(range(5)):
        made.cx(0, 1)
        made.cx(0, 1)
    burden.Burden("box").add(fitted(made), 1)
    made.cx(0, 1)
    assert "a dynamic circuit has 11 two-qubit gates; at most 10" in refused(made, 1)


def test_l16_single_qubit_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burden, "TWO_QUBIT_DYNAMIC_MAX", 5)
    monkeypatch.setattr(burden, "GATES_MAX", {"rz": 8})
    burden.Burden("box").add(fitted(circuit(rz=8)), 1)
    assert "9 rz gates; at most 8" in refused(circuit(rz=9), 1)


def machine_job(device: Executor) -> Any:
    made = QuantumCircuit(1, 1)
    made.rz(Parameter("t"), 0)
    made.measure(0, 0)
    return ours("sampler", [(made, np.zeros((6, 1)), 1)], device)


def test_a_job_is_refused_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burden, "INSTRUCTIONS_MAX", 6 * (50 + 1 + 10) - 1)
    machine = make(Spec("box", "scripted"))
    monkeypatch.setattr(machine, "run", lambda batch: pytest.fail("it ran"))
    with pytest.raises(ProgramError, match="366 control instructions on qubit 0; box takes 365"):
        machine_job(machine)


def test_simulators_have_no_such_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burden, "INSTRUCTIONS_MAX", 1)
    _, facts = machine_job(make(Spec("box", "aer")))
    assert facts.executions == 6
