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


#: Where each state stands, in columns and rows; its moves come from the table.
JOB_PLACES = {
    job.JobState.QUEUED: (0, 0),
    job.JobState.PREPARING: (1, 0),
    job.JobState.READY: (2, 0),
    job.JobState.EXECUTING: (3, 0),
    job.JobState.EXECUTED: (4, 0),
    job.JobState.POSTPROCESSING: (5, 0),
    job.JobState.COMPLETED: (6, 0),
    job.JobState.FAILED: (2, 1.5),
    job.JobState.CANCELLED: (4, 1.5),
}
GROUP_PLACES = {
    group.GroupState.OPEN: (0, 1),
    group.GroupState.ACTIVE: (1.6, 1),
    group.GroupState.INACTIVE: (3.2, 0),
    group.GroupState.PENDING_INACTIVE: (3.2, 1),
    group.GroupState.PENDING_CLOSED: (3.2, 2),
    group.GroupState.CLOSED: (5, 1),
}
_WIDE, _TALL, _STEP_X, _STEP_Y, _TOP = 112.0, 34.0, 140.0, 84.0, 54.0
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1f2937;text-anchor:middle}"
    ".box{fill:#e6eafc;stroke:#4f63d2}.final{fill:#eef0f3;stroke:#6b7688}"
    ".move{stroke:#4b5565;fill:none}.back{stroke:#b45309;fill:none}.small{font-size:11px}"
)


def page() -> str:
    """The whole page: both machines, each as a drawing and a table."""
    parts = [
        _INTRO,
        _JOB,
        "![The states of a job and the moves between them](../pictures/job-states.svg)\n",
        table(job, job.JobState, job.SERVER_WORDS),
        _GROUP,
        "![The states of a group and the moves between them](../pictures/group-states.svg)\n",
        table(group, group.GroupState, group.REPORTED),
    ]
    return "\n".join(parts)


def pictures() -> dict[str, str]:
    """Both drawings by file name."""
    return {
        "job-states.svg": drawing("The states of a job", job.TRANSITIONS, JOB_PLACES),
        "group-states.svg": drawing("The states of a group", group.TRANSITIONS, GROUP_PLACES),
    }


def drawing(
    title: str, moves: Mapping[S, frozenset[S]], places: Mapping[S, tuple[float, float]]
) -> str:
    """A table of moves as a picture.

    Moves to the right are straight, moves back are arcs above. A state that every other one which
    is not final may go to is drawn once, with its line from all of them.
    """
    order = list(moves)
    working = [state for state in order if moves[state]]
    always = [it for it in order if all(it in moves[state] for state in working)]
    parts = []
    for state in order:
        for after in sorted(moves[state], key=order.index):
            if after not in always:
                parts.append(_arrow(places[state], places[after]))
    if always:
        parts += _from_all([places[it] for it in working], [places[it] for it in always])
    for state in order:
        x, y = _middle(places[state])
        kind = "box" if moves[state] else "final"
        corner = f'x="{x - _WIDE / 2:g}" y="{y - _TALL / 2:g}"'
        parts.append(f'<rect {corner} width="{_WIDE:g}" height="{_TALL:g}" rx="8" class="{kind}"/>')
        parts.append(f'<text x="{x:g}" y="{y + 4:g}">{state}</text>')
    width = max(_middle(it)[0] for it in places.values()) + _WIDE / 2 + 12
    height = max(_middle(it)[1] for it in places.values()) + _TALL / 2 + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-label="{title}"><style>{_STYLE}</style>'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#4b5565"/></marker></defs>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _middle(place: tuple[float, float]) -> tuple[float, float]:
    return 12 + _WIDE / 2 + place[0] * _STEP_X, _TOP + place[1] * _STEP_Y


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = _middle(start), _middle(end)
    if x2 <= x1:  # back, or to itself: an arc above
        left, right = (x2 - 18, x1 + 18) if start == end else (x2 + 12, x1 - 12)
        top = y1 - _TALL / 2
        path = f"M{right:g} {top:g} C{right:g} {top - 30:g} {left:g} {top - 30:g} {left:g} {top:g}"
        return f'<path d="{path}" class="back" marker-end="url(#tip)"/>'
    line = f'x1="{x1 + _WIDE / 2:g}" y1="{y1:g}" x2="{x2 - _WIDE / 2:g}" y2="{y2:g}"'
    return f'<line {line} class="move" marker-end="url(#tip)"/>'


def _from_all(working: list[tuple[float, float]], always: list[tuple[float, float]]) -> list[str]:
    """One line under the working states, and from it an arrow to each that all may go to."""
    below = max(_middle(it)[1] for it in working) + _TALL / 2
    rail = below + 26
    columns = [_middle(it)[0] for it in working]
    parts = [f'<path d="M{x:g} {below:g} V{rail:g}" class="move"/>' for x in columns]
    reach = [*columns, *(_middle(it)[0] for it in always)]
    parts.append(f'<path d="M{min(reach):g} {rail:g} H{max(reach):g}" class="move"/>')
    for place in always:
        x, y = _middle(place)
        path = f"M{x:g} {rail:g} V{y - _TALL / 2:g}"
        parts.append(f'<path d="{path}" class="move" marker-end="url(#tip)"/>')
    return parts


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
