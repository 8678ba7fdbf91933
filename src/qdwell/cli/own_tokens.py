"""The commands for one's own tokens: list them, make one, revoke one, as the console does.

They go through the server, as whoever is signed in; `qdwell token` is the operator's, beside it.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qdwell.cli.asking import AccountName, AsJson, Door, local, print_json, print_table
from qdwell.clock import iso

DAY_S = 86_400
DAYS_MAX = 24_855  # the server takes 2^31 - 1 seconds

tokens = typer.Typer()


@tokens.callback(invoke_without_command=True)
def list_tokens(
    context: typer.Context, as_json: AsJson = False, account: AccountName = None
) -> None:
    """List your own API tokens in use, without what signs in; or make one, or revoke one."""
    if (below := context.invoked_subcommand) is not None:
        for name, option in (("as_json", "--json"), ("account", "--account")):
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter(f"say it after `{below}`.", param_hint=option)
        return
    found: list[dict[str, Any]] = Door(account).get("/tokens")["tokens"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("Token", "Name", "Scope", "Instance", "Created", "Ends", "Last used"),
        (
            (
                it["id"], it["name"], it["scope"], it["instance"] or "all",
                _moment(it["created"]), _moment(it["expires_at"]), _moment(it["used_at"]),
            )
            for it in found
        ),
        "You have no tokens in use.",
    )  # fmt: skip


def _moment(at: int | None) -> str:
    return local(None if at is None else iso(at))


@tokens.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    scope: Annotated[str, typer.Option(help="full, or read: it changes nothing.")] = "full",
    only: Annotated[
        str | None, typer.Option("--instance", help="The only instance that it is for.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=DAYS_MAX, help="It ends then.")] = None,
    as_json: AsJson = False,
    account: AccountName = None,
) -> None:
    """Make a token for yourself, and print it. It is shown only now.

    It is good for no more than the one you are signed in with: not longer, and nowhere else.
    """
    asked = {"name": name, "scope": scope, "instance": only}
    made = Door(account).change(
        "POST", "/tokens", {**asked, "expires_in_seconds": None if days is None else days * DAY_S}
    )
    if as_json:
        print_json(made)
        return
    typer.echo(made["token"])
    end = "" if made["expires_at"] is None else f", ends {_moment(made['expires_at'])}"
    where = "all of your instances" if made["instance"] is None else made["instance"]
    typer.echo(f"Its id is {made['id']}: {made['scope']}, for {where}{end}.", err=True)


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="See `qdwell tokens`.")],
    account: AccountName = None,
) -> None:
    """End one of your own tokens: whoever signed in with it is out."""
    from qdwell.client.transport import path_of

    Door(account).change("DELETE", path_of("tokens", token_id))
    typer.echo(f"{token_id} is revoked.", err=True)
