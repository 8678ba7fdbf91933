"""Results as the stock client's decoder reads them: `PrimitiveResult` down to `.npy` arrays.

Everything is built from plain dicts, so that no class of the client is needed here. A PUB's result
is encoded once, to bytes; the job's result is put together from those bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from qdwell.clock import iso
from qdwell.wire.arrays import pack_array


@dataclass(frozen=True, slots=True)
class Span:
    """When a device ran for one PUB: `start`, `stop` (ms since the epoch), over data of `shape`."""

    pub: int
    shape: tuple[int, ...]
    start: int
    stop: int


def tagged(tag: str, value: Any) -> dict[str, Any]:
    """The tagged form of a value."""
    return {"__type__": tag, "__value__": value}


def bit_array(bits: NDArray[np.uint8], num_bits: int) -> dict[str, Any]:
    """A `BitArray`: `bits` is `(..., shots, ceil(num_bits / 8))`, highest byte first."""
    return tagged("BitArray", {"array": pack_array(bits), "num_bits": num_bits})


def data_bin(shape: Sequence[int], fields: Mapping[str, Any]) -> dict[str, Any]:
    """A `DataBin` of `shape` with encoded `fields`."""
    return tagged(
        "DataBin", {"field_names": list(fields), "shape": list(shape), "fields": dict(fields)}
    )


def free_json(value: Any) -> orjson.Fragment:
    """A user's own plain JSON, kept as Python writes it, `NaN` and large integers included."""
    return orjson.Fragment(json.dumps(value).encode())


def sampler_pub(data: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    """One `SamplerPubResult` as JSON text."""
    return orjson.dumps(tagged("SamplerPubResult", {"data": data, "metadata": metadata}))


def estimator_pub(data: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    """One `EstimatorPubResult` as JSON text."""
    return orjson.dumps(tagged("EstimatorPubResult", {"data": data, "metadata": metadata}))


def primitive_result(pubs: Sequence[bytes], metadata: Mapping[str, Any]) -> bytes:
    """A `PrimitiveResult` of encoded PUB results as JSON text."""
    parts = [orjson.Fragment(pub) for pub in pubs]
    return orjson.dumps(tagged("PrimitiveResult", {"pub_results": parts, "metadata": metadata}))


def execution_spans(spans: Sequence[Span]) -> dict[str, Any]:
    """`ExecutionSpans` with one span per PUB, each over all of its data."""
    return tagged("ExecutionSpans", {"spans": [span(each) for each in spans]})


def span(one: Span) -> dict[str, Any]:
    """One `ExecutionSpan` over all data of a PUB."""
    size = int(np.prod(one.shape, dtype=np.int64))
    return _timed("ExecutionSpan", one, [list(one.shape), 0, size])


def twirled_span(one: Span, pub_shots: int) -> dict[str, Any]:
    """One `TwirledSliceSpanV2` over all data of a twirled PUB, randomizations in front."""
    elements = int(np.prod(one.shape[:-1], dtype=np.int64))
    slices = [list(one.shape), True, 0, elements, 0, one.shape[-1], pub_shots]
    return _timed("TwirledSliceSpanV2", one, slices)


def _timed(tag: str, one: Span, slices: list[Any]) -> dict[str, Any]:
    return tagged(
        tag,
        {
            "start": tagged("datetime", iso(one.start)),
            "stop": tagged("datetime", iso(one.stop)),
            "data_slices": {str(one.pub): slices},
        },
    )
