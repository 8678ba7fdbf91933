"""What the demo shows at its end, all of it read back through the stock client: jobs, timeline,
energies, bills.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qdwell.cli import demo_work as work
from qdwell.cli.timeline import LEGEND, JobSpan, Window, render

MACHINE = "fake_sherbrooke"  # a model of a 127-qubit device


@dataclass
class Check:
    """One thing that has to be true."""

    what: str
    ok: bool
    detail: str


@dataclass
class Facts:
    """What the work left behind."""

    ideal: work.VqeOutcome
    noisy: work.VqeOutcome
    batch_id: str
    batch_jobs: list[str]
    shares: list[float]
    bobs: list[Any]


@dataclass
class Seen:
    """One job as the API describes it."""

    id: str
    label: str
    status: str
    span: JobSpan
    quantum_seconds: float


def report(console: Console, ada: Any, bob: Any, facts: Facts) -> list[Check]:
    """Print everything that there is to see; return what has to be true."""
    seen = [_seen(ada, each, "V", "ada session") for each in facts.noisy.job_ids]
    seen += [_seen(ada, each, "B", "ada batch") for each in facts.batch_jobs]
    seen += [_seen(bob, job.job_id(), "b", "bob") for job in facts.bobs]
    windows = _windows(ada, facts.noisy.session_id, "V") + _windows(ada, facts.batch_id, "B")
    console.print(_jobs_table(seen))
    console.print(f"[bold]{MACHINE}[/bold]: V ada's session, B ada's batch, b bob. {LEGEND}")
    spans = [each.span for each in seen]
    for line in render(spans, windows, width=max(60, min(console.width, 140) - 10)):
        console.print(Text(line), overflow="crop", no_wrap=True)
    console.print(_energy_table(facts))
    sessions = (facts.ideal.session_id, facts.noisy.session_id)
    console.print(_usage_table(ada, bob, sessions, facts.batch_id))
    return [
        *_result_checks(facts),
        *_order_checks(seen, windows),
        *_bill_checks(ada, bob, facts, seen),
    ]


def _seen(service: Any, job_id: str, mark: str, label: str) -> Seen:
    job = service.job(job_id)
    metrics = job.metrics()
    stamps = metrics["timestamps"]
    phases = metrics.get("phases", {})
    span = JobSpan(
        mark=mark,
        created=_epoch(stamps["created"]) or 0.0,
        running=_epoch(stamps["running"]),
        ready=_epoch(phases.get("ready")),
        qpu_start=_epoch(phases.get("qpu_start")),
        qpu_end=_epoch(phases.get("qpu_end")),
        finished=_epoch(stamps["finished"]),
    )
    return Seen(job_id, label, str(job.status()), span, metrics["usage"]["quantum_seconds"])


def _epoch(stamp: str | None) -> float | None:
    return None if stamp is None else datetime.fromisoformat(stamp).timestamp()


def _windows(service: Any, group_id: str, mark: str) -> list[Window]:
    """Read when a session or batch was active from the history of its states (S11)."""
    history = _details(service, group_id, batch=mark == "B")["timestamps"]
    windows, since = [], None
    for change in history:
        at = _epoch(change["timestamp"])
        if change["status"] == "active":
            since = at
        elif since is not None and at is not None:
            windows.append(Window(mark, since, at))
            since = None
    return windows


def _jobs_table(seen: list[Seen]) -> Table:
    table = Table("whose", "jobs", "first submitted", "first started", "last ended", "quantum s")
    first = min(each.span.created for each in seen)
    for label in dict.fromkeys(each.label for each in seen):
        mine = [each for each in seen if each.label == label]
        done = sum(each.status == "DONE" for each in mine)
        table.add_row(
            label,
            f"{done} of {len(mine)} done",
            f"{min(x.span.created for x in mine) - first:.2f} s",
            f"{min(x.span.running or 0 for x in mine) - first:.2f} s",
            f"{max(x.span.finished or 0 for x in mine) - first:.2f} s",
            f"{sum(x.quantum_seconds for x in mine):.3f}",
        )
    return table


def _energy_table(facts: Facts) -> Table:
    exact = work.exact_energy()
    table = Table("H2 energy", "hartree", "above exact", "evaluations")
    table.add_row("exact", f"{exact:.4f}", "", "")
    for outcome in (facts.ideal, facts.noisy):
        error = f"{outcome.energy - exact:+.4f}"
        table.add_row(outcome.backend, f"{outcome.energy:.4f}", error, str(outcome.evaluations))
    return table


def _details(service: Any, group_id: str, *, batch: bool) -> dict[str, Any]:
    from qiskit_ibm_runtime import Batch, Session

    group: Any = Batch if batch else Session
    return dict(group.from_id(group_id, service=service).details())


def _group_usage(service: Any, group_id: str, *, batch: bool = False) -> float:
    return float(_details(service, group_id, batch=batch)["usage_time"])


def _usage_table(ada: Any, bob: Any, sessions: tuple[str, str], batch: str) -> Table:
    table = Table("usage", "seconds", "charged for")
    for session in sessions:
        table.add_row("ada", f"{_group_usage(ada, session):.3f}", "session: while it is active")
    table.add_row("ada", f"{_group_usage(ada, batch, batch=True):.3f}", "batch: time in the QPU")
    table.add_row("ada", f"{ada.usage()['usage_consumed_seconds']:.3f}", "in all")
    table.add_row("bob", f"{bob.usage()['usage_consumed_seconds']:.3f}", "jobs: time in the QPU")
    return table


def _result_checks(facts: Facts) -> list[Check]:
    exact = work.exact_energy()
    ideal, noisy = facts.ideal.energy - exact, facts.noisy.energy - exact
    low, high = work.NOISY_BAND_HA
    worst = min(facts.shares)
    bell = [job.result()[0].data.meas.get_counts() for job in facts.bobs]
    good = min((counts.get("00", 0) + counts.get("11", 0)) / 2000 for counts in bell)
    tolerance = work.IDEAL_TOLERANCE_HA
    return [
        Check("ideal energy", abs(ideal) <= tolerance, f"{ideal:+.4f} Ha, within {tolerance}"),
        Check("noisy energy", low <= noisy <= high, f"{noisy:+.4f} Ha, within {low} to {high}"),
        Check("batch of GHZ states", worst > 0.8, f"at least {worst:.0%} all-equal outcomes"),
        Check("bob's Bell states", good > 0.9, f"at least {good:.0%} equal outcomes"),
    ]


def _order_checks(seen: list[Seen], windows: list[Window]) -> list[Check]:
    done = all(each.status == "DONE" for each in seen)
    held = [window for window in windows if window.mark == "V"]
    strangers = [each for each in seen if each.label != "ada session"]
    clear = all(
        (each.span.finished or 0) <= window.start or (each.span.running or 0) >= window.end
        for window in held
        for each in strangers
    )
    qpu = sorted((x.span.qpu_start or 0.0, x.span.qpu_end or 0.0) for x in seen)
    serial = all(before[1] <= after[0] for before, after in pairwise(qpu))
    waited = min((x.span.running or 0) - x.span.created for x in seen if x.label == "bob")
    return [
        Check("all jobs done", done, f"{len(seen)} on {MACHINE}"),
        Check(
            "the session was exclusive", clear and bool(held), f"bob waited {waited:.2f} s or more"
        ),
        Check("one job in the QPU at a time", serial, f"{len(qpu)} intervals, none overlaps"),
    ]


def _bill_checks(ada: Any, bob: Any, facts: Facts, seen: list[Seen]) -> list[Check]:
    def quantum(label: str) -> float:
        return sum(each.quantum_seconds for each in seen if each.label == label)

    parts = [_group_usage(ada, each.session_id) for each in (facts.ideal, facts.noisy)]
    parts.append(_group_usage(ada, facts.batch_id, batch=True))
    adas, bobs = (float(x.usage()["usage_consumed_seconds"]) for x in (ada, bob))
    window = parts[1]
    return [
        Check("ada's bill", _same(adas, sum(parts)), f"{adas:.3f} s = sessions and batch"),
        Check(
            "ada's batch", _same(parts[2], quantum("ada batch")), f"{parts[2]:.3f} s of QPU time"
        ),
        Check(
            "ada's session",
            window >= quantum("ada session"),
            f"{window:.3f} s held, {quantum('ada session'):.3f} s of it in the QPU",
        ),
        Check(
            "bob's bill", _same(bobs, quantum("bob")), f"{bobs:.3f} s = the QPU time of his jobs"
        ),
    ]


def _same(one: float, other: float) -> bool:
    """Equal to the millisecond, which is the ledger's unit."""
    return abs(one - other) < 0.0005
