"""The commands for users. Each does one thing, and says in one line what went wrong."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qdwell import __version__
from qdwell.cli import admin, job, operate, own_tokens, people, plans, run, upkeep, user
from qdwell.cli.asking import AccountName
from qdwell.cli.credentials import (
    CREDENTIALS_FILE,
    ServerFacts,
    public_url,
    read_credentials,
    ready_folder,
    write_server,
)
from qdwell.cli.exits import Teaching
from qdwell.config import Config
from qdwell.store.places import Place

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; see `qdwell config`.")
]


app = typer.Typer(
    name="qdwell",
    cls=Teaching,
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A self-hosted quantum runtime.",
)
app.add_typer(admin.accounts, name="account")
app.add_typer(admin.tokens, name="token")
for command in (user.login, user.jobs, user.sessions, user.backends, user.usage):
    app.command()(command)
app.add_typer(own_tokens.tokens, name="tokens")
app.add_typer(people.instance, name="instance")
app.add_typer(people.user, name="user")
app.add_typer(plans.plan, name="plan")
app.command()(people.audit)
app.add_typer(job.job, name="job")
app.add_typer(user.session, name="session")
app.add_typer(operate.backend, name="backend")
app.command()(operate.queue)
app.command()(upkeep.backup)
app.command()(upkeep.restore)
app.command()(upkeep.doctor)
app.command()(operate.events)
app.command(context_settings={"ignore_unknown_options": True})(run.run)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qdwell {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A self-hosted quantum runtime."""


@app.command()
def serve(
    data_dir: admin.DataDir = admin.DATA_DIR,
    host: Annotated[str | None, typer.Option(help="Address to bind [config: 127.0.0.1].")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port; 0 = a free one [config: 8000].")
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificate and chain: speak TLS [config].")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The certificate's private key [config].")
    ] = None,
    plain_http: Annotated[
        bool,
        typer.Option(
            "--plain-http-beyond-loopback",
            help="Bind where others reach it without TLS: behind a proxy that has it.",
        ),
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Serve until interrupted. On an empty folder, make the first account and its credentials."""
    said = {"host": host, "port": port, "tls_cert": tls_cert, "tls_key": tls_key}
    asked: dict[str, Any] = {name: it for name, it in said.items() if it is not None}
    if plain_http:
        asked["plain_http_beyond_loopback"] = True
    settings = Config.load(config)
    settings = dataclasses.replace(settings, server=dataclasses.replace(settings.server, **asked))

    from qdwell.api import listening

    listening.check(settings.server)
    ready_folder(data_dir)

    from qdwell import console
    from qdwell.api.server import serve as run  # brings the server: too slow for the others

    made: str | None = None

    def on_bound(bound_url: str) -> None:
        """Who finds the server well finds the first account's lines, too."""
        nonlocal made
        url = public_url(settings, bound_url)
        issuer = settings.sign_in.oidc.issuer
        write_server(data_dir, ServerFacts(url, settings.plans, settings.store, issuer))
        made = admin.first_account(Place.of(settings, data_dir), url)

    def on_ready(bound_url: str) -> None:
        typer.echo(f"qdwell {__version__} serves {public_url(settings, bound_url)}")
        if made is None:
            way = "env" if (data_dir / CREDENTIALS_FILE).exists() else "token create NAME"
            typer.echo(f"Credentials: qdwell {way} --data-dir {data_dir}")
        else:
            typer.echo(f"First account made; its lines are in {data_dir / CREDENTIALS_FILE}:\n")
            typer.echo(made)
        sys.stdout.flush()

    run(settings, data_dir, on_bound=on_bound, on_ready=on_ready, extend=console.add)


@app.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one picture, and end.")] = False,
    account: AccountName = None,
) -> None:
    """Watch machines, sessions, and your jobs, full screen; Ctrl-C ends it."""
    from qdwell.cli.top import top as run_top

    run_top(account, once=once)


@app.command()
def demo() -> None:
    """Run the main job: a VQE in a session, a batch, and a second user, on one machine."""
    from qdwell.cli.demo import run

    raise typer.Exit(run())


@app.command()
def conformance(
    target: Annotated[str, typer.Argument(help="Your backend: package.module:factory.")],
    options: Annotated[
        str, typer.Option(metavar="JSON", help="Arguments of the factory, as in the config.")
    ] = "{}",
) -> None:
    """Check on the device itself that a backend of your own does what qdwell asks of it."""
    from qdwell.cli.conformance import run

    raise typer.Exit(run(target, options))


@app.command()
def env(data_dir: admin.DataDir = admin.DATA_DIR) -> None:
    """Print the lines that point the stock client at this server: eval "$(qdwell env)"."""
    typer.echo(read_credentials(data_dir), nl=False)


@app.command()
def config(config: ConfigFile = None) -> None:
    """Print the whole configuration as TOML, each setting under its reason."""
    typer.echo(Config.load(config).to_toml(), nl=False)


def main() -> None:
    """The entry point of the `qdwell` command."""
    app()


if __name__ == "__main__":
    main()
