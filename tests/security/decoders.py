"""Everything that reads a user's bytes, as one function each: the targets of the fuzzing.

A target takes bytes, does with them what the server or a worker does, and returns. It may refuse
them with the errors that are meant for that, which the caller is told; anything else that comes out
is a finding.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter
from qiskit.circuit.library import UnitaryGate
from qiskit_aer.noise import (
    NoiseModel,
    QuantumError,
    ReadoutError,
    amplitude_damping_error,
    depolarizing_error,
    thermal_relaxation_error,
)
from qiskit_ibm_runtime.json import RuntimeEncoder
from starlette.requests import Request

from qdwell.api import body
from qdwell.api.auth import Auth
from qdwell.api.jobs import LIST_QUERY
from qdwell.clock import ManualClock
from qdwell.console.signin import NotSignedIn, SignIn
from qdwell.engine import frames, sandbox
from qdwell.errors import BadInput, ProgramError, RequestError, WorkerLost
from qdwell.executors.job_noise import CutJobNoise
from qdwell.programs import Cache, Limits, Work, check_submission, noise_model
from qdwell.programs.program_reader import read_model
from qdwell.store import accounts, open_store
from qdwell.wire import arrays, codec, messages, tensors

CORPUS = Path(__file__).parent / "corpus"
MEANT = (RequestError, ProgramError, WorkerLost, NotSignedIn)
MOST = 4_000_000  # what one payload may hold here, so that a bomb is one soon
PROGRAMS = ("sampler", "estimator", "executor", "noise-learner")
NOW = 1_800_000_000_000

Target = Callable[[bytes], object]


def _read_query(data: bytes) -> None:
    """As every list reads its query: strictly, each parameter by its kind."""
    scope = {"type": "http", "query_string": data, "headers": []}
    request = Request(scope)
    _meant(body.check_query, request, LIST_QUERY)
    query = body.Query(request)
    for name in LIST_QUERY:
        query.text(name)
        query.texts(name)
        query.page(name, 10, 200)
        for read in (query.flag, query.instant):
            _meant(read, name)
        _meant(query.choice, name, ("ASC", "DESC"))


def _meant(work: Callable[..., object], *args: Any) -> None:
    with contextlib.suppress(MEANT):
        work(*args)


def _read_body(data: bytes) -> None:
    """A body through the parser into each message that the API takes."""
    value = body.parse_json(data, 64)
    for kind in vars(messages).values():
        if isinstance(kind, type) and issubclass(kind, messages.Request | messages.SearchRequest):
            _meant(body.check, kind, value)
    body.dump_json(value, data)


def _check_params(data: bytes) -> None:
    """What is looked at before a job is accepted, for each program."""
    value = body.parse_json(data, 64)
    for program in PROGRAMS:
        _meant(check_submission, program, value)


def _decode(data: bytes) -> None:
    """The tagged values of each program, without loading circuits: `qpy` is a target of its own."""
    value = codec.parse(data)
    for program in PROGRAMS:
        bounds = codec.Bounds(inflated_bytes=MOST)
        decoder = codec.Decoder(codec.TAGS[program], bounds, lambda text, field: text)
        _meant(decoder.decode, value)


def _read_program(data: bytes) -> None:
    """A quantum program: checked, weighed, and read by the client's own models."""
    value = body.parse_json(data, 64)
    check_submission("executor", value)
    read_model(value, Limits(inflated_bytes_max=MOST))


def _read_noise(data: bytes) -> None:
    """A job's own noise model: looked at, read, and made into Aer's for a circuit."""
    model = body.parse_json(data, 64)
    params = {"pubs": [], "version": 2, "options": {"simulator": {"noise_model": model}}}
    check_submission("sampler", params)
    work = Work("job", "sampler", b"", Limits(inflated_bytes_max=MOST))
    if (noise := noise_model.given(work, params, Cache())) is not None:
        met = frozenset(name for error in noise.gates for name in error.operations)
        CutJobNoise(noise).written(met, frozenset(range(5)))


def _weigh(data: bytes) -> None:
    value = codec.parse(data)
    for field, tensor in tensors.found(value, "params"):
        for compressed in (True, False):
            _meant(functools.partial(tensors.weigh, compressed=compressed), tensor, field, MOST)


