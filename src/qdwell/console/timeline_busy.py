"""The timeline where there is too much to draw one by one: columns of time.

The lanes' band counts jobs (its top is the number of lanes, or the most that there were); the QPU's
shows which part of each column it was busy. A colour is one path, so that a month costs no more to
draw than an hour; what stands in a column is told by one box over all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from qdwell.clock import iso
from qdwell.console import svg
from qdwell.console.words import duration

if TYPE_CHECKING:
    from qdwell.console.timeline_sums import Grid
    from qdwell.console.timeline_svg import Row, Scene
    from qdwell.store.occupancy import Occupied


def lanes(scene: Scene, row: Row) -> Iterator[Markup]:
    """How many jobs were on lanes, by what they did."""
    grid = _grid(scene)
    top = most(scene)
    layers = (
        ("run job", [it.own_qpu_ms for it in scene.occupied]),
        ("run others", [it.other_qpu_ms for it in scene.occupied]),
        ("run prepare", [it.classical_ms for it in scene.occupied]),
        ("run wait", [it.waiting_ms for it in scene.occupied]),
    )
    yield from _stacked(scene, row, layers, grid.width * top)
    for count in {0, top // 2, top} if top > 3 else {0, top}:
        y = row.y + row.tall * (1 - count / top)
        yield svg.label(78, min(y + 8, row.y + row.tall), str(count), "ink small", "end")


def most(scene: Scene) -> int:
    """The number at the top of the lanes' band."""
    peak = max((_lane_ms(it) for it in scene.occupied), default=0) / _grid(scene).width
    return max(1, scene.lanes if peak <= scene.lanes else math.ceil(peak))


def qpu(scene: Scene, row: Row) -> Iterator[Markup]:
    """How busy the QPU was, by whose jobs."""
    layers = (
        ("run job", [it.own_qpu_ms for it in scene.occupied]),
        ("run others", [it.other_qpu_ms for it in scene.occupied]),
    )
    yield from _stacked(scene, row, layers, _grid(scene).width)
    for share in (0, 1):
        y = row.y + row.tall * (1 - share)
        text = f"{100 * share} %"
        yield svg.label(78, min(y + 8, row.y + row.tall), text, "ink small", "end")


def held(scene: Scene, row: Row) -> Iterator[Markup]:
    """Which part of each column windows took that are too short to be drawn."""
    layers = (
        ("held session", [it.own_session_ms for it in scene.held]),
        ("held batch", [it.own_batch_ms for it in scene.held]),
        ("held others", [it.other_ms for it in scene.held]),
    )
    yield from _stacked(scene, row, layers, _grid(scene).width)


def told(scene: Scene, y: float, tall: float) -> Iterator[Markup]:
    """Boxes without colour over the columns, which say their numbers."""
    grid = _grid(scene)
    for at, it in enumerate(scene.occupied):
        if not it.jobs and not _lane_ms(it):
            continue
        begin = (grid.first + at) * grid.width
        x, right = scene.x(begin), scene.x(begin + grid.width)
        if right - x < 0.2:
            continue
        words = (
            f"{iso(begin)[:16].replace('T', ' ')}, {duration(grid.width)}: "
            f"{it.jobs:,} jobs began; QPU {_percent(it.qpu_ms, grid.width)} busy "
            f"(you {_percent(it.own_qpu_ms, grid.width)}); "
            f"{_lane_ms(it) / grid.width:.2g} jobs on lanes"
        )
        if scene.held:
            there = scene.held[at]
            whole = there.own_session_ms + there.own_batch_ms + there.other_ms
            words += f"; sessions and batches {_percent(whole, grid.width)}"
        yield svg.rect(x, y, right - x, tall, "column", words)


def _stacked(
    scene: Scene, row: Row, layers: Sequence[tuple[str, Sequence[int]]], whole: float
) -> Iterator[Markup]:
    """Layers on top of each other, one path for each; `whole` is the row's height, in ms."""
    grid = _grid(scene)
    below = [0.0] * len(layers[0][1])
    for kind, values in layers:
        steps: list[str] = []
        for at, value in enumerate(values):
            if value <= 0:
                continue
            begin = (grid.first + at) * grid.width
            x, right = scene.x(begin), scene.x(begin + grid.width)
            foot = min(1.0, below[at] / whole)
            head = min(1.0, (below[at] + value) / whole)
            below[at] += value
            tall = max(row.tall * (head - foot), 0.6)
            y = max(row.y, row.y + row.tall * (1 - foot) - tall)
            if right - x > 0.1:
                steps.append(f"M{x:.1f} {y:.1f}h{right - x:.1f}v{tall:.1f}h{x - right:.1f}z")
        if steps:
            yield svg.tag("path", d="".join(steps), class_=kind)


def _lane_ms(it: Occupied) -> int:
    return it.classical_ms + it.waiting_ms + it.qpu_ms


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %"


def _grid(scene: Scene) -> Grid:
    assert scene.grid is not None
    return scene.grid
