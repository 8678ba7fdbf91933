"""The headers of hot routes are looked up as the framework looks them up."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message

from qdwell.api.asked import Asked

RAW = [
    (b"prefer", b"wait=1"),
    (b"service-crn", b"first"),
    (b"x-name", "Zoë".encode("latin-1")),
    (b"service-crn", b"second"),
    (b"x-empty", b""),
]


async def nothing() -> Message:
    """No body comes."""
    raise AssertionError


@pytest.mark.parametrize(
    "name", ["prefer", "Prefer", "SERVICE-CRN", "x-name", "X-Empty", "absent", "wait=1"]
)
def test_it_finds_what_the_framework_finds(name: str) -> None:
    """In any case, the first of a name; a header without content is not absent."""
    scope = {"type": "http", "headers": list(RAW)}
    theirs, ours = Request(dict(scope)).headers, Asked(dict(scope), nothing).headers
    assert ours.get(name) == theirs.get(name)
    assert ours.get(name, "else") == theirs.get(name, "else")
    assert (name in ours) == (name in theirs)
    if name in theirs:
        assert ours[name] == theirs[name]
    else:
        with pytest.raises(KeyError):
            ours[name]


def test_all_of_them_are_there() -> None:
    """Repeated ones too, and in their order."""
    ours = Asked({"type": "http", "headers": list(RAW)}, nothing).headers
    assert isinstance(ours, Headers)
    assert ours.getlist("service-crn") == ["first", "second"]
    assert ours.raw == RAW
