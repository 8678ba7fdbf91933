"""A text timeline: who held the machine when. Pure: spans in, lines out.

One row says which session or batch held the machine, one row per lane shows the stages of the jobs
on it (C3), and
one row shows the QPU (C4). Where a session holds the machine and the QPU is idle, the QPU row has a
dot: that is the
user's own classical time, and it is charged to a session (U4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEGEND = (
    "Lanes: p classical work, r ready and waiting for the QPU, Q in it. "
    "QPU: whose job, . held but idle."
)


@dataclass(frozen=True)
class JobSpan:
    """One job on one machine. Times in seconds on a common scale; None where it never got there."""

    mark: str  #: one letter for whose it is
    created: float
    running: float | None
    ready: float | None
    qpu_start: float | None
    qpu_end: float | None
    finished: float | None


@dataclass(frozen=True)
class Window:
    """An interval in which a session or batch was active."""

    mark: str
    start: float
    end: float


def lanes_of(jobs: Sequence[JobSpan]) -> list[list[JobSpan]]:
    """Put jobs that ran at the same time on different lanes, as few as needed."""
    lanes: list[list[JobSpan]] = []
    started = (job for job in jobs if job.running is not None and job.finished is not None)
    for job in sorted(started, key=lambda job: job.running or 0.0):
        for lane in lanes:
            if (lane[-1].finished or 0.0) <= (job.running or 0.0):
                lane.append(job)
                break
        else:
            lanes.append([job])
    return lanes


def render(jobs: Sequence[JobSpan], windows: Sequence[Window], width: int = 96) -> list[str]:
    """Return the lines of the timeline, `width` cells wide, from the first submission to the last
    end.
    """
    ends = [job.finished for job in jobs if job.finished is not None]
    if not ends:
        return ["(no job has finished)"]
    begin, end = min(job.created for job in jobs), max(ends)
    scale = _Scale(begin, max(end, begin + 1e-6), width)
    lines = [_row("seconds", scale.ruler())]
    lines.append(_row("held by", _windows_row(windows, scale)))
    for number, lane in enumerate(lanes_of(jobs), start=1):
        cells = [" "] * width
        for job in lane:
            _paint(cells, scale, job)
        lines.append(_row(f"lane {number}", "".join(cells)))
    lines.append(_row("QPU", _qpu_row(jobs, windows, scale)))
    return lines


@dataclass(frozen=True)
class _Scale:
    begin: float
    end: float
    width: int

    def cells(self, start: float, end: float) -> range:
        """The cells that an interval covers; at least one."""
        per_second = self.width / (self.end - self.begin)
        first = min(self.width - 1, max(0, int((start - self.begin) * per_second)))
        last = min(self.width, int((end - self.begin) * per_second + 0.999))
        return range(first, max(last, first + 1))

    def ruler(self) -> str:
        """Seconds since the beginning, at every eighth of the width."""
        cells = [" "] * self.width
        for part in range(8):
            at = self.width * part // 8
            text = f"|{(self.end - self.begin) * part / 8:.1f}"
            cells[at : at + len(text)] = text
        return "".join(cells[: self.width])


def _row(title: str, cells: str) -> str:
    return f"{title:>8} {cells}".rstrip()


def _windows_row(windows: Sequence[Window], scale: _Scale) -> str:
    cells = [" "] * scale.width
    for window in windows:
        for cell in scale.cells(window.start, window.end):
            cells[cell] = window.mark
    return "".join(cells)


def _paint(cells: list[str], scale: _Scale, job: JobSpan) -> None:
    """Draw one job on its lane; where several stages share a cell the QPU shows."""
    assert job.running is not None
    assert job.finished is not None
    for cell in scale.cells(job.running, job.finished):
        if cells[cell] != "Q":
            cells[cell] = "p"
    if job.qpu_start is None or job.qpu_end is None:
        return
    if job.ready is not None and job.qpu_start > job.ready:
        for cell in scale.cells(job.ready, job.qpu_start):
            if cells[cell] != "Q":
                cells[cell] = "r"
    for cell in scale.cells(job.qpu_start, job.qpu_end):
        cells[cell] = "Q"


def _qpu_row(jobs: Sequence[JobSpan], windows: Sequence[Window], scale: _Scale) -> str:
    cells = [" "] * scale.width
    for window in windows:
        for cell in scale.cells(window.start, window.end):
            cells[cell] = "."
    for job in jobs:
        if job.qpu_start is not None and job.qpu_end is not None:
            for cell in scale.cells(job.qpu_start, job.qpu_end):
                cells[cell] = job.mark
    return "".join(cells)
