"""The commands for users: sign in, look at jobs, sessions, backends, and usage."""

from __future__ import annotations

import sys
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
    seconds,
    state_text,
)
from qdwell.errors import ConfigError

Most = Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many at most.")]
Backend = Annotated[str | None, typer.Option("--backend", "-b", help="Only of this backend.")]
GroupId = Annotated[str, typer.Argument(metavar="SESSION", help="Id of a session or batch.")]

session = typer.Typer(no_args_is_help=True, help="One session or batch.")


def login(
    url: Annotated[
        str | None, typer.Option(help="The server's address; asked for if missing.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="The API token; '-' reads it from standard input; asked for if missing."),
    ] = None,
    instance: Annotated[
        str | None, typer.Option(help="CRN or name; needed if the account has several.")
    ] = None,
    name: Annotated[str, typer.Option("--as", help="Name of the saved account.")] = "default",
) -> None:
    """Sign in: check a token, and save the account for you alone in ~/.qdwell/accounts.json."""
    from qdwell.client import accounts

    where = url or typer.prompt("Server", default="http://127.0.0.1:8000", err=True)
    secret = sys.stdin.readline().strip() if token == "-" else token  # noqa: S105
    secret = secret or typer.prompt("API token", hide_input=True, err=True)
    found = Door(accounts.made(where, secret, None, None)).get("/instances")["instances"]
    chosen = [it for it in found if instance in (None, it["crn"], it["name"])]
    if len(chosen) != 1:
        names = ", ".join(it["name"] for it in found) or "none"
        raise ConfigError("--instance", f"must name one instance of the account: {names}")
    made = accounts.made(where, secret, chosen[0]["crn"], None)
    accounts.save(made, name, overwrite=True)
    typer.echo(f"Signed in to {made.url}, instance {chosen[0]['name']}.")


def jobs(
    limit: Most = 20,
    backend: Backend = None,
    pending: Annotated[
        bool | None, typer.Option("--pending/--ended", help="Only those that have not, or have.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only with this tag; may be repeated: all of them.")
    ] = None,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Only of this session or batch.")
    ] = None,
    search: Annotated[str | None, typer.Option(help="An id, or letters in a tag.")] = None,
    as_json: AsJson = False,
    account: AccountName = None,
) -> None:
    """List jobs, newest first."""
    found = Door(account).pages(
        "/jobs", "jobs", limit, backend=backend, pending=pending, tags=tag or None,
        session_id=session, search=search,
    )  # fmt: skip
    if as_json:
        print_json(found)
        return
    print_table(
        ("Job", "Status", "Program", "Backend", "Session", "Created", "Usage (s)>", "Tags"),
        (
            (
                it["id"], state_text(it["state"]["status"]), it["program"]["id"], it["backend"],
                it.get("session_id", "-"), local(it["created"]),
                seconds(it["usage"]["quantum_seconds"]), ", ".join(it["tags"]),
            )
            for it in found
        ),
        "There are no such jobs.",
    )  # fmt: skip


def sessions(
    limit: Most = 20,
    backend: Backend = None,
    is_open: Annotated[
        bool | None, typer.Option("--open/--closed", help="Only those that are not closed, or are.")
    ] = None,
    as_json: AsJson = False,
    account: AccountName = None,
) -> None:
    """List sessions and batches, newest first."""
    found = Door(account).pages("/sessions", "sessions", limit, backend=backend, open=is_open)
    if as_json:
        print_json(found)
        return
    print_table(
        ("Session", "Mode", "State", "Takes jobs", "Backend", "Created", "Usage (s)>"),
        (
            (
                it["id"], _mode(it), state_text(it["state"]),
                "yes" if it["accepting_jobs"] else "no", it["backend_name"],
                local(it["created"]), seconds(it["elapsed_time"]),
            )
            for it in found
        ),
        "There are no such sessions or batches.",
    )  # fmt: skip


