"""Measures how good the queue's forecasts are, and writes `docs/reference/forecasts.md`.

Not a test. `python tests/core/forecast_page.py` takes minutes, so `make docs` leaves it out; a test
measures the first day anew each time. With `--check` nothing is written, and the exit status tells
whether the page is what was measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "forecasts.md"
SEEDS = range(21, 27)
JOBS = 60
sys.path[:0] = [str(ROOT / "tests")]

from core.day import Score, judged, score

_HEAD = """\
# How good forecasts are

Made by `tests/core/forecast_page.py`; do not edit.

The server says of each waiting job when it is likely to start, and in which range: it runs the
one scheduler forward from the live state, once with expected times, and twelve times with times
drawn from what it has seen so far: how long runs took against their estimates, how long sessions
stayed, and what arrived in the last hour. The range is meant to hold four times in five.

The figures are from generated days of one machine with six instances: about 1,700 jobs, single, in
batches, and in sessions, most of them in working hours, with estimates that are off by a factor
of each instance and by chance. Of each day, 60 jobs that waited for more than ten minutes were
looked at, evenly over the day: what had been said of each *ten minutes before it started*, and
whether it then started inside that range. The ranges had been tuned on other days.

| Day | Jobs | Inside the range | Range without end | Range | Wait | Likely start off by |
|---|---|---|---|---|---|---|
"""

_FOOT = """

*Range* is the median width, from the earliest to the latest start that was given; *wait* the
median wait of these jobs, from acceptance to start; *off by* the median distance between the
likely start and the true one. A server that has just started knows nothing yet, and gives ranges
as wide as estimates are by rule of thumb.
"""


def row(seed: int | str, it: Score) -> str:
    """One line of the table."""
    seconds = f"{it.width_s:.0f} s | {it.wait_s:.0f} s | {it.off_s:.0f} s"
    return f"| {seed} | {it.jobs} | {it.inside:.0%} | {it.open:.0%} | {seconds} |"


def page() -> str:
    """The whole page."""
    days = {seed: judged(seed, JOBS) for seed in SEEDS}
    rows = [row(seed, score(told)) for seed, told in days.items()]
    rows.append(row("all", score(each for told in days.values() for each in told)))
    return _HEAD + "\n".join(rows) + _FOOT


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv:
        sys.exit(made != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(made, encoding="utf-8")
