"""Every option of the V1 interface does what it says, or is refused by name (O1-O24).

| Rule | Test here | And |
|---|---|---|
| O1 | | `client/test_options.py`: unknown names, options of one run |
| O2 | `test_o2_*` | values: `client/test_options.py` |
| O3, O21 | `test_o3_*` | effect of levels: `test_v1.py`; level 3: `test_v1_pec.py` |
| O4, O7, O9 | `test_o4_o7_o9_*` | `client/test_jobs.py`, `client/test_v1_jobs.py` |
| O5, O6 | `test_o5_*`, `test_o6_*` | |
| O8 | | `client/test_v1_jobs.py` |
| O10-O14 | `test_o10_*` ... `test_o14_*` | `test_v1.py`: a compiled circuit, a layout |
| O15-O17 | `test_o15_*` ... `test_o17_*` | values: `client/test_options.py` |
| O18-O20 | `test_o18_*` ... `test_o20_*` | |
| O22 | `test_o22_*` | |
| O23 | `test_o23_*` | |
| O24 | `test_o24_*` | |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import UnitaryGate, efficient_su2
from qiskit.quantum_info import Pauli, SparsePauliOp, Statevector, random_unitary

from qdwell.client import v1
from qdwell.client.options import Options, body_fields, check_v1
from qdwell.client.values import dumps
from qdwell.errors import BadInput
from qdwell.executors import Executor
from qdwell.programs import Cache, ProgramError, Work, check_submission, prepare, run_all
from qdwell.programs.v1_options import settings

Devices = Callable[[str], Executor]
AER, MANILA = "aer_simulator", "fake_manila"
LINE = [[0, 1], [1, 2], [2, 3]]


def params(program: str, circuit: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """A submission as the server reads it."""
    observable = "Z" * circuit.num_qubits if program == "estimator" else None
    values = [0.1] * circuit.num_parameters
    sent = v1.params(program, circuit, observable, values, options)
    read: dict[str, Any] = json.loads(dumps(sent))
    check_submission(program, read)
    return read


def compiled(device: Executor, circuit: QuantumCircuit, **options: Any) -> QuantumCircuit:
    """The circuit as the server compiled it."""
    work = Work("j", "sampler", dumps(params("sampler", circuit, options)))
    prepared, _ = prepare(work, device, Cache())
    made: QuantumCircuit = prepared.pubs[0].fitted.circuit
    return made


def result(device: Executor, program: str, circuit: QuantumCircuit, **options: Any) -> Any:
    work = Work("j", program, dumps(params(program, circuit, options)))
    _, _, finished = run_all(work, device, Cache(), None)
    return v1.decoder_of(program)(json.loads(finished.result))


def wasteful(qubits: int = 3) -> QuantumCircuit:
    """A circuit that every level above 0 makes shorter."""
    circuit = QuantumCircuit(qubits)
    for at in range(qubits - 1):
        circuit.cx(at, at + 1)
        circuit.cx(at, at + 1)
        circuit.h(at)
    circuit.cx(0, qubits - 1)
    circuit.measure_all()
    return circuit


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    return circuit


def measured_bell() -> QuantumCircuit:
    circuit = bell()
    circuit.measure_all()
    return circuit


def test_o2_the_level_is_the_compilers_and_its_default_is_the_devices(executor: Devices) -> None:
    depths = {
        level: compiled(executor(MANILA), wasteful(), optimization_level=level).depth()
        for level in range(4)
    }
    assert depths[0] > depths[1] >= depths[3]
    assert compiled(executor(MANILA), wasteful()) == compiled(
        executor(MANILA), wasteful(), optimization_level=3
    )
    assert compiled(executor(AER), wasteful()) == compiled(
        executor(AER), wasteful(), optimization_level=1
    )


def test_o3_the_default_level_is_one_on_a_machine_and_none_on_a_simulator(
    executor: Devices,
) -> None:
    mark = "readout_mitigation_num_twirled_circuits"
    assert mark in result(executor(MANILA), "estimator", bell()).metadata[0]
    assert mark not in result(executor(AER), "estimator", bell()).metadata[0]
    for program, most in (("estimator", 3), ("sampler", 1)):
        with pytest.raises(ValueError, match=f"0 to {most}"):
            v1.params(program, bell(), "ZZ", None, {"resilience_level": most + 1})
        with pytest.raises(BadInput, match=f"0 to {most}"):
            sent = {"circuits": ["q"], "resilience_settings": {"level": most + 1}}
            more = {"observables": [1]} if program == "estimator" else {}
            check_submission(program, {**sent, **more})


def test_o4_o7_o9_stand_in_the_body() -> None:
    options = Options(max_execution_time=60)
    options.environment.log_level = "INFO"
    options.environment.job_tags = ["a"]
    check_v1(options.to_dict(), 1)
    assert body_fields(options.to_dict()) == {"cost": 60, "log_level": "INFO", "tags": ["a"]}


def test_o5_shots_are_as_asked_and_4000_without(executor: Devices) -> None:
    shots = [
        result(executor(AER), "sampler", measured_bell(), **more).metadata[0]["shots"]
        for more in ({}, {"execution": {"shots": 7}})
    ]
    assert shots == [4_000, 7]


def test_o6_qubits_are_always_reset() -> None:
    params("sampler", measured_bell(), {"execution": {"init_qubits": True}})
    with pytest.raises(BadInput, match="init_qubits"):
        params("sampler", measured_bell(), {"execution": {"init_qubits": False}})


def test_o10_a_circuit_can_be_left_as_it_is(executor: Devices) -> None:
    native = transpile(wasteful(2), executor(MANILA).target, optimization_level=0)
    skip = {"skip_transpilation": True}
    assert compiled(executor(MANILA), native, transpilation=skip).depth() == native.depth()
    assert compiled(executor(MANILA), native).depth() < native.depth()


def test_o11_o12_a_layout_or_its_method_says_where_qubits_go(executor: Devices) -> None:
    def places(**how: Any) -> list[int]:
        made = compiled(executor(MANILA), measured_bell(), transpilation=how)
        return [made.find_bit(it.qubits[0]).index for it in made.data if it.name == "measure"]

    assert places(initial_layout=[3, 4]) == [3, 4]
    assert places(initial_layout={"0": 4, "1": 3}) == [4, 3]
    assert places(layout_method="trivial") == [0, 1]
    for method in ("dense", "sabre"):
        assert len(places(layout_method=method)) == 2
    with pytest.raises(BadInput, match="layout_method"):  # its pass is gone from Qiskit
        params("sampler", measured_bell(), {"transpilation": {"layout_method": "noise_adaptive"}})


@pytest.mark.parametrize("method", ["basic", "lookahead", "sabre"])
def test_o13_routing_has_the_method_that_was_asked_for(method: str, executor: Devices) -> None:
    circuit = QuantumCircuit(4)
    circuit.cx(0, 3)
    circuit.measure_all()
    how = {"routing_method": method, "layout_method": "trivial"}
    made = compiled(executor(MANILA), circuit, transpilation=how, optimization_level=0)
    assert made.count_ops()["cx"] > 1


def test_o13_without_routing_a_circuit_that_needs_it_fails(executor: Devices) -> None:
    from qdwell.programs import ProgramError

    circuit = QuantumCircuit(4)
    circuit.cx(0, 3)
    circuit.measure_all()
    how = {"routing_method": "none", "layout_method": "trivial"}
    with pytest.raises(ProgramError, match="cannot be compiled"):
        compiled(executor(MANILA), circuit, transpilation=how, optimization_level=0)
    with pytest.raises(BadInput, match="routing_method"):  # its pass is gone from Qiskit
        params("sampler", measured_bell(), {"transpilation": {"routing_method": "stochastic"}})


def test_o14_approximation_saves_gates(executor: Devices) -> None:
    circuit = QuantumCircuit(2)
    circuit.append(UnitaryGate(random_unitary(4, seed=3)), [0, 1])
    circuit.measure_all()
    gates = [
        compiled(executor(MANILA), circuit, transpilation={"approximation_degree": degree})
        .count_ops()
        .get("cx", 0)
        for degree in (1.0, 0.0)
    ]
    assert gates[0] == 3
    assert gates[1] < 3


def test_o15_o16_o17_extrapolation_is_as_asked(executor: Devices) -> None:
    chosen = settings({"resilience_settings": {"level": 2}})
    assert chosen.noise_factors == (1, 3, 5)
    assert chosen.extrapolator == "LinearExtrapolator"
    for name, factors in (
        ("LinearExtrapolator", [1, 3]),
        ("QuadraticExtrapolator", [1, 2, 3]),
        ("CubicExtrapolator", [1, 2, 3, 4]),
        ("QuarticExtrapolator", [1, 2, 3, 4, 5]),
    ):
        how = {"extrapolator": name, "noise_factors": factors}
        how["noise_amplifier"] = "LocalFoldingAmplifier"
        told = result(
            executor(MANILA), "estimator", bell(), resilience_level=2, resilience=how,
            execution={"shots": 160},
        )  # fmt: skip
        zne = told.metadata[0]["zne"]
        assert zne["extrapolation"] == {"extrapolator": name}
        assert zne["noise_amplification"]["noise_factors"] == factors
        assert zne["noise_amplification"]["noise_amplifier"] == "LocalFoldingAmplifier"


def test_o18_a_noise_model_is_for_simulators(executor: Devices) -> None:
    """What it does there is in `test_noise_model`; a machine refuses it by name."""
    sent = {"simulator": {"noise_model": {"errors": []}}}
    assert result(executor(AER), "sampler", measured_bell(), **sent).quasi_dists
    with pytest.raises(ProgramError, match="noise_model is for ideal simulators"):
        result(executor(MANILA), "sampler", measured_bell(), **sent)


def test_o19_a_seed_gives_the_same_counts(executor: Devices) -> None:
    def shares(seed: int) -> Any:
        options = {"simulator": {"seed_simulator": seed}}
        return result(executor(AER), "sampler", measured_bell(), **options).quasi_dists

    assert shares(3) == shares(3) != shares(4)


def test_o20_a_simulator_is_compiled_for_the_map_and_basis_that_are_asked_for(
    executor: Devices,
) -> None:
    circuit = wasteful(4)
    how = {"coupling_map": LINE, "basis_gates": ["rz", "sx", "x", "cz"]}
    made = compiled(executor(AER), circuit, simulator=how)
    assert set(made.count_ops()) <= {"rz", "sx", "x", "cz", "measure", "barrier"}
    pairs = {tuple(sorted(made.find_bit(q).index for q in it.qubits))
             for it in made.data if it.name == "cz"}  # fmt: skip
    assert pairs <= {tuple(pair) for pair in LINE}


def test_o20_a_map_alone_takes_the_simulators_own_gates(executor: Devices) -> None:
    """Of one and two qubits: Qiskit takes no others beside a map, and a simulator has some."""
    circuit = QuantumCircuit(3)
    circuit.x([0, 1])
    circuit.ccx(0, 1, 2)
    circuit.append(UnitaryGate(random_unitary(4, seed=1)), [0, 2])
    circuit.measure_all()
    made = compiled(executor(AER), circuit, simulator={"coupling_map": LINE})
    pairs = {tuple(sorted(made.find_bit(q).index for q in it.qubits))
             for it in made.data if len(it.qubits) == 2}  # fmt: skip
    assert set() < pairs <= {tuple(pair) for pair in LINE}
    assert max(len(it.qubits) for it in made.data if it.name != "barrier") == 2


@pytest.mark.parametrize("level", range(4))
def test_o20_every_level_runs_on_a_map(level: int, executor: Devices) -> None:
    """The client asks for a map at level 3 on a simulator, and so does its own test of levels."""
    asked = {"coupling_map": [[0, 1], [1, 0]], "seed_simulator": 1}
    circuit = efficient_su2(2, reps=1)
    few = {"shots": 1_000}
    told = result(
        executor(AER), "estimator", circuit, resilience_level=level, simulator=asked, execution=few
    )
    exact = Statevector(circuit.assign_parameters([0.1] * 8)).expectation_value(Pauli("ZZ"))
    assert told.values == pytest.approx([exact.real], abs=0.05)


def test_o20_a_map_too_small_fails_by_name(executor: Devices) -> None:
    with pytest.raises(ProgramError, match=r"circuits\[0\] cannot be compiled") as failed:
        compiled(executor(AER), wasteful(5), simulator={"coupling_map": LINE})
    assert "save_state" not in str(failed.value)
    with pytest.raises(ProgramError, match="without pairs of qubits"):
        compiled(executor(AER), wasteful(), simulator={"coupling_map": []})


def test_o22_the_wire_has_three_groups_and_no_nones() -> None:
    options = Options(optimization_level=2, resilience_level=1)
    options.execution.shots = 5
    options.simulator.seed_simulator = 7
    options.simulator.coupling_map = LINE
    options.transpilation.layout_method = "dense"
    options.resilience.extrapolator = None
    sent = v1.params("sampler", measured_bell(), None, None, options.to_dict())
    del sent["circuits"]
    assert sent == {
        "transpilation_settings": {
            "optimization_settings": {"level": 2}, "layout_method": "dense", "coupling_map": LINE,
        },
        "resilience_settings": {"level": 1},
        "run_options": {"shots": 5, "seed_simulator": 7},
    }  # fmt: skip


LEVELS = {
    0: {"variance", "shots"},
    1: {
        "variance", "shots", "readout_mitigation_num_twirled_circuits",
        "readout_mitigation_shots_calibration",
    },
    2: {
        "variance", "shots", "readout_mitigation_num_twirled_circuits",
        "readout_mitigation_shots_calibration", "zne",
    },
}  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_o23_metadata_of_the_estimator(level: int, executor: Devices) -> None:
    told = result(
        executor(MANILA), "estimator", bell(), resilience_level=level, execution={"shots": 100}
    )
    assert told.values.shape == (1,)
    assert told.values.dtype == np.float64
    assert set(told.metadata[0]) == LEVELS[level]
    assert told.metadata[0]["shots"] == (112 if level else 100)  # a multiple of 16
    if level == 2:
        amplified = told.metadata[0]["zne"]["noise_amplification"]
        assert set(amplified) == {
            "noise_amplifier", "noise_factors", "values", "variance", "shots",
        }  # fmt: skip


@pytest.mark.parametrize("level", [0, 1])
def test_o23_results_of_the_sampler(level: int, executor: Devices) -> None:
    circuit = measured_bell()
    circuit.metadata = {"mine": 1}
    told = result(executor(MANILA), "sampler", circuit, resilience_level=level)
    assert all(type(key) is int for key in told.quasi_dists[0])
    more = {"readout_mitigation_overhead", "readout_mitigation_time"} if level else set()
    assert set(told.metadata[0]) == {"header_metadata", "shots"} | more
    assert told.metadata[0]["header_metadata"] == {"mine": 1}


def test_o24_a_circuit_in_the_machines_instructions_runs_as_it_is(executor: Devices) -> None:
    device = executor(MANILA)
    circuit = efficient_su2(2, reps=1)
    native = transpile(circuit, device.target, initial_layout=[3, 4], seed_transpiler=1)
    observable = SparsePauliOp("ZZ").apply_layout(native.layout)
    rows = np.linspace(0, 1, native.num_parameters)
    options = {"transpilation": {"skip_transpilation": True}}
    sent = v1.params("estimator", native, observable, rows, options)
    _, _, finished = run_all(Work("j", "estimator", dumps(sent)), device, Cache(), None)
    assert abs(json.loads(finished.result)["values"][0]) <= 1.2
