"""Checks of plain JSON values, to make tables of options from: each says what a field accepts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from qdwell.errors import BadInput

Check: TypeAlias = Callable[[Any, str], None]
Rules: TypeAlias = Mapping[str, "Check | Rules"]


def check(rules: Rules, value: Any, field: str) -> None:
    """Check an object against a table: unknown keys are refused, null means left out.

    Raises:
        BadInput: names the first field that is not accepted.
    """
    if not isinstance(value, Mapping):
        raise bad(field, "must be an object")
    for key, item in value.items():
        path = f"{field}.{key}"
        rule = rules.get(key)
        if rule is None:
            raise bad(path, f"is not known; {field} takes {', '.join(sorted(rules))}")
        # The client leaves out what is unset; null means the same.
        if item is None and key not in ("pubs", "version"):
            continue
        if isinstance(rule, Mapping):
            check(rule, item, path)
        else:
            rule(item, path)


def required(value: Mapping[str, Any], field: str, *keys: str) -> None:
    """Keys that an object must have, and not as null.

    Raises:
        BadInput: names the first one that is missing.
    """
    for key in keys:
        if value.get(key) is None:
            raise bad(f"{field}.{key}", "is missing")


def bad(field: str, why: str) -> BadInput:
    """The error of a field that is not what it must be."""
    return BadInput(f"{field} {why}.", field=field)


def whole(least: int, most: int | None = None) -> Check:
    """An integer from `least` on, to `most` if given."""

    def inner(value: Any, field: str) -> None:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not good or (most is not None and value > most):
            span = f"from {least} on" if most is None else f"from {least} to {most}"
            raise bad(field, f"must be an integer {span}, not {value!r}")

    return inner


def positive(value: Any, field: str) -> None:
    """A finite number above 0."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not 0 < value < math.inf:
        raise bad(field, f"must be a number above 0, not {value!r}")


def not_negative(value: Any, field: str) -> None:
    """A finite number of seconds from 0 on."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not 0 <= value < math.inf:
        raise bad(field, f"must be a number of seconds from 0 on, not {value!r}")


def choice(*accepted: str) -> Check:
    """One of some words."""

    def inner(value: Any, field: str) -> None:
        if not isinstance(value, str) or value not in accepted:
            raise bad(field, f"must be one of {', '.join(accepted)}, not {value!r}")

    return inner


def flag(value: Any, field: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise bad(field, f"must be true or false, not {value!r}")


def fixed(only: bool | str, *known: str) -> Check:
    """An option of which only one value is implemented; `known` are values that others have."""

    def inner(value: Any, field: str) -> None:
        if value == only and type(value) is type(only):
            return
        if value in known or (isinstance(only, bool) and isinstance(value, bool)):
            raise missing(field, value, f"only {str(only).lower()} is")
        raise bad(field, f"must be {str(only).lower()}, not {value!r}")

    return inner


def only(value: Any, why: str, *known: Any) -> Check:
    """One value; the others that are `known` cannot be had here, and `why` says so."""

    def inner(given: Any, field: str) -> None:
        if given == value and type(given) is type(value):
            return
        if given in known and type(given) in map(type, known):
            raise refused(field, given, why)
        raise bad(field, f"must be {str(value).lower()}, not {given!r}")

    return inner


#: How each shot begins (O40).
RESET = only(True, "a backend of this server starts every shot in the ground state", False)
#: What a measurement gives (O40); the executor's programs know a fourth.
BITS = only(
    "classified", "the backends of this server give classified bits only",
    "kerneled", "avg_kerneled", "both",
)  # fmt: skip


def unset(value: Any, field: str) -> None:
    """An option that is not implemented, whatever its value."""
    raise missing(field, value, "leave it out")


def empty(value: Any, field: str) -> None:
    """A section that must hold nothing."""
    if not isinstance(value, Mapping):
        raise bad(field, "must be an object")
    for key in value:
        raise missing(f"{field}.{key}", value[key], "leave it out")


def absent(value: Any, field: str) -> None:
    """A section that only has meaning with an option that is not implemented."""
    if not isinstance(value, Mapping):
        raise bad(field, "must be an object")
    for key, item in value.items():
        if item is not None:
            raise missing(f"{field}.{key}", item, "leave it out")


def missing(field: str, value: Any, instead: str) -> BadInput:
    """The error of an option, or a value of one, that is not implemented."""
    return BadInput(
        f"{field} = {_shown(value)} is not implemented on this server yet; {instead}.",
        field=field,
        solution=f"Remove {field} from the options, or set it to its default.",
    )


def auto_or_whole(value: Any, field: str) -> None:
    """The word auto, or an integer from 1 on."""
    if value != "auto":
        try:
            whole(1)(value, field)
        except BadInput:
            raise bad(field, f"must be auto or an integer from 1 on, not {value!r}") from None


def refused(field: str, value: Any, why: str) -> BadInput:
    """The error of a value that is known but that cannot be had here."""
    return BadInput(
        f"{field} = {_shown(value)} is refused: {why}.",
        field=field,
        solution=f"Remove {field} from the options, or set it to its default.",
    )


def text(value: Any, field: str) -> None:
    """A text of at most 1000 characters."""
    if not isinstance(value, str) or len(value) > 1000:
        raise bad(field, "must be a text of at most 1000 characters")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
