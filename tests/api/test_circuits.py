"""The shelf of circuits: by instance, bounded, and found in both forms of a submission."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from qdwell.api.circuits import KEPT_FROM_CHARS, TAG, Circuits
from qdwell.errors import BadInput, UnknownCircuit

TEXT = "x" * KEPT_FROM_CHARS


def whole(text: str = TEXT) -> dict[str, Any]:
    return {"__type__": "QuantumCircuit", "__value__": text}


def named(text: str = TEXT) -> dict[str, Any]:
    return {"__type__": TAG, "__value__": sha256(text.encode()).hexdigest()}


def test_a_circuit_is_found_by_its_own_instance_only() -> None:
    shelf = Circuits()
    shelf.keep("mine", {"pubs": [[whole(), None, 1]]})
    params = {"pubs": [[named(), None, 1]]}
    with pytest.raises(UnknownCircuit):
        shelf.resolve("theirs", params)
    shelf.resolve("mine", params)
    assert params == {"pubs": [[whole(), None, 1]]}


def test_the_v1_form_has_them_in_a_list() -> None:
    shelf = Circuits()
    shelf.keep("mine", {"circuits": [whole(), whole("y" * 700)]})
    params = {"circuits": [named("y" * 700), named(), "OPENQASM 3;"]}
    shelf.resolve("mine", params)
    assert params == {"circuits": [whole("y" * 700), whole(), "OPENQASM 3;"]}


def test_the_one_used_longest_ago_goes_first() -> None:
    shelf = Circuits(bytes_max=24 * KEPT_FROM_CHARS)
    texts = [chr(65 + n) * KEPT_FROM_CHARS for n in range(26)]
    for text in texts[:24]:
        shelf.keep("mine", {"circuits": [whole(text)]})
    shelf.resolve("mine", {"circuits": [named(texts[0])]})
    for text in texts[24:]:
        shelf.keep("mine", {"circuits": [whole(text)]})
    shelf.resolve("mine", {"circuits": [named(texts[0]), named(texts[25])]})
    for gone in texts[1:3]:
        with pytest.raises(UnknownCircuit):
            shelf.resolve("mine", {"circuits": [named(gone)]})


def test_short_and_huge_ones_are_not_kept() -> None:
    shelf = Circuits(bytes_max=16 * KEPT_FROM_CHARS)
    for text in (TEXT[1:], TEXT * 3):
        shelf.keep("mine", {"circuits": [whole(text)]})
        with pytest.raises(UnknownCircuit):
            shelf.resolve("mine", {"circuits": [named(text)]})


@pytest.mark.parametrize("params", [{}, {"pubs": 3}, {"pubs": [3, []]}, {"circuits": {}}])
def test_what_is_no_list_is_left_to_the_check(params: dict[str, Any]) -> None:
    shelf = Circuits()
    shelf.resolve("mine", params)
    shelf.keep("mine", params)
    assert "circuits" not in params or params["circuits"] == {}


def test_a_name_is_a_text() -> None:
    with pytest.raises(BadInput, match="is a text"):
        Circuits().resolve("mine", {"circuits": [{"__type__": TAG, "__value__": 3}]})
