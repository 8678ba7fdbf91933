"""The second line of an answer, which comes when a job has ended (see `Request.tail_s`).

It is read from the connection that the request went out on; nobody else uses that until then. What
is not read in time, broken off, or missing is no error: who waits asks in the usual way.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import weakref
from collections.abc import Callable

MARGIN_S = 5.0  # beyond the time that the server was asked for


class Tail:
    """The rest of one answer.

    Args:
        connection: that it is read from.
        answer: whose first line was read.
        read: what was read behind the first line already.
        give_back: takes the connection when the answer has been read to its end.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        answer: http.client.HTTPResponse,
        read: bytes,
        give_back: Callable[[http.client.HTTPConnection], None],
    ) -> None:
        self._connection = connection
        self._answer = answer
        self._parts = [read] if read else []
        self._give_back = give_back
        self._lock = threading.Lock()
        self._over = False
        # One that nobody asks for leaves no open socket behind.
        self._ends = weakref.finalize(self, connection.close)

    def line(self, wait_s: float) -> bytes | None:
        """The line, or None if it has not come within `wait_s` seconds, or will not come.

        After None it is given up: the line is lost, and has to be asked for.
        """
        with self._lock:
            if self._over:
                return None
            self._over = True
            try:
                if self._connection.sock is not None:
                    self._connection.sock.settimeout(wait_s)
                while part := self._answer.read1():
                    self._parts.append(part)
            except (OSError, ValueError, http.client.HTTPException):
                self._close()
                return None
            self._ends.detach()
            if self._answer.will_close:
                self._connection.close()
            self._give_back(self._connection)
            return b"".join(self._parts).strip() or None

    @property
    def over(self) -> bool:
        """Whether it was read or given up."""
        return self._over

    def drop(self) -> None:
        """Give it up. Whoever is reading it at this moment goes on."""
        if self._lock.acquire(blocking=False):
            try:
                self._over = True
                self._close()
            finally:
                self._lock.release()

    def after_fork(self) -> None:
        """See `forks`: the line is the parent's."""
        self._lock = threading.Lock()
        self._over = True
        self._close()

    def _close(self) -> None:
        if self._ends.detach() is not None:
            with contextlib.suppress(OSError):
                self._connection.close()


def first_line(answer: http.client.HTTPResponse) -> tuple[bytes, bytes]:
    """Read an answer up to the end of its first line: the line, and what came behind it.

    Raises:
        OSError, http.client.HTTPException: it was broken off.
    """
    text = b""
    while b"\n" not in text:
        part = answer.read1()
        if not part:
            raise http.client.IncompleteRead(text)
        text += part
    line, _, rest = text.partition(b"\n")
    return line, rest
