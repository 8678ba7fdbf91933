"""The commands for operators of a running server: switch machines, look at queues, follow events.

They go through the server, with the token of an operator's account.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from qdwell.cli.asking import (
    AccountName,
    AsJson,
    Door,
    local,
    print_facts,
    print_json,
    print_table,
    state_text,
)

WAIT_MS = 20_000

BackendName = Annotated[str, typer.Argument(metavar="BACKEND", help="Name of a backend.")]
Reason = Annotated[str, typer.Option("--reason", help="Shown to users.")]

backend = typer.Typer(no_args_is_help=True, help="Switch a backend; for operators.")


def _switch(name: str, mode: str, reason: str, account: str | None) -> None:
    from qdwell.client.transport import path_of

    door = Door(account)
    it = door.change("PUT", path_of("admin", "backends", name), {"mode": mode, "reason": reason})
    typer.echo(f"{it['name']} is {it['status']['name']}.", err=True)


@backend.command("list")
def list_backends(as_json: AsJson = False, account: AccountName = None) -> None:
    """List the backends: how each is switched, and how many instances may use it."""
    found: list[dict[str, Any]] = Door(account).get("/admin/backends")["backends"]
    if as_json:
        print_json(found)
        return
    heads = ("Backend", "Mode", "Reason", "Qubits>", "Lanes>", "Queued>", "Instances>")
    print_table(
        heads,
        (
            (
                it["name"], state_text(it["mode"]), it["reason"], it["qubits"], it["lanes"],
                it["queue_length"], len(it["instances"]),
            )
            for it in found
        ),
        "None.",
    )  # fmt: skip


@backend.command("show")
def show_backend(name: BackendName, as_json: AsJson = False, account: AccountName = None) -> None:
    """Show one backend, with the instances that may use it; `qdwell instance change` says which."""
    from qdwell.client.transport import path_of

    found = Door(account).get(path_of("admin", "backends", name))
    if as_json:
        print_json(found)
        return
    print_facts((key, ", ".join(it) if isinstance(it, list) else it) for key, it in found.items())


@backend.command("pause")
def pause(name: BackendName, reason: Reason = "", account: AccountName = None) -> None:
    """Start nothing new; jobs are accepted, running ones and an active session go on."""
    _switch(name, "paused", reason, account)


@backend.command("resume")
def resume(name: BackendName, account: AccountName = None) -> None:
    """Bring it online again."""
    _switch(name, "online", "", account)


@backend.command("offline")
def offline(name: BackendName, reason: Reason = "", account: AccountName = None) -> None:
    """Take it offline: submissions are refused; running jobs go on."""
    _switch(name, "offline", reason, account)


def queue(
    name: Annotated[str | None, typer.Argument(metavar="BACKEND", help="Default: all.")] = None,
    as_json: AsJson = False,
    account: AccountName = None,
) -> None:
    """Show the jobs of all instances that wait or run, in the order of their turn."""
    found: list[dict[str, Any]] = Door(account).get("/admin/queue", backend=name)["jobs"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("Backend", "Turn>", "Job", "Status", "Instance", "Session", "Created", "Expected start"),
        (
            (
                it["backend"], it["position"] or "-", it["id"], state_text(it["status"]),
                it["instance_name"], it["session_id"] or "-", local(it["created"]),
                local(it["estimated_start_time"]),
            )
            for it in found
        ),
        "Nothing waits, and nothing runs.",
    )  # fmt: skip


def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until interrupted.")
    ] = False,
    everybody: Annotated[
        bool, typer.Option("--all", help="Of all instances; for operators.")
    ] = False,
    as_json: AsJson = False,
    account: AccountName = None,
) -> None:
    """Print what changes: jobs, sessions, and interim results, one a line."""
    door = Door(account)
    scope = {"all": True} if everybody else {}
    cursor = door.get("/events", **scope)["cursor"]
    while True:
        page = door.get("/events", after=cursor, wait_ms=WAIT_MS, **scope)
        cursor = page["cursor"]
        if page["reset"]:
            typer.echo("qdwell: some changes were missed", err=True)
        for change in page["changes"]:
            typer.echo(json.dumps(change) if as_json else _line(change))
        if not follow and page["changes"]:
            return


def _line(change: dict[str, Any]) -> str:
    head = f"{change['kind']:<8} {change['id']}  "
    if change["kind"] == "interim":
        return f"{head}result {change['n']}"
    if change["kind"] == "session":
        closed = "" if change["accepting_jobs"] else ", takes no more jobs"
        return f"{head}{change['state']}{closed}"
    inside = f" in {change['session_id']}" if "session_id" in change else ""
    return f"{head}{change['status']} on {change['backend']}{inside}"
