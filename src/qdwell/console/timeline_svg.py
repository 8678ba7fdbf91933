"""The picture of a machine in time: who held it, what was on its lanes, and when the QPU ran.

The top row shows windows of sessions and batches: solid while the window's jobs are there, hatched
while nothing of it is (the interactive TTL runs), striped while it drains. A lane shows a job's
classical work pale, its wait for the QPU paler, its run in colour. The QPU row has the runs alone.
Where there are too many jobs to tell apart, the QPU row shows how busy it was, as bars.

Others' work is drawn, because it is why one waits, and has no name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qdwell.clock import iso
from qdwell.console import svg
from qdwell.console.words import duration
from qdwell.core.group import Mode
from qdwell.store.history import JobSpan, Share, WindowSpan

LEFT, ROW, GAP, TOP, WIDTH = 84.0, 24.0, 6.0, 26.0, 1120.0
LANES_DRAWN_MAX = 10
_STEPS_MS = (
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000, 172_800_000, 604_800_000,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn: one machine in [start, end)."""

    machine: str
    start: int
    end: int
    now: int
    lanes: int
    spans: Sequence[JobSpan] | None  #: None: too many
    shares: Sequence[Share]  #: of the QPU, if there are too many
    windows: Sequence[WindowSpan]
    own: str  #: the instance of whoever looks
    everything: bool = False  #: whether others' work has its ids (operators)
    links: bool = True

    def x(self, at: int) -> float:
        """Where an instant is."""
        share = (min(max(at, self.start), self.end) - self.start) / (self.end - self.start)
        return LEFT + (WIDTH - LEFT) * share

    def mine(self, instance: str) -> bool:
        """Whether it may be named."""
        return self.everything or instance == self.own


def draw(scene: Scene) -> Markup:
    """The picture."""
    lanes = _lanes(scene)
    rows = ["held by", *(f"lane {number + 1}" for number in range(len(lanes))), "QPU"]
    height = TOP + len(rows) * (ROW + GAP) + 26
    parts = [*_ruler(scene, height - 22)]
    for at, name in enumerate(rows):
        parts.append(svg.label(4, _y(at) + 16, name))
        parts.append(svg.rect(LEFT, _y(at), WIDTH - LEFT, ROW, "lane"))
    for window in scene.windows:
        parts += _window(scene, window)
    for at, lane in enumerate(lanes):
        for span in lane:
            parts += _job(scene, span, 1 + at, len(rows) - 1)
    if scene.spans is None:
        parts += _busy(scene, len(rows) - 1)
    if scene.start <= scene.now <= scene.end:
        x = scene.x(scene.now)
        parts.append(svg.line(x, TOP - 6, x, height - 22, "now"))
    title = (
        f"{scene.machine} from {_clock(scene.start)} to {_clock(scene.end)} UTC: "
        f"{len(scene.windows)} windows of sessions and batches"
    )
    hatch = svg.tag(
        "defs",
        _pattern("idle", "M0 6 L6 0", 6, "hatch"),
        _pattern("drain", "M0 0 L0 8", 8, "stripe"),
    )
    return svg.picture(WIDTH, height, title, hatch, *parts, class_="timeline", role="group")


def _pattern(name: str, path: str, size: float, class_: str) -> Markup:
    return svg.tag(
        "pattern",
        svg.tag("path", d=path, class_=class_),
        id=f"tl-{name}",
        width=size,
        height=size,
        patternUnits="userSpaceOnUse",
    )


def _y(row: int) -> float:
    return TOP + row * (ROW + GAP)


def _lanes(scene: Scene) -> list[list[JobSpan]]:
    """Jobs on lanes: the first that is free when each starts."""
    lanes: list[list[JobSpan]] = []
    for span in scene.spans or ():
        for lane in lanes:
            last = lane[-1].finished_at
            if last is not None and last <= span.running_at:
                lane.append(span)
                break
        else:
            lanes.append([span])
    shown = min(max(len(lanes), min(scene.lanes, 5)), LANES_DRAWN_MAX)
    if scene.spans is None:
        return []
    return [*lanes[:shown], *([] for _ in range(shown - len(lanes)))]


def _whose(scene: Scene, instance: str, mode: Mode | None) -> str:
    if instance != scene.own:
        return "others"
    return {Mode.SESSION: "session", Mode.BATCH: "batch", None: "job"}[mode]