def _mode(document: dict[str, Any]) -> str:
    return "batch" if document["mode"] == "batch" else "session"


@session.command("show")
def show_session(group: GroupId, as_json: AsJson = False, account: AccountName = None) -> None:
    """Show a session or batch: state, times, usage, and the history of its states."""
    from qdwell.client.transport import path_of

    it = Door(account).get(path_of("sessions", group))
    if as_json:
        print_json(it)
        return
    print_facts(
        [
            ("id", it["id"]),
            ("mode", _mode(it)),
            ("state", it["state"]),
            ("takes jobs", "yes" if it["accepting_jobs"] else "no"),
            ("backend", it["backend_name"]),
            ("created", local(it["created"])),
            ("started", local(it["started_at"])),
            ("closed", local(it["closed_at"])),
            ("usage", f"{seconds(it['elapsed_time'])} s"),
            ("interactive TTL", f"{it['interactive_ttl']} s"),
            ("maximum TTL", f"{it['max_ttl']} s"),
            *((local(each["timestamp"]), each["status"]) for each in it["timestamps"]),
        ]
    )


@session.command("close")
def close_session(group: GroupId, account: AccountName = None) -> None:
    """Close it: no new jobs; those that were accepted still run."""
    from qdwell.client.transport import path_of

    Door(account).change("PATCH", path_of("sessions", group), {"accepting_jobs": False})
    typer.echo(f"{group} takes no more jobs.", err=True)


@session.command("cancel")
def cancel_session(group: GroupId, account: AccountName = None) -> None:
    """Cancel it: jobs that are not on the QPU yet are cancelled."""
    from qdwell.client.transport import path_of

    Door(account).change("DELETE", path_of("sessions", group, "close"))
    typer.echo(f"{group} is cancelled.", err=True)


def backends(as_json: AsJson = False, account: AccountName = None) -> None:
    """List backends: state, qubits, and how long their queues are."""
    found: list[dict[str, Any]] = Door(account).get("/backends")["devices"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("Backend", "State", "Qubits>", "Queued>", "Kind", "Reason"),
        (
            (
                it["name"], state_text(it["status"]["name"]), it["qubits"], it["queue_length"],
                "simulator" if it["is_simulator"] else "machine", it["status"].get("reason", ""),
            )
            for it in found
        ),
        "There are no backends.",
    )  # fmt: skip


def usage(
    by: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="Sums of the ledger by job, session, user, or instance."),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print the ledger as CSV: each interval, or the sums.")
    ] = False,
    as_json: AsJson = False,
    account: AccountName = None,
) -> None:
    """Show what the instance used in the present window, and what it has left."""
    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json: choose one")
    door = Door(account)
    if as_csv:
        typer.echo(door.text("/usage/ledger", format="csv", by=by), nl=False)
        return
    if by is not None:
        _print_ledger(door.get("/usage/ledger", by=by), as_json)
        return
    it = door.get("/instances/usage")
    if as_json:
        print_json(it)
        return
    limit = it.get("usage_limit_seconds")
    bound = limit or it.get("usage_allocation_seconds")
    used = it["usage_consumed_seconds"]
    print_facts(
        [
            ("instance", it["instance_id"]),
            ("plan", it["plan_id"]),
            ("since", local(it["usage_period"]["start_time"])),
            ("used", f"{seconds(used)} s"),
            ("limit" if limit else "allocation", None if bound is None else f"{bound:,} s"),
            ("left", None if bound is None else f"{seconds(max(0, bound - used))} s"),
        ]
    )


def _print_ledger(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    entries = found["entries"]
    heads = list(entries[0]) if entries else []
    rows = [[it[head] if it[head] is not None else "-" for head in heads] for it in entries]
    shown = [
        f"{head}>" if entries and isinstance(entries[0][head], int) else head for head in heads
    ]
    print_table(shown, rows, "Nothing was held in this window.")
