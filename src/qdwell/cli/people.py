"""The commands for operators: instances, users, tokens, class lists, and the audit log.

They open the store themselves, beside a running server, which heeds what they change within two
seconds. The store is imported inside the functions, since most commands do not need it.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qdwell.cli.admin import DATA_DIR, DataDir, people, show_list, show_one, shut
from qdwell.cli.asking import AsJson
from qdwell.cli.credentials import read_server, render, settings_for
from qdwell.errors import ConfigError

if TYPE_CHECKING:
    from qdwell.store.accounts import Credentials
    from qdwell.store.people import Row

ROWS_MAX = 10_000

Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="Name or CRN.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="Name or id.")]
Plan = Annotated[str, typer.Option(help="Plan; see `qdwell plan list`.")]

instance = typer.Typer(no_args_is_help=True, help="Instances and their members.")
user = typer.Typer(no_args_is_help=True, help="Users.")


# ---- instances ----------------------------------------------------------------------------------


@instance.command("list")
def list_instances(data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List the instances of all accounts."""
    columns = (
        "name", "plan", "backends", "allocation_seconds", "limit_seconds", "spend_seconds",
        "closed_at",
    )  # fmt: skip
    show_list(people(data_dir, lambda it: it.instances()), columns, as_json)


@instance.command("show")
def show_instance(name: Instance, data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """Show one instance: its plan, what is its own, and its members."""
    show_one(people(data_dir, lambda it: it.instance(name)), as_json)


@instance.command("close")
def close_instance(name: Instance, data_dir: DataDir = DATA_DIR) -> None:
    """Let nobody act in an instance any more; what is there stays, and what waits waits."""
    shut(data_dir, lambda it: it.close_instance, name, closed=True)


@instance.command("reopen")
def reopen_instance(name: Instance, data_dir: DataDir = DATA_DIR) -> None:
    """Let its members act in an instance again."""
    shut(data_dir, lambda it: it.close_instance, name, closed=False)


@instance.command("create")
def create_instance(
    name: Annotated[str, typer.Argument(help="Name of the new instance.")],
    account: Annotated[str, typer.Option(help="Its account; made if there is none.")],
    plan: Plan = "default",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make an instance, and print its CRN."""
    typer.echo(people(data_dir, lambda it: it.create_instance(account, name, plan)))


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
    people(data_dir, lambda it: it.change_instance(name, changes))
    typer.echo(f"{name} is changed.", err=True)


@instance.command("members")
def list_members(name: Instance, data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List who may act in an instance, and as what."""
    show_list(people(data_dir, lambda it: it.members(name)), ("name", "role", "created"), as_json)


@instance.command("add")
def add_member(
    name: Instance,
    member: UserName,
    role: Annotated[str, typer.Option(help="admin, member, or viewer.")] = "member",
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Let a user act in an instance, or change their role there."""
    people(data_dir, lambda it: it.set_member(name, member, role))
    typer.echo(f"{member} is {role} of {name}.", err=True)


@instance.command("remove")
def remove_member(name: Instance, member: UserName, data_dir: DataDir = DATA_DIR) -> None:
    """Let a user act in an instance no longer; their jobs stay."""
    people(data_dir, lambda it: it.remove_member(name, member))
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

    All or none are made, at once beside a running server. The files can be read by you alone; each
    has one user's lines. None that is there already is written over.
    """
    rows = _rows(file, plan)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = read_server(data_dir).url
    written: list[Path] = []

    def hand_over(made: list[Credentials]) -> None:
        for it in made:
            lines = render(settings_for(url, token=it.token, instance_crn=it.instance_crn))
            written.append(_write_new(out / f"{it.instance_name}.env", lines))
        _sync(out)

    try:
        people(data_dir, lambda it: it.import_class(account or file.stem, rows, hand_over))
    except BaseException:
        for path in written:  # tokens that nobody's are
            path.unlink(missing_ok=True)
        raise
    typer.echo(f"{len(rows)} instances made; their credentials are in {out}.", err=True)


def _write_new(path: Path, text: str) -> Path:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        why = "is there already, and may hold somebody's token; nobody was made: use another --out"
        raise ConfigError(str(path), why) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
    return path


def _sync(folder: Path) -> None:
    """The names of the files are as durable as what they hold."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rows(file: Path, plan: str) -> list[Row]:
    from qdwell.store.people import Row

    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            found = []
            for it in reader:
                line = reader.line_num
                if None in it:
                    raise ConfigError(f"{file} line {line}", "has more columns than the first line")
                name, its = (it.get("name") or "").strip(), (it.get("plan") or plan).strip()
                found.append(Row(name, its, line))
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
    show_list(people(data_dir, lambda it: it.users()), columns, as_json)


@user.command("show")
def show_user(name: UserName, data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """Show one user, with the instances of which they are a member."""
    show_one(people(data_dir, lambda it: it.user(name)), as_json)


@user.command("create")
def create_user(
    name: Annotated[str, typer.Argument(help="Name of the new user.")],
    account: Annotated[str, typer.Option(help="Their account.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make a user, and print their id; `qdwell instance add` lets them act somewhere."""
    typer.echo(people(data_dir, lambda it: it.create_user(account, name)))


@user.command("disable")
def disable_user(name: UserName, data_dir: DataDir = DATA_DIR) -> None:
    """Shut a user out; their jobs stay."""
    people(data_dir, lambda it: it.disable_user(name))
    typer.echo(f"{name} is shut out.", err=True)


@user.command("enable")
def enable_user(name: UserName, data_dir: DataDir = DATA_DIR) -> None:
    """Let a user in again."""
    people(data_dir, lambda it: it.disable_user(name, disabled=False))
    typer.echo(f"{name} may sign in.", err=True)


@user.command("link")
def link_identity(
    name: UserName,
    subject: Annotated[str, typer.Argument(help="What the identity provider knows them by.")],
    issuer: Annotated[
        str | None, typer.Option(help="Another provider's URL than the server's config has.")
    ] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Let whom the identity provider knows by SUBJECT sign in as a user; print the identity's id.

    The page that turns somebody unknown away shows the subject.
    """
    from qdwell.store.identities import Identity

    place = issuer or read_server(data_dir).issuer
    if place is None:
        why = "must be given: the server's config has no identity provider (sign_in.oidc)"
        raise ConfigError("--issuer", why)
    typer.echo(people(data_dir, lambda it: it.link_identity(name, Identity(place, subject))))


@user.command("unlink")
def unlink_identity(
    identity: Annotated[str, typer.Argument(metavar="ID", help="See `qdwell user identities`.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Undo a link: whoever signed in so is out."""
    people(data_dir, lambda it: it.unlink_identity(identity))
    typer.echo(f"{identity} is unlinked.", err=True)


@user.command("identities")
def list_identities(
    name: Annotated[str | None, typer.Option("--user", help="Only of this user.")] = None,
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List who the identity provider says that users are."""
    columns = ("id", "user", "email", "subject", "issuer", "used_at")
    show_list(people(data_dir, lambda it: it.identities(name)), columns, as_json)


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
    lasts_ms = days and days * 86_400_000
    typer.echo(people(data_dir, lambda it: it.create_token(name, label, scope, only, lasts_ms)))


def audit(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000)] = 100,
    before: Annotated[int | None, typer.Option(help="Only lines older than this one's id.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this user did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only actions that begin so: token.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only what was done to this.")] = None,
    data_dir: DataDir = DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show what operators did, newest first; nobody can change these lines."""
    columns = ("id", "at", "actor", "action", "subject", "detail")
    words = {"actor": actor, "action": action, "subject": subject}
    show_list(
        people(data_dir, lambda it: it.audit(limit, before=before, **words)), columns, as_json
    )
