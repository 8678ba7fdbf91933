"""Every option of the stock client's V2 primitives, from its own option classes, in rows.

`leaves` walks the classes: flags and choices bring their values along; for numbers and lists a few
are named here, and an option without any is an error, so that a new client's new options are seen.
`rows` covers every pair of values of any two options (left out counts as a value): each pair stands
in at least one row. It is greedy and takes no chance, so the rows are always the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

#: What a row holds for an option that it leaves out.
LEFT_OUT = "left out"

#: Values of options that are neither flags nor choices, all quick to run.
VALUES: Mapping[str, tuple[Any, ...]] = {
    "default_precision": (0.1,),
    "default_shots": (64,),
    "resilience_level": (0, 1, 2),
    "seed_estimator": (5,),
    "max_execution_time": (300,),
    "experimental": ({"something": 1},),
    "max_layers_to_learn": (None, 1),
    "shots_per_randomization": (16,),
    "num_randomizations": (2,),
    "layer_pair_depths": ([0, 2],),
    "twirling.num_randomizations": ("auto", 2),
    "twirling.shots_per_randomization": ("auto", 16),
    "resilience.measure_noise_learning.num_randomizations": (3,),
    "resilience.measure_noise_learning.shots_per_randomization": ("auto", 16),
    "resilience.zne.noise_factors": ((1, 2), (1, 1.5, 2, 2.5, 3, 3.5, 4, 5)),
    "resilience.zne.extrapolated_noise_factors": ((0, 1),),
    "resilience.pec.max_overhead": (None, 1.5),
    "resilience.pec.noise_gain": ("auto", 0.5),
    "resilience.layer_noise_learning.max_layers_to_learn": (None, 1),
    "resilience.layer_noise_learning.shots_per_randomization": (16,),
    "resilience.layer_noise_learning.num_randomizations": (2,),
    "resilience.layer_noise_learning.layer_pair_depths": ([0, 2],),
    "resilience.layer_noise_model": ([],),
    "execution.rep_delay": (0.0003,),
    "environment.job_tags": (["swept"],),
    "environment.private": (True,),
    "environment.callback": (),
    "simulator.noise_model": ({"errors": []},),
    "simulator.seed_simulator": (7,),
    "simulator.coupling_map": ([[0, 1], [1, 0]],),
    "simulator.basis_gates": (["rz", "sx", "x", "cx", "id"],),
}

Row = dict[str, Any]


def leaves(options: type) -> dict[str, tuple[Any, ...]]:
    """Each option's dotted name with its values."""
    return dict(_leaves(options, ""))


def _leaves(options: type, at: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        if field.name.startswith("_"):
            continue
        path = f"{at}{field.name}"
        parts = list(_parts(hints[field.name]))
        inner = [it for it in parts if dataclasses.is_dataclass(it) and "Options" in str(it)]
        if inner:
            yield from _leaves(typing.cast("type", inner[0]), f"{path}.")
        elif path in VALUES:
            yield path, VALUES[path]
        else:
            found = tuple(_values(parts))
            assert found, f"the option {path} is new: give it values in VALUES"
            yield path, found


def _parts(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _parts(part)
    else:
        yield hint


def _values(parts: list[Any]) -> Iterator[Any]:
    for part in parts:
        if part is bool:
            yield from (True, False)
        elif typing.get_origin(part) is Literal:
            yield from typing.get_args(part)


def rows(options: Mapping[str, tuple[Any, ...]]) -> list[Row]:
    """Rows in which every two values of two options stand together at least once."""
    names = sorted(options, key=lambda it: -len(options[it]))
    choices = {name: [LEFT_OUT, *options[name]] for name in names}
    sizes = {name: len(choices[name]) for name in names}
    waiting = {
        (one, i, other, j)
        for one, other in itertools.combinations(names, 2)
        for i in range(sizes[one])
        for j in range(sizes[other])
    }
    made: list[Row] = []
    while waiting:
        chosen: dict[str, int] = {}
        one, i, other, j = min(waiting)
        chosen[one], chosen[other] = i, j
        for name in names:
            if name not in chosen:
                chosen[name] = max(
                    range(sizes[name]),
                    key=lambda at, name=name: (_gain(waiting, chosen, name, at, names), -at),
                )
        waiting -= set(_pairs(chosen, names))
        made.append({name: choices[name][at] for name, at in chosen.items()})
    return made


def _pairs(chosen: Mapping[str, int], names: list[str]) -> Iterator[tuple[str, int, str, int]]:
    for one, other in itertools.combinations(names, 2):
        yield one, chosen[one], other, chosen[other]


def _gain(
    waiting: set[tuple[str, int, str, int]],
    chosen: Mapping[str, int],
    name: str,
    at: int,
    names: list[str],
) -> int:
    """How many pairs that wait a value would bring into the row."""
    place = names.index(name)
    return sum(
        ((other, i, name, at) if names.index(other) < place else (name, at, other, i)) in waiting
        for other, i in chosen.items()
    )


def nested(row: Row) -> dict[str, Any]:
    """A row as the client takes options, without what it leaves out."""
    made: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, str) and value == LEFT_OUT:
            continue
        *path, last = name.split(".")
        inner = made
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = list(value) if isinstance(value, tuple) else value
    return made
