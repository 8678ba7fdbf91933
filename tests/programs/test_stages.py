"""The stages of the programs: shapes, failures that name their cause, interim results, caches."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy
from qiskit.circuit.classical import expr
from qiskit.circuit.library import QFTGate
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime.json import RuntimeDecoder

from programs.stock import fitted_to, ours, params
from programs.test_same_samples import bell, ghz, rotation, seeded
from qdwell.executors import Executor
from qdwell.programs import (
    Cache,
    Caches,
    Limits,
    ProgramError,
    Work,
    execute,
    postprocess,
    prepare,
    run_all,
)

Devices = Callable[[str], Executor]
AER, IDEAL, MANILA = "aer_simulator", "ideal_machine", "fake_manila"


def failure(program_id: str, pubs: list[Any], device: Executor, **more: Any) -> ProgramError:
    with pytest.raises(ProgramError) as failed:
        ours(program_id, pubs, device, **more)
    return failed.value


# ---- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (0,), (2, 0)])
def test_sampler_shapes(shape: tuple[int, ...], executor: Devices) -> None:
    result, facts = ours("sampler", [(rotation(), np.zeros((*shape, 2)), 10)], executor(AER))
    assert result[0].data.shape == shape
    assert result[0].data.meas.shape == shape
    assert result[0].data.meas.num_shots == 10
    assert facts.executions == 10 * int(np.prod(shape))


def test_parameters_bind_in_the_circuits_order(executor: Devices) -> None:
    # By name "a" turns qubit 1 and "b" qubit 0, whatever the order in the circuit.
    result, _ = ours("sampler", [(rotation(), [np.pi, 0.0], 50)], executor(AER))
    assert result[0].data.meas.get_counts() == {"10": 50}
    named = [(rotation(), {"b": [np.pi], "a": [0.0]}, 50)]
    result, _ = ours("sampler", named, executor(AER))
    assert result[0].data.meas.get_counts() == {"11": 50}


def test_estimator_broadcasts_and_is_right_on_average(executor: Devices) -> None:
    circuit = rotation()
    circuit.remove_final_measurements()
    observables = [["ZI"], ["IX"], [SparsePauliOp(["II", "ZZ"], [1.0, 0.5])]]
    values = [[np.pi, 0.0], [0.0, np.pi], [0.0, 0.0]]
    result, facts = ours("estimator", [(circuit, observables, values)], executor(AER))
    assert result[0].data.evs.shape == (3, 3)
    assert result[0].data.evs[0] == pytest.approx([-1.0, -1.0, 1.0])
    assert result[0].data.evs[2] == pytest.approx([0.5, 1.5, 1.5])
    assert facts.executions == 3 * 2 * 4096
    assert result.metadata["resilience_level"] == 0
    assert result.metadata["version"] == 2
    assert result[0].metadata["shots"] == 4096
    assert result[0].metadata["target_precision"] == 0.015625


def test_estimator_of_no_observables_has_an_empty_shape(executor: Devices) -> None:
    result, facts = ours("estimator", [(QuantumCircuit(2), [])], executor(AER))
    assert result[0].data.evs.shape == (0,)
    assert facts.executions == 0


def test_projectors_are_measured_in_their_basis(executor: Devices) -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    observables = ["00", "11", "01", "++", "rr", {"0Z": 2.0}]
    result, _ = ours("estimator", [(circuit, observables, None, 0.01)], executor(AER))
    assert result[0].data.evs == pytest.approx([0.5, 0.5, 0.0, 0.5, 0.0, 1.0], abs=0.05)
    assert result[0].data.stds[0] == pytest.approx(0.5 * 0.01, rel=0.05)


def test_estimator_shots_come_from_precision_or_default_shots(executor: Devices) -> None:
    circuit = QuantumCircuit(1)

    def shots(pub: tuple[Any, ...], **options: Any) -> tuple[int, float]:
        result, _ = ours("estimator", [pub], executor(AER), options)
        return result[0].metadata["shots"], result[0].metadata["target_precision"]

    assert shots((circuit, "Z"), default_precision=0.1) == (100, 0.1)
    assert shots((circuit, "Z"), default_precision=0.1, default_shots=1000)[0] == 1000
    assert shots((circuit, "Z", None, 0.2), default_shots=1000) == (25, 0.2)


def test_default_shots_of_the_sampler(executor: Devices) -> None:
    result, _ = ours("sampler", [(bell(),)], executor(AER))
    assert result[0].data.meas.num_shots == 4096
    pubs: list[Any] = [(bell(),), (bell(), None, 7)]
    result, _ = ours("sampler", pubs, executor(AER), {"default_shots": 30})
    assert [pub.data.meas.num_shots for pub in result] == [30, 7]


def test_no_pubs_give_an_empty_result(executor: Devices) -> None:
    result, facts = ours("sampler", [], executor(AER))
    assert len(result) == 0
    assert facts.executions == 0


def test_facts_of_a_job(executor: Devices) -> None:
    pubs: list[Any] = [(bell(), None, 100), (rotation(), np.zeros((3, 2)), 10)]
    _, facts = ours("sampler", pubs, executor(AER))
    assert facts.executions == 130
    assert facts.num_circuits == 2
    assert facts.num_qubits == [2, 2]
    assert facts.circuit_depths == [bell().depth(), rotation().depth()]
    assert facts.estimate_ms == 2046


def test_simulator_compiles_library_gates(executor: Devices) -> None:
    circuit = QuantumCircuit(3, metadata={"kept": True})
    circuit.append(QFTGate(3), [0, 1, 2])
    circuit.append(QFTGate(3).inverse(), [0, 1, 2])
    circuit.measure_all()
    result, _ = ours("sampler", [(circuit, None, 20)], executor(AER))
    assert result[0].data.meas.get_counts() == {"000": 20}
    assert result[0].metadata["circuit_metadata"] == {"kept": True}


def test_openqasm_3_text_runs(executor: Devices) -> None:
    text = 'OPENQASM 3.0; include "stdgates.inc"; bit[1] c; qubit[1] q; x q[0]; c[0]=measure q[0];'
    raw = json.dumps({"pubs": [[text, None, 5]], "version": 2}).encode()
    _, _, finished = run_all(Work("j", "sampler", raw), executor(AER), Cache())
    result = json.loads(finished.result, cls=RuntimeDecoder)
    assert result[0].data.c.get_counts() == {"1": 5}


# ---- failures ------------------------------------------------------------------------------------


def test_foreign_instruction_fails_with_1517_naming_it_and_its_qubits(executor: Devices) -> None:
    error = failure("sampler", [(bell(),)], executor(IDEAL))
    assert error.code == 1517
    assert "instruction h on qubit 0" in error.reason
    far = QuantumCircuit(27, 1)
    far.cx(0, 26)
    far.measure(0, 0)
    error = failure("sampler", [(far,)], executor(IDEAL))
    assert "instruction cx on qubits 0, 26" in error.reason
    inner = QuantumCircuit(2, 1)
    with inner.if_test((inner.clbits[0], 1)):
        inner.t(1)
    inner.measure(0, 0)
    assert "instruction t on qubit 1" in failure("sampler", [(inner,)], executor(IDEAL)).reason


@pytest.mark.parametrize("inside", [False, True])
def test_what_aer_cannot_run_is_refused_by_name(executor: Devices, inside: bool) -> None:
    """E25: instructions that save the state, and variables that are no integers, in blocks too."""
    for words, write in (
        ("instruction save_statevector", lambda it: it.save_statevector()),
        ("variable v of type Bool", lambda it: it.add_var("v", expr.lift(True))),
    ):
        circuit = QuantumCircuit(1, 1)
        if inside:
            with circuit.if_test((0, 0)):
                write(circuit)
        else:
            write(circuit)
        circuit.measure_all()
        error = failure("sampler", [(circuit,)], executor(AER))
        assert error.code == 1517
        assert words in error.reason


def test_a_simulator_runs_what_is_in_boxes(executor: Devices) -> None:
    circuit = QuantumCircuit(2, 1)
    with circuit.box():
        circuit.x(1)
        with circuit.box():
            circuit.measure(1, 0)
    with circuit.if_test((0, 1)), circuit.box():
        circuit.x(0)
    circuit.measure_all()
    result, _ = ours("sampler", [(circuit, None, 20)], executor(AER))
    assert result[0].data.meas.get_counts() == {"11": 20}
    assert result[0].data.c.get_counts() == {"1": 20}


def test_too_wide_circuit_fails_with_1517(executor: Devices) -> None:
    wide = QuantumCircuit(28, 1)
    wide.measure(0, 0)
    error = failure("sampler", [(wide,)], executor(IDEAL))
    assert error.code == 1517
    assert "28 qubits" in error.reason


def damaged(version: int = 13) -> dict[str, Any]:
    data = b"QISKIT" + bytes([version]) + b"\0" * 30
    text = base64.b64encode(zlib.compress(data)).decode()
    return {"__type__": "QuantumCircuit", "__value__": text}


@pytest.mark.parametrize(
    "circuit",
    [
        damaged(),
        damaged(10),
        "OPENQASM 3.0; nonsense q;",
        {"__type__": "QuantumCircuit", "__value__": "####"},
        {"__type__": "QuantumCircuit", "__value__": base64.b64encode(b"no zlib").decode()},
    ],
)
def test_unreadable_circuit_fails_with_1603(circuit: Any, executor: Devices) -> None:
    raw = json.dumps({"pubs": [[circuit]], "version": 2}).encode()
    with pytest.raises(ProgramError) as failed:
        prepare(Work("j", "sampler", raw), executor(AER), Cache())
    assert failed.value.code == 1603
    assert "pubs[0]" in failed.value.reason


def test_too_many_executions_fail_with_6000_and_both_numbers(executor: Devices) -> None:
    error = failure("sampler", [(bell(), None, 10_000_001)], executor(AER))
    assert error.code == 6000
    assert "10000001" in error.reason
    assert "10000000" in error.reason
    small = Limits(executions_max=100)
    pubs: list[Any] = [(bell(), None, 60), (bell(), None, 60)]
    assert failure("sampler", pubs, executor(AER), limits=small).code == 6000
    assert failure("estimator", [(bell(), "ZZ", None, 1e-200)], executor(AER)).code == 6000


def test_a_shape_without_values_is_counted_before_it_is_used(executor: Devices) -> None:
    # Zero bytes can claim any shape: nothing of it may be allocated.
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 0)}"
    text = header.encode()
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    value = {"__type__": "ndarray", "__value__": base64.b64encode(zlib.compress(data)).decode()}
    for program_id, more in (("sampler", []), ("estimator", [{"ZZ": 1.0}])):
        body = params(program_id, [(bell(), *["ZZ"] * len(more))])
        body["pubs"] = [[body["pubs"][0][0], *more, value]]
        with pytest.raises(ProgramError) as failed:
            prepare(Work("j", program_id, json.dumps(body).encode()), executor(AER), Cache())
        assert failed.value.code == 6000


def test_sampler_without_measurement_fails_before_the_device(executor: Devices) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    error = failure("sampler", [(circuit,)], executor(AER))
    assert error.code == 1208
    assert "no measurement" in error.reason


def test_unbound_parameters_fail_before_the_device(executor: Devices) -> None:
    body = params("sampler", [(rotation(), [0.0, 0.0], 5)])
    for values in (None, [], [0.1], [[0.1], [0.2]], [0.1, float("nan")], "text"):
        body["pubs"][0][1] = values
        with pytest.raises(ProgramError) as failed:
            prepare(Work("j", "sampler", json.dumps(body).encode()), executor(AER), Cache())
        assert failed.value.code == 1208


def test_observables_of_another_width_fail_with_1208(executor: Devices) -> None:
    body = params("estimator", [(QuantumCircuit(2), "ZZ")])
    bad: list[Any] = [{"ZZZ": 1.0}, {"AB": 1.0}, [[{"ZZ": 1.0}], []], {"ZZ": "x"}, 3, ""]
    for observables in bad:
        body["pubs"][0][1] = observables
        with pytest.raises(ProgramError) as failed:
            prepare(Work("j", "estimator", json.dumps(body).encode()), executor(AER), Cache())
        assert failed.value.code == 1208, observables


def test_shapes_that_do_not_broadcast_fail_with_1208(executor: Devices) -> None:
    body = params("estimator", [(rotation(), ["ZZ"] * 3, np.zeros((3, 2)))])
    body["pubs"][0][1] = [{"ZZ": 1.0}] * 2
    with pytest.raises(ProgramError, match="broadcast"):
        prepare(Work("j", "estimator", json.dumps(body).encode()), executor(AER), Cache())


def test_a_simulation_that_is_too_large_fails_before_it_runs(executor: Devices) -> None:
    circuit = QuantumCircuit(60)
    for _ in range(60):
        circuit.t(range(60))
        for qubit in range(59):
            circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    error = failure("sampler", [(circuit, None, 1)], executor(AER))
    assert error.code == 6000
    assert "60 qubits" in error.reason


# ---- stages, interim results, caches -------------------------------------------------------------


@pytest.mark.parametrize("program_id", ["sampler", "estimator"])
def test_stages_survive_the_way_between_processes(program_id: str, executor: Devices) -> None:
    device = executor(AER)
    pubs: list[Any] = [(rotation(), *["ZZ"] * (program_id == "estimator"), [[0.1, 0.2], [1, 2]])]
    work = Work("j", program_id, json.dumps(params(program_id, pubs, seeded(3))).encode())
    prepared, facts = pickle.loads(pickle.dumps(prepare(work, device, Cache())))
    raw = pickle.loads(pickle.dumps(execute(prepared, device, None)))
    finished = pickle.loads(pickle.dumps(postprocess(raw)))
    _, _, whole = run_all(work, device, Cache())
    assert facts.executions == 2 * 4096

    def values(text: bytes) -> Any:
        data = json.loads(text, cls=RuntimeDecoder)[0].data
        return data.evs if program_id == "estimator" else data.meas.array

    assert np.array_equal(values(finished.result), values(whole.result))


@pytest.mark.parametrize("program_id", ["sampler", "estimator"])
def test_one_interim_result_for_each_pub_in_order(program_id: str, executor: Devices) -> None:
    interim: list[bytes] = []
    extra = ["ZZ"] * (program_id == "estimator")
    pubs: list[Any] = [(rotation(), *extra, np.full((n, 2), 0.5)) for n in (1, 2, 3)]
    result, _ = ours(program_id, pubs, executor(AER), interim=interim)
    shapes = [json.loads(text, cls=RuntimeDecoder).data.shape for text in interim]
    assert shapes == [(1,), (2,), (3,)]
    assert [pub.data.shape for pub in result] == shapes


def test_a_group_decodes_and_prepares_a_circuit_once(
    executor: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = Caches()
    device = executor(AER)
    pub = [(rotation(), ["ZZ", "XX"], [0.1, 0.2])]
    first, _ = ours("estimator", pub, device, seeded(2), cache=caches.of("g"))
    misses = caches.of("g").misses
    monkeypatch.setattr("qdwell.wire.codec.load_qpy", None)
    again, _ = ours("estimator", pub, device, seeded(2), cache=caches.of("g"))
    assert np.array_equal(first[0].data.evs, again[0].data.evs)
    assert caches.of("g").misses == misses
    assert caches.of("g").hits > 0
    caches.drop("g")
    assert caches.of("g").hits == 0
    assert caches.of(None) is not caches.of(None)


def test_caches_are_bounded() -> None:
    cache = Cache(weight_max=2)
    for key in "abc":
        cache.get(key, lambda: 1)
    cache.get("a", lambda: 2)
    assert cache.misses == 4
    assert cache.weight == 2
    assert cache.get("heavy", lambda: 9, lambda it: it) == 9
    assert cache.weight == 0


def test_a_heavy_group_pushes_out_the_others() -> None:
    caches = Caches(weight_max=10)
    kept = caches.of("one")
    kept.get("a", lambda: 6, lambda it: it)
    caches.of("two").get("a", lambda: 3, lambda it: it)
    assert caches.of("one") is kept
    caches.of("two").get("b", lambda: 4, lambda it: it)
    caches.of("two")
    assert caches.of("one") is not kept


def test_circuits_on_a_model_are_checked_against_its_couplings(
    executor: Devices, backend: Callable[[str], Any]
) -> None:
    circuit = fitted_to(ghz(3), backend(MANILA))
    result, _ = ours("sampler", [(circuit, None, 10)], executor(MANILA))
    assert result[0].data.meas.num_shots == 10
    far = QuantumCircuit(5, 1)
    far.cx(0, 4)
    far.measure(0, 0)
    assert failure("sampler", [(far,)], executor(MANILA)).code == 1517


def test_one_qpy_file_holds_one_circuit(executor: Devices) -> None:
    file = BytesIO()
    qpy.dump([bell(), bell()], file, version=13)
    text = base64.b64encode(zlib.compress(file.getvalue())).decode()
    body = {"pubs": [[{"__type__": "QuantumCircuit", "__value__": text}]], "version": 2}
    with pytest.raises(ProgramError, match="exactly one circuit"):
        prepare(Work("j", "sampler", json.dumps(body).encode()), executor(AER), Cache())
