"""How a tree of frozen dataclasses is read from TOML, checked, and written back.

`config` says which settings there are; this file knows none of them. A field is declared with
`setting(default, reason)`; its type says what is accepted: `int`, `bool`, `str`, each also `| None`
(then it may be left out), `tuple[str, ...]`, a free table `dict[str, Any]`, another settings class
(a TOML table), `tuple[Class, ...]` (an array of tables), and `dict[str, Class]` (named tables).
Whatever is not understood is refused with its path in the file, so that no line of a config is ever
ignored.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from qdwell.errors import ConfigError

T = TypeVar("T")

_PLAIN = {bool: "true or false", int: "a whole number", str: "a text in quotes"}


def setting(
    default: Any,
    reason: str,
    *,
    least: int | None = None,
    most: int | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a setting: its default, what it does and why, and its range."""
    metadata = {"reason": reason, "least": least, "most": most, "choices": choices}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def read(cls: type[T], table: Mapping[str, Any], path: str = "", base: T | None = None) -> T:
    """Make a `cls` from a TOML table; what it does not name comes from `base`, or the default.

    Raises:
        ConfigError: a key is unknown, or a value is of the wrong type or out of range.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, raw in table.items():
        where = f"{path}.{key}" if path else key
        if key not in fields:
            raise ConfigError(where, f"there is no such setting{_nearest(key, fields)}")
        before = getattr(base, key, None) if base is not None else _default(fields[key])
        values[key] = _value(hints[key], raw, where, before)
        _check_range(values[key], fields[key].metadata, where)
    for name, field in fields.items():
        if name not in values and base is None and _default(field) is dataclasses.MISSING:
            raise ConfigError(f"{path}.{name}" if path else name, "this setting must be given")
    if base is not None:
        return dataclasses.replace(base, **values)  # type: ignore[type-var]
    return cls(**values)


def _value(kind: Any, raw: Any, where: str, before: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kind = next(item for item in arguments if item is not types.NoneType)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        _expect(isinstance(raw, dict), where, "a table", raw)
        known = before if isinstance(before, kind) else None  # type: ignore[arg-type]
        return read(kind, raw, where, known)  # type: ignore[arg-type]
    if origin is tuple:
        _expect(isinstance(raw, list), where, "a list", raw)
        return tuple(
            _value(arguments[0], item, f"{where}[{at}]", None) for at, item in enumerate(raw)
        )
    if origin is dict:
        _expect(isinstance(raw, dict), where, "a table", raw)
        if arguments[1] is Any:
            return dict(raw)
        shipped = dict(before) if isinstance(before, dict) else {}
        named = {
            name: _value(arguments[1], item, f"{where}.{name}", shipped.get(name))
            for name, item in raw.items()
        }
        return {**shipped, **named}
    right = isinstance(raw, kind) and not (kind is int and isinstance(raw, bool))
    _expect(right, where, _PLAIN[kind], raw)
    return raw


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _expect(right: bool, where: str, wanted: str, got: Any) -> None:
    if not right:
        raise ConfigError(where, f"must be {wanted}, not {got!r}")


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(sorted(known))}"


def _check_range(value: Any, metadata: Mapping[str, Any], where: str) -> None:
    least, most, choices = metadata["least"], metadata["most"], metadata["choices"]
    if least is not None and value is not None and value < least:
        raise ConfigError(where, f"must be {least} or more, not {value}")
    if most is not None and value is not None and value > most:
        raise ConfigError(where, f"must be {most} or less, not {value}")
    for item in value if isinstance(value, tuple) else (value,):
        if choices and item not in choices:
            near = _nearest(str(item), dict.fromkeys(choices))
            raise ConfigError(where, f"must be one of {', '.join(choices)}, not {item!r}{near}")


# ---- writing -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Described:
    """One setting as the reference page shows it."""

    name: str
    kind: str
    default: str
    reason: str


def sections(cls: Any, title: str = "") -> Iterator[tuple[str, str, list[Described]]]:
    """Each table of the file: its TOML heading, its docstring, and its plain settings."""
    plain, below = [], []
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        inner = [item for item in typing.get_args(hints[field.name]) if _is_settings(item)]
        path = f"{title}.{field.name}" if title else field.name
        if _is_settings(hints[field.name]):
            below.append((hints[field.name], path))
        elif inner:
            many = typing.get_origin(hints[field.name]) is tuple
            below.append((inner[0], f"[{path}]" if many else f"{path}.NAME"))
        else:
            plain.append(_described(field, hints[field.name]))
    if plain:
        yield f"[{title}]", " ".join((cls.__doc__ or "").split()), plain
    for kind, path in below:
        yield from sections(kind, path)


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _described(field: dataclasses.Field[Any], hint: Any) -> Described:
    kinds = [item for item in typing.get_args(hint) if item is not types.NoneType] or [hint]
    word = {bool: "true or false", int: "integer", str: "text"}.get(kinds[0], "table")
    if typing.get_origin(hint) is tuple:
        word = "list of texts"
    low, high, choices = (field.metadata[key] for key in ("least", "most", "choices"))
    if choices:
        word += ": " + ", ".join(f'"{item}"' for item in choices)
    elif high is not None:
        word += f", {low:,} to {high:,}"
    elif low is not None:
        word += f", {low:,} or more"
    default = _default(field)
    if default is dataclasses.MISSING:
        shown = "must be given"
    else:
        shown = "not set" if default is None else f"`{toml_value(default)}`"
    return Described(field.name, word, shown, field.metadata["reason"])


def toml_value(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(key))} = {toml_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def to_toml(tree: Any, title: str = "") -> str:
    """The whole tree as TOML, each setting under its reason; one that is not set is commented
    out.
    """
    lines, below = ([f"[{title}]"] if title else []), []
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        path = f"{title}.{field.name}" if title else field.name
        if dataclasses.is_dataclass(value):
            below.append(to_toml(value, path))
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            below += [to_toml(item, f"[{path}]") for item in value]
        elif isinstance(value, dict) and any(map(dataclasses.is_dataclass, value.values())):
            below += [to_toml(item, f"{path}.{name}") for name, item in value.items()]
        else:
            shown = "" if value is None else toml_value(value)
            lines.append(f"# {field.metadata['reason']}")
            lines.append(f"{field.name} = {shown}" if shown else f"# {field.name} =")
    return "\n\n".join(["\n".join(lines), *below] if lines else below)
