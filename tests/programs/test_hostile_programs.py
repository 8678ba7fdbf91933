"""Submissions in which one value is another than it should be: refused or failed with a reason,
never an error of ours. Every place of a program is tried, for each program that is no list of PUBs.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from programs.quantum_stock import both_kinds, params
from programs.test_noise_learner import gates, layered, v2, v3
from qdwell.errors import BadInput
from qdwell.executors import Executor
from qdwell.executors.mock import Mock
from qdwell.programs import Cache, Limits, ProgramError, Work, check_submission, run_all

Devices = Callable[[str], Executor]
ODD: list[Any] = [None, -1, 1e300, "x", [], [None], {}, {"data": 1, "shape": [1], "dtype": "f64"}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value within a JSON value."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inside:
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))
        else:
            yield (*path, key)


def replaced(body: Any, path: tuple[Any, ...], odd: Any) -> Any:
    made = copy.deepcopy(body)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = odd
    return made


def bodies() -> dict[str, tuple[str, dict[str, Any]]]:
    small = {"num_randomizations": 1, "shots_per_randomization": 1, "layer_pair_depths": [0]}
    return {
        "executor v2.0": ("executor", params(both_kinds(2, {"deep": [1, None]}))),
        "executor v1.0": ("executor", params(both_kinds(2), version="v1.0")),
        "executor v0.1": ("executor", params(both_kinds(2), version="v0.1")),
        "learner V2": ("noise-learner", v2([layered()], **small)),
        "learner V3": ("noise-learner", v3([gates((0, 1))], **small)),
    }


@pytest.mark.parametrize("name", ["executor v2.0", "executor v1.0", "executor v0.1", "learner V2"])
def test_one_odd_value(name: str, executor: Devices) -> None:
    check_all(*bodies()[name], executor)


def test_one_odd_value_in_boxes(executor: Devices) -> None:
    check_all(*bodies()["learner V3"], executor)


def check_all(program: str, body: dict[str, Any], executor: Devices) -> None:
    device = Mock("mock", executor("fake_manila"))

    def run(sent: dict[str, Any]) -> None:
        check_submission(program, sent)
        work = Work("job", program, json.dumps(sent).encode(), Limits(executions_max=5_000))
        run_all(work, device, Cache())

    run(body)
    tried = 0
    for path in places(body):
        for odd in ODD if path else ():
            tried += 1
            with suppress(BadInput, ProgramError):
                run(replaced(body, path, odd))
    assert tried > 50
