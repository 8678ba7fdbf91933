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
    return tagged("ExecutionSpans", {"spans": [_span(span) for span in spans]})


def _span(span: Span) -> dict[str, Any]:
    size = int(np.prod(span.shape, dtype=np.int64))
    return tagged(
        "ExecutionSpan",
        {
            "start": tagged("datetime", iso(span.start)),
            "stop": tagged("datetime", iso(span.stop)),
            "data_slices": {str(span.pub): [list(span.shape), 0, size]},
        },
    )
