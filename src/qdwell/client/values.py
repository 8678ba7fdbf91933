"""Python values to the tagged JSON of the wire, and results back.

Sent are circuits (QPY), arrays, observables, noise models, and plain JSON; anything else is refused
by name. What comes back was made by our own server, so its tags are few; an unknown one is an
error, never a dict that surprises later.

A circuit is written anew for each submission, because it may have been changed meanwhile and
because writing takes less time than any check for that: 0.05 ms for a small ansatz.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from qiskit import QuantumCircuit, qpy
from qiskit.primitives.containers import (
    BitArray,
    DataBin,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
)

from qdwell.client.errors import IBMInputValueError, IBMRuntimeError
from qdwell.wire.arrays import INFLATED_BYTES_MAX, pack_array, unpack_array

#: Shorter circuits are sent whole: their name would not be much shorter.
NAMED_FROM_CHARS = 600


@dataclass(frozen=True, slots=True)
class ExecutionSpan:
    """When a device ran for some PUBs.

    Attributes:
        start, stop: when, with time zone.
        pubs: the places of the PUBs in the job, with the shape of the data that was taken.
    """

    start: datetime
    stop: datetime
    pubs: Mapping[int, tuple[int, ...]]

    @property
    def duration(self) -> float:
        """Seconds from start to stop."""
        return (self.stop - self.start).total_seconds()

    @property
    def pub_idxs(self) -> list[int]:
        """The places of the PUBs, sorted."""
        return sorted(self.pubs)


class ExecutionSpans(tuple[ExecutionSpan, ...]):
    """All spans of a job."""

    __slots__ = ()

    @property
    def start(self) -> datetime:
        """When the first one began."""
        return min(span.start for span in self)

    @property
    def stop(self) -> datetime:
        """When the last one ended."""
        return max(span.stop for span in self)

    @property
    def duration(self) -> float:
        """Seconds from start to stop."""
        return (self.stop - self.start).total_seconds()


# ---- to the wire ---------------------------------------------------------------------------------


def circuit_text(circuit: QuantumCircuit) -> str:
    """A circuit as base64 of zlib of QPY."""
    file = io.BytesIO()
    qpy.dump(circuit, file)
    return base64.b64encode(zlib.compress(file.getvalue(), 1)).decode("ascii")


def circuit_value(text: str) -> dict[str, Any]:
    """The tagged form of an encoded circuit."""
    return {"__type__": "QuantumCircuit", "__value__": text}


def circuit_name(text: str) -> str:
    """The content address of an encoded circuit."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def named_circuit(name: str) -> dict[str, Any]:
    """A circuit that this instance has sent before, by its content address."""
    return {"__type__": "CircuitHash", "__value__": name}


def array_value(array: NDArray[Any]) -> dict[str, Any]:
    """The tagged form of an array."""
    return pack_array(array)


def plain(value: Any) -> Any:
    """A value that users give, as it is sent; called for what JSON itself does not know.

    Raises:
        IBMInputValueError: it cannot be sent.
    """
    if isinstance(value, QuantumCircuit):
        return circuit_value(circuit_text(value))
    if isinstance(value, np.ndarray):
        return pack_array(value)
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, complex):
        return {"__type__": "complex", "__value__": [value.real, value.imag]}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if _is_noise_model(value):
        return {"__type__": "NoiseModel", "__value__": value.to_dict()}
    to_list = getattr(value, "to_list", None)
    if callable(to_list):  # SparsePauliOp
        return {label: coeff.real for label, coeff in to_list()}
    raise IBMInputValueError(f"A {type(value).__name__} cannot be sent: {value!r}")


def _is_noise_model(value: Any) -> bool:
    """Told by its name: whoever has one has imported Aer, and others shall not wait for it."""
    kind = type(value)
    return kind.__name__ == "NoiseModel" and kind.__module__.startswith("qiskit_aer.")


def dumps(value: Any, default: Callable[[Any], Any] = plain) -> bytes:
    """The JSON text of a value, with `default` for what JSON does not know.

    Raises:
        IBMInputValueError: something in it cannot be sent.
    """
    try:
        return orjson.dumps(value, default=default, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        cause = error.__cause__
        if isinstance(cause, IBMInputValueError):
            raise cause from None
        raise IBMInputValueError(f"The inputs cannot be sent: {error}") from error


# ---- from the wire -------------------------------------------------------------------------------


def from_wire(value: Any) -> Any:
    """The value with every tagged object replaced by what it stands for.

    Raises:
        IBMRuntimeError: a tag that this release does not know.
    """
    if isinstance(value, dict):
        tag = value.get("__type__")
        if tag is None:
            return {key: from_wire(item) for key, item in value.items()}
        made = _MAKERS.get(tag)
        if made is None:
            raise IBMRuntimeError(
                f"The server sent a value of type {tag!r}, which this release of qdwell does not "
                "know; upgrade the client."
            )
        return made(value["__value__"])
    if isinstance(value, list):
        return [from_wire(item) for item in value]
    return value


def _circuit(payload: str) -> QuantumCircuit:
    (circuit,) = qpy.load(io.BytesIO(zlib.decompress(base64.b64decode(payload))))
    assert isinstance(circuit, QuantumCircuit)
    return circuit


def _array(payload: Any) -> NDArray[Any]:
    # A copy: the bytes behind it are read-only, and users write into their results.
    return np.array(unpack_array(payload, "result", INFLATED_BYTES_MAX))


def _data_bin(payload: Mapping[str, Any]) -> DataBin:
    fields = {name: from_wire(item) for name, item in payload["fields"].items()}
    return DataBin(shape=tuple(payload["shape"] or ()), **fields)


def _bit_array(payload: Mapping[str, Any]) -> BitArray:
    return BitArray(from_wire(payload["array"]), int(payload["num_bits"]))


def _pub(kind: type[PubResult]) -> Callable[[Mapping[str, Any]], PubResult]:
    def make(payload: Mapping[str, Any]) -> PubResult:
        return kind(from_wire(payload["data"]), from_wire(payload["metadata"]))

    return make


def _primitive_result(payload: Mapping[str, Any]) -> PrimitiveResult[PubResult]:
    return PrimitiveResult(from_wire(payload["pub_results"]), from_wire(payload["metadata"]))


def _span(payload: Mapping[str, Any]) -> ExecutionSpan:
    slices: Mapping[str, Sequence[Any]] = payload["data_slices"]
    return ExecutionSpan(
        from_wire(payload["start"]),
        from_wire(payload["stop"]),
        {int(place): tuple(part[0]) for place, part in slices.items()},
    )


_MAKERS: Mapping[str, Callable[[Any], Any]] = {
    "BitArray": _bit_array,
    "DataBin": _data_bin,
    "EstimatorPubResult": _pub(PubResult),
    "ExecutionSpan": _span,
    "ExecutionSpans": lambda payload: ExecutionSpans(from_wire(payload["spans"])),
    "PrimitiveResult": _primitive_result,
    "PubResult": _pub(PubResult),
    "QuantumCircuit": _circuit,
    "SamplerPubResult": _pub(SamplerPubResult),
    "complex": lambda payload: complex(*payload),
    "datetime": datetime.fromisoformat,
    "ndarray": _array,
}
