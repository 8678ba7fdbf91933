"""Arrays and compressed bytes, read with suspicion.

A payload of 144 bytes can claim an array of 373 GiB, and 200 kB of zlib can hold 200 MiB. So
inflation stops at a limit, and the header of a `.npy` is parsed and compared with the bytes that
are really there before anything is allocated (wire-protocol 15.1). Pickles never load: the element
types are a fixed set of plain numbers.
"""

from __future__ import annotations

import ast
import base64
import binascii
import math
import struct
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdwell.errors import BadInput

#: The most that one compressed value may hold when inflated.
INFLATED_BYTES_MAX = 256 * 1024 * 1024

_MAGIC = b"\x93NUMPY"
_HEADER_BYTES_MAX = 4096
_DIMENSIONS_MAX = 32
_HEADERS_KEPT = 256
_DTYPES = frozenset(
    ["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8", "<c8", "<c16"]
)


def unbase64(text: str, field: str) -> bytes:
    """The bytes of a base64 text.

    Raises:
        BadInput: the text is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{field} is not valid base64: {error}", field=field) from error


def inflate(packed: bytes, field: str, most: int = INFLATED_BYTES_MAX) -> bytes:
    """Undo zlib, but never beyond `most` bytes.

    Raises:
        BadInput: the stream is damaged, cut off, or larger than `most`.
    """
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, most + 1)
    except zlib.error as error:
        raise BadInput(f"{field} is not a zlib stream: {error}", field=field) from error
    if len(data) > most:
        raise BadInput(f"{field} inflates to more than {most} bytes", field=field)
    if not stream.eof:
        raise BadInput(f"{field} ends before its zlib stream does", field=field)
    return data


def read_npy(data: bytes, field: str) -> NDArray[Any]:
    """The array in a `.npy` file; read-only, sharing the bytes.

    Raises:
        BadInput: not a `.npy`, an element type that is not a plain number, or a shape that the
            bytes present do not fill exactly.
    """
    if data[:6] != _MAGIC or len(data) < 12 or data[6] not in (1, 2, 3):
        raise BadInput(f"{field} is not a .npy array", field=field)
    width, form = (2, "<H") if data[6] == 1 else (4, "<I")
    (length,) = struct.unpack_from(form, data, 8)
    start = 8 + width + length
    if length > _HEADER_BYTES_MAX or start > len(data):
        raise BadInput(f"{field} has a .npy header of impossible length", field=field)
    dtype, fortran, shape = _header(data[8 + width : start], field)
    expected = math.prod(shape) * dtype.itemsize
    if expected != len(data) - start:
        raise BadInput(
            f"{field} claims shape {list(shape)} of {dtype} ({expected} bytes) "
            f"but holds {len(data) - start} bytes",
            field=field,
        )
    flat = np.frombuffer(data, dtype=dtype, offset=start)
    try:
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, OverflowError) as error:  # without values, any size can be claimed
        raise BadInput(f"{field} claims an impossible shape {list(shape)}", field=field) from error


def _header(raw: bytes, field: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    try:
        descr, fortran, shape = _parsed(raw)
    except (SyntaxError, ValueError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise BadInput(f"{field} has a damaged .npy header", field=field) from error
    if not isinstance(descr, str) or descr not in _DTYPES:
        raise BadInput(f"{field} has elements of type {descr!r}; plain numbers only", field=field)
    plain = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if not plain or len(shape) > _DIMENSIONS_MAX or not isinstance(fortran, bool):
        raise BadInput(f"{field} has an impossible shape in its .npy header", field=field)
    return np.dtype(descr), fortran, shape


@lru_cache(_HEADERS_KEPT)
def _parsed(raw: bytes) -> tuple[Any, Any, Any]:
    """The three fields of a header. Few shapes come again and again, and parsing takes longest."""
    header = ast.literal_eval(raw.decode("latin-1").strip())
    return header["descr"], header["fortran_order"], header["shape"]


def write_npy(array: NDArray[Any]) -> bytes:
    """The array as a `.npy` file of version 1.0, C order, little endian."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}"
    # The format wants the data to start at a multiple of 64 bytes, and the header to end in a
    # newline.
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"".join(
        (_MAGIC, b"\x01\x00", struct.pack("<H", len(header)), header.encode(), array.tobytes())
    )


def pack_array(array: NDArray[Any]) -> dict[str, Any]:
    """The tagged form of an array: base64 of zlib of `.npy`."""
    # Level 1: results are bits, which pack nearly as well as at level 6 in a fifth of the time.
    packed = base64.b64encode(zlib.compress(write_npy(array), 1)).decode("ascii")
    return {"__type__": "ndarray", "__value__": packed}


def unpack_array(payload: Any, field: str, most: int = INFLATED_BYTES_MAX) -> NDArray[Any]:
    """The array of a tagged value: packed text, or a plain number or (nested) list of them.

    Raises:
        BadInput: anything else, or one of the reasons of `inflate` and `read_npy`.
    """
    if isinstance(payload, str):
        return read_npy(inflate(unbase64(payload, field), field, most), field)
    return plain_array(payload, field)


def plain_array(payload: Any, field: str) -> NDArray[Any]:
    """An array from a number or nested lists of numbers.

    Raises:
        BadInput: ragged, or holding something that is not a number.
    """
    try:
        array = np.array(payload)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{field} is not a regular array: {error}", field=field) from error
    if array.dtype.kind not in "biufc":
        raise BadInput(f"{field} holds something that is not a number", field=field)
    return array
