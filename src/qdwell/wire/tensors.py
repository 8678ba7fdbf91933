"""Tensors of the executor program: `{data, shape, dtype}`, little endian, C order, base64.

Schema v2.0 compresses the data with zlib and knows every plain dtype; earlier schemas do neither
(wire-protocol 11.4). Booleans are packed eight to a byte, least significant bit first. Results are
written here; what comes in is only weighed here, and then read by the client's published models.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdwell.errors import BadInput
from qdwell.wire import arrays

#: Our arrays are of these types; the first schemas have but four of the names.
_NAMES = {
    "b1": "bool", "f2": "f16", "f4": "f32", "f8": "f64", "i1": "i8", "i2": "i16", "i4": "i32",
    "i8": "i64", "u1": "u8", "u2": "u16", "u4": "u32", "u8": "u64", "c8": "c64", "c16": "c128",
}  # fmt: skip
_NAMES_BEFORE_V2 = frozenset({"f64", "bool", "u8", "c128"})
_DIMENSIONS_MAX = 32


def pack(array: NDArray[Any], *, compressed: bool) -> dict[str, Any]:
    """The tensor of an array; without `compressed` in one of the four types of earlier schemas."""
    if not compressed and _name(array) not in _NAMES_BEFORE_V2:
        array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    name = _name(array)
    if name == "bool":
        data = np.packbits(array.reshape(-1), bitorder="little").tobytes()
    else:
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    if compressed:
        # Level 1: bits pack nearly as well as at level 6, in a fifth of the time.
        data = zlib.compress(data, 1)
    text = base64.b64encode(data).decode("ascii")
    return {"data": text, "shape": list(array.shape), "dtype": name}


def _name(array: NDArray[Any]) -> str:
    return _NAMES[f"{array.dtype.kind}{array.dtype.itemsize}"]


def found(value: Any, field: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every tensor anywhere inside of a JSON value, with the path to it."""
    stack = [(field, value)]
    while stack:
        path, here = stack.pop()
        if isinstance(here, Mapping):
            if set(here) == {"data", "shape", "dtype"}:
                yield path, here
            else:
                stack += [(f"{path}.{key}", item) for key, item in here.items()]
        elif isinstance(here, list):
            stack += [(f"{path}[{place}]", item) for place, item in enumerate(here)]


def weigh(tensor: Mapping[str, Any], field: str, most: int, *, compressed: bool) -> int:
    """Bytes that a tensor takes when it is unpacked; never unpacks more than `most`.

    Raises:
        BadInput: it is no tensor, larger than `most`, or its shape is impossible.
    """
    data, shape = tensor["data"], tensor["shape"]
    plain = isinstance(shape, list) and all(type(it) is int and it >= 0 for it in shape)
    if not isinstance(data, str) or not plain or len(shape) > _DIMENSIONS_MAX:
        raise BadInput(f"{field} is not a tensor of base64 data and a shape", field=field)
    raw = arrays.unbase64(data, field)
    size = len(arrays.inflate(raw, field, most) if compressed else raw)
    # Each byte holds at most eight values, so the shape cannot claim more than is there.
    if math.prod(shape) > 8 * size:
        raise BadInput(f"{field} claims shape {shape} but holds {size} bytes", field=field)
    if 8 * size > most and tensor["dtype"] == "bool":
        raise BadInput(f"{field} holds more than {most} values", field=field)
    return size