@functools.cache
def _people() -> tuple[Auth, SignIn, str]:
    clock = ManualClock(NOW)
    store = open_store(Path(tempfile.mkdtemp(prefix="qdwell-fuzz-")))
    made = accounts.first_start(store, NOW)
    assert made is not None
    return Auth(store, clock), SignIn(store, clock, secure=True), made.token


def _check_token(data: bytes) -> None:
    """An access token and a console cookie."""
    auth, sign_in, _ = _people()
    text = data.decode("latin-1")
    _meant(auth._verify, text)
    cookie = b"qdwell_console=" + data
    _meant(sign_in.visitor, Request({"type": "http", "headers": [(b"cookie", cookie)]}))


def _read_frames(data: bytes) -> None:
    """What a worker that was taken over sends to the server."""
    decoder = frames.Decoder()
    for start in range(0, len(data), 7):
        list(decoder.feed(data[start : start + 7]))


TARGETS: dict[str, Target] = {
    "body": _read_body,
    "codec": _decode,
    "frames": _read_frames,
    "inflate": lambda data: arrays.inflate(data, "field", MOST),
    "noise": _read_noise,
    "npy": lambda data: arrays.read_npy(data, "field"),
    "params": _check_params,
    "program": _read_program,
    "qasm3": lambda data: codec.load_qasm3(data.decode("utf-8", "replace"), "field"),
    "qpy": lambda data: codec.load_qpy(data, "field"),
    "query": _read_query,
    "tensors": _weigh,
    "token": _check_token,
}


TAKEN, REFUSED = "taken", "refused"

#: Of a circuit with a number for its phase, from there on; sizes that fit into half of their bytes.
_INNER_HEADER = re.compile(rb"f\0\x08(?=(.{8})\0{4}.{8}\0{4})", re.DOTALL)
_check = codec.check_qpy


def _check_qpy(data: bytes, field: str, version_min: int = 13) -> None:
    """What a worker may die of (a circuit inside of one that claims too much; `corpus/jobs`), this
    process must not: such bytes are not for the targets here. Good ones may look like them.
    """
    _check(data, field, version_min)
    for found in _INNER_HEADER.finditer(data):
        qubits, clbits = struct.unpack("!II", found[1])
        if qubits > codec.QUBITS_MAX or clbits > codec.CLBITS_MAX:
            raise BadInput(f"{field} may claim too much inside", field=field)


def run(target: str, data: bytes) -> str:
    """What came of it: taken, or refused as is meant. Anything else is raised."""
    try:
        # As a worker's.
        with sandbox.opening(), patch.object(codec, "check_qpy", _check_qpy):
            TARGETS[target](data)
    except MEANT:
        return REFUSED
    return TAKEN


