"""Draws the state diagrams from the core's own tables, so that they cannot go stale."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from enum import StrEnum
from types import ModuleType
from typing import TypeVar

from qdwell.core import group, job

S = TypeVar("S", bound=StrEnum)

_INTRO = """# The states of a job and of a group

Drawn from the tables in `qdwell.core.job` and `qdwell.core.group` by `make docs`; do not edit.
A move that is not drawn is refused, and changes nothing.
"""

_JOB = """## A job

A waiting state stands before each working state. Work that is lost goes back to the waiting state
before it, with a new attempt number; a late report of the old attempt is dropped. A lane is held
from `preparing` to the end; the QPU is held in `executing`.
"""

_GROUP = """## A group: a session or a batch

At most one group of a backend is active, or pending, at any time. Whether a group accepts jobs is a
flag beside its state: a closed door does not end what is inside.
"""


def page() -> str:
    """The whole page: both machines, each as a drawing and a table."""
    parts = [
        _INTRO,
        _JOB,
        drawing(job.TRANSITIONS, job.JobState.QUEUED),
        table(job, job.JobState, job.SERVER_WORDS),
        _GROUP,
        drawing(group.TRANSITIONS, group.GroupState.OPEN),
        table(group, group.GroupState, group.REPORTED),
    ]
    return "\n".join(parts)


def drawing(moves: Mapping[S, frozenset[S]], first: S) -> str:
    """A Mermaid diagram of a table of moves, which GitHub and most viewers draw."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    order = list(moves)
    for state, after in moves.items():
        lines += [f"    {state} --> {it}" for it in sorted(after, key=order.index)]
        if not after:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```", ""])


def table(module: ModuleType, states: type[S], words: Mapping[S, str]) -> str:
    """Each state with its meaning, as its comment in the source tells it."""
    said = _comments(module, states)
    rows = ["| State | Users see | Meaning |", "|---|---|---|"]
    rows += [f"| `{it}` | {words[it]} | {said[it.name]} |" for it in states]
    return "\n".join([*rows, ""])


def _comments(module: ModuleType, states: type[StrEnum]) -> dict[str, str]:
    lines = inspect.getsource(module).splitlines()
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ClassDef) and node.name == states.__name__:
            for item in node.body:
                if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
                    own = lines[item.lineno - 1 : item.end_lineno]
                    said = [line.partition("#")[2].strip() for line in own]
                    found[item.targets[0].id] = " ".join(filter(None, said))
    return found
