"""`http.client` as we need it: a request goes out at once, and half a head is no answer.

Both classes are the library's, with one thing changed each.
"""

from __future__ import annotations

import http.client
from typing import Any, BinaryIO, cast

_END_OF_HEAD = (b"\r\n", b"\n")


class _Head:
    """The stream of an answer while its head is read; remembers the last line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        """The next line."""
        self.last = self._stream.readline(limit)
        return self.last

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


class WholeAnswer(http.client.HTTPResponse):
    """An answer whose head was read to its end.

    The library takes the end of the stream for the end of the head. What was cut off there has no
    length, so it would be an answer with an empty body.
    """

    def begin(self) -> None:
        """Read the head.

        Raises:
            http.client.RemoteDisconnected: there is no answer.
            http.client.IncompleteRead: it was cut off in its head.
        """
        stream = self.fp
        head = _Head(stream)
        self.fp = cast(Any, head)
        try:
            super().begin()
        finally:
            if self.fp is not None:  # it closes what it cannot read
                self.fp = stream
        if head.last not in _END_OF_HEAD:
            raise http.client.IncompleteRead(head.last)


class Connection(http.client.HTTPConnection):
    """Sends head and body of a request at once; the library sends each as a packet of its own, and
    the server would wake for both.
    """

    response_class = WholeAnswer
    _held: list[Any] | None = None

    def request(self, method: str, url: str, body: Any = None, *args: Any, **more: Any) -> None:
        """Send a request."""
        self._held = []
        try:
            super().request(method, url, body, *args, **more)
            held, self._held = self._held, None
            super().send(b"".join(held))
        finally:
            self._held = None

    def send(self, data: Any) -> None:
        """Send, or hold what is not yet a whole request."""
        if self._held is not None and isinstance(data, bytes):
            self._held.append(data)
        else:
            super().send(data)


class TlsConnection(Connection, http.client.HTTPSConnection):
    """The same with encryption."""
