"""Draws what a session and a batch do to a machine, by running the one scheduler: two SVG pictures.

The session is golden timeline T3, the batch T4. Nothing is drawn by hand, so the pictures cannot
disagree with the program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qdwell.core.decisions import Decision, PutGroup, PutJob
from qdwell.core.events import CloseGroup, CreateGroup, Event, PutBackend, PutInstance, SubmitJob
from qdwell.core.group import Group, Mode
from qdwell.core.job import Job, JobState
from qdwell.core.replay import Phases, Replay
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings

_LEFT, _WIDTH, _ROW, _GAP = 96, 800, 22, 6
_INK, _MINE, _OTHER, _PREP, _WAIT, _HELD = (
    "#1f2430",
    "#3b6fd4",
    "#d98c2b",
    "#a9b4c8",
    "#e3e7ef",
    "#dfe9fb",
)
_STYLE = (
    f"text{{font:12px sans-serif;fill:{_INK}}}.t{{font:bold 13px sans-serif}}"
    ".m{font:10px sans-serif;fill:#fff}"
)


@dataclass(frozen=True)
class Story:
    """One picture: a group of one user, and jobs of others beside it. Times in seconds."""

    title: str
    mode: Mode
    interactive_ttl: int
    jobs: Sequence[tuple[str, int, tuple[int, int, int], bool]]  #: name, at, phases, in the group
    close_at: int
    until: int


SESSION = Story(
    title="A session holds the machine between its jobs, until it has been idle for too long",
    mode=Mode.SESSION,
    interactive_ttl=20,
    jobs=[
        ("A1", 0, (2, 5, 1), True),
        ("X", 10, (2, 4, 1), False),
        ("A2", 18, (2, 5, 1), True),
        ("Y", 30, (2, 20, 1), False),
        ("A3", 36, (2, 5, 1), True),
        ("A4", 70, (2, 5, 1), True),
        ("Z", 75, (2, 4, 1), False),
        ("A5", 110, (2, 5, 1), True),
    ],
    close_at=112,
    until=128,
)
BATCH = Story(
    title="A batch prepares its jobs side by side and runs them without a gap",
    mode=Mode.BATCH,
    interactive_ttl=1,
    jobs=[
        *((f"B{number}", 0, (10, 4, 1), True) for number in range(1, 6)),
        ("X", 3, (2, 6, 1), False),
    ],
    close_at=1,
    until=40,
)


def pictures() -> dict[str, str]:
    """Every picture by file name."""
    return {"session.svg": _draw(SESSION), "batch.svg": _draw(BATCH)}


def _run(story: Story) -> list[Decision]:
    scheduler = Scheduler(Settings())
    plan = {name: Phases(*(part * 1000 for part in parts)) for name, _, parts, _ in story.jobs}
    replay = Replay(scheduler, lambda job: plan[job.id])
    owners = ["ada"] + [name for name, _, _, mine in story.jobs if not mine]
    replay.request(0, PutBackend("machine", simulator=False, lanes=5, lock_window=True))
    replay.request(0, *(PutInstance(each, each, 36_000_000) for each in owners))
    ttl = story.interactive_ttl * 1000
    group = Group("G", 0, story.mode, "ada", "machine", 0, ttl, 3_600_000)
    replay.request(0, CreateGroup(group))
    for seq, (name, at, parts, mine) in enumerate(story.jobs):
        owner, of = ("ada", "G") if mine else (name, None)
        estimate = parts[1] * 1000
        job = Job(name, seq, owner, "machine", at * 1000, group=of, estimate_ms=estimate)
        event: Event = SubmitJob(job)
        replay.request(at * 1000, event)
    replay.request(story.close_at * 1000, CloseGroup("G"))
    replay.run()
    return [decision for _, decision in replay.trace]


def _draw(story: Story) -> str:
    decisions = _run(story)
    jobs = {put.job.id: put.job for put in decisions if isinstance(put, PutJob)}
    lanes = _lanes(list(jobs.values()))
    rows = 2 + max(lanes.values())
    height = 40 + (rows + 1) * (_ROW + _GAP) + 24
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 16} {height}" '
            f'role="img" aria-label="{story.title}">'
        ),
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="20" class="t">{story.title}</text>',
        *_ruler(story, rows),
        _label(0, "held by"),
        *(
            _box(story, 0, *window, _HELD, "ada's " + _word(story))
            for window in _windows(decisions)
        ),
        *(_label(1 + lane, f"lane {1 + lane}") for lane in range(rows - 1)),
        _label(rows, "QPU"),
    ]
    for job in jobs.values():
        parts += _job(story, job, 1 + lanes[job.id], rows)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _word(story: Story) -> str:
    return "session" if story.mode is Mode.SESSION else "batch"


def _lanes(jobs: Sequence[Job]) -> dict[str, int]:
    """The lane of each job: the first that is free when it starts."""
    free: list[int] = []
    lane_of: dict[str, int] = {}
    for job in sorted(jobs, key=lambda job: (job.running_at or 0, job.seq)):
        start, end = job.running_at or 0, job.finished_at or 0
        lane = next((each for each, until in enumerate(free) if until <= start), len(free))
        free[lane : lane + 1] = [end]
        lane_of[job.id] = lane
    return lane_of


def _windows(decisions: Sequence[Decision]) -> list[tuple[int, int]]:
    """When the group was active, in milliseconds."""
    found, since = [], None
    for put in decisions:
        if isinstance(put, PutGroup):
            if put.group.live and since is None:
                since = put.at
            elif not put.group.live and since is not None:
                found.append((since, put.at))
                since = None
    return found


def _job(story: Story, job: Job, row: int, qpu_row: int) -> list[str]:
    assert job.state is JobState.COMPLETED
    stamps = (job.running_at, job.ready_at, job.executing_at, job.executed_at, job.finished_at)
    start, ready, enter, leave, end = (stamp or 0 for stamp in stamps)
    color = _MINE if job.group else _OTHER
    return [
        _box(story, row, start, ready, _PREP),
        _box(story, row, ready, enter, _WAIT),
        _box(story, row, enter, leave, color, job.id),
        _box(story, row, leave, end, _PREP),
        _box(story, qpu_row, enter, leave, color, job.id),
    ]


def _x(story: Story, at: int) -> float:
    return _LEFT + _WIDTH * at / (story.until * 1000)


def _y(row: int) -> int:
    return 34 + row * (_ROW + _GAP)


def _label(row: int, text: str) -> str:
    return f'<text x="8" y="{_y(row) + 15}">{text}</text>'


def _box(story: Story, row: int, start: int, end: int, fill: str, text: str = "") -> str:
    if end <= start:
        return ""
    x, width = _x(story, start), _x(story, end) - _x(story, start)
    css: Mapping[bool, str] = {True: "", False: ' class="m"'}
    box = f'<rect x="{x:.1f}" y="{_y(row)}" width="{width:.1f}" height="{_ROW}" fill="{fill}"/>'
    if not text or width < 12:
        return box
    return box + f'<text x="{x + 4:.1f}" y="{_y(row) + 15}"{css[fill == _HELD]}>{text}</text>'


def _ruler(story: Story, rows: int) -> list[str]:
    step = 20 if story.until > 60 else 5
    marks = []
    for at in range(0, story.until + 1, step):
        x = _x(story, at * 1000)
        marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="30" y2="{_y(rows + 1)}" stroke="#ccd"/>')
        marks.append(f'<text x="{x:.1f}" y="{_y(rows + 1) + 14}">{at} s</text>')
    return marks
