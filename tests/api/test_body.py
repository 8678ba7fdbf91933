"""What is refused before anything looks into a body."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdwell.api.body import VALUES_MAX, check, check_shape, dump_json, parse_json
from qdwell.errors import BadInput
from qdwell.wire.messages import JobRequest, SessionRequest


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@given(
    st.recursive(
        st.text() | st.integers(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)
    )
)
def test_the_depth_of_any_value_is_measured_exactly(value: object) -> None:
    body = dump_json(value, b"")

    def depth(it: object) -> int:
        inside = it.values() if isinstance(it, dict) else it if isinstance(it, list) else None
        return 0 if inside is None else 1 + max(map(depth, inside), default=0)

    deep = depth(value)
    check_shape(body, deep)
    if deep:
        with pytest.raises(BadInput, match="deeper"):
            check_shape(body, deep - 1)


def test_brackets_inside_strings_do_not_count() -> None:
    check_shape(rb'["[[[[", "\"[[", "\\"]', 1)
    with pytest.raises(BadInput):
        check_shape(rb'["[[[[", "\\", []]', 1)


def test_a_body_that_nests_too_deep_is_refused_however_it_is_made() -> None:
    assert parse_json(nested(64), 64)
    with pytest.raises(BadInput, match="deeper than 64"):
        parse_json(nested(65), 64)
    with pytest.raises(BadInput, match="deeper than 64"):
        parse_json(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 64)
    with pytest.raises(BadInput, match="deeper than 64"):
        parse_json(b"[" * 100_000, 64)


def test_a_body_of_very_many_values_is_refused_before_they_are_made() -> None:
    with pytest.raises(BadInput, match=str(VALUES_MAX)):
        parse_json(b"[" + b"[]," * VALUES_MAX + b"1]", 64)
    long_string = b'["' + b"," * VALUES_MAX + b'"]'
    assert len(parse_json(long_string, 64)[0]) == VALUES_MAX


def test_numbers_go_in_and_out_as_python_writes_them() -> None:
    for body in (b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":123456789012345678901234567890}'):
        again = parse_json(dump_json(parse_json(body, 8), body), 8)
        first = parse_json(body, 8)
        assert again == first or math.isnan(again["a"])


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b"\xff\xfe", b'{"a":1}x'])
def test_what_is_not_json_is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(BadInput):
        parse_json(body, 8)


JOB = {"program_id": "sampler", "params": {}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"program_id": None}, "program_id"),
        ({"params": []}, "params"),
        ({"cost": 0}, "cost"),
        ({"cost": True}, "cost"),
        ({"cost": "300"}, "cost"),
        ({"cost": 1.5}, "cost"),
        ({"tags": "a"}, "tags"),
        ({"tags": [1]}, "tags.0"),
        ({"log_level": "LOUD"}, "log_level"),
        ({"runtime": "no-colon"}, "runtime"),
        ({"private": 1}, "private"),
        ({"backend": "../x"}, "backend"),
        ({"session_id": "x" * 37}, "session_id"),
        ({"shots": 5}, "shots"),
    ],
)
def test_a_field_that_cannot_be_used_is_refused_by_its_name(change: dict, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        check(JobRequest, JOB | change)
    assert caught.value.field == field
    assert field in caught.value.message


def test_what_the_stock_client_sends_is_taken() -> None:
    full = JOB | {
        "backend": "fake_manila",
        "session_id": "01abc",
        "tags": ["a b"],
        "cost": 300,
        "log_level": "WARNING",
        "runtime": "org/image:1.0",
        "private": True,
        "calibration_id": "c",
    }
    assert check(JobRequest, full).cost == 300
    assert check(JobRequest, JOB | {"backend": None, "tags": None}).backend is None
    assert check(SessionRequest, {"mode": "batch", "backend": "x", "max_ttl": 5}).max_ttl == 5


def test_a_body_must_be_an_object() -> None:
    with pytest.raises(BadInput, match="object"):
        check(JobRequest, [])