def _window(scene: Scene, window: WindowSpan) -> Iterator[Markup]:
    """A window: its busy parts, its idle gaps, its drain."""
    end = window.end if window.end is not None else min(scene.now, scene.end)
    word = "session" if window.mode is Mode.SESSION else "batch"
    whose = _whose(scene, window.instance, window.mode)
    name = f"{word} {window.group}" if scene.mine(window.instance) else f"a {word} of others"
    length = duration(end - window.start)
    said = f"{name}: active for {length}" + ("" if window.end else ", and still is")
    x, right, y = scene.x(window.start), scene.x(end), _y(0)
    box = [svg.rect(x, y, right - x, ROW, f"held {whose}", said)]
    if window.mode is Mode.SESSION and scene.spans is not None:
        for begin, stop in _gaps(scene, window, end):
            left, width = scene.x(begin), scene.x(stop) - scene.x(begin)
            told = f"no job of it for {duration(stop - begin)}: the interactive TTL runs"
            box.append(svg.rect(left, y, width, ROW, "idle", told))
    if window.reserved_at is not None:
        left = scene.x(window.reserved_at)
        told = f"the machine drains for {name}: {duration(window.start - window.reserved_at)}"
        box.append(svg.rect(left, y, x - left, ROW, f"held {whose} pale", told))
        box.append(svg.rect(left, y, x - left, ROW, "drain", told))
    if window.drains_at is not None:
        left = scene.x(window.drains_at)
        box.append(svg.rect(left, y, right - left, ROW, "drain", f"{name} drains"))
    if right - x > 90:
        box.append(svg.label(x + 5, y + 16, name if right - x > 300 else word, "held-text"))
    if scene.links and scene.mine(window.instance) and not scene.everything:
        yield svg.link(f"/sessions/{window.group}", said, *box)
    else:
        yield from box


def _gaps(scene: Scene, window: WindowSpan, end: int) -> list[tuple[int, int]]:
    """The parts of a session's window in which it had no unfinished job."""
    busy = sorted(
        (max(span.created, window.start), min(span.finished_at or end, end))
        for span in scene.spans or ()
        if span.group == window.group
        and span.created < end
        and (span.finished_at or end) > window.start
    )
    gaps, free_from = [], max(window.start, scene.start)
    for begin, stop in busy:
        if begin > free_from:
            gaps.append((free_from, begin))
        free_from = max(free_from, stop)
    if free_from < min(end, scene.end):
        gaps.append((free_from, min(end, scene.end)))
    return gaps


def _job(scene: Scene, span: JobSpan, row: int, qpu_row: int) -> Iterator[Markup]:
    modes = {window.group: window.mode for window in scene.windows}
    mode = modes.get(span.group, Mode.BATCH) if span.group is not None else None
    whose = _whose(scene, span.instance, mode)
    end = span.finished_at if span.finished_at is not None else scene.now
    enter = span.executing_at
    leave = span.executed_at if span.executed_at is not None else (end if enter else None)
    named = scene.mine(span.instance)
    name = f"job {span.id}" if named else "a job of others"
    pieces = [
        (span.running_at, span.ready_at or enter or end, "prepare", f"{name}: classical work"),
        (span.ready_at or end, enter or end, "wait", f"{name}: waits for the QPU"),
        (enter or end, leave or end, whose, f"{name}: on the QPU"),
        (leave or end, end, "prepare", f"{name}: post-processing"),
    ]
    boxes = []
    for begin, stop, kind, said in pieces:
        if stop > begin and stop > scene.start and begin < scene.end:
            x = scene.x(begin)
            told = f"{said}, {duration(stop - begin)}"
            boxes.append(svg.rect(x, _y(row), scene.x(stop) - x, ROW, f"run {kind}", told))
            if kind == whose:
                boxes.append(svg.rect(x, _y(qpu_row), scene.x(stop) - x, ROW, f"run {kind}", told))
    if scene.links and named and boxes:
        yield svg.link(f"/jobs/{span.id}", name, *boxes, listed=False)
    else:
        yield from boxes


def _busy(scene: Scene, row: int) -> Iterator[Markup]:
    """How busy the QPU was, one bar for each step."""
    step = (scene.end - scene.start) / max(1, len(scene.shares))
    width = (WIDTH - LEFT) / max(1, len(scene.shares))
    for at, share in enumerate(scene.shares):
        below = 0.0
        for ms, whose in ((share.own_ms, "job"), (share.other_ms, "others")):
            tall = ROW * min(1.0, ms / step)
            if tall > 0:
                said = (
                    f"{'you' if whose == 'job' else 'others'}: {ms / step:.0%} of {duration(step)}"
                )
                y = _y(row) + ROW - below - tall
                box = svg.rect(
                    LEFT + width * at, max(_y(row), y), width, tall, f"run {whose}", said
                )
                yield box
            below += tall


def _ruler(scene: Scene, bottom: float) -> Iterator[Markup]:
    span = scene.end - scene.start
    step = next((it for it in _STEPS_MS if span / it <= 9), _STEPS_MS[-1])
    if span / step > 12:
        step *= math.ceil(span / step / 10)
    first = -(-scene.start // step) * step
    for at in range(first, scene.end + 1, step):
        x = scene.x(at)
        yield svg.line(x, TOP - 6, x, bottom, "grid")
        middle = min(max(x, LEFT + 24), WIDTH - 24)
        yield svg.label(middle, bottom + 15, _tick(at, step), "ink small", "middle")
    yield svg.label(4, 14, f"{_clock(scene.start)} – {_clock(scene.end)} UTC", "ink small")


def _tick(at: int, step: int) -> str:
    text = iso(at)
    if step >= 86_400_000:
        return text[5:10]
    if step >= 60_000:
        return text[5:16].replace("T", " ") if at % 86_400_000 == 0 else text[11:16]
    return text[11:19] if step >= 1_000 else text[17:23]


def _clock(at: int) -> str:
    return iso(at)[:19].replace("T", " ")
