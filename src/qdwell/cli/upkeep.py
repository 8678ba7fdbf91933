"""The commands for operators of a store: back it up, restore it, examine it.

They need no server, and do not mind one.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from qdwell.cli.admin import DATA_DIR, DataDir
from qdwell.cli.credentials import SERVER_FILE, read_server, write_server
from qdwell.config import Config, Storage
from qdwell.errors import StoreUnavailable
from qdwell.store.places import Place

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The server's TOML file.")
]


def backup(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Copy the whole store into a folder, while the server runs; the copy is a data folder."""
    from qdwell.store import open_store
    from qdwell.store.portable import back_up

    with closing(open_store(_place(data_dir, None), migrate=False)) as store:
        count = back_up(store, data_dir, target)
    _tell_where(target, Storage(), data_dir)
    typer.echo(f"{target} has everything: the database, and {count} large blobs.")


def restore(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup.")],
    data_dir: DataDir = DATA_DIR,
    config: ConfigFile = None,
) -> None:
    """Make an empty store, of either kind of database, from a backup of either kind."""
    from qdwell.store.portable import restore as run

    settings = Config.load(config)
    place = Place.of(settings, data_dir)
    run(source, place)
    _tell_where(data_dir, settings.store, data_dir, source)
    typer.echo(f"{(place.database_url and 'The database') or data_dir} is as {source} was.")


def doctor(
    data_dir: DataDir = DATA_DIR,
    config: ConfigFile = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read the content of large blobs.")
    ] = False,
) -> None:
    """Examine a store, or a backup, and say what is wrong; status 1 if anything is."""
    from qdwell.engine import checkup
    from qdwell.store import doctor as records
    from qdwell.store import open_store

    settings = Config.load(config)
    place = _place(data_dir, settings if config is not None else None)
    faults = 0
    with closing(open_store(place, migrate=False)) as store:
        for examined in (
            records.examine(store, read_files=not quick),
            checkup.examine(settings, store) if config is not None else (),
        ):
            for it in examined:
                faults += not it.harmless
                typer.echo(f"{'note' if it.harmless else 'FAULT'}  {it.where}: {it.what}")
        where = store.database.name
    if config is None:
        typer.echo("note  without --config the scheduler's rules were not checked")
    if faults:
        typer.echo(f"{where}: {faults} faults.")
        raise typer.Exit(1)
    typer.echo(f"{where} is sound.")


def _place(data_dir: Path, config: Config | None) -> Place:
    """Where the store is: as the config says, or the folder's last server did."""
    if config is not None:
        return Place.of(config, data_dir)
    place = Place(data_dir)
    if (data_dir / SERVER_FILE).exists():
        place = read_server(data_dir).place(data_dir)
    # A site that moved to PostgreSQL has its old file still: what the server says goes first.
    if place.database_url is None and not (data_dir / "qdwell.db").exists():
        raise StoreUnavailable(f"there is no store in {data_dir}; name its folder with --data-dir")
    return place


def _tell_where(folder: Path, storage: Storage, *known: Path) -> None:
    """Let the commands find a new store in `folder`, by the URL of whichever server is known."""
    for it in known:
        if (it / SERVER_FILE).exists():
            write_server(folder, replace(read_server(it), store=storage))
            return
