"""The commands for operators: instances, users, tokens, class lists, and the audit log.

They open the store themselves, beside a running server, which heeds what they change within two
seconds. The store is imported inside the functions, since most commands do not need it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from qdwell.cli.admin import DATA_DIR, DataDir, accounts, tokens
from qdwell.cli.asking import AsJson, print_json, print_table
from qdwell.cli.credentials import read_server, render, settings_for
from qdwell.clock import SystemClock, iso
from qdwell.errors import ConfigError

if TYPE_CHECKING:
    from qdwell.store.people import People, Row

ACTOR = "command line"
ROWS_MAX = 10_000

Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="Name or CRN.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="Name or id.")]
Plan = Annotated[str, typer.Option(help="Plan, as the server's config names it.")]
T = TypeVar("T")

instance = typer.Typer(no_args_is_help=True, help="Instances and their members.")
user = typer.Typer(no_args_is_help=True, help="Users.")


def _book(data_dir: Path, work: Callable[[People], T]) -> T:
    from qdwell.store import open_store
    from qdwell.store.people import People

    server = read_server(data_dir)
    store = open_store(server.place(data_dir))
    try:
        return work(People(store, ACTOR, SystemClock().now(), server.plans))
    finally:
        store.close()


def _show(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    print_table(columns, (tuple(_cell(it, name) for name in columns) for it in rows), "None.")


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return "-"
    if name in ("at", "created") or name.endswith("_at"):
        return iso(value)
    return value if isinstance(value, str) else json.dumps(value)


@accounts.command("list")
def list_accounts(data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List the accounts."""
    _show(_book(data_dir, lambda it: it.accounts()), ("name", "id", "created"), as_json)


# ---- instances ----------------------------------------------------------------------------------


@instance.command("list")
def list_instances(data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List the instances of all accounts."""
    columns = ("name", "plan", "backends", "allocation_seconds", "limit_seconds", "spend_seconds")
    _show(_book(data_dir, lambda it: it.instances()), columns, as_json)


@instance.command("create")
def create_instance(
    name: Annotated[str, typer.Argument(help="Name of the new instance.")],
    account: Annotated[str, typer.Option(help="Its account; made if there is none.")],
    plan: Plan = "default",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make an instance, and print its CRN."""
    typer.echo(_book(data_dir, lambda it: it.create_instance(account, name, plan)))


@instance.command("change")
def change_instance(
    name: Instance,
    plan: Annotated[str | None, typer.Option(help="Another plan.")] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="The backends it may use; may be repeated; 'all' ends that."),
    ] = None,
    allocation: Annotated[int | None, typer.Option(min=0, help="Seconds; 0 = the plan's.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Seconds; 0 = the plan's.")] = None,
    spend: Annotated[int | None, typer.Option(min=0, help="Seconds; 0 = the plan's.")] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Change an instance's plan, the backends it may use, or its own limits (I7-I9)."""
    changes: dict[str, Any] = {} if plan is None else {"plan": plan}
    if backend:
        changes["backends"] = None if "all" in backend else backend
    own = {"allocation_seconds": allocation, "limit_seconds": limit, "spend_seconds": spend}
    changes |= {key: seconds or None for key, seconds in own.items() if seconds is not None}
    if not changes:
        raise ConfigError("qdwell instance change", "nothing is to be changed; see --help")
    _book(data_dir, lambda it: it.change_instance(name, changes))
    typer.echo(f"{name} is changed.", err=True)


