"""The commands for operators: accounts and tokens. They work beside a running server.

The store is imported inside the functions, since it brings SQLAlchemy, which most
commands do not need.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qdwell.cli.credentials import read_server, render, settings_for, write_credentials
from qdwell.clock import SystemClock
from qdwell.errors import UnknownPlan

if TYPE_CHECKING:
    from qdwell.store import Place, Store
    from qdwell.store.accounts import Credentials

DATA_DIR = Path("qdwell-data")
DataDir = Annotated[
    Path, typer.Option("--data-dir", metavar="DIR", help="Folder of the database and credentials.")
]

accounts = typer.Typer(no_args_is_help=True, help="Make accounts.")
tokens = typer.Typer(no_args_is_help=True, help="Make API tokens.")


@accounts.command("create")
def create_account(
    name: Annotated[str, typer.Argument(help="Name of the new account.")],
    plan: Annotated[str, typer.Option(help="Plan, as the server's config names it.")] = "default",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make an account with an instance and a token, and print its lines for the stock client."""
    server = read_server(data_dir)
    if plan not in server.plans:
        raise UnknownPlan(plan, server.plans)

    from qdwell.store import accounts as book

    made = _in_store(
        server.place(data_dir), lambda store, now: book.create_account(store, name, plan, now)
    )
    if made is not None:
        typer.echo(render(_settings(server.url, made)), nl=False)


@tokens.command("create")
def create_token(
    account: Annotated[str, typer.Argument(help="Name of the account.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make one more token for an account, and print its lines. The older tokens stay good."""
    server = read_server(data_dir)

    from qdwell.store import accounts as book

    made = _in_store(
        server.place(data_dir), lambda store, now: book.create_token(store, account, now)
    )
    if made is not None:
        typer.echo(render(_settings(server.url, made)), nl=False)


def first_account(place: Place, url: str) -> str | None:
    """Make the first account of an empty store and write its credentials; None if there is one."""
    from qdwell.store import accounts as book

    made = _in_store(place, book.first_start)
    if made is None:
        return None
    settings = _settings(url, made)
    write_credentials(place.folder, settings)
    return render(settings)


def _in_store(place: Place, make: Callable[[Store, int], Credentials | None]) -> Credentials | None:
    from qdwell.store import open_store

    store = open_store(place)
    try:
        return make(store, SystemClock().now())
    finally:
        store.close()


def _settings(url: str, made: Credentials) -> dict[str, str]:
    return settings_for(url, token=made.token, instance_crn=made.instance_crn)
