"""The commands for operators: accounts and tokens. They work beside a running server.

They open the store themselves; the server heeds what they change within two seconds. The store is
imported inside the functions, since it brings SQLAlchemy, which most commands do not need.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from qdwell.cli.asking import AsJson, print_facts, print_json, print_table
from qdwell.cli.credentials import read_server, render, settings_for, write_credentials
from qdwell.clock import SystemClock, iso

if TYPE_CHECKING:
    from qdwell.store import Place
    from qdwell.store.accounts import Credentials
    from qdwell.store.book import Book
    from qdwell.store.people import People

ACTOR = "command line"
DATA_DIR = Path("qdwell-data")
DataDir = Annotated[
    Path, typer.Option("--data-dir", metavar="DIR", help="Folder of the database and credentials.")
]
AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name or id.")]
TokenId = Annotated[str, typer.Argument(metavar="ID", help="See `qdwell token list`.")]
T = TypeVar("T")
B = TypeVar("B", bound="Book")

accounts = typer.Typer(no_args_is_help=True, help="Accounts.")
tokens = typer.Typer(no_args_is_help=True, help="API tokens.")


def in_book(data_dir: Path, kind: Callable[..., B], work: Callable[[B], T]) -> T:
    """Do it in the book of the store of this folder."""
    from qdwell.store import open_store

    server = read_server(data_dir)
    store = open_store(server.place(data_dir))
    try:
        return work(kind(store, ACTOR, SystemClock().now(), server.plans))
    finally:
        store.close()


def people(data_dir: Path, work: Callable[[People], T]) -> T:
    """Do it in the book of people."""
    from qdwell.store.people import People

    return in_book(data_dir, People, work)


def shut(
    data_dir: Path, which: Callable[[People], Callable[..., None]], name: str, *, closed: bool
) -> None:
    """Close an account or an instance, or open it again, and say so."""
    people(data_dir, lambda it: which(it)(name, closed=closed))
    typer.echo(f"{name} is {'closed' if closed else 'open'}.", err=True)


def show_list(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    """Print many, as a table or as JSON."""
    if as_json:
        print_json(rows)
        return
    print_table(columns, (tuple(_cell(name, it[name]) for name in columns) for it in rows), "None.")


def show_one(found: dict[str, Any], as_json: bool) -> None:
    """Print one, as names and values or as JSON."""
    if as_json:
        print_json(found)
        return
    print_facts((name, _cell(name, value)) for name, value in found.items())


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("at", "created") or name.endswith("_at"):
        return iso(value)
    return value if isinstance(value, str) else json.dumps(value)


@accounts.command("list")
def list_accounts(data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List the accounts."""
    columns = ("name", "id", "created", "closed_at")
    show_list(people(data_dir, lambda it: it.accounts()), columns, as_json)


@accounts.command("show")
def show_account(
    name: AccountArgument, data_dir: DataDir = DATA_DIR, as_json: AsJson = False
) -> None:
    """Show one account, with its instances and users."""
    show_one(people(data_dir, lambda it: it.account(name)), as_json)


@accounts.command("create")
def create_account(
    name: Annotated[str, typer.Argument(help="Name of the new account.")],
    plan: Annotated[str, typer.Option(help="Plan; see `qdwell plan list`.")] = "default",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make an account with an instance and a token, and print its lines for the stock client."""
    _print_lines(data_dir, people(data_dir, lambda it: it.create_account(name, plan)))


@accounts.command("close")
def close_account(name: AccountArgument, data_dir: DataDir = DATA_DIR) -> None:
    """Shut out all users of an account; what is there stays, and what waits waits."""
    shut(data_dir, lambda it: it.close_account, name, closed=True)


@accounts.command("reopen")
def reopen_account(name: AccountArgument, data_dir: DataDir = DATA_DIR) -> None:
    """Let the users of an account in again."""
    shut(data_dir, lambda it: it.close_account, name, closed=False)


@tokens.command("create")
def create_token(
    account: Annotated[str, typer.Argument(help="Name of the account.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make one more token for an account, and print its lines. The older tokens stay good."""
    _print_lines(data_dir, people(data_dir, lambda it: it.token_of_account(account)))


@tokens.command("list")
def list_tokens(
    name: Annotated[str | None, typer.Option("--user", help="Only of this user.")] = None,
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List tokens by their ids, without what signs in."""
    columns = ("id", "user", "name", "scope", "expires_at", "used_at", "revoked_at")
    show_list(people(data_dir, lambda it: it.tokens(name)), columns, as_json)


@tokens.command("show")
def show_token(token_id: TokenId, data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """Show one token, without what signs in."""
    show_one(people(data_dir, lambda it: it.token(token_id)), as_json)


@tokens.command("revoke")
def revoke_token(token_id: TokenId, data_dir: DataDir = DATA_DIR) -> None:
    """End a token: whoever signed in with it is out."""
    people(data_dir, lambda it: it.revoke_token(token_id))
    typer.echo(f"{token_id} is revoked.", err=True)


def first_account(place: Place, url: str) -> str | None:
    """Make the first account of an empty store and write its credentials; None if there is one."""
    from qdwell.store import accounts as book
    from qdwell.store import open_store

    store = open_store(place)
    try:
        made = book.first_start(store, SystemClock().now())
    finally:
        store.close()
    if made is None:
        return None
    settings = _settings(url, made)
    write_credentials(place.folder, settings)
    return render(settings)


def _print_lines(data_dir: Path, made: Credentials) -> None:
    typer.echo(render(_settings(read_server(data_dir).url, made)), nl=False)


def _settings(url: str, made: Credentials) -> dict[str, str]:
    return settings_for(url, token=made.token, instance_crn=made.instance_crn)
