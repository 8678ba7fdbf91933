"""The clock of a device model: held as long as the machine would be, and estimated so (J35)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from programs.stock import ours, params
from qdwell.clock import stopwatch_ns
from qdwell.errors import ConfigError, ProgramError
from qdwell.executors import Executor, Spec, make
from qdwell.executors.clocked import length_s
from qdwell.executors.ideal import ideal_target
from qdwell.programs import Cache, Work, execute, prepare
from qdwell.wire.device import Batch

SX, CX, MEASURE = 3.5555555555555554e-08, 3.0e-07, 7.1e-07


def machine(**clock: float) -> Executor:
    return make(Spec("box", "ideal", options={"clock": clock}))


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.sx(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def work_of(program_id: str, pubs: list[Any], options: Mapping[str, Any]) -> Work:
    return Work("job", program_id, json.dumps(params(program_id, pubs, dict(options))).encode())


def held(device: Executor, program_id: str, pubs: list[Any], options: Mapping[str, Any]) -> float:
    """Milliseconds of the execute stage over the estimate of the prepare stage."""
    work = work_of(program_id, pubs, options)
    prepared, facts = prepare(work, device, Cache())
    lease = device.acquire()
    began = stopwatch_ns()
    execute(prepared, device)
    took_ms = (stopwatch_ns() - began) / 1e6
    device.release(lease)
    assert facts.estimate_ms > 100, "too short to be measured"
    return took_ms / facts.estimate_ms


def test_length_is_the_longest_path() -> None:
    assert length_s(bell(), ideal_target()) == pytest.approx(SX + CX + MEASURE)


def test_length_of_parallel_gates_is_that_of_one() -> None:
    circuit = QuantumCircuit(3)
    circuit.sx([0, 1, 2])
    assert length_s(circuit, ideal_target()) == pytest.approx(SX)


def test_length_of_control_flow_counts_the_longest_branch_and_all_rounds() -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    with circuit.if_test((0, 1)) as otherwise:
        circuit.sx(1)
    with otherwise:
        circuit.cx(0, 1)
    with circuit.for_loop(range(10)):
        circuit.sx(1)
    assert length_s(circuit, ideal_target()) == pytest.approx(MEASURE + CX + 10 * SX)


def test_length_of_delays_by_their_unit() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.delay(3, 0, unit="us")
    circuit.delay(1000, 0, unit="dt")
    circuit.measure(0, 0)
    with circuit.if_test((0, 1)):  # so that our own path is taken
        circuit.delay(2, 0, unit="us")
    expected = 5e-6 + 1000 * 2.2222222222222221e-10 + MEASURE
    assert length_s(circuit, ideal_target()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("program_id", "pubs"),
    [
        ("sampler", [(bell(), None, 4_000), (bell(), None, 2_000)]),
        ("estimator", [(bell().remove_final_measurements(inplace=False), SparsePauliOp("ZZ"))]),
    ],
)
def test_held_as_estimated(program_id: str, pubs: list[Any]) -> None:
    device = machine(scale=0.4, overhead_ms=1_000)
    ratio = held(device, program_id, pubs, {})
    assert 0.99 <= ratio <= 1.1  # J35: within 10 %


def test_overhead_is_once_for_a_job_and_again_for_the_next() -> None:
    device = machine(overhead_ms=120, rep_delay_us=0)
    for _job in range(2):
        ratio = held(device, "sampler", [(bell(), None, 10)] * 3, {})
        assert 0.99 <= ratio <= 1.5


def test_rep_delay_of_the_job_counts() -> None:
    device = machine(overhead_ms=0)
    pubs = [(bell(), None, 1_000)]
    short = prepared_ms(device, pubs, {"execution": {"rep_delay": 0.0001}})
    long = prepared_ms(device, pubs, {"execution": {"rep_delay": 0.0005}})
    assert long - short == pytest.approx(400, abs=1)
    assert 0.99 <= held(device, "sampler", pubs, {"execution": {"rep_delay": 0.0005}}) <= 1.1


def prepared_ms(device: Executor, pubs: list[Any], options: Mapping[str, Any]) -> int:
    return prepare(work_of("sampler", pubs, options), device, Cache())[1].estimate_ms


def test_without_a_clock_the_estimate_is_the_baseline() -> None:
    device = make(Spec("box", "ideal"))
    assert prepared_ms(device, [(bell(), None, 1_000)], {}) == 2_350


@pytest.mark.parametrize(("kind", "said"), [("ideal", "0 to 0.0005"), ("scripted", "does not let")])
def test_a_rep_delay_that_the_device_does_not_take_fails_the_job(kind: str, said: str) -> None:
    with pytest.raises(ProgramError, match=r"rep_delay = 1: .*") as failed:
        prepared_ms(make(Spec("box", kind)), [(bell(), None, 10)], {"execution": {"rep_delay": 1}})
    assert failed.value.code == 1208
    assert said in failed.value.reason


def test_users_see_the_span_of_rep_delay() -> None:
    configuration, _ = make(Spec("box", "ideal")).describe()
    assert configuration["rep_delay_range"] == [0.0, 500.0]
    assert configuration["default_rep_delay"] == 250.0


@pytest.mark.parametrize("clock", [{"speed": 2}, {"scale": -1}, {"scale": "fast"}, 5])
def test_a_wrong_clock_names_its_setting(clock: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        make(Spec("box", "ideal", options={"clock": clock}))
    assert refused.value.key.startswith("backends.box.options.clock")


def test_a_parameter_does_not_change_the_length() -> None:
    circuit = QuantumCircuit(1)
    circuit.rz(Parameter("t"), 0)
    circuit.sx(0)
    assert length_s(circuit, ideal_target()) == pytest.approx(SX)


def test_a_stopped_run_ends_at_once() -> None:
    device = machine(overhead_ms=3_600_000)
    prepared, _ = prepare(work_of("sampler", [(bell(), None, 1)], {}), device, Cache())
    plan = prepared.pubs[0]
    device.acquire()
    run = device.start(Batch((plan.fitted,), (plan.values.rows[0],), 1))
    device.stop(run)
    with pytest.raises(ProgramError, match="stopped"):
        device.result(run)


def test_results_are_the_device_s_own() -> None:
    seeded = {"simulator": {"seed_simulator": 5}}
    plain, _ = ours("sampler", [(bell(), None, 500)], make(Spec("box", "ideal")), seeded)
    clocked, _ = ours("sampler", [(bell(), None, 500)], machine(scale=0), seeded)
    assert plain[0].data.c.get_counts() == clocked[0].data.c.get_counts()
