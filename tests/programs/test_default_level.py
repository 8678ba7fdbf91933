"""The estimator's level where a job names none (O33, O45), and what it counts (J34, J35)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Measure, Parameter
from qiskit.circuit.library import CZGate, RGate
from qiskit.providers import BackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import Target

from programs.stock import fitted_to, ours, params
from programs.test_mitigation import LEARN
from qdwell.errors import BadInput
from qdwell.executors import Executor
from qdwell.executors.aer import AerExecutor
from qdwell.programs import Cache, ProgramError, Work, prepare, run_all
from qdwell.programs.mitigation_options import leveled
from qdwell.wire.device import Batch, Outcome

Devices = Callable[[str], Executor]
Backends = Callable[[str], BackendV2]
AER, IDEAL, MANILA, SHERBROOKE = "aer_simulator", "ideal_machine", "fake_manila", "fake_sherbrooke"
SHOTS = 1024


def problem(model: BackendV2) -> tuple[Any, ...]:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("t"), 0)
    circuit.cx(0, 1)
    made = fitted_to(circuit, model)
    return made, SparsePauliOp(["ZZ", "XX"]).apply_layout(made.layout), [0.7]


def deep(model: BackendV2) -> tuple[Any, ...]:
    """Layers enough for the sampling overhead of a cancellation to count."""
    circuit = QuantumCircuit(4)
    for place in range(5):
        for qubit in range(4):
            circuit.ry(0.3 * qubit + place, qubit)
        for qubit in range(3):
            circuit.cx(qubit, qubit + 1)
    made = fitted_to(circuit, model)
    return made, SparsePauliOp(["ZZII", "IXXI"]).apply_layout(made.layout)


def test_a_machine_with_noise_has_level_1(executor: Devices, backend: Backends) -> None:
    """O33. Its calibration is counted: 2 bases and the readout's own circuits, all of 1024 shots
    (16 randomizations of 64), or 32 randomizations of the readout's.
    """
    pub = problem(backend(MANILA))
    result, facts = ours("estimator", [pub], executor(MANILA), {"default_shots": SHOTS})
    assert result.metadata["resilience_level"] == 1
    assert result.metadata["resilience"]["measure_mitigation"] is True
    assert result[0].metadata["num_randomizations"] == 16
    assert facts.executions == 2 * SHOTS + 32 * 64
    assert facts.num_circuits == 2


def test_level_0_is_for_who_asks_for_it(executor: Devices, backend: Backends) -> None:
    pub = problem(backend(MANILA))
    options = {"default_shots": SHOTS}
    result, facts = ours("estimator", [pub], executor(MANILA), options, resilience_level=0)
    assert result.metadata["resilience_level"] == 0
    assert facts.executions == 2 * SHOTS


@pytest.mark.parametrize("name", [AER, IDEAL])
def test_where_there_is_no_noise_there_is_nothing_to_mitigate(name: str, executor: Devices) -> None:
    """O45: simulators run as local mode does; so does a machine that Aer plays without noise."""
    device = executor(name)
    options = {"default_shots": SHOTS}
    result, facts = ours("estimator", [(QuantumCircuit(2), "ZZ")], device, options)
    assert result.metadata["resilience_level"] == 0
    assert facts.executions == SHOTS
    asked, facts = ours(
        "estimator", [(QuantumCircuit(2), "ZZ")], device, options, resilience_level=1
    )
    assert asked.metadata["resilience_level"] == 1
    assert facts.executions > SHOTS


def test_options_of_a_method_that_the_level_does_not_have_are_named(executor: Devices) -> None:
    """O36: on a machine the level brings the method; where it does not, the option is named."""
    options = {"resilience": {"measure_noise_learning": {"num_randomizations": 8}}}
    body = params("estimator", [(QuantumCircuit(1), "Z")], options)
    assert leveled(body, executor(MANILA))["resilience_level"] == 1
    with pytest.raises(BadInput, match="measure_noise_learning"):
        leveled(body, executor(IDEAL))
    with pytest.raises(ProgramError, match="measure_noise_learning") as failed:
        prepare(Work("j", "estimator", json.dumps(body).encode()), executor(IDEAL), Cache())
    assert failed.value.code == 1208


def test_projectors_are_refused_with_the_way_out(executor: Devices) -> None:
    with pytest.raises(ProgramError, match="projection") as failed:
        ours("estimator", [(QuantumCircuit(1), "0")], executor(MANILA))
    assert failed.value.code == 1208
    assert "resilience_level 0" in str(failed.value.solution)
    result, _ = ours("estimator", [(QuantumCircuit(1), "0")], executor(MANILA), resilience_level=0)
    assert result[0].data.evs == pytest.approx(1, abs=0.1)


def _odd() -> dict[str, tuple[QuantumCircuit, Any, float]]:
    ended = QuantumCircuit(2, 2)
    ended.x(1)
    ended.measure([0, 1], [0, 1])
    inside = QuantumCircuit(2, 1)
    inside.x(0)
    inside.measure(0, 0)
    inside.x(1)
    waits = QuantumCircuit(2)
    waits.x(1)
    waits.barrier()
    waits.delay(100, 0, unit="ns")
    return {
        "the identity alone": (QuantumCircuit(2), "II", 1.0),
        "measured at its end": (ended, "ZI", -1.0),
        "measured inside": (inside, "ZI", -1.0),
        "with a delay": (waits, "ZI", -1.0),
        "of sums": (ended, [[{"ZI": 0.5, "IZ": 0.25}], [{"IZ": 1.0}]], -0.25),
    }


@pytest.mark.parametrize("what", list(_odd()))
def test_level_1_takes_circuits_of_every_form(what: str, executor: Devices) -> None:
    circuit, observables, exact = _odd()[what]
    for level in (0, None):
        result, _ = ours(
            "estimator", [(circuit, observables)], executor(MANILA), resilience_level=level
        )
        assert np.ravel(result[0].data.evs)[0] == pytest.approx(exact, abs=0.25)


@pytest.mark.parametrize("what", ["reset", "if_else"])
def test_what_the_library_cannot_twirl_is_refused_with_the_way_out(
    what: str, executor: Devices
) -> None:
    """A flip cannot be taken through a reset, or into a branch; level 0 runs both."""
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    if what == "reset":
        circuit.reset(0)
    else:
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.x(0)
    with pytest.raises(ProgramError, match=what) as failed:
        ours("estimator", [(circuit, "Z")], executor(MANILA))
    assert "resilience_level 0" in str(failed.value.solution)
    result, _ = ours("estimator", [(circuit, "Z")], executor(MANILA), resilience_level=0)
    assert result[0].data.evs == pytest.approx(1, abs=0.2)


def test_wide_machines_show_the_library_only_what_is_used(
    executor: Devices, backend: Backends
) -> None:
    """4 of 127 qubits; values as at full width, which dynamical decoupling still needs."""
    pub = problem(backend(SHERBROOKE))
    exact = 1 + np.sin(0.7)
    few, facts = ours(
        "estimator", [pub], executor(SHERBROOKE), {"simulator": {"seed_simulator": 3}}
    )
    assert few[0].data.evs == pytest.approx(exact, abs=0.2)
    assert facts.num_qubits == [127, 127]


def test_gates_of_a_device_without_the_librarys_own() -> None:
    """A machine of `r` and `cz`: what the library dresses boxes with is put into its gates."""
    target = Target(num_qubits=2)
    target.add_instruction(RGate(Parameter("a"), Parameter("b")))
    target.add_instruction(CZGate(), {(0, 1): None, (1, 0): None})
    target.add_instruction(Measure())
    device = AerExecutor("ions", target)
    circuit = QuantumCircuit(2)
    circuit.r(np.pi, 0.0, 0)
    circuit.cz(0, 1)
    result, _ = ours("estimator", [(circuit, ["IZ", "ZI"])], device, resilience_level=1)
    assert result[0].data.evs == pytest.approx([-1, 1], abs=1e-9)


@pytest.mark.parametrize(
    ("method", "pub"),
    [("pec", problem), ("pea", problem), pytest.param("pec", deep, marks=pytest.mark.long)],
)
def test_a_job_that_learns_counts_both_visits(
    method: str, pub: Callable[..., Any], executor: Devices, backend: Backends
) -> None:
    """J34, J35: the estimate holds learning and running, and is right within a tenth; what ran in
    the end replaces it.
    """
    device = executor(MANILA)
    resilience: dict[str, Any] = {"layer_noise_learning": LEARN}
    if method == "pec":
        resilience["pec_mitigation"] = True
    else:
        resilience |= {"zne_mitigation": True, "zne": {"amplifier": "pea"}}
    options = {
        "default_precision": 0.1,
        "resilience": resilience,
        "simulator": {"seed_simulator": 4},
    }
    body = params("estimator", [pub(backend(MANILA))], options, resilience_level=1)
    work = Work("j", "estimator", json.dumps(body).encode())
    prepared, expected = prepare(work, device, Cache())
    layers = prepared.pubs[0].layers
    experiments = [it.experiment for it in layers if it.experiment]
    assert experiments
    learned = sum(it.shots * sum(len(item.rows) for item in it.items) for it in experiments)
    counting = Counting(device)
    ran, _, _ = run_all(work, counting, Cache())  # type: ignore[arg-type]
    assert ran.executions == counting.executions
    assert learned < min(ran.executions, expected.executions) - 100
    # The target's error rates tell how much is to come; what is learned differs a little.
    assert expected.executions == pytest.approx(ran.executions, rel=0.1)
    assert expected.estimate_ms == pytest.approx(ran.estimate_ms, rel=0.1)
    assert expected.num_circuits == ran.num_circuits == counting.circuits


class Counting:
    """A device that counts what it runs."""

    def __init__(self, device: Executor) -> None:
        self._device = device
        self.executions = 0
        self._circuits: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    @property
    def circuits(self) -> int:
        return len(self._circuits)

    def run(self, batch: Batch) -> Outcome:
        self.executions += len(batch.circuits) * batch.shots
        self._circuits.update(id(it) for it in batch.circuits)
        return self._device.run(batch)


def test_the_readout_has_shots_of_its_own(executor: Devices, backend: Backends) -> None:
    """O36: 3 randomizations of 100 shots; the library knows only the program's shots."""
    learning = {"num_randomizations": 3, "shots_per_randomization": 100}
    options = {"default_shots": SHOTS, "resilience": {"measure_noise_learning": learning}}
    pub = problem(backend(MANILA))
    counting = Counting(executor(MANILA))
    result, facts = ours("estimator", [pub], counting, options)  # type: ignore[arg-type]
    assert result.metadata["resilience"]["measure_noise_learning"] == learning
    assert facts.executions == counting.executions == 2 * SHOTS + 3 * 100
    assert result[0].data.evs == pytest.approx(1 + np.sin(0.7), abs=0.3)


def test_o35_both_numbers_of_a_twirling_win(executor: Devices, backend: Backends) -> None:
    """As the service tells it: 16 randomizations of 100 shots, whatever `default_shots` says."""
    twirling = {"num_randomizations": 16, "shots_per_randomization": 100}
    options = {"default_shots": 400, "twirling": twirling}
    result, facts = ours("estimator", [problem(backend(MANILA))], executor(MANILA), options)
    told = result[0].metadata
    assert (told["shots"], told["num_randomizations"]) == (1_600, 16)
    assert facts.executions >= 2 * 1_600  # in two bases, and the readout's own
