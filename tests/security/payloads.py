"""Inputs of jobs that nobody honest sends, and how the honest parts of them are made."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from qiskit_ibm_runtime import RuntimeEncoder

BIG = 300 * 1024 * 1024
#: By a fuzzer: a worker dies of it, at its bound on memory.
FOUND = Path(__file__).parent / "corpus" / "jobs" / "nested-circuit-of-134-million-qubits"


def tagged(value: Any) -> Any:
    """As the stock client encodes it."""
    return json.loads(json.dumps(value, cls=RuntimeEncoder))


def bell(measured: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.cx(0, 1)
    if measured:
        circuit.measure_all()
    return circuit


def turning(count: int = 1) -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    for n in range(count):
        circuit.rz(Parameter(f"p{n}"), 0)
    circuit.measure_all()
    return circuit


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def circuit_of(data: bytes) -> dict[str, str]:
    return {"__type__": "QuantumCircuit", "__value__": packed(data)}


def array_of(data: bytes) -> dict[str, str]:
    return {"__type__": "ndarray", "__value__": packed(data)}


def qpy_of(circuit: QuantumCircuit) -> bytearray:
    file = io.BytesIO()
    qpy.dump(circuit, file)
    return bytearray(file.getvalue())


def npy(shape: str, descr: str = "'<f8'", data: bytes = b"", fortran: str = "False") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def sampler(*pubs: Any, **options: Any) -> dict[str, Any]:
    return {"pubs": list(pubs), "version": 2, "options": options}


def bomb() -> str:
    """Base64 of a zlib stream of 300 MB of zeros: 400 kB."""
    return base64.b64encode(zlib.compress(bytes(BIG), 9)).decode()


def bomb_of_bombs() -> str:
    return base64.b64encode(zlib.compress(zlib.compress(bytes(BIG), 9), 9)).decode()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(50_000_000))
    return file.getvalue()


def header_with(**changes: int) -> bytes:
    """The QPY of a Bell circuit whose header claims other numbers."""
    data = qpy_of(bell())
    # name, kind and size of the phase, qubits, clbits, metadata, registers, instructions, variables
    form = "!H1cHIIQIQI"
    at = next(n for n in range(18, 60) if struct.unpack_from(form, data, n)[3:5] == (2, 2))
    names = ["name", "kind", "phase", "qubits", "clbits", "metadata", "registers"]
    names += ["instructions", "variables"]
    values = dict(zip(names, struct.unpack_from(form, data, at), strict=True))
    struct.pack_into(form, data, at, *{**values, **changes}.values())
    return bytes(data)


def called(name: str, *params: float) -> bytes:
    """The QPY of a circuit whose one gate has the name of something else in the library."""
    circuit = QuantumCircuit(1)
    circuit.rz(0.5, 0)
    circuit.measure_all()
    data = bytes(qpy_of(circuit))
    assert data.count(b"RZGate") == 1
    at = data.index(b"RZGate")
    # The length of the name is the first field of the instruction, 22 bytes before it.
    for back in range(8, 60):
        if struct.unpack_from("!H", data, at - back)[0] == 6:
            start = at - back
            return (
                data[:start]
                + struct.pack("!H", len(name))
                + data[start + 2 : at]
                + name.encode()
                + data[at + 6 :]
            )
    raise AssertionError("no such field")


def _settings(module: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "__type__": "settings",
        "__module__": module,
        "__class__": name,
        "__value__": arguments,
    }


def many_parameters(count: int) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    for n in range(count):
        circuit.rz(Parameter(f"p{n}"), 0)
    circuit.measure(0, 0)
    return circuit


def nested(depth: int) -> QuantumCircuit:
    """Control flow in control flow."""
    inner = QuantumCircuit(1, 1)
    inner.measure(0, 0)
    for _ in range(depth):
        outer = QuantumCircuit(1, 1)
        outer.for_loop(range(2), None, inner, [0], [0])
        inner = outer
    return inner


def wide(qubits: int, measured: int = 1) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, measured)
    circuit.h(range(qubits))
    for n in range(qubits - 1):
        circuit.cp(0.1, n, n + 1)
    circuit.measure(range(measured), range(measured))
    return circuit


Make = Callable[[], Any]
B = bell  # a Bell circuit is in most of them

#: Each is refused at once, or its job fails; the sampler's.
HOSTILE: dict[str, Make] = {
    "no pubs": lambda: {"version": 2},
    "pubs that are a number": lambda: {"version": 2, "pubs": 7},
    "pubs that are a text": lambda: {"version": 2, "pubs": "pubs"},
    "a pub that is null": lambda: sampler(None),
    "a pub of pubs of pubs": lambda: sampler([[[[[[[tagged(B())]]]]]]]),
    "a pub of many parts": lambda: sampler([tagged(B()), None, 1, 1, 1, 1, 1]),
    "a circuit that is a number": lambda: sampler([7]),
    "a circuit that is a list": lambda: sampler([[]]),
    "a version of tomorrow": lambda: {"version": 3, "pubs": []},
    "version true": lambda: {"version": True, "pubs": []},
    "version 1e400": lambda: {"version": float("inf"), "pubs": []},
    "a billion shots": lambda: sampler([tagged(B()), None, 10**9]),
    "shots beyond 64 bits": lambda: sampler([tagged(B()), None, 10**40]),
    "no shots": lambda: sampler([tagged(B()), None, 0]),
    "negative shots": lambda: sampler([tagged(B()), None, -5]),
    "half a shot": lambda: sampler([tagged(B()), None, 0.5]),
    "NaN shots": lambda: sampler([tagged(B()), None, float("nan")]),
    "shots true": lambda: sampler([tagged(B()), None, True]),
    "default shots of a billion": lambda: sampler([tagged(B())], default_shots=10**9),
    "default shots in words": lambda: sampler([tagged(B())], default_shots="many"),
    "an unknown option": lambda: sampler([tagged(B())], admin=True),
    "an option that is a module": lambda: sampler([tagged(B())], execution={"__import__": "os"}),
    "a seed beyond 64 bits": lambda: sampler([tagged(B())], simulator={"seed_simulator": 10**30}),
    "a noise model of its own": lambda: sampler(
        [tagged(B())], simulator={"noise_model": {"__type__": "NoiseModel", "__value__": {}}}
    ),
    "a thousand qubits": lambda: sampler([tagged(wide(1_000)), None, 1]),
    "forty qubits": lambda: sampler([tagged(wide(40)), None, 1]),
    "a million parameters claimed": lambda: sampler(
        [tagged(turning()), array_of(npy("(1000000,)", data=bytes(8_000_000))), 1]
    ),
    "a million bindings": lambda: sampler(
        [tagged(turning()), array_of(npy("(1000000, 1)", data=bytes(8_000_000))), 100]
    ),
    "an endless shape without values": lambda: sampler(
        [tagged(B()), array_of(npy("(1000000000, 1000000000, 0)")), 1]
    ),
    "infinite values": lambda: sampler([tagged(turning()), [float("inf")], 1]),
    "values in words": lambda: sampler([tagged(turning()), ["0.1"], 1]),
    "ragged values": lambda: sampler([tagged(turning()), [[1], [1, 2]], 1]),
    "complex values": lambda: sampler([tagged(turning()), tagged(np.array([1j])), 1]),
    "values as an object": lambda: sampler([tagged(turning()), {"a": 1}, 1]),
    "values deep in lists": lambda: sampler(
        [tagged(turning()), json.loads("[" * 40 + "1" + "]" * 40), 1]
    ),
    # ---- circuits
    "a circuit without base64": lambda: sampler([{"__type__": "QuantumCircuit", "__value__": "!"}]),
    "a circuit without zlib": lambda: sampler(
        [{"__type__": "QuantumCircuit", "__value__": "AAAA"}]
    ),
    "a circuit that is null": lambda: sampler([{"__type__": "QuantumCircuit", "__value__": None}]),
    "a circuit without value": lambda: sampler([{"__type__": "QuantumCircuit"}]),
    "a bomb as a circuit": lambda: sampler([{"__type__": "QuantumCircuit", "__value__": bomb()}]),
    "a bomb in a bomb": lambda: sampler(
        [{"__type__": "QuantumCircuit", "__value__": bomb_of_bombs()}]
    ),
    "an empty circuit file": lambda: sampler([circuit_of(b"")]),
    "half a circuit file": lambda: sampler([circuit_of(bytes(qpy_of(B())[:-40]))]),
    "QPY of 2021": lambda: sampler([circuit_of(b"QISKIT\x01" + bytes(100))]),
    "QPY with sympy text": lambda: sampler([circuit_of(b"QISKIT\x0a" + bytes(qpy_of(B())[7:]))]),
    "QPY of tomorrow": lambda: sampler([circuit_of(b"QISKIT\xff" + bytes(qpy_of(B())[7:]))]),
    "QPY of zeros": lambda: sampler([circuit_of(b"QISKIT\x0d" + bytes(1_000_000))]),
    "QPY of ones": lambda: sampler([circuit_of(b"QISKIT\x0d" + b"\xff" * 100_000)]),
    "a pickle as a circuit": lambda: sampler([circuit_of(b"cos\nsystem\n(S'touch /tmp/x'\ntR.")]),
    "four billion qubits": lambda: sampler([circuit_of(header_with(qubits=2**32 - 1))]),
    "ten million qubits": lambda: sampler([circuit_of(header_with(qubits=10**7))]),
    "four billion bits": lambda: sampler([circuit_of(header_with(clbits=2**32 - 1))]),
    "four billion registers": lambda: sampler([circuit_of(header_with(registers=2**32 - 1))]),
    "a block of 134 million qubits": lambda: sampler([circuit_of(FOUND.read_bytes())]),
    "endless instructions": lambda: sampler([circuit_of(header_with(instructions=2**63))]),
    "endless metadata": lambda: sampler([circuit_of(header_with(metadata=2**63))]),
    "endless variables": lambda: sampler([circuit_of(header_with(variables=2**32 - 1))]),
    "a gate that is a function": lambda: sampler([circuit_of(called("quantum_volume"))]),
    "a gate that is a class": lambda: sampler([circuit_of(called("QuantumCircuit"))]),
    "a gate that is a module": lambda: sampler([circuit_of(called("os"))]),
    "a gate with a path": lambda: sampler([circuit_of(called("../../../etc/passwd"))]),
    "a gate of the interpreter": lambda: sampler([circuit_of(called("__builtins__"))]),
    "a gate that is a warning": lambda: sampler([circuit_of(called("__loader__"))]),
    "OpenQASM 2 that includes": lambda: sampler(['OPENQASM 2.0; include "/etc/passwd";', None, 1]),
    "OpenQASM 3 that includes": lambda: sampler(['OPENQASM 3.0; include "/etc/passwd";', None, 1]),
    "OpenQASM in itself": lambda: sampler(["OPENQASM 3.0;" + "(" * 50_000, None, 1]),
    "OpenQASM in blocks": lambda: sampler(
        ["OPENQASM 3.0; qubit q; " + "if (true) {" * 5_000 + "}" * 5_000, None, 1]
    ),
    "OpenQASM with a billion qubits": lambda: sampler(
        ["OPENQASM 3.0; qubit[1000000000] q; bit c; c = measure q[0];", None, 1]
    ),
    "OpenQASM with a gate of gates": lambda: sampler(
        [
            'OPENQASM 3.0; include "stdgates.inc"; gate g0 a { x a; x a; }'
            + "".join(f" gate g{n} a {{ g{n - 1} a; g{n - 1} a; }}" for n in range(1, 40))
            + " qubit q; bit c; g39 q; c = measure q;",
            None,
            1,
        ]
    ),
    "OpenQASM with NUL": lambda: sampler(["OPENQASM 3.0;\x00 qubit q;", None, 1]),
    "OpenQASM of letters": lambda: sampler(["a" * 1_000_000, None, 1]),
    "an endless loop": lambda: sampler([tagged(_endless()), None, 1]),
    "loops in loops": lambda: sampler([tagged(nested(40)), None, 1]),
    # ---- arrays
    "an array of 373 GiB": lambda: sampler([tagged(turning()), array_of(npy("(50000000000,)")), 1]),
    "an array of negative size": lambda: sampler([tagged(turning()), array_of(npy("(-1,)")), 1]),
    "an array of objects": lambda: sampler(
        [tagged(turning()), array_of(npy("(1,)", "'|O'", b"cos\nsystem\n(S'true'\ntR.")), 1]
    ),
    "an array of records": lambda: sampler(
        [tagged(turning()), array_of(npy("(1,)", "[('a', '<f8')]", bytes(8))), 1]
    ),
    "an array of 33 dimensions": lambda: sampler(
        [tagged(turning()), array_of(npy("(" + "1," * 33 + ")", data=bytes(8))), 1]
    ),
    "an array's header that runs": lambda: sampler(
        [tagged(turning()), array_of(npy("__import__('os').system('true')")), 1]
    ),
    "an array's header that is deep": lambda: sampler(
        [tagged(turning()), array_of(npy("(" * 1_000 + ")" * 1_000)), 1]
    ),
    "an array's header of NULs": lambda: sampler(
        [tagged(turning()), array_of(b"\x93NUMPY\x01\x00\xff\xff" + bytes(70_000)), 1]
    ),
    "an array that is a zip": lambda: sampler([tagged(turning()), array_of(zipped()), 1]),
    "an array that is a bomb": lambda: sampler(
        [tagged(turning()), {"__type__": "ndarray", "__value__": bomb()}, 1]
    ),
    "an array that is a pickle": lambda: sampler(
        [tagged(turning()), array_of(b"\x80\x04cos\nsystem\n."), 1]
    ),
    "bindings of an endless shape": lambda: sampler(
        [
            tagged(turning()),
            {"__type__": "BindingsArray", "__value__": {"shape": [10**9, 10**9], "data": {}}},
            1,
        ]
    ),
    "bindings with names that are code": lambda: sampler(
        [
            tagged(turning()),
            {"__type__": "BindingsArray", "__value__": {"data": {"__import__('os')": [1]}}},
            1,
        ]
    ),
    # ---- tags
    "a tag that imports": lambda: sampler([_settings("os", "system", command="true")]),
    "values that import": lambda: sampler([tagged(B()), _settings("os", "system"), 1]),
    "values that are Qiskit's": lambda: sampler(
        [tagged(B()), _settings("qiskit.quantum_info.operators", "Operator", data=[]), 1]
    ),
    "a tag that calls": lambda: sampler(
        [tagged(B()), {"__type__": "_json", "__module__": "subprocess", "__class__": "run"}, 1]
    ),
    "a sparse matrix": lambda: sampler([tagged(B()), {"__type__": "spmatrix", "__value__": ""}, 1]),
    "a result": lambda: sampler([tagged(B()), {"__type__": "Result", "__value__": {}}, 1]),
    "a tag that is a list": lambda: sampler([tagged(B()), {"__type__": [], "__value__": 1}, 1]),
    "a tag that is not there": lambda: sampler([tagged(B()), {"__type__": "Nothing"}, 1]),
    "a circuit where values go": lambda: sampler([tagged(B()), tagged(B()), 1]),
    "a date where values go": lambda: sampler(
        [tagged(turning()), {"__type__": "datetime", "__value__": "2026-01-01"}, 1]
    ),
}


def _endless() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.measure(0, 0)
    return circuit


def _estimator(observables: Any, **options: Any) -> dict[str, Any]:
    return sampler([tagged(B(measured=False)), observables, None, 0.1], **options)


#: The estimator's.
HOSTILE_ESTIMATES: dict[str, Make] = {
    "no observables": lambda: _estimator(None),
    "observables that are a number": lambda: _estimator(7),
    "an observable of letters": lambda: _estimator({"QQ": 1.0}),
    "an observable of a million letters": lambda: _estimator({"Z" * 1_000_000: 1.0}),
    "an observable of another size": lambda: _estimator({"ZZZ": 1.0}),
    "an observable of nothing": lambda: _estimator({}),
    "an infinite coefficient": lambda: _estimator({"ZZ": float("inf")}),
    "a coefficient in words": lambda: _estimator({"ZZ": "one"}),
    "a complex coefficient": lambda: _estimator(
        {"ZZ": {"__type__": "complex", "__value__": [0, 1]}}
    ),
    "observables deep in lists": lambda: _estimator(json.loads("[" * 50 + "]" * 50)),
    "ragged observables": lambda: _estimator([[{"ZZ": 1.0}], {"ZZ": 1.0}]),
    "no precision": lambda: sampler([tagged(B(measured=False)), {"ZZ": 1.0}, None, 0.0]),
    "negative precision": lambda: sampler([tagged(B(measured=False)), {"ZZ": 1.0}, None, -1.0]),
    "a precision of 1e-300": lambda: sampler(
        [tagged(B(measured=False)), {"ZZ": 1.0}, None, 1e-300]
    ),
    "NaN precision": lambda: sampler([tagged(B(measured=False)), {"ZZ": 1.0}, None, float("nan")]),
    "a Pauli of another module": lambda: _estimator(_settings("os", "Pauli", data="ZZ")),
    "a Pauli that is a circuit": lambda: _estimator(
        _settings("qiskit.quantum_info.operators.symplectic.pauli", "QuantumCircuit", data=1)
    ),
    "a Pauli of a text": lambda: _estimator(
        _settings("qiskit.quantum_info.operators.symplectic.pauli", "Pauli", data={"a": 1})
    ),
    "a sum with an array bomb": lambda: _estimator(
        _settings(
            "qiskit.quantum_info.operators.symplectic.sparse_pauli_op",
            "SparsePauliOp",
            data=["ZZ"],
            coeffs={"__type__": "ndarray", "__value__": bomb()},
        )
    ),
    "a million observables": lambda: _estimator([{"ZZ": 1.0}] * 400_000),
}