@instance.command("members")
def list_members(name: Instance, data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List who may act in an instance, and as what."""
    _show(_book(data_dir, lambda it: it.members(name)), ("name", "role", "created"), as_json)


@instance.command("add")
def add_member(
    name: Instance,
    member: UserName,
    role: Annotated[str, typer.Option(help="admin, member, or viewer.")] = "member",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Let a user act in an instance, or change their role there."""
    _book(data_dir, lambda it: it.set_member(name, member, role))
    typer.echo(f"{member} is {role} of {name}.", err=True)


@instance.command("remove")
def remove_member(name: Instance, member: UserName, data_dir: DataDir = DATA_DIR) -> None:
    """Let a user act in an instance no longer; their jobs stay."""
    _book(data_dir, lambda it: it.remove_member(name, member))
    typer.echo(f"{member} is no member of {name} any more.", err=True)


@instance.command("import")
def import_class(
    file: Annotated[Path, typer.Argument(help="CSV with a column name, and perhaps plan.")],
    account: Annotated[
        str | None, typer.Option(help="Account of all; made if there is none [the file's name].")
    ] = None,
    plan: Plan = "default",
    out: Annotated[Path, typer.Option(help="Folder of the credentials files.")] = Path(
        "credentials"
    ),
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make an instance, a user, and a token for each row, and write NAME.env for each.

    All or none are made. The files can be read by you alone; each has one user's lines.
    """
    rows = _rows(file, plan)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = read_server(data_dir).url
    for made in _book(data_dir, lambda it: it.import_class(account or file.stem, rows)):
        lines = render(settings_for(url, token=made.token, instance_crn=made.instance_crn))
        path = out / f"{made.instance_name}.env"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as target:
            target.write(lines)
    typer.echo(f"{len(rows)} instances made; their credentials are in {out}.", err=True)


def _rows(file: Path, plan: str) -> list[Row]:
    from qdwell.store.people import Row

    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            found = [
                Row((it.get("name") or "").strip(), (it.get("plan") or plan).strip())
                for it in reader
            ]
            unknown = set(reader.fieldnames or ()) - {"name", "plan"}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(str(file), f"cannot be read: {error}") from None
    if unknown or not found or len(found) > ROWS_MAX:
        why = f"must have the columns name and plan alone, and 1 to {ROWS_MAX} rows"
        raise ConfigError(str(file), why)
    return found


# ---- users and tokens ---------------------------------------------------------------------------


@user.command("list")
def list_users(data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List the users of all accounts."""
    columns = ("name", "id", "account", "created", "disabled_at")
    _show(_book(data_dir, lambda it: it.users()), columns, as_json)


@user.command("create")
def create_user(
    name: Annotated[str, typer.Argument(help="Name of the new user.")],
    account: Annotated[str, typer.Option(help="Their account.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make a user, and print their id; `qdwell instance add` lets them act somewhere."""
    typer.echo(_book(data_dir, lambda it: it.create_user(account, name)))


@user.command("disable")
def disable_user(name: UserName, data_dir: DataDir = DATA_DIR) -> None:
    """Shut a user out; their jobs stay."""
    _book(data_dir, lambda it: it.disable_user(name))
    typer.echo(f"{name} is shut out.", err=True)


@user.command("enable")
def enable_user(name: UserName, data_dir: DataDir = DATA_DIR) -> None:
    """Let a user in again."""
    _book(data_dir, lambda it: it.disable_user(name, disabled=False))
    typer.echo(f"{name} may sign in.", err=True)


@user.command("token")
def create_token(
    name: UserName,
    label: Annotated[str, typer.Option(help="What the token is for.")] = "token",
    scope: Annotated[str, typer.Option(help="full, or read: it changes nothing.")] = "full",
    only: Annotated[
        str | None, typer.Option("--instance", help="The only instance that it is for.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="It ends then.")] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make a token of a user, and print it. It is shown only now."""
    ends = None if days is None else SystemClock().now() + days * 86_400_000
    typer.echo(_book(data_dir, lambda it: it.create_token(name, label, scope, only, ends)))


@tokens.command("list")
def list_tokens(
    name: Annotated[str | None, typer.Option("--user", help="Only of this user.")] = None,
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List tokens by their ids, without what signs in."""
    columns = ("id", "user", "name", "scope", "expires_at", "used_at", "revoked_at")
    _show(_book(data_dir, lambda it: it.tokens(name)), columns, as_json)


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="See `qdwell token list`.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """End a token: whoever signed in with it is out."""
    _book(data_dir, lambda it: it.revoke_token(token_id))
    typer.echo(f"{token_id} is revoked.", err=True)


def audit(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000)] = 100,
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show what operators did, newest first; nobody can change these lines."""
    columns = ("at", "actor", "action", "subject", "detail")
    _show(_book(data_dir, lambda it: it.audit(limit)), columns, as_json)
