"""How long a caller waits at most: the `timeout` of `result`, `wait`, and their twins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from qdwell.client.driving import Hold
from qdwell.client.errors import RuntimeJobTimeoutError, ServerUnreachable
from qdwell.client.link import HELD_MS
from qdwell.client.tail import Tail
from qdwell.clock import stopwatch_ns


class Limit:
    """A caller's time, which begins now. A server that is away or hangs has no more of it.

    Args:
        timeout: seconds; None, or infinity, for ever.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._end: int | None = None
        if timeout is not None and timeout != inf:
            self._end = stopwatch_ns() + int(timeout * 1e9)

    def _rest_ms(self) -> int:
        return HELD_MS if self._end is None else (self._end - stopwatch_ns()) // 1_000_000

    def over(self) -> bool:
        """Whether nothing is left of it."""
        return self._end is not None and self._rest_ms() <= 0

    def patience_s(self) -> float | None:
        """How long a request may wait for a server that is away; None: the usual time."""
        return None if self._end is None else max(0, self._rest_ms()) / 1000

    def hold(self, jobs: tuple[str, ...], tail: Tail | None = None) -> Hold:
        """Wait for one of these jobs, within it."""
        return Hold(jobs, max(1, min(self._rest_ms(), HELD_MS)), self.patience_s(), tail)

    @contextmanager
    def told(self, who: str) -> Iterator[None]:
        """If it passed without an answer, that is what the caller hears, and why."""
        try:
            yield
        except ServerUnreachable as error:
            if not self.over():
                raise
            raise RuntimeJobTimeoutError(
                f"{who} not ended within {self._timeout} s, as far as is known. {error}"
            ) from error
