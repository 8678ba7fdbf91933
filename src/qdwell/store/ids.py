"""Ids of jobs and groups, and API tokens: the store's only use of chance.

An id is 26 characters: 10 for the millisecond at which it was made, 16 random (80 bits). Ids made
one after the other sort nearly so, which keeps new rows together in the database's indexes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence

from qdwell.clock import SystemClock

LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u: an id survives being read aloud
SPELT_BYTES = 10  # make 16 letters
_PAIRS = [first + second for first in LETTERS for second in LETTERS]
_TIME, _CHANCE = range(40, -1, -10), range(70, -1, -10)  # where each pair's bits begin
_BULK = 512
_clock = SystemClock()


class _Chance:
    """Random bytes in pieces, got from the system in bulk: one by one that is most of an id's cost.

    Any thread may take a piece. A process that is forked off takes none of ours.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: list[bytes] = []
        os.register_at_fork(after_in_child=self._pieces.clear)

    def take(self) -> bytes:
        """A piece that nobody else has."""
        while True:
            try:
                return self._pieces.pop()
            except IndexError:
                size, bulk = self._size, os.urandom(_BULK * self._size)
                self._pieces += [bulk[at : at + size] for at in range(0, len(bulk), size)]


_for_ids, _for_traces = _Chance(SPELT_BYTES), _Chance(8)


def new_id(at: int | None = None) -> str:
    """Return a fresh id: unique, opaque, at most 36 of `[A-Za-z0-9_-]` (J6).

    `at` is the instant that it is sorted by, in ms since the epoch; default: now.
    """
    stamp = _clock.now() if at is None else at
    return _spell(stamp, _TIME) + spelt(_for_ids.take())


def new_token() -> str:
    """Return a fresh API token: 43 letters that hold 256 random bits."""
    return secrets.token_urlsafe(32)


def new_trace() -> str:
    """Return a fresh trace id: it tells nothing, not even how many requests there are."""
    return _for_traces.take().hex()


def new_cursor() -> str:
    """Return a fresh name of a place in a feed: it tells nothing of others' places."""
    return secrets.token_hex(12)


def spelt(content: bytes) -> str:
    """The 16 letters of 10 bytes."""
    return _spell(int.from_bytes(content, "big"), _CHANCE)


def _spell(number: int, shifts: Sequence[int]) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in shifts])
