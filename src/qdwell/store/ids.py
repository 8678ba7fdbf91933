"""Ids of jobs and groups, and API tokens: the store's only use of chance.

An id is 26 characters: 10 for the millisecond at which it was made, 16 random (80 bits). Ids made
one after the other sort nearly so, which keeps new rows together in the database's indexes.
"""

from __future__ import annotations

import secrets

from qdwell.clock import SystemClock

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u: an id survives being read aloud
_TIME_LETTERS = 10
_RANDOM_LETTERS = 16
_clock = SystemClock()


def new_id(at: int | None = None) -> str:
    """Return a fresh id: unique, opaque, at most 36 of `[A-Za-z0-9_-]` (J6).

    `at` is the instant that it is sorted by, in ms since the epoch; default: now.
    """
    stamp = _clock.now() if at is None else at
    return _spell(stamp, _TIME_LETTERS) + _spell(
        secrets.randbits(5 * _RANDOM_LETTERS), _RANDOM_LETTERS
    )


def new_token() -> str:
    """Return a fresh API token: 43 letters that hold 256 random bits."""
    return secrets.token_urlsafe(32)


def new_trace() -> str:
    """Return a fresh trace id: it tells nothing, not even how many requests there are."""
    return secrets.token_hex(8)


def new_cursor() -> str:
    """Return a fresh name of a place in a feed: it tells nothing of others' places."""
    return secrets.token_hex(12)


def _spell(number: int, length: int) -> str:
    return "".join(_LETTERS[number >> shift & 31] for shift in range(5 * (length - 1), -1, -5))
