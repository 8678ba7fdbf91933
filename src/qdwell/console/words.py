"""How the console says things: times, durations, states. Each is a filter of the templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from qdwell.api.documents import STATUS_RAN_TOO_LONG, ran_too_long
from qdwell.clock import iso
from qdwell.core.group import REPORTED, Group
from qdwell.core.job import SERVER_WORDS, Job, JobState

_MODES = {"dedicated": "session", "batch": "batch"}


def moment(at: int | None) -> Markup:
    """An instant; the script shows it in the reader's own zone, relative where it is near."""
    if at is None:
        return Markup('<span class="none">–</span>')
    text = iso(at)
    shown = text[:19].replace("T", " ") + " UTC"
    return Markup('<time datetime="{}">{}</time>').format(text, shown)


def until(at: int | None, now: int) -> Markup:
    """A time that counts down to an instant."""
    if at is None:
        return Markup('<span class="none">–</span>')
    left = duration(max(0, at - now))
    return Markup('<span class="countdown" data-until="{}">{}</span>').format(at, left)


def duration(ms: int | float | None) -> str:
    """A length of time in the unit that suits it: 12 ms, 3.20 s, 4 min 10 s, 2 h 5 min."""
    if ms is None:
        return "–"
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f} s"
    total = int(ms // 1000)
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    if total < 86_400:
        return f"{total // 3600} h {total % 3600 // 60} min"
    return f"{total // 86_400} d {total % 86_400 // 3600} h"


def seconds(ms: int | None) -> str:
    """Charged time: seconds to the millisecond, since bills add up."""
    return "–" if ms is None else f"{ms / 1000:,.3f} s"


def status_of(job: Job) -> str:
    """The word that users know for a job's state."""
    return STATUS_RAN_TOO_LONG if ran_too_long(job) else SERVER_WORDS[job.state]


def phase_of(job: Job) -> str:
    """What a running job is doing, in a few words; empty if it does not run."""
    return {
        JobState.PREPARING: "being prepared",
        JobState.READY: "waits for the QPU",
        JobState.EXECUTING: "on the QPU",
        JobState.EXECUTED: "post-processing",
        JobState.POSTPROCESSING: "post-processing",
    }.get(job.state, "")


def pill(word: str, kind: str | None = None) -> Markup:
    """A state as a small label: a colour, and always the word."""
    kind = kind or word.split(" ")[0].lower()
    return Markup('<span class="pill pill-{}">{}</span>').format(kind, word)


def job_pill(job: Job) -> Markup:
    """A job's state as a label."""
    return pill(status_of(job))


def group_pill(group: Group) -> Markup:
    """A group's reported state as a label."""
    return pill(REPORTED[group.state])


def mode_word(group: Group) -> str:
    """session or batch."""
    return _MODES[group.mode.value]


def short(text: str) -> Markup:
    """A long id by its end, whole for whoever hovers or listens."""
    if len(text) <= 14:
        return Markup("<code>{}</code>").format(text)
    return Markup('<code title="{}">…{}</code>').format(text, text[-9:])


def clock(at: int) -> str:
    """The time of an instant, UTC, to the millisecond."""
    return iso(at)[11:23]


def number(value: float | None, digits: int = 4) -> str:
    """A measured number with as many digits as mean something."""
    return "–" if value is None else f"{value:.{digits}g}"


def percent(part: float, whole: float) -> str:
    """A share."""
    return "0 %" if not whole else f"{100 * part / whole:.0f} %"


def local_input(at: int | None) -> str:
    """An instant as a date field of a form has it, in UTC."""
    return "" if at is None else iso(at)[:16]


FILTERS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "until": until,
    "duration": duration,
    "seconds": seconds,
    "status_of": status_of,
    "phase_of": phase_of,
    "pill": pill,
    "job_pill": job_pill,
    "group_pill": group_pill,
    "mode_word": mode_word,
    "short": short,
    "clock": clock,
    "iso": iso,
    "number": number,
    "percent": percent,
    "local_input": local_input,
}
