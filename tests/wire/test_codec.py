"""The decoder: reads what the stock client writes, and refuses what would hurt."""

from __future__ import annotations

import base64
import io
import json
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.qpy.common import QPY_VERSION
from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp
from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder

from qdwell.errors import BadInput
from qdwell.wire import arrays, codec, results


def sent(value: Any) -> Any:
    """The value as it comes over the wire from the stock client."""
    return codec.parse(json.dumps(value, cls=RuntimeEncoder).encode())


def decode(value: Any, program: str = "estimator", **bounds: Any) -> Any:
    return codec.Decoder(codec.TAGS[program], codec.Bounds(**bounds)).decode(value)


def packed(data: bytes) -> dict[str, str]:
    return {
        "__type__": "ndarray",
        "__value__": base64.b64encode(zlib.compress(data)).decode(),
    }


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def test_reads_circuits_of_the_stock_client() -> None:
    circuit = QuantumCircuit(2, 2, metadata={"who": "me"})
    circuit.rx(Parameter("a"), 0)
    circuit.measure([0, 1], [0, 1])
    assert decode(sent(circuit)) == circuit


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0,)),
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(2.5),
        np.array([1 + 2j]),
        np.array([True, False]),
        np.zeros((3, 0)),
    ],
)
def test_reads_and_writes_arrays_as_the_stock_client_does(array: np.ndarray[Any, Any]) -> None:
    read = decode(sent(array))
    assert read.shape == array.shape
    assert read.dtype == array.dtype
    assert np.array_equal(read, array)
    back = json.loads(json.dumps(arrays.pack_array(array)), cls=RuntimeDecoder)
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_reads_bindings_observables_and_paulis() -> None:
    bindings = decode(sent(BindingsArray({("a", "b"): np.ones((4, 2)), "c": np.zeros(4)})))
    assert bindings.shape == (4,)
    assert [names for names, _ in bindings.values] == [("a", "b"), ("c",)]
    assert decode(sent(ObservablesArray(["ZZ", "XX"]))) == [{"ZZ": 1.0}, {"XX": 1.0}]
    operator = SparsePauliOp(["ZZ", "-XX".strip("-")], [0.5, -2.0])
    assert decode(sent(operator)) == {"ZZ": 0.5, "XX": -2.0}
    assert decode(sent(Pauli("-XY"))) == {"XY": -1.0}
    assert decode(sent(PauliList(["XX", "ZI"]))) == [{"XX": 1.0}, {"ZI": 1.0}]
    assert decode(sent(1 + 2j)) == 1 + 2j


def test_reads_nan_as_python_writes_it() -> None:
    assert codec.parse(b"[NaN, 1e400]")[0] != codec.parse(b"[NaN]")[0]


@pytest.mark.parametrize(
    "value",
    [
        {"__type__": "spmatrix", "__value__": "AAAA"},
        {"__type__": "Result", "__value__": {}},
        {"__type__": "NoiseModel", "__value__": {}},
        {"__type__": "set", "__value__": []},
        {"__type__": ["ndarray"], "__value__": []},
        {
            "__type__": "settings",
            "__module__": "qiskit.quantum_info.operators.symplectic",
            "__class__": "combinations",
            "__value__": {"data": []},
        },
        {
            "__type__": "settings",
            "__module__": "os",
            "__class__": "Pauli",
            "__value__": {"data": "X"},
        },
    ],
)
def test_refuses_tags_that_are_not_on_the_list(value: Any) -> None:
    with pytest.raises(BadInput):
        decode([value])


def test_sampler_takes_fewer_tags_than_the_estimator() -> None:
    with pytest.raises(BadInput, match="settings"):
        decode(sent(Pauli("X")), "sampler")


def test_refuses_a_bomb_without_inflating_it() -> None:
    bomb = packed(b"\0" * 50_000_000)
    with pytest.raises(BadInput, match="inflates to more than 1000000 bytes"):
        decode(bomb, inflated_bytes=1_000_000)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (50000, 1000000)}"), "claims"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", b"\0" * 8), "claims"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': ()}", b"\0" * 8), "plain numbers"),
        (npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': ()}"), "plain numbers"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"), "impossible shape"),
        (npy("{'descr': '<f8'"), "damaged"),
        (npy("(" * 2000), "damaged"),
        (b"PK\x03\x04" + b"\0" * 40, "not a .npy"),
        (b"\x93NUMPY\x01\x00\xff\xff", "not a .npy|impossible length"),
    ],
)
def test_refuses_damaged_and_lying_arrays(data: bytes, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        decode(packed(data))


def test_refuses_truncated_streams_and_bad_base64() -> None:
    good = zlib.compress(b"x" * 1000)
    with pytest.raises(BadInput, match="ends before"):
        arrays.inflate(good[:-6], "f")
    with pytest.raises(BadInput, match="base64"):
        arrays.unbase64("@@@@", "f")


def test_bounds_depth_and_number_of_values() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    with pytest.raises(BadInput, match="nested"):
        decode(deep)
    with pytest.raises(BadInput, match="more than 10 values"):
        decode([0] * 20, values=10)
    with pytest.raises(BadInput, match="not valid JSON"):
        codec.parse(b"[" * 100_000)


@pytest.mark.parametrize("version", [10, 12, 99])
def test_refuses_qpy_versions_by_their_first_bytes(version: int) -> None:
    with pytest.raises(codec.CircuitError, match=f"version {version}"):
        codec.load_qpy(b"QISKIT" + bytes([version]) + b"\0" * 20, "f")


@given(st.binary(max_size=300))
def test_damaged_qpy_is_a_circuit_error(tail: bytes) -> None:
    with pytest.raises(codec.CircuitError):
        codec.load_qpy(b"QISKIT" + bytes([13]) + tail, "f")


def test_reads_openqasm_3_and_names_what_is_wrong() -> None:
    text = 'OPENQASM 3.0; include "stdgates.inc"; bit[1] c; qubit[1] q; x q[0]; c[0]=measure q[0];'
    assert codec.load_qasm3(text, "f").num_qubits == 1
    with pytest.raises(codec.CircuitError, match="OpenQASM 3"):
        codec.load_qasm3("OPENQASM 3.0; nonsense q;", "f")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("OPENQASM 3.0; garbage", "1,14: 'garbage' was not expected here"),
        ("OPENQASM 3.0; qubit q; foo q;", "1,23: gate 'foo' is not defined"),
        (" ", "f is empty"),
    ],
)
def test_a_program_that_cannot_be_parsed_says_where(text: str, said: str) -> None:
    """E26: the parser's message, which its own error leaves out where the syntax is wrong."""
    with pytest.raises(codec.CircuitError) as refused:
        codec.load_qasm3(text, "f")
    assert said in str(refused.value)


