"""Our own decoder of the client's tagged JSON: `{"__type__": tag, "__value__": payload}`.

The client's decoder must never see a user's bytes on a server: it imports modules by name, inflates
without limit, and believes array headers (wire-protocol 15.1). Here every tag that decodes is on a
list, the list is per program, and each payload has bounds. Decoding circuits runs the QPY loader,
so even this decoder runs only in worker processes.

Nothing of the client is imported here. Qiskit is imported when the first circuit comes.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from qdwell.errors import BadInput
from qdwell.wire import arrays

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

#: Which tags decode, for each program. `settings` means the three Pauli classes, nothing else.
TAGS: Mapping[str, frozenset[str]] = {
    "sampler": frozenset({"QuantumCircuit", "ndarray", "BindingsArray", "complex"}),
    #: Its values are no tagged ones: see `tensors`.
    "executor": frozenset(),
    "noise-learner": frozenset({"QuantumCircuit"}),
    "estimator": frozenset(
        {"QuantumCircuit", "ndarray", "BindingsArray", "ObservablesArray", "complex", "settings"}
        # A noise model that the noise learner gave.
        | {"_json", "NoiseLearnerResult"}
    ),
}

#: Of one circuit; far beyond every machine, and cheap to refuse.
QUBITS_MAX = 10_000
CLBITS_MAX = 1_000_000

_QPY_MAGIC = b"QISKIT"
_QPY_FORMULAS_AT = 18  # "p" or "e": how formulas of parameters are written, from version 10 on
_COUNT, _COUNT_AT = struct.Struct("!Q"), 10  # of circuits
_FILE_BYTES = 20  # of the file's header, from QPY 10 on, and of the kind of program
_QPY_WITH_TABLE = 16  # from this version on the places of the circuits follow
#: Of a circuit: sizes of the name and the phase, qubits, bits, metadata, registers, instructions,
#: and, from QPY 12 on, variables.
_CIRCUIT_HEADER = struct.Struct("!H1cHIIQIQI")
_PAULI_MODULE = "qiskit.quantum_info.operators"
_NOISE_CLASSES = frozenset({"LayerError", "PauliLindbladError"})
_PAULI_CLASSES = frozenset({"Pauli", "PauliList", "SparsePauliOp"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a decoder swallows. The body's own size is limited before it comes here."""

    depth: int = 32
    values: int = 1_000_000
    inflated_bytes: int = arrays.INFLATED_BYTES_MAX
    #: QPY below 13 may carry sympy or symengine text (CVE-2025-2000, CVE-2025-1403).
    qpy_version_min: int = 13


class CircuitError(BadInput):
    """A circuit cannot be read: names the PUB, and what the parser said (E26)."""

    row = "E26"
    code = 1603
    solution = "Send the circuit as QPY or OpenQASM 3 that the server's Qiskit can read."


@dataclass(frozen=True, slots=True)
class Bindings:
    """A bindings array as it came: values by parameter names, whose order is the last axis."""

    shape: tuple[int, ...] | None
    values: tuple[tuple[tuple[str, ...], Any], ...]


