"""The picture of a machine in time: who held it, what was on its lanes, and when the QPU ran.

The top row shows windows of sessions and batches: solid while the window's jobs are there, hatched
while nothing of it is (the interactive TTL runs), striped while it drains. A lane shows a job's
classical work pale, its wait for the QPU paler, its run in colour. The QPU row has the runs alone.
Where there are too many jobs to tell apart, columns take their place (`timeline_busy`): how many
jobs were on the lanes, and how busy the QPU was.

Others' work is drawn, because it is why one waits, and has no name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from qdwell.clock import iso
from qdwell.console import svg, timeline_busy
from qdwell.console.timeline_sums import Grid
from qdwell.console.words import duration
from qdwell.core.group import Mode
from qdwell.store.history import JobSpan, WindowSpan
from qdwell.store.occupancy import Gap, Held, Occupied

LEFT, ROW, GAP, TOP, WIDTH = 84.0, 28.0, 6.0, 26.0, 1120.0
LANES_DRAWN_MAX = 10  # on more, jobs are counted instead of drawn
_BAND = 3 * ROW + 2 * GAP
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
    spans: Sequence[JobSpan]
    windows: Sequence[WindowSpan]
    own: str  #: the instance of whoever looks
    grid: Grid | None = None  #: of the columns that stand for jobs; None: jobs are drawn
    occupied: Sequence[Occupied] = ()
    held: Sequence[Held] = ()  #: if there are too many windows to be drawn; else empty
    gaps: Sequence[Gap] = ()  #: of the sessions, where there are columns
    everything: bool = False  #: whether others' work has its ids (operators)
    links: bool = True

    def x(self, at: int) -> float:
        """Where an instant is."""
        share = (min(max(at, self.start), self.end) - self.start) / (self.end - self.start)
        return LEFT + (WIDTH - LEFT) * share

    @property
    def empty(self) -> bool:
        """Whether nothing happened."""
        busy = any(it.jobs or it.qpu_ms for it in self.occupied)
        return not self.windows and not self.spans and not busy

    def mine(self, instance: str) -> bool:
        """Whether it may be named."""
        return self.everything or instance == self.own


@dataclass(frozen=True, slots=True)
class Row:
    """A strip of the picture."""

    name: str
    y: float
    tall: float


def draw(scene: Scene) -> Markup:
    """The picture."""
    lanes = lanes_of(scene.spans)
    held, *between, qpu = rows = _rows(scene, len(lanes))
    height = qpu.y + qpu.tall + GAP + 26
    parts = [*_ruler(scene, height - 22)]
    for row in rows:
        parts.append(svg.rect(LEFT, row.y, WIDTH - LEFT, row.tall, "lane"))
    if scene.held:
        parts += timeline_busy.held(scene, held)
    for window in scene.windows:
        parts += _window(scene, window, held)
    for lane, row in zip(lanes, between, strict=False):
        for span in lane:
            parts += _job(scene, span, row, qpu)
    if scene.grid is not None:
        parts += timeline_busy.lanes(scene, between[0])
        parts += timeline_busy.qpu(scene, qpu)
    if scene.start <= scene.now <= scene.end:
        x = scene.x(scene.now)
        parts.append(svg.line(x, TOP - 6, x, height - 22, "now"))
    if scene.grid is not None:
        parts += timeline_busy.told(scene, TOP, height - 22 - TOP)
    # Last, so that they stay to be read over the rest where a narrow screen scrolls it.
    parts.append(svg.tag("g", *_names(rows, height - 22), class_="names"))
    hatch = svg.tag(
        "defs",
        _pattern("idle", "M0 6 L6 0", 6, "hatch"),
        _pattern("drain", "M0 0 L0 8", 8, "stripe"),
    )
    title = _title(scene)
    return svg.picture(WIDTH, height, title, hatch, *parts, class_="timeline", role="group")


def _rows(scene: Scene, lanes: int) -> list[Row]:
    """The strips: who holds the machine, its lanes or the band that counts them, its QPU."""
    shown = max(lanes, min(scene.lanes, 5))
    names = [("held by", ROW), *((f"lane {number + 1}", ROW) for number in range(shown))]
    if scene.grid is not None:
        names = [("held by", ROW), ("lanes", _BAND)]
    rows, y = [], TOP
    for name, tall in [*names, ("QPU", ROW if scene.grid is None else 2 * ROW)]:
        rows.append(Row(name, y, tall))
        y += tall + GAP
    return rows


def _names(rows: Sequence[Row], height: float) -> list[Markup]:
    under = svg.rect(0, TOP - 2, LEFT - 14, height - TOP + 2, "under")
    return [under, *(svg.label(4, row.y + 18, row.name) for row in rows)]


def _title(scene: Scene) -> str:
    windows, jobs = len(scene.windows), len(scene.spans)
    if scene.grid is not None:
        jobs = sum(it.jobs for it in scene.occupied)
    if scene.held:
        windows = sum(it.windows for it in scene.held)
    return (
        f"{scene.machine} from {_clock(scene.start)} to {_clock(scene.end)} UTC: "
        f"{jobs} jobs, {windows} windows of sessions and batches"
    )


def _pattern(name: str, path: str, size: float, class_: str) -> Markup:
    return svg.tag(
        "pattern",
        svg.tag("path", d=path, class_=class_),
        id=f"tl-{name}",
        width=size,
        height=size,
        patternUnits="userSpaceOnUse",
    )


def lanes_of(spans: Sequence[JobSpan]) -> list[list[JobSpan]]:
    """Jobs on lanes: the first that is free when each starts."""
    lanes: list[list[JobSpan]] = []
    for span in spans:
        for lane in lanes:
            last = lane[-1].finished_at
            if last is not None and last <= span.running_at:
                lane.append(span)
                break
        else:
            lanes.append([span])
    return lanes


def _whose(scene: Scene, instance: str, mode: Mode | None) -> str:
    if instance != scene.own:
        return "others"
    return {Mode.SESSION: "session", Mode.BATCH: "batch", None: "job"}[mode]


def _window(scene: Scene, window: WindowSpan, row: Row) -> Iterator[Markup]:
    """A window: its busy parts, its idle gaps, its drain."""
    end = window.end if window.end is not None else min(scene.now, scene.end)
    word = "session" if window.mode is Mode.SESSION else "batch"
    whose = _whose(scene, window.instance, window.mode)
    name = f"{word} {window.group}" if scene.mine(window.instance) else f"a {word} of others"
    length = duration(end - window.start)
    said = f"{name}: active for {length}" + ("" if window.end else ", and still is")
    x, right, y = scene.x(window.start), scene.x(end), row.y
    box = [svg.rect(x, y, right - x, ROW, f"held {whose}", said)]
    if window.mode is Mode.SESSION:
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
        box.append(svg.label(x + 5, y + 18, name if right - x > 300 else word, "held-text"))
    if scene.links and scene.mine(window.instance) and not scene.everything:
        yield svg.link(f"/sessions/{window.group}", said, *box)
    else:
        yield from box


def _gaps(scene: Scene, window: WindowSpan, end: int) -> list[tuple[int, int]]:
    """The parts of a session's window in which it had no unfinished job."""
    if scene.grid is not None:
        mine = (it for it in scene.gaps if it.group == window.group)
        cut = ((max(it.start, window.start), min(it.end, end)) for it in mine)
        return [(begin, stop) for begin, stop in cut if begin < stop]
    busy = sorted(
        (max(span.created, window.start), min(span.finished_at or end, end))
        for span in scene.spans
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


def _job(scene: Scene, span: JobSpan, row: Row, qpu: Row) -> Iterator[Markup]:
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
            boxes.append(svg.rect(x, row.y, scene.x(stop) - x, ROW, f"run {kind}", told))
            if kind == whose:
                boxes.append(svg.rect(x, qpu.y, scene.x(stop) - x, ROW, f"run {kind}", told))
    if scene.links and named and boxes:
        yield svg.link(f"/jobs/{span.id}", name, *boxes, listed=False)
    else:
        yield from boxes


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
