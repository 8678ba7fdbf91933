"""The usage ledger: what every held millisecond of a machine was used for (U1-U6, S19, C8).

A session holds its machine from the start of a window to its end. Each millisecond of that is one
of: *on the QPU*, if a job of it is there; *classical*, if none is there but one is running (it
belongs to the one that has run longest); or *interactive idle*. Before the window the machine may
have *drained* for it: nothing else was started, and nobody owes that. While the service was down,
time was held as *downtime*, which nobody owes either. Jobs outside sessions hold the QPU alone.

The parts are cut out of the intervals that are charged, so their sum is theirs, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from qdwell.core.decisions import Held, PutCharge
from qdwell.core.group import GroupState
from qdwell.core.job import RUNNING, JobState

RESERVED = "machine reserved"  # how the note of S19 begins, in a session's story
GIVEN_UP = "reservation given up"


class Use(StrEnum):
    """What time was held for."""

    QPU = "on_qpu"
    CLASSICAL = "classical"
    IDLE = "interactive_idle"
    DRAIN = "drain"
    DOWNTIME = "downtime"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the story of a session, or of a job in it; a note has no `after`."""

    subject: str
    at: int
    after: str | None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """A session, its own story, and those of its jobs; lines in the order of what happened."""

    id: str
    instance: str
    backend: str
    story: Sequence[Line]
    jobs: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Entry:
    """One interval of held time, [start, end), and whether somebody owes it."""

    use: Use
    kind: Held
    instance: str
    backend: str
    job: str | None
    group: str | None
    start: int
    end: int
    charged: bool

    @property
    def ms(self) -> int:
        """Its length."""
        return self.end - self.start


def entries(
    charges: Iterable[PutCharge], sessions: Iterable[Session], start: int, end: int
) -> list[Entry]:
    """Return what was held in [start, end), in order of time; what is open runs to `end`.

    `sessions`: those that the charges are of, and any others that a machine may have drained for.
    """
    known = {session.id: session for session in sessions}
    found: list[Entry] = []
    for charge in charges:
        whole = _whole(charge, end)
        if whole.use is Use.IDLE:
            found += _parts(whole, known[whole.group or ""].jobs)
        else:
            found.append(whole)
    for session in known.values():
        found += _drains(session, end)
    cut = (replace(it, start=max(it.start, start), end=min(it.end, end)) for it in found)
    return sorted((it for it in cut if it.ms > 0), key=lambda it: (it.start, it.end, it.job or ""))


def _whole(charge: PutCharge, end: int) -> Entry:
    """The charge as one entry; a session's window as if it had been idle all the time."""
    use = Use.QPU
    if charge.kind is Held.SESSION:
        use = Use.IDLE if charge.charged else Use.DOWNTIME
    return Entry(
        use=use,
        kind=charge.kind,
        instance=charge.instance,
        backend=charge.backend,
        job=charge.job,
        group=charge.group,
        start=charge.start,
        end=end if charge.end is None else charge.end,
        charged=charge.charged,
    )


def _parts(whole: Entry, lines: Sequence[Line]) -> Iterator[Entry]:
    """Cut a window where a job of it comes to another state."""
    running: dict[str, None] = {}  # in the order in which they began
    on_qpu: dict[str, None] = {}
    part = replace(whole, end=whole.start)
    for line in sorted(lines, key=lambda it: it.at):
        at = min(max(line.at, whole.start), whole.end)
        now = _now(whole, running, on_qpu)
        if (now.use, now.job) != (part.use, part.job):
            yield part
            part = replace(now, start=part.end)
        part = replace(part, end=at)
        on_qpu.pop(line.subject, None)
        if line.after == JobState.EXECUTING:
            on_qpu[line.subject] = None
        if line.after in RUNNING:
            running[line.subject] = None
        elif line.after is not None:
            running.pop(line.subject, None)
    yield part
    yield replace(_now(whole, running, on_qpu), start=part.end)


def _now(whole: Entry, running: dict[str, None], on_qpu: dict[str, None]) -> Entry:
    """What the window is used for while these jobs are running, and on the QPU."""
    use = Use.QPU if on_qpu else Use.CLASSICAL if running else Use.IDLE
    return replace(whole, use=use, job=next(iter(on_qpu or running), None))


def _drains(session: Session, end: int) -> Iterator[Entry]:
    """From each reservation of the machine to the window, or to when it was given up (S19)."""
    since: int | None = None
    for line in session.story:
        if line.cause.startswith(RESERVED):
            since = line.at
        elif since is not None and _ends_drain(line):
            yield _drain(session, since, line.at)
            since = None
    if since is not None:
        yield _drain(session, since, end)


def _ends_drain(line: Line) -> bool:
    return line.cause.startswith(GIVEN_UP) or line.after in (GroupState.ACTIVE, GroupState.CLOSED)


def _drain(session: Session, start: int, end: int) -> Entry:
    return Entry(
        use=Use.DRAIN,
        kind=Held.SESSION,
        instance=session.instance,
        backend=session.backend,
        job=None,
        group=session.id,
        start=start,
        end=end,
        charged=False,
    )
