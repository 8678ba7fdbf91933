"""Circuits and PUBs that are legal and that few people send."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import ParameterExpression, ParameterVector
from qiskit.quantum_info import Operator, SparsePauliOp
from qiskit_ibm_runtime.fake_provider import FakeAlmadenV2, FakeManilaV2, FakeOslo

from programs.stock import fitted_to, ours
from programs.test_same_samples import bell, rotation
from programs.test_stages import AER, IDEAL, MANILA, failure
from qdwell.executors import Executor
from qdwell.programs.library import native

Devices = Callable[[str], Executor]


@pytest.mark.parametrize("name", ["shape", "values", "_data", "self"])
@pytest.mark.parametrize("twirled", [False, True])
def test_a_register_that_no_client_can_read_fails_before_the_device(
    name: str, twirled: bool, executor: Devices
) -> None:
    """Its result could be paid for, and never decoded: the container has that name itself."""
    circuit = QuantumCircuit(QuantumRegister(1, "q"), ClassicalRegister(1, name))
    circuit.measure(0, 0)
    options = {"twirling": {"enable_measure": True}} if twirled else {}
    failed = failure("sampler", [(circuit, None, 5)], executor(MANILA), options=options)
    assert failed.code == 1208
    assert repr(name) in str(failed)


@pytest.mark.parametrize("name", [AER, IDEAL, MANILA])
def test_a_circuit_without_qubits_has_the_value_of_its_identity(
    name: str, executor: Devices
) -> None:
    """As Qiskit's own estimators give it; it failed as a fault of ours."""
    pubs = [(QuantumCircuit(0), SparsePauliOp([""], [2.5])), (QuantumCircuit(2), "ZZ")]
    result, facts = ours("estimator", pubs, executor(name), resilience_level=0)
    assert result[0].data.evs == 2.5
    assert result[0].data.stds == 0
    assert facts.num_qubits == [0, 2]


def test_a_twirled_pub_of_no_elements_ran_at_no_time(executor: Devices) -> None:
    """Its span began in 1970, and with it the execution spans of the whole result."""
    circuit = fitted_to(rotation(), FakeManilaV2())
    pubs = [(circuit, np.zeros((0, 2))), (circuit, [0.1, 0.2])]
    options = {"twirling": {"enable_measure": True}}
    result, _ = ours("sampler", pubs, executor(MANILA), options)
    assert result[0].data.meas.shape == (0,)
    spans = result.metadata["execution"]["execution_spans"]
    assert [span.pub_idxs for span in spans] == [[1]]
    assert spans.start.year > 2000


@pytest.mark.parametrize("program_id", ["sampler", "estimator"])
def test_a_simulator_says_what_of_a_machines_options_has_no_effect(
    program_id: str, executor: Devices
) -> None:
    """O45: never an error, and the samples are those without the options."""
    circuit = bell() if program_id == "sampler" else bell().remove_final_measurements(inplace=False)
    pub = (circuit, None, 50) if program_id == "sampler" else (circuit, "ZX")
    machines = {
        "execution": {"rep_delay": 0.0003},
        "dynamical_decoupling": {"enable": True, "sequence_type": "XY4"},
    }
    seeded = {"simulator": {"seed_simulator": 5}}
    result, facts = ours(program_id, [pub], executor(AER), machines | seeded)
    plain, silent = ours(program_id, [pub], executor(AER), seeded)
    for name, value in plain[0].data.items():
        told, theirs = (getattr(it, "array", it) for it in (result[0].data[name], value))
        assert np.array_equal(told, theirs)
    assert [note.split()[0] for note in facts.notes] == [
        "options.execution.rep_delay",
        "options.dynamical_decoupling",
    ]
    assert silent.notes == ()


def test_a_delay_runs_where_t2_was_measured_above_its_bound(executor: Devices) -> None:
    """Every third model has such qubits, and there any delay, and decoupling, failed with 5203."""
    model = FakeOslo()
    times = enumerate(model.qubit_properties(list(range(model.num_qubits))))
    (qubit, *_) = [at for at, it in times if it.t2 > 2 * it.t1]
    circuit = QuantumCircuit(model.num_qubits, 1)
    circuit.x(qubit)
    circuit.delay(1_000_000, qubit, "dt")  # of 0.222 ns: longer than T1
    circuit.measure(qubit, 0)
    result, _ = ours("sampler", [(circuit, None, 2000)], executor("fake_oslo"))
    decayed = np.exp(-1_000_000 * model.dt / model.target.qubit_properties[qubit].t1)
    ones = result[0].data.c.get_int_counts().get(1, 0) / 2000
    assert ones == pytest.approx(decayed, abs=0.08)  # readout errors, and three standard errors


def test_open_rotations_in_the_gates_of_older_machines_leave_no_open_phase() -> None:
    """A phase of 36 open terms never ended: level 2, and level 1 from six qubits on, hung there."""
    target = FakeAlmadenV2().target  # u1, u2, u3
    for count in (3, 60):
        circuit = QuantumCircuit(1)
        for angle in ParameterVector("p", count):
            circuit.rz(angle, 0)
            circuit.sx(0)
        made = native(circuit, target)
        assert set(made.count_ops()) <= set(target.operation_names)
        assert not isinstance(made.global_phase, ParameterExpression)
        angles = np.linspace(0.1, 2.9, count)
        told, meant = (Operator(it.assign_parameters(angles)) for it in (made, circuit))
        assert told.equiv(meant)