# ---- what is well-formed, to start from ----------------------------------------------------------


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def _circuit() -> bytes:
    circuit = QuantumCircuit(2, 2, metadata={"who": "me"})
    circuit.rx(Parameter("a"), 0)
    circuit.cx(0, 1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure([0, 1], [0, 1])
    file = io.BytesIO()
    qpy.dump(circuit, file, version=17)
    return file.getvalue()


def _tagged(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"__type__": kind, "__value__": value, **more}


def _tensor(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return tensors.pack(array, compressed=True)


def _noise() -> list[bytes]:
    """A noise model in each form in which clients send one, with each kind of step."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.03, 2), ["cx"])
    model.add_quantum_error(thermal_relaxation_error(50, 40, 10), ["sx"], [0])
    model.add_quantum_error(amplitude_damping_error(0.1), ["x"], [1])
    unitary = UnitaryGate(np.diag([1, 1j]), label="tilt")
    model.add_all_qubit_quantum_error(QuantumError([(unitary, 1)]), ["rz", "measure"])
    model.add_readout_error(ReadoutError([[0.95, 0.05], [0.1, 0.9]]), [1])
    plain = json.dumps(model.to_dict(serializable=True))
    return [it.encode() for it in (json.dumps(model, cls=RuntimeEncoder), plain)]


#: Much of what is read, much of what can be written and is refused, and the usual.
OPENQASM = [
    """OPENQASM 3.0; include "stdgates.inc";
input angle[32] theta; qubit[3] q; bit[3] c; let pair = q[0:1];
gate both(a) x, y { crx(a / 2) x, y; s y; U(0, pi, 1e-3) y; }
both(-theta * pi) pair[0], q[2]; barrier q; reset q[1]; delay[100ns] q; gphase(pi);
for int i in [0:2:2] { h q[1]; } c = measure q; // all
if (c[0] == true) { x q[0]; } else { cz q[0], q[1]; }
while (c == 2) { c[2] = measure q[2]; break; } qreg r[2]; creg k[2];""",
    """OPENQASM 3; const int[8] n = 2 ** 3 - 0x7; switch (n) { case 1, 2 { } default { } }
defcalgrammar "openpulse"; extern g(complex[float]) -> duration; pragma a b
@reversible
def f(qubit q, readonly array[float[64], #dim = 1] a) -> bit { return measure q; }
array[uint[16], 2, 2] m = {{1, 2}, {3, 0b1}}; output stretch t; durationof({ x $0; });
cal { play(d0, 1); } defcal x $0 -> bit { } box[1us] { nop $0; }
ctrl @ pow(0.5) @ inv @ s $0, $1; float r = float(m[0, 1]) + 1im; bool b = !true; end;""",
    'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit c; h q[0]; c = measure q[0];',
]


def seeds() -> dict[str, list[bytes]]:
    """Well-formed inputs of each target."""
    auth, _, token = _people()
    made = _circuit()
    floats, bits = np.arange(6.0).reshape(2, 3), np.ones((2, 9), bool)
    array = _tagged("ndarray", _packed(arrays.write_npy(floats)))
    bindings = {"shape": [2], "data": {'["a"]': array}}
    pauli = {"__module__": "qiskit.quantum_info.operators.symplectic.pauli", "__class__": "Pauli"}
    tags: list[Any] = [
        array,
        _tagged("ndarray", [1, 2.5]),
        _tagged("QuantumCircuit", _packed(made)),
        _tagged("BindingsArray", bindings),
        _tagged("ObservablesArray", [{"ZZ": 1.0}]),
        _tagged("complex", [0.5, -1]),
        _tagged("settings", {"data": "XY"}, **pauli),
        _tagged("NoiseLearnerResult", {"data": []}),
    ]  # fmt: skip
    pubs = {"pubs": [[tags[2], None, 5]], "version": 2, "options": {"default_shots": 5}}
    executor = {
        "schema_version": "v2.0",
        "quantum_program": {
            "shots": 3,
            "circuits": {"b64_data": _packed(made), "qpy_version": 17, "num_programs": 1},
            "items": [
                {"item_type": "circuit", "circuit_arguments": _tensor(np.ones((4, 1))), "shape": [],
                 "chunk_size": "auto"}
            ],
            "meas_level": "classified",
            "passthrough_data": {"any": [1, _tensor(bits)]},
        },
        "options": {},
    }  # fmt: skip
    job = {"program_id": "sampler", "backend": "x", "params": pubs, "tags": ["a"], "cost": 5}
    access = _run(auth.access(token))[0].encode()
    return {
        "body": [_json(job), _json({"mode": "batch", "max_ttl": 5}), b'{"tags": ["a\\u00fc"]}'],
        "codec": [_json(it) for it in (tags, pubs)],
        "frames": [b"".join(frames.encode({"op": "done", "n": [1]}, [b"part", b""])) * 2],
        "inflate": [zlib.compress(bytes(100)), zlib.compress(made, 9)],
        "noise": _noise(),
        "npy": [arrays.write_npy(it) for it in (floats, bits, np.zeros((0, 4)), np.array(2j))],
        "params": [_json(pubs), _json(executor)],
        "program": [_json(executor)],
        "qasm3": [it.encode() for it in OPENQASM],
        "qpy": [made],
        "query": [b"limit=5&tags=a&tags=b&pending=true", b"created_after=2026-01-01T00:00:00Z"],
        "tensors": [_json([_tensor(floats), _tensor(bits)]), _json(executor)],
        "token": [access, access.rpartition(b".")[0] + b"."],
    }  # fmt: skip


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _run(waited: Any) -> Any:
    import asyncio

    return asyncio.run(waited)


#: Numbers that lengths and counts are often wrong for, and words that mean something here.
EDGES = [struct.pack(form, n) for form in (">I", "<I", ">Q", "<Q") for n in (0, 2**31 - 1, 2**31)]
EDGES += [b"\xff" * 4, b"\xff" * 8, b"-1", b"1e999", b"NaN", b"null", b"9" * 40, b"[" * 300]
EDGES += [b'{"__type__":', b'"__value__":', b"\x00", b"\xc0\xaf", b"%", b"true", b"0.1", b"()"]
EDGES += [b"{}", b"\\ud800", b"1" + b"0" * 400]
