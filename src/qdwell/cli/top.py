"""`qdwell top`: machines, sessions, and your waiting jobs on one screen, as they change."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from qdwell.cli.asking import Door, local, seconds, state_text
from qdwell.client.transport import path_of

ROWS = 12
EXPLAINED = 5  # waiting jobs whose reason is asked for: each is a request
WAIT_MS = 2_000


def top(account: str | None, *, once: bool) -> None:
    """Draw until interrupted; once if that is asked for, or there is no terminal."""
    door, console = Door(account), Console()
    if once or not console.is_terminal:
        console.print(screen(door))
        return
    cursor = door.get("/events")["cursor"]
    with Live(screen(door), console=console, screen=True, auto_refresh=False) as live:
        while True:
            page = door.get("/events", after=cursor, wait_ms=WAIT_MS)
            cursor = page["cursor"]
            live.update(screen(door), refresh=True)


def screen(door: Door) -> Group:
    """The whole picture."""
    devices = door.get("/backends")["devices"]
    sessions = door.pages("/sessions", "sessions", ROWS, open=True)
    pending = door.pages("/jobs", "jobs", 200, pending=True)
    ended = door.pages("/jobs", "jobs", ROWS, pending=False)
    usage = door.get("/instances/usage")
    used = seconds(usage["usage_consumed_seconds"])
    bound = usage.get("usage_limit_seconds") or usage.get("usage_allocation_seconds")
    head = f"[b]qdwell[/b] {door.account.url}   used {used} s" + (
        f" of {bound:,} s" if bound else ""
    )
    head += f"   [b]{len(pending)}[/b] pending"
    return Group(
        Text.from_markup(head),
        Panel(_machines(devices), title="Machines", title_align="left", border_style="dim"),
        Panel(_sessions(sessions), title="Sessions and batches", title_align="left",
              border_style="dim"),
        Panel(_pending(door, pending), title="Waiting and running", title_align="left",
              border_style="dim"),
        Panel(_ended(ended), title="Ended", title_align="left", border_style="dim"),
    )  # fmt: skip


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
    for head in heads:
        justify: Any = "right" if head.endswith(">") else "left"
        table.add_column(head.removesuffix(">"), justify=justify, no_wrap=head != "Why it waits")
    return table


def _machines(devices: list[dict[str, Any]]) -> Table:
    table = _table("Backend", "State", "Qubits>", "Queued>", "")
    for it in devices:
        queued = it["queue_length"]
        state = state_text(it["status"]["name"])
        bar = Text("▇" * min(40, queued), style="yellow")
        table.add_row(it["name"], state, str(it["qubits"]), str(queued), bar)
    return table


def _sessions(sessions: list[dict[str, Any]]) -> Table | Text:
    if not sessions:
        return Text("none is open", style="dim")
    table = _table("Session", "Mode", "State", "Backend", "Created", "Usage (s)>")
    for it in sessions:
        mode = "batch" if it["mode"] == "batch" else "session"
        table.add_row(
            it["id"], mode, state_text(it["state"]), it["backend_name"], local(it["created"]),
            seconds(it["elapsed_time"]),
        )  # fmt: skip
    return table


def _pending(door: Door, jobs: list[dict[str, Any]]) -> Table | Text:
    if not jobs:
        return Text("nothing waits, nothing runs", style="dim")
    table = _table("Job", "Status", "Backend", "Created", "Turn>", "Why it waits")
    asked = 0
    for it in jobs[::-1][:ROWS]:
        turn, why = "", ""
        if it["state"]["status"] == "Queued" and asked < EXPLAINED:
            asked += 1
            metrics = door.get(path_of("jobs", it["id"], "metrics"))
            turn = str(metrics.get("position_in_queue") or "")
            why = metrics.get("queue_reason") or ""
        state = state_text(it["state"]["status"])
        table.add_row(it["id"], state, it["backend"], local(it["created"]), turn, why)
    return table


def _ended(jobs: list[dict[str, Any]]) -> Table | Text:
    if not jobs:
        return Text("none yet", style="dim")
    table = _table("Job", "Status", "Backend", "Created", "Usage (s)>")
    for it in jobs:
        table.add_row(
            it["id"], state_text(it["state"]["status"]), it["backend"], local(it["created"]),
            seconds(it["usage"]["quantum_seconds"]),
        )  # fmt: skip
    return table
