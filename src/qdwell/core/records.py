"""How the core changes its records, which are frozen: by a copy with some fields changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

Record = TypeVar("Record")
_Layout = tuple[Callable[[Any], tuple[Any, ...]], dict[str, int], list[Callable[[Any, Any], None]]]


@cache
def _layout(kind: Any) -> _Layout:
    names = [field.name for field in fields(kind)]
    places = {name: place for place, name in enumerate(names)}
    return attrgetter(*names), places, [getattr(kind, name).__set__ for name in names]


def changed(record: Record, **changes: Any) -> Record:
    """Return a copy of a record with some fields changed.

    What `dataclasses.replace` does, in half its time, for a class with slots whose fields all go
    to its constructor and which has no `__post_init__`. The core makes ten records for each job.

    Raises:
        KeyError: there is no such field.
    """
    kind: Any = type(record)
    get, places, setters = _layout(kind)
    values = list(get(record))
    for name, value in changes.items():
        values[places[name]] = value
    copy: Record = object.__new__(kind)
    for put, value in zip(setters, values, strict=True):
        put(copy, value)
    return copy