def parse(raw: bytes, field: str = "params") -> Any:
    """JSON text to plain values; `NaN` and `Infinity` are read as Python writes them.

    Raises:
        BadInput: not JSON, or nested too deeply for the parser.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        # The strict parser refuses NaN and Infinity, which the client's encoder may write.
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{field} is not valid JSON: {error}", field=field) from error


class Decoder:
    """Decodes tagged values of one submission.

    Args:
        tags: the tags that decode; any other is refused.
        bounds: the limits.
        load: turns the base64 text of a circuit into a circuit; a cache can stand in for `circuit`.
    """

    def __init__(
        self,
        tags: frozenset[str],
        bounds: Bounds | None = None,
        load: Callable[[str, str], Any] | None = None,
    ) -> None:
        self._tags = tags
        self._bounds = bounds or Bounds()
        self._load = load or self.circuit
        self._seen = 0

    def decode(self, value: Any, field: str = "params", depth: int = 0) -> Any:
        """The value with every tagged object replaced by what it stands for.

        Raises:
            BadInput: a tag that is not on the list, a damaged payload, or a bound passed.
        """
        self._seen += 1
        if self._seen > self._bounds.values:
            raise BadInput(f"{field}: more than {self._bounds.values} values", field=field)
        if depth > self._bounds.depth:
            raise BadInput(f"{field}: nested over {self._bounds.depth} levels", field=field)
        if isinstance(value, dict):
            if "__type__" in value:
                return self._tagged(value, field, depth)
            return {k: self.decode(v, f"{field}.{k}", depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.decode(v, f"{field}[{i}]", depth + 1) for i, v in enumerate(value)]
        return value

    def _tagged(self, value: dict[str, Any], field: str, depth: int) -> Any:
        tag, payload = value["__type__"], value.get("__value__")
        if not isinstance(tag, str) or tag not in self._tags:
            raise BadInput(
                f"{field} has a value of type {tag!r}, which this program does not take; "
                f"it takes {', '.join(sorted(self._tags))}",
                field=field,
            )
        match tag:
            case "QuantumCircuit":
                if not isinstance(payload, str):
                    raise CircuitError(f"{field} is not an encoded circuit", field=field)
                return self._load(payload, field)
            case "ndarray":
                return arrays.unpack_array(payload, field, self._bounds.inflated_bytes)
            case "complex":
                return _complex(payload, field)
            case "ObservablesArray" | "NoiseLearnerResult" | "NoiseModel":
                return self.decode(payload, field, depth + 1)
            case "_json":
                return self._layer_error(value, field, depth)
            case "BindingsArray":
                return self._bindings(payload, field, depth)
            case _:
                return self._pauli(value, field, depth)

    def circuit(self, text: str, field: str) -> QuantumCircuit:
        """The circuit in base64 of zlib of a QPY file with exactly one circuit.

        Raises:
            CircuitError: the version is outside what is served, or the loader cannot read it.
            BadInput: not base64 or zlib, or too large.
        """
        packed = arrays.unbase64(text, field)
        return load_qpy(
            arrays.inflate(packed, field, self._bounds.inflated_bytes),
            field,
            self._bounds.qpy_version_min,
        )

    def _bindings(self, payload: Any, field: str, depth: int) -> Bindings:
        if not isinstance(payload, dict):
            raise BadInput(f"{field} is not a bindings array", field=field)
        shape, data = payload.get("shape"), payload.get("data") or {}
        if shape is not None:
            shape = _shape(shape, field)
        if not isinstance(data, dict):
            raise BadInput(f"{field}.data must map names to values", field=f"{field}.data")
        values = []
        for key, item in data.items():
            names = parse(key.encode(), field)
            names = [names] if isinstance(names, str) else names
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise BadInput(f"{field}.data has a key that is not a list of names", field=field)
            array = self.decode(item, f"{field}.data", depth + 1)
            if isinstance(array, int | float | list):
                array = arrays.plain_array(array, field)
            values.append((tuple(names), array))
        return Bindings(shape, tuple(values))

    def _layer_error(self, value: dict[str, Any], field: str, depth: int) -> Any:
        """The parts of a layer error, or of the error in it, without the class that it names."""
        if value.get("__class__") not in _NOISE_CLASSES:
            raise BadInput(f"{field} is a {value.get('__class__')}: not accepted", field=field)
        return self.decode(value.get("__value__"), field, depth + 1)

    def _pauli(self, value: dict[str, Any], field: str, depth: int) -> Any:
        """A Pauli object as `{label: coefficient}`, built without the class that it names."""
        module, name = value.get("__module__"), value.get("__class__")
        payload = value.get("__value__")
        known = isinstance(module, str) and module.startswith(_PAULI_MODULE)
        if not known or name not in _PAULI_CLASSES or not isinstance(payload, dict):
            raise BadInput(f"{field} is a {module}.{name}, which is not accepted", field=field)
        data = payload.get("data")
        if name == "SparsePauliOp":
            paulis = self.decode(data, f"{field}.data", depth + 1)
            coeffs = self.decode(payload.get("coeffs"), f"{field}.coeffs", depth + 1)
            return _weighted(paulis, coeffs, field)
        labels = [data] if isinstance(data, str) else data
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise BadInput(f"{field}.data must be Pauli labels", field=f"{field}.data")
        terms = [_signed(label, field) for label in labels]
        return terms[0] if name == "Pauli" else terms


def check_qpy(data: bytes, field: str, version_min: int = 13) -> None:
    """Read the version of a QPY file, and how large it says it is, before any loader sees the rest.

    Raises:
        CircuitError: not QPY, a version that is not served, or more qubits or bits than any circuit
            here may have.
    """
    from qiskit.qpy.common import QPY_VERSION

    if data[:6] != _QPY_MAGIC or len(data) < 7:
        raise CircuitError(f"{field} is not a QPY file", field=field)
    if data[_QPY_FORMULAS_AT : _QPY_FORMULAS_AT + 1] == b"e" and version_min >= 13:
        raise CircuitError(
            f"{field} writes its formulas with symengine, which this server does not read",
            field=field,
            solution="Write it with qiskit 2, or ask the operator for the setting old_clients.",
        )
    if not version_min <= data[6] <= QPY_VERSION:
        raise CircuitError(
            f"{field} is QPY version {data[6]}; this server reads {version_min} to {QPY_VERSION}",
            field=field,
            solution="Write the circuit with a Qiskit release whose QPY version is in that range.",
        )
    _check_claims(data, field)


def load_qpy(data: bytes, field: str, version_min: int = 13) -> QuantumCircuit:
    """The one circuit in a QPY file; the version byte is read before the loader sees the rest.

    Raises:
        CircuitError: not QPY, a version that is not served, not one circuit, or unreadable.
    """
    from qiskit import QuantumCircuit, qpy

    check_qpy(data, field, version_min)
    try:
        circuits = qpy.load(io.BytesIO(data))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # Whatever the damaged bytes lead it to; Rust's panics too.
        raise CircuitError(f"{field} cannot be parsed as QPY: {error}", field=field) from error
    if len(circuits) != 1 or not isinstance(circuits[0], QuantumCircuit):
        raise CircuitError(f"{field} must hold exactly one circuit", field=field)
    return with_units(circuits[0])


def with_units(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit from a QPY file, in place, with delays that Qiskit can read.

    QPY writes the length of a delay without its unit, and the loader says dt. A fraction is no
    count of dt, and even looking at it is an error. It is in seconds: that is what the transpiler
    writes for a target without dt, such as an ideal simulator.
    """
    from qiskit.circuit import CONTROL_FLOW_OP_NAMES, ControlFlowOp, Delay

    names = circuit.count_ops().keys()
    if "delay" not in names and names.isdisjoint(CONTROL_FLOW_OP_NAMES):
        return circuit
    for place, step in enumerate(circuit.data):
        if step.name == "delay":
            length = step.params[0]
            if isinstance(length, float) and not length.is_integer():
                circuit.data[place] = step.replace(operation=Delay(length, "s"))
        elif step.name in CONTROL_FLOW_OP_NAMES and isinstance(step.operation, ControlFlowOp):
            blocks = [with_units(block) for block in step.operation.blocks]
            circuit.data[place] = step.replace(operation=step.operation.replace_blocks(blocks))
    return circuit


