"""A submission that is sent twice is one job.

A client that lost the answer to a submission cannot know whether the job is there. With an
`Idempotency-Key` it sends the same again: the job's id is made of the instance and the key, so the
repetition finds the job, also after a restart, because the id is as durable as the job. The key has
the form of our ids, 10 letters of time and 16 of chance; the time stays in front, so that new rows
stay together in the database.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from qdwell.errors import BadInput

#: Said by a server that passes a request on, and has given it a key because the client gave none.
KEYED_BY_US = "x-qdwell-keyed"

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_KEY = re.compile(f"[{_LETTERS}]{{26}}")
_TIME_LETTERS = 10


def job_id_of(instance: str, key: str | None) -> str | None:
    """The id of the job that is submitted with this key; None without a key.

    Raises:
        BadInput: the key is not 26 letters of our alphabet.
    """
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise BadInput(
            "Idempotency-Key must be 26 of 0-9 and a-z without i, l, o, u.", field="Idempotency-Key"
        )
    number = int.from_bytes(blake2b(f"{instance}\n{key}".encode(), digest_size=10).digest())
    return key[:_TIME_LETTERS] + "".join(_LETTERS[number >> at & 31] for at in range(75, -1, -5))
