"""What users see: tables in notebooks, and a line of progress in notebooks and terminals.

Rich is used if it is there; without it a terminal gets plain text. Nothing is shown unless asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qdwell.client.driving import Hold
from qdwell.client.watching import FEW
from qdwell.client.words import FINAL, QueueInfo, Status
from qdwell.clock import stopwatch_ns

if TYPE_CHECKING:
    from qdwell.client.job import RuntimeJob
    from qdwell.client.service import QiskitRuntimeService

REFRESH_MS = 500


def table(title: str, rows: Mapping[str, object]) -> str:
    """A small table for a notebook; rows without a value are left out."""
    import html

    lines = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
        if value is not None
    )
    return f"<table><caption>{html.escape(title)}</caption>{lines}</table>"


def phase_of(metrics: Mapping[str, Any]) -> str:
    """Where a job is that runs, in words (J3)."""
    phases = metrics.get("phases") or {}
    for key, words in (
        ("qpu_end", "post-processing"),
        ("qpu_start", "on the QPU"),
        ("ready", "waiting for the QPU"),
    ):
        if phases.get(key) is not None:
            return words
    return "preparing"


def progress_line(
    jobs: Sequence[RuntimeJob], info: QueueInfo | None, seconds: float, phase: str = ""
) -> str:
    """How jobs are getting on, in one line: how many, the phase, the place, the estimate."""
    words = [job._status for job in jobs]
    done = sum(word in FINAL for word in words)
    if len(jobs) == 1:
        text = f"{jobs[0].job_id()} {words[0].lower()}" + (f", {phase}" if phase else "")
    else:
        parts = [f"{done} of {len(jobs)} done"]
        parts += [
            f"{words.count(word)} {word.lower()}"
            for word in (Status.RUNNING, Status.QUEUED)
            if word in words
        ]
        text = ", ".join(parts)
    if info is not None:
        text += f", number {info.position} in the queue"
        if info.estimated_start_time is not None:
            text += f", expected to start at {info.estimated_start_time:%H:%M:%S}"
        if info.reason:
            text += f": {info.reason}"
    return f"{text} ({seconds:.0f} s)"


def show_progress(
    service: QiskitRuntimeService, jobs: Sequence[RuntimeJob], timeout: float | None = None
) -> float | None:
    """Show a line until all jobs have ended, or `timeout` seconds have passed; what is left."""
    began = stopwatch_ns()
    write, close = _line()
    left, ended = [job for job in jobs if job._status not in FINAL], frozenset[str]()
    look_ns = 0
    try:
        while True:
            if stopwatch_ns() >= look_ns or len(left) <= FEW:
                _look(service, left)
                look_ns = stopwatch_ns() + REFRESH_MS * 1_000_000
            else:  # of a crowd, only those that are known to have ended
                _look(service, [job for job in left if job.job_id() in ended])
            left = [job for job in left if job._status not in FINAL]
            waiting = next((job for job in left if job._status == "QUEUED"), None)
            seconds = (stopwatch_ns() - began) / 1e9
            running = len(jobs) == 1 and jobs[0]._status == Status.RUNNING
            phase = phase_of(jobs[0].metrics()) if running else ""
            write(progress_line(jobs, waiting.queue_info() if waiting else None, seconds, phase))
            rest = None if timeout is None else max(0.0, timeout - seconds)
            if not left or rest == 0:
                return rest
            ms = REFRESH_MS if rest is None else max(1, int(min(REFRESH_MS, rest * 1000)))
            # Straight to the watcher: a result must not be fetched on the way.
            ended = service.link.watcher.wait(Hold(tuple(job.job_id() for job in left), ms, rest))
    finally:
        close()


def _look(service: QiskitRuntimeService, jobs: Sequence[RuntimeJob]) -> None:
    """Learn the states of jobs: of a few by asking for each, of a crowd from the list of those that
    have not ended.
    """
    pending: dict[str, Mapping[str, Any]] = {}
    if len(jobs) > FEW:
        query = [("pending", "true"), ("exclude_params", "true"), ("sort", "ASC")]
        pages = service._pages("/jobs", "jobs", query, None, 0)
        pending = {document["id"]: document for document in pages}
    for job in jobs:
        if job.job_id() in pending:
            job._learn(pending[job.job_id()])
        else:
            job.status()


def _line() -> tuple[Callable[[str], None], Callable[[], None]]:
    """How to write a line over the last one, and how to leave it."""
    if _in_notebook():
        return _notebook_line()
    try:
        from rich.live import Live
        from rich.text import Text
    except ImportError:

        def write(text: str) -> None:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

        return write, lambda: write("\n")
    live = Live(Text(""), auto_refresh=False, transient=False)
    live.start()
    return lambda text: live.update(Text(text), refresh=True), live.stop


def _in_notebook() -> bool:
    shell: Any = sys.modules.get("IPython")
    active = shell.get_ipython() if shell is not None else None
    return active is not None and "IPKernelApp" in active.config


def _notebook_line() -> tuple[Callable[[str], None], Callable[[], None]]:
    import html
    import importlib

    shown = importlib.import_module("IPython.display")
    handle = shown.display(shown.HTML(""), display_id=True)

    def write(text: str) -> None:
        handle.update(shown.HTML(f"<code>{html.escape(text)}</code>"))

    return write, lambda: None
