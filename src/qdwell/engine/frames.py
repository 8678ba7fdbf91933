"""The words between the server and its workers: a JSON head, then raw bytes.

Nothing that comes from a worker is ever unpickled in the server. A worker opens what users send
(QPY, arrays), so it must be thought of as taken over; and a pickle is a program. So a frame is

    4 bytes   length of the head, big endian
    head      a JSON object; its "parts" lists the lengths of the parts
    parts     bytes that the server stores or passes on, and never looks into

both ways, with bounds on each length. A worker that breaks them is killed like one that crashed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from qdwell.errors import WorkerLost

HEAD_BYTES_MAX = 4_000_000  # facts of very many circuits still fit
PARTS_BYTES_MAX = 2_000_000_000  # of one frame; a result above this cannot be handed out either
PARTS_MAX = 1_000_000  # a result, and an interim one for each PUB; the head's bound comes first

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: `head` says what it is, `parts` are bytes as they are."""

    head: dict[str, Any]
    parts: tuple[bytes, ...] = ()
    at: int | None = None  #: when it came, if it had to wait since

    @property
    def op(self) -> str:
        """What the message is."""
        return str(self.head.get("op", ""))


def encode(head: Mapping[str, Any], parts: Sequence[bytes] = ()) -> list[bytes]:
    """The buffers of one frame, in order; large parts are not copied."""
    text = orjson.dumps({**head, "parts": [len(part) for part in parts]})
    return [_LENGTH.pack(len(text)) + text, *parts]


class Decoder:
    """Cuts a stream of bytes into frames; keeps what is not yet whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: dict[str, Any] | None = None
        self._lengths: list[int] = []
        self._need = _LENGTH.size

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that are whole now.

        Raises:
            WorkerLost: the bytes are no frame, or one beyond the bounds.
        """
        self._buffer += data
        while len(self._buffer) >= self._need:
            if self._head is None:
                frame = self._open()
                if frame is not None:
                    yield frame
            else:
                yield self._close()

    def _open(self) -> Frame | None:
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > HEAD_BYTES_MAX:
            raise WorkerLost(f"a frame's head of {length} bytes is beyond {HEAD_BYTES_MAX}")
        if len(self._buffer) < _LENGTH.size + length:
            self._need = _LENGTH.size + length
            return None
        with memoryview(self._buffer) as view:
            head, lengths = _parse_head(view[_LENGTH.size : _LENGTH.size + length])
        del self._buffer[: _LENGTH.size + length]
        self._head, self._lengths, self._need = head, lengths, sum(lengths)
        return self._close() if len(self._buffer) >= self._need else None

    def _close(self) -> Frame:
        parts, at = [], 0
        with memoryview(self._buffer) as view:
            for length in self._lengths:
                parts.append(bytes(view[at : at + length]))
                at += length
        del self._buffer[:at]
        head, self._head, self._need = self._head or {}, None, _LENGTH.size
        return Frame(head, tuple(parts))


def _parse_head(text: memoryview) -> tuple[dict[str, Any], list[int]]:
    try:
        head = orjson.loads(text)
        lengths = head.pop("parts")
        good = len(lengths) <= PARTS_MAX and all(type(n) is int and n >= 0 for n in lengths)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WorkerLost(f"a frame has no readable head: {error}") from error
    if not good or sum(lengths) > PARTS_BYTES_MAX:
        raise WorkerLost(f"a frame's parts are beyond the bounds: {lengths!r:.80}")
    return head, lengths


class Channel:
    """A worker's own end of its socket: blocking, one frame at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = Decoder()
        self._waiting: list[Frame] = []

    def send(self, head: Mapping[str, Any], parts: Sequence[bytes] = ()) -> None:
        """Write one frame whole."""
        buffers = encode(head, parts)
        if sum(map(len, buffers)) <= 65_536:
            self._sock.sendall(b"".join(buffers))
            return
        for buffer in buffers:
            self._sock.sendall(buffer)

    def receive(self) -> Frame | None:
        """The next frame, or None once the server is gone."""
        while not self._waiting:
            data = self._sock.recv(1 << 18)
            if not data:
                return None
            self._waiting.extend(self._decoder.feed(data))
        return self._waiting.pop(0)
