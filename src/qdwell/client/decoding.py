"""What makes results of the server's JSON: for interim results and for the final one (R4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson

from qdwell.client.errors import IBMInputValueError
from qdwell.client.v1 import decoder_of
from qdwell.client.values import from_wire

Decoder: TypeAlias = Callable[[Any], Any]


class Decoders(NamedTuple):
    """How the results of one job are read."""

    interim: Decoder
    final: Decoder


#: Of the V2 programs.
TAGGED = Decoders(from_wire, from_wire)


def decoders_of(program_id: str, given: Any = None) -> Decoders:
    """The decoders that a user gave; without one, the program's own.

    Args:
        program_id: of the job.
        given: what is called with the decoded JSON; or an object whose `decode` takes its text, as
            the stock client's `ResultDecoder`; or a pair of these, for interim and final results.

    Raises:
        IBMInputValueError: it is none of these.
    """
    if given is None:
        own = decoder_of(program_id)
        return Decoders(own, own)
    if isinstance(given, Sequence):
        if len(given) != 2:
            raise IBMInputValueError(
                f"result_decoder is one decoder, or two (interim, final), not {len(given)}."
            )
        return Decoders(_single(given[0]), _single(given[1]))
    return Decoders(_single(given), _single(given))


def _single(given: Any) -> Decoder:
    decode = getattr(given, "decode", None)
    if callable(decode):
        return lambda raw: decode(orjson.dumps(raw).decode())
    if not callable(given):
        raise IBMInputValueError(f"A result_decoder must be callable, not {given!r}.")
    decoder: Decoder = given
    return decoder
