"""A key for each submission, so that one that is repeated is still one job.

It is 26 letters: the millisecond at which it was made, and 80 random bits. The server makes the
job's id of it and of the instance.
"""

from __future__ import annotations

import secrets

from qdwell.clock import SystemClock

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_clock = SystemClock()


def new_key() -> str:
    """A fresh key."""
    number = _clock.now() << 80 | secrets.randbits(80)
    return "".join(_LETTERS[number >> shift & 31] for shift in range(125, -1, -5))