def test_results_read_as_the_stock_client_reads_them() -> None:
    bits = np.array([[[1], [3]], [[0], [2]]], np.uint8)
    pub = results.sampler_pub(
        results.data_bin((2,), {"meas": results.bit_array(bits, 2)}),
        {"circuit_metadata": results.free_json({"x": float("nan"), "big": 2**70})},
    )
    span = results.Span(0, (2, 2), 1_700_000_000_000, 1_700_000_000_250)
    metadata = {"execution": {"execution_spans": results.execution_spans([span])}, "version": 2}
    text = results.primitive_result([pub], metadata)
    result = json.loads(text, cls=RuntimeDecoder)
    assert type(result).__name__ == "PrimitiveResult"
    assert type(result[0]).__name__ == "SamplerPubResult"
    assert np.array_equal(result[0].data.meas.array, bits)
    assert result[0].data.shape == (2,)
    assert result[0].metadata["circuit_metadata"]["big"] == 2**70
    spans = result.metadata["execution"]["execution_spans"]
    assert spans[0].mask(0).all()
    assert (spans[0].stop - spans[0].start).total_seconds() == 0.25


def test_decoding_does_not_load_the_client() -> None:
    code = (
        "import sys; from qdwell.wire import codec, results; "
        "codec.load_qpy; sys.exit(any(m.startswith('qiskit') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def old_qpy(version: int, formulas: bytes) -> bytes:
    """A circuit with a formula of its parameter, as a client of that time writes it."""
    import io

    from qiskit import qpy

    circuit = QuantumCircuit(1)
    circuit.rx(2 * Parameter("a") + 1, 0)
    file = io.BytesIO()
    qpy.dump(circuit, file, version=max(version, 13))
    written = bytearray(file.getvalue())
    written[6] = version
    written[18:19] = formulas
    return bytes(written)


@pytest.mark.parametrize("version", range(13, QPY_VERSION + 1))
def test_what_any_circuit_of_a_file_says_of_its_size_is_looked_at(version: int) -> None:
    file = io.BytesIO()
    circuits = [QuantumCircuit(3, 2, name="first"), QuantumCircuit(5, 4, name="other")]
    qpy.dump(circuits, file, version=version)
    good = file.getvalue()
    codec.check_qpy(good, "f")
    first, other = (struct.pack("!II", it.num_qubits, it.num_clbits) for it in circuits)
    large = struct.pack("!II", codec.QUBITS_MAX + 1, 0)
    # Before the table of places the other one is found by a loader alone.
    claims = [first, other] if version >= 16 else [first]
    for said in claims:
        with pytest.raises(BadInput, match="says that it has 10001 qubits"):
            codec.check_qpy(good.replace(said, large, 1), "f")


@pytest.mark.parametrize(
    ("version", "formulas", "least", "words"),
    [
        (12, b"p", 13, "QPY version 12; this server reads 13"),
        (9, b"p", 10, "QPY version 9; this server reads 10"),
        (13, b"e", 13, "with symengine, which this server does not read"),
        (12, b"e", 13, "with symengine"),
    ],
)
def test_old_qpy_is_refused_unless_old_clients_are_served(
    version: int, formulas: bytes, least: int, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        codec.check_qpy(old_qpy(version, formulas), "circuit", least)


def test_old_qpy_is_read_if_old_clients_are_served() -> None:
    codec.check_qpy(old_qpy(10, b"e"), "circuit", 10)
    codec.check_qpy(old_qpy(12, b"p"), "circuit", 10)


def test_delays_of_a_fraction_are_in_seconds() -> None:
    """QPY drops the unit; what the transpiler wrote for a target without dt can be read all the
    same, in blocks too, and a count of dt stays one."""
    circuit = QuantumCircuit(1, 1)
    circuit.delay(1.5e-7, 0, "s")
    circuit.delay(16, 0)
    circuit.measure(0, 0)
    with circuit.if_test((0, 1)):
        circuit.delay(2.5e-7, 0, "s")
        circuit.x(0)
    read = decode(sent(circuit))
    top = [step.operation for step in read.data]
    inner = top[3].blocks[0].data[0].operation
    assert [(it.duration, it.unit) for it in (*top[:2], inner)] == [
        (1.5e-7, "s"),
        (16, "dt"),
        (2.5e-7, "s"),
    ]
    assert top[3].blocks[0].data[1].name == "x"
