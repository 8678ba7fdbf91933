"""The executor program (wire-protocol 11.4): schemas, shapes, echoes, chunks, refusals."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_ibm_runtime.quantum_program import QuantumProgram

from programs.quantum_stock import VERSIONS, both_kinds, ours, params, run_raw, twirled
from qdwell.errors import BadInput
from qdwell.executors import Executor
from qdwell.programs import Cache, Limits, ProgramError, check_submission
from qdwell.wire import tensors

Devices = Callable[[str], Executor]
AER, MANILA = "aer_simulator", "fake_manila"


# ---- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_schema_is_answered_in_kind(version: str, executor: Devices) -> None:
    passthrough = None if version == "v0.1" else {"deep": [1, "a", None, {"x": np.arange(3.0)}]}
    program = both_kinds(passthrough=passthrough)
    result, facts = ours(program, executor(MANILA), version=version, role="mine")
    plain, drawn = result
    assert plain["meas"].shape == (2, 3, 100, 2)
    assert plain["meas"].dtype == bool
    assert plain["meas"].mean() > 0.9
    assert drawn["meas"].shape == (5, 2, 100, 2)
    flips = drawn["measurement_flips.meas"]
    assert flips.shape == (5, 2, 1, 2)
    assert set(drawn) == {"meas", "measurement_flips.meas"}
    straight = (drawn["meas"] ^ flips).mean(axis=(0, 2, 3))
    assert straight[0] < 0.1
    assert straight[1] > 0.9
    assert (facts.executions, facts.num_circuits) == (100 * (6 + 10), 2)
    if version != "v0.1":
        assert result.passthrough_data["deep"][:3] == [1, "a", None]
        assert (result.passthrough_data["deep"][3]["x"] == np.arange(3.0)).all()
    assert result._semantic_role == (None if version in ("v0.1", "v0.2") else "mine")
    spans = result.metadata.chunk_timing
    assert sum(part.size for span in spans for part in span.parts) == 16


_DTYPES = "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 c8 c16 b1"


@pytest.mark.parametrize("dtype", _DTYPES.split())
def test_tensors_of_every_dtype_come_back(dtype: str, executor: Devices) -> None:
    sent = np.arange(11).astype(dtype)
    sent[0] = 1
    program = both_kinds(shots=1, passthrough={"t": sent, "none": sent[:0], "scalar": sent[0:1]})
    result, _ = ours(program, executor(AER))
    back = result.passthrough_data["t"]
    assert back.dtype == sent.dtype
    assert (back == sent).all()


@pytest.mark.parametrize("dtype", _DTYPES.split())
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5), (2, 0, 3)])
def test_our_tensors_are_read_by_the_published_model(dtype: str, shape: tuple[int, ...]) -> None:
    from ibm_quantum_schemas.common import CompressedTensorModel

    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    packed = tensors.pack(array, compressed=True)
    back = CompressedTensorModel.model_validate(packed).to_numpy()
    assert back.shape == shape
    assert back.dtype == array.dtype
    assert (back == array).all()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0)])
def test_small_and_empty_items(shape: tuple[int, ...], executor: Devices) -> None:
    program = QuantumProgram(shots=3)
    circuit = QuantumCircuit(1, 1)
    circuit.rx(Parameter("a"), 0)
    circuit.measure(0, 0)
    program.append_circuit_item(circuit, circuit_arguments=np.full((*shape, 1), np.pi))
    template, samplex = twirled(Parameter("t"))
    program.append_samplex_item(
        template, samplex, samplex_arguments={"parameter_values": np.zeros(1)}, shape=shape
    )
    result, _ = ours(program, executor(AER))
    assert result[0]["c"].shape == (*shape, 3, 1)
    assert result[0]["c"].all()
    assert result[1]["meas"].shape == (*shape, 3, 2)
    assert result[1]["measurement_flips.meas"].shape == (*shape, 1, 2)


def test_bit_i_is_clbit_i_of_each_register(executor: Devices) -> None:
    from qiskit import ClassicalRegister, QuantumRegister

    circuit = QuantumCircuit(
        QuantumRegister(12), ClassicalRegister(9, "low"), ClassicalRegister(3, "high")
    )
    circuit.x([0, 8, 10])
    circuit.measure(range(12), range(12))
    program = QuantumProgram(shots=2)
    program.append_circuit_item(circuit)
    result, _ = ours(program, executor(AER))
    assert result[0]["low"][0].nonzero()[0].tolist() == [0, 8]
    assert result[0]["high"][1].nonzero()[0].tolist() == [1]


def test_an_item_is_run_in_chunks_of_the_size_that_it_asks_for(executor: Devices) -> None:
    program = QuantumProgram(shots=10)
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a"), 0)
    circuit.measure_all()
    angles = np.tile([0.0, np.pi], 5).reshape(5, 2, 1)
    program.append_circuit_item(circuit, circuit_arguments=angles, chunk_size=4)
    text, _ = run_raw(params(program), executor(AER))
    timing = json.loads(text)["metadata"]["chunk_timing"]
    parts = [part for chunk in timing for part in chunk["parts"]]
    assert [it["element_range"] for it in parts] == [[0, 4, 1], [4, 8, 1], [8, 10, 1]]
    assert all(it["permutation"] == [0, 1] for it in parts)
    assert all(chunk["start"] <= chunk["stop"] for chunk in timing)
    result, _ = ours(program, executor(AER))
    assert (result[0]["meas"].mean(axis=(2, 3)) == [0.0, 1.0]).all()


def test_the_same_seed_gives_the_same_result_and_none_a_fresh_one(executor: Devices) -> None:
    def flips(seed: int | None) -> Any:
        return ours(both_kinds(), executor(MANILA), seed=seed)[0][1]["measurement_flips.meas"]

    assert (flips(4) == flips(4)).all()
    assert not (flips(4) == flips(5)).all()
    assert not (flips(None) == flips(None)).all()


def test_twirling_leaves_the_distribution_as_it_is(executor: Devices) -> None:
    """On a device without noise the twirled circuit has the outcomes of the plain one: of 128,000
    shots the share of 11 is off by more than five standard errors once in two million runs.
    """
    program = QuantumProgram(shots=1000)
    template, samplex = twirled(Parameter("t"))
    program.append_samplex_item(
        template, samplex, samplex_arguments={"parameter_values": np.array([0.9])}, shape=(128,)
    )
    result, _ = ours(program, executor(AER))
    bits = result[0]["meas"] ^ result[0]["measurement_flips.meas"]
    assert (bits[..., 0] == bits[..., 1]).all()
    share, expected = bits[..., 0].mean(), np.sin(0.45) ** 2
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 128_000)


def test_circuits_and_samplexes_are_read_once_in_a_group(executor: Devices) -> None:
    cache = Cache()
    body = params(both_kinds())
    run_raw(body, executor(MANILA), cache)
    misses = cache.misses
    run_raw(body, executor(MANILA), cache)
    assert cache.misses == misses
    assert cache.hits >= 2


# ---- what is refused -----------------------------------------------------------------------------


def _with(path: str, value: Any) -> dict[str, Any]:
    body = params(both_kinds())
    *parents, last = path.split(".")
    inner: Any = body
    for key in parents:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[int(last) if isinstance(inner, list) else last] = value
    return body


AT_THE_DOOR = [
    ("schema_version", "v3.0", "schema_version"),
    ("schema_version", None, "schema_version"),
    ("quantum_program.shots", 0, "shots"),
    ("quantum_program.shots", 1.5, "shots"),
    ("quantum_program.meas_level", "kerneled", "classified bits only"),
    ("quantum_program.items", {}, "items"),
    ("quantum_program.items.0", 3, "items[0]"),
    ("quantum_program.items.1.item_type", "magic", "item_type"),
    ("quantum_program.items.0.shape", [-1], "shape"),
    ("quantum_program.surprise", 1, "surprise"),
    ("quantum_program.semantic_role", 7, "semantic_role"),
    ("options.init_qubits", False, "init_qubits"),
    ("options.rep_delay", -1, "rep_delay"),
    ("options.scheduler_timing", True, "scheduler_timing"),
    ("options.stretch_values", True, "stretch_values"),
    ("options.experimental", {"fast": True}, "experimental.fast"),
    ("options", None, "options"),
]


@pytest.mark.parametrize(("path", "value", "named"), AT_THE_DOOR)
def test_the_field_that_is_refused_at_the_door_is_named(path: str, value: Any, named: str) -> None:
    body = _with(path, value)
    if value is None:
        body.pop(path)
    with pytest.raises(BadInput) as refused:
        check_submission("executor", body)
    assert named in refused.value.message


def test_calibrate_is_refused_with_a_reason() -> None:
    with pytest.raises(BadInput, match="calibration"):
        check_submission("calibrate", {"schema_version": "v0.1"})


def _tensor(data: bytes, shape: list[int], dtype: str = "f64") -> dict[str, Any]:
    text = base64.b64encode(zlib.compress(data, 9)).decode()
    return {"data": text, "shape": shape, "dtype": dtype}


ARGUMENTS = "quantum_program.items.0.circuit_arguments"
FAILS: list[tuple[str, Any, int, str]] = [
    (ARGUMENTS, _tensor(bytes(24), [3, 2]), 1208, "inconsistent"),
    (ARGUMENTS, _tensor(bytes(24), [10**9, 10**9]), 1208, "claims shape"),
    (ARGUMENTS, _tensor(bytes(24), [3]), 1208, "1 parameters"),
    (ARGUMENTS, _tensor(np.array([np.nan]).tobytes(), [1]), 1208, "finite"),
    (ARGUMENTS, _tensor(b"12345678", [1]) | {"data": "!!"}, 1208, "base64"),
    ("quantum_program.passthrough_data", _tensor(bytes(2_000_000), [250_000]), 1208, "inflates"),
    ("quantum_program.circuits.b64_data", base64.b64encode(b"x").decode(), 1208, "zlib"),
    ("quantum_program.circuits.num_programs", 3, 1208, "num_programs"),
    ("quantum_program.items.1.samplex.samplex_json", "{}", 1208, "samplex"),
    ("quantum_program.items.1.samplex_arguments", {}, 1208, "parameter_values"),
    ("quantum_program.items.1.shape", [3, 3], 1208, "items[1]"),
    ("quantum_program.items.0.shape", [7], 1208, "items[0]"),
    ("quantum_program.items.1.shape", [10**6, 2], 6000, "executions"),
    # The field by its name, without words of the models' own in between.
    ("quantum_program.circuits.qpy_version", 13, 1208, "params.quantum_program.circuits: The qpy"),
    ("quantum_program.items.0.chunk_size", 0, 1208, "items.0.circuit.chunk_size: Input should"),
]


@pytest.mark.parametrize(("path", "value", "code", "said"), FAILS)
def test_a_damaged_or_hostile_program_fails_with_a_reason(
    path: str, value: Any, code: int, said: str, executor: Devices
) -> None:
    limits = Limits(inflated_bytes_max=1_000_000)
    with pytest.raises(ProgramError) as failed:
        run_raw(_with(path, value), executor(MANILA), limits=limits)
    assert failed.value.code == code
    assert said in failed.value.reason


def test_old_qpy_is_refused_wherever_it_hides(executor: Devices) -> None:
    """QPY below 13 may carry dangerous text: in the circuits, and within a samplex (15.2)."""
    body = params(both_kinds())
    held = body["quantum_program"]["circuits"]
    raw = bytearray(zlib.decompress(base64.b64decode(held["b64_data"])))
    raw[6] = 12
    held["b64_data"] = base64.b64encode(zlib.compress(bytes(raw))).decode()
    held["qpy_version"] = 12
    with pytest.raises(ProgramError, match="QPY version 12"):
        run_raw(body, executor(AER))

    body = params(both_kinds())
    samplex = body["quantum_program"]["items"][1]["samplex"]
    outer = json.loads(samplex["samplex_json"])
    table = json.loads(outer["attrs"]["param_table"])
    raw = bytearray(base64.b64decode(table["circuit_base64"]))
    raw[6] = 12
    table["circuit_base64"] = base64.b64encode(bytes(raw)).decode()
    outer["attrs"]["param_table"] = json.dumps(table)
    # Written with escapes, which a search of the text would miss.
    samplex["samplex_json"] = json.dumps(outer).replace("circuit_base64", "circuit\\u005fbase64")
    with pytest.raises(ProgramError, match="QPY version 12"):
        run_raw(body, executor(AER))


def test_a_gate_that_the_machine_lacks_is_named(executor: Devices) -> None:
    program = QuantumProgram(shots=1)
    circuit = QuantumCircuit(3, 1)
    circuit.h(2)
    circuit.measure(2, 0)
    program.append_circuit_item(circuit)
    with pytest.raises(ProgramError) as failed:
        run_raw(params(program), executor(MANILA))
    assert failed.value.code == 1517
    assert "h on qubit 2" in failed.value.reason
    assert failed.value.solution
