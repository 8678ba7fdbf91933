"""Reads a request: its body within limits, its JSON, its query; every fault is a named 400.

Nothing hostile is opened here. A body is refused as soon as it is too long, before it is read to
the end; JSON is parsed by a parser that cannot be driven into deep recursion; circuits and arrays
inside stay opaque text.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Collection, Iterable
from functools import cache
from itertools import accumulate
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from qdwell.api.turns import blocking
from qdwell.clock import parse_iso
from qdwell.errors import BadInput, BodyTooLarge

VALUES_MAX = 1_000_000  # each costs a hundred bytes once it is parsed
BIG_BYTES = 262_144  # beyond this, parsing would hold up the loop: it goes to a thread

_STEPS = bytes.maketrans(b"[{]},", b"\x01\x01\xff\xff\x00")
_NOT_MARKS = bytes(set(range(256)) - set(b"[]{},"))

#: Escapes that are letters only in pairs; the tolerant parser lets through those that are not.
_HALF_LETTERS = re.compile(rb"\\u[dD][89a-fA-F]")

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


async def read_body(request: Request, most: int) -> bytes:
    """Return the body, of at most `most` bytes.

    Raises:
        BodyTooLarge: it is longer, or says that it will be.
        BadInput: it is compressed.
    """
    headers = request.headers
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise BodyTooLarge(most)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise BadInput("Compressed bodies are not accepted.", field="Content-Encoding")
    chunks: list[bytes] = []
    size, more = 0, True
    while more:  # what `request.stream` does, without a generator's cost
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > most:
            raise BodyTooLarge(most)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def in_proportion(size: int, work: Callable[..., T], *args: Any) -> T:
    """Do the work here if it is small, in a thread if it is so big that others would wait."""
    if size < BIG_BYTES:
        return work(*args)
    return await blocking(work, *args)


def parse_json(body: bytes, depth_max: int) -> Any:
    """Return the value of a JSON text.

    NaN and Infinity are taken as Python writes them, because the stock client sends them so.

    Raises:
        BadInput: it is not JSON, is nested deeper than `depth_max`, or has too many values.
    """
    if not body:
        raise BadInput("The body is empty; a JSON object is needed.")
    check_shape(body, depth_max)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            value = json.loads(body)
            if _HALF_LETTERS.search(body):
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise BadInput(f"The body is not valid JSON: {error}.") from None
        return value


def check_shape(body: bytes, depth_max: int) -> None:
    """Refuse a JSON text whose parsing alone would exhaust us, by looking at its punctuation.

    Strings are left out first: they are most of a body, cost little, and may contain anything.
    Every step is one pass of C code, whatever the text; a pattern would be quadratic for some.

    Raises:
        BadInput: brackets nest deeper than `depth_max`, or there are more than `VALUES_MAX` values.
    """
    if len(body) <= VALUES_MAX and body.count(b"[") + body.count(b"{") <= depth_max:
        return  # too few bytes, and too few brackets, wherever they are
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    # A value has a key at most, so four quotes.
    many = unescaped.count(b'"') > 4 * VALUES_MAX
    outside = b"" if many else b"".join(unescaped.split(b'"')[::2])
    marks = outside.translate(_STEPS, _NOT_MARKS)
    if many or len(marks) > VALUES_MAX:
        raise BadInput(f"The body has more than {VALUES_MAX} values; arrays go in as one string.")
    if marks.count(1) <= depth_max:
        return
    # Opening is +1, closing is -1, a comma is 0: the running sum is the depth.
    if max(accumulate(array("b", marks)), default=0) > depth_max:
        raise BadInput(f"The body is nested deeper than {depth_max} levels.")


def dump_json(value: Any, source: bytes) -> bytes:
    """Return the JSON text of a value that was parsed from `source`."""
    if b"NaN" in source or b"Infinity" in source:
        return json.dumps(value).encode()  # the fast writer would turn these into null
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, TypeError):  # integers beyond 64 bits
        return json.dumps(value).encode()


def check(model: type[M], value: Any) -> M:
    """Return the value as a message.

    Raises:
        BadInput: names the first offending field, and what is accepted there.
    """
    if not isinstance(value, dict):
        raise BadInput("The body must be a JSON object.")
    if model.model_config.get("extra") == "forbid":
        # The library would list every unknown field, which takes long if there are very many.
        known = _names(model)
        unknown = next((name for name in value if name not in known), None)
        if unknown is not None:
            raise _unknown(model, unknown)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise _as_bad_input(first) from None


@cache
def _names(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a message as they are called on the wire."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def _unknown(model: type[BaseModel], field: str) -> BadInput:
    known = ", ".join(sorted(_names(model)))
    shown = field[:100]
    return BadInput(f"Unknown field {shown!r}.", field=shown, solution=f"Fields here: {known}.")


def _as_bad_input(fault: Any) -> BadInput:
    field = ".".join(str(part) for part in fault["loc"]) or None
    if fault["type"] == "missing":
        return BadInput(f"Field {field!r} is missing.", field=field)
    return BadInput(f"Field {field!r}: {fault['msg']}.", field=field)


async def read_message(request: Request, model: type[M], most: int, depth_max: int) -> M:
    """Read the body as a message of this type."""
    return check(model, parse_json(await read_body(request, most), depth_max))


def check_query(request: Request, known: Collection[str]) -> None:
    """Refuse a name that means nothing: a mistyped filter would silently match everything.

    Raises:
        BadInput: names the first such parameter, and those that are known.
    """
    for name in request.query_params:
        if name not in known:
            raise BadInput(
                f"Unknown query parameter {name[:100]!r}.",
                field=name[:100],
                solution=f"Known here: {', '.join(sorted(known)) or 'none'}.",
            )


class Query:
    """The query of a request, of which the table of routes has said what may be in it."""

    def __init__(self, request: Request) -> None:
        self._params = request.query_params

    def text(self, name: str) -> str | None:
        """The last value, or None if it is absent or empty."""
        return self._params.get(name) or None

    def texts(self, name: str) -> list[str]:
        """All values of a repeated name."""
        return [value for value in self._params.getlist(name) if value]

    def flag(self, name: str) -> bool | None:
        """A truth value, or None if absent."""
        text = self._params.get(name)
        if text is None or text == "":
            return None
        if text.lower() in ("true", "1"):
            return True
        if text.lower() in ("false", "0"):
            return False
        raise BadInput(f"{name} must be true or false, not {text!r}.", field=name)

    def instant(self, name: str) -> int | None:
        """An ISO-8601 instant in milliseconds, or None if absent."""
        text = self._params.get(name)
        if not text:
            return None
        try:
            # A `+` of an offset that was not escaped arrives as a space.
            return parse_iso(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
        except (ValueError, OverflowError):
            raise BadInput(
                f"{name} must be a time such as 2026-11-21T07:00:00Z, not {text!r}.", field=name
            ) from None

    def page(self, name: str, default: int, most: int, least: int = 1) -> int:
        """A number of a page; one that is out of range silently is the default (J27)."""
        number = _whole(self._params.get(name, ""))
        return number if least <= number <= most else default

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number from 0 to `most`; the default if it is absent."""
        text = self.text(name)
        if text is None:
            return default
        if not 0 <= (number := _whole(text)) <= most:
            raise BadInput(
                f"{name} must be a whole number from 0 to {most}, not {text!r}.", field=name
            )
        return number

    def choice(self, name: str, choices: Iterable[str]) -> str | None:
        """One of the words, or None if absent."""
        text = self.text(name)
        words = list(choices)
        if text is not None and text not in words:
            raise BadInput(f"{name} must be one of {', '.join(words)}, not {text!r}.", field=name)
        return text


def _whole(text: str) -> int:
    """The number that digits say; -1 if it is none, or beyond any bound of ours."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 17 else -1
