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
    """Return the lines of the timeline, `width` cells wide, from first submission to last end."""
    ends = [job.finished for job in jobs if job.finished is not None]
    if not ends:
        return ["(no job has finished)"]
    begin, end = min(job.created for job in jobs), max(ends)
    scale = _Scale(begin, max(end, begin + 1e-6), width)
    held = [_Piece(window.mark, window.start, window.end) for window in windows]
    lines = [_row("seconds", scale.ruler()), _row("held by", _cells(held, scale))]
    for number, lane in enumerate(lanes_of(jobs), start=1):
        stages = [piece for job in lane for piece in _stages(job)]
        lines.append(_row(f"lane {number}", _cells(stages, scale)))
    idle = [_Piece(".", window.start, window.end) for window in windows]
    runs = [
        _Piece(job.mark, job.qpu_start, job.qpu_end)
        for job in jobs
        if job.qpu_start is not None and job.qpu_end is not None
    ]
    under, over = _cells(idle, scale), _cells(runs, scale)
    both = (top if top != " " else bottom for top, bottom in zip(over, under, strict=True))
    lines.append(_row("QPU", "".join(both)))
    return lines


@dataclass(frozen=True)
class _Piece:
    """An interval and the letter that shows it."""

    letter: str
    start: float
    end: float


@dataclass(frozen=True)
class _Scale:
    begin: float
    end: float
    width: int

    def place(self, at: float) -> float:
        """Where an instant is, in cells."""
        return (at - self.begin) * self.width / (self.end - self.begin)

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


def _stages(job: JobSpan) -> list[_Piece]:
    """What a job does on its lane, one stage after the other."""
    assert job.running is not None
    assert job.finished is not None
    if job.ready is None or job.qpu_start is None or job.qpu_end is None:
        return [_Piece("p", job.running, job.finished)]
    return [
        _Piece("p", job.running, job.ready),
        _Piece("r", job.ready, job.qpu_start),
        _Piece("Q", job.qpu_start, job.qpu_end),
        _Piece("p", job.qpu_end, job.finished),
    ]


def _cells(pieces: Sequence[_Piece], scale: _Scale) -> str:
    """Give each cell to the letter that has most of it, or to nobody.

    An interval that wins no cell is still shown, in the cell of its middle if that is empty.
    """
    shares: list[dict[str, float]] = [{} for _ in range(scale.width)]
    for piece in pieces:
        first, last = scale.place(piece.start), scale.place(piece.end)
        for cell in range(max(0, int(first)), min(scale.width, int(last) + 1)):
            share = min(last, cell + 1) - max(first, cell)
            shares[cell][piece.letter] = shares[cell].get(piece.letter, 0.0) + max(0.0, share)
    cells = [_winner(share) for share in shares]
    for piece in pieces:
        middle = min(scale.width - 1, int(scale.place((piece.start + piece.end) / 2)))
        if piece.end > piece.start and cells[middle] == " ":
            cells[middle] = piece.letter
    return "".join(cells)


def _winner(share: dict[str, float]) -> str:
    letter = max(share, key=lambda each: share[each], default=" ")
    nobody = 1.0 - sum(share.values())
    return letter if letter != " " and share[letter] >= nobody - 1e-9 else " "