def _check_claims(data: bytes, field: str) -> None:
    """Look at what each circuit of the file says of its size. What is inside of circuits (blocks,
    definitions) only a loader finds; that is what the worker's bound on memory is for.
    """
    starts = [_FILE_BYTES]
    if data[6] >= _QPY_WITH_TABLE and len(data) >= _FILE_BYTES:
        (count,) = _COUNT.unpack_from(data, _COUNT_AT)
        table = data[_FILE_BYTES : _FILE_BYTES + _COUNT.size * count]
        whole = len(table) // _COUNT.size * _COUNT.size
        starts = [at for (at,) in _COUNT.iter_unpack(table[:whole])]
    for start in starts:
        if start + _CIRCUIT_HEADER.size > len(data):
            continue  # the loader says it better
        _, _, _, qubits, clbits, *_ = _CIRCUIT_HEADER.unpack_from(data, start)
        if qubits > QUBITS_MAX or clbits > CLBITS_MAX:
            raise CircuitError(
                f"{field} says that it has {qubits} qubits and {clbits} classical bits; "
                f"a circuit has at most {QUBITS_MAX} and {CLBITS_MAX}",
                field=field,
            )


def load_qasm3(text: str, field: str) -> QuantumCircuit:
    """The circuit of an OpenQASM 3 program.

    Raises:
        CircuitError: the program cannot be parsed; carries the parser's message.
    """
    from qiskit import qasm3

    if not text.strip():
        raise CircuitError(f"{field} is empty: there is no OpenQASM 3 program in it", field=field)
    try:
        return qasm3.loads(text)
    except Exception as error:  # The parser and the importer each raise classes of their own.
        raise CircuitError(
            f"{field} cannot be parsed as OpenQASM 3: {_qasm3_fault(error)}", field=field
        ) from error


def _qasm3_fault(error: Exception) -> str:
    """What is wrong, and where. The parser's own error says nothing; what it wraps knows."""
    cause = error.__cause__
    found = cause.args[0] if cause is not None and cause.args else None
    token = getattr(found, "startToken", None) or getattr(found, "offendingToken", None)
    if token is None:
        return str(error) or "it is no such program"
    return f"{token.line},{token.column}: {token.text!r} was not expected here"


def _complex(payload: Any, field: str) -> complex:
    if isinstance(payload, list) and len(payload) == 2:
        real, imag = payload
        if isinstance(real, int | float) and isinstance(imag, int | float):
            return complex(real, imag)
    raise BadInput(f"{field} is not a complex number [re, im]", field=field)


def _shape(value: Any, field: str) -> tuple[int, ...]:
    sizes = value if isinstance(value, list) else [value]
    if len(sizes) > 32 or not all(type(size) is int and size >= 0 for size in sizes):
        raise BadInput(f"{field}.shape is not a shape", field=f"{field}.shape")
    return tuple(sizes)


def _signed(label: str, field: str) -> dict[str, float]:
    body = label.lstrip("+-")
    sign = {"": 1.0, "+": 1.0, "-": -1.0}.get(label[: len(label) - len(body)])
    if sign is None or not body:
        raise BadInput(f"{field}: {label!r} is not a Hermitian Pauli label", field=field)
    return {body: sign}


def _weighted(paulis: Any, coeffs: Any, field: str) -> dict[str, float]:
    """The sum of `paulis`, one-term dicts, with their coefficients; equal labels add up."""
    if not isinstance(paulis, list) or not all(isinstance(term, dict) for term in paulis):
        raise BadInput(f"{field}.data must be a list of Paulis", field=f"{field}.data")
    flat = arrays.plain_array(coeffs, f"{field}.coeffs")
    if flat.shape != (len(paulis),):
        raise BadInput(f"{field}.coeffs needs one number per Pauli", field=f"{field}.coeffs")
    if flat.dtype.kind == "c" and flat.imag.any():
        raise BadInput(f"{field}.coeffs must be real: observables are Hermitian", field=field)
    total: dict[str, float] = {}
    for term, coeff in zip(paulis, flat.real.tolist(), strict=True):
        for label, sign in term.items():
            total[label] = total.get(label, 0.0) + sign * coeff
    return total
