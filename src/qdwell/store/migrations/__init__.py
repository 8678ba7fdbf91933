"""Brings a database to the schema of this release.

A database at the newest revision is recognised by one query. An empty one is made from the tables
themselves, in a fraction of the time that all the steps would take; a test holds the two equal.
Alembic is loaded only for an older one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    inspect,
    text,
)

from qdwell.errors import StoreTooNew, StoreUnavailable
from qdwell.store.tables import leader, metadata, pulse, server

if TYPE_CHECKING:
    from qdwell.store.database import Database

NEWEST = "0010"  # the last revision in `versions/`; a test compares


def bring_up_to_date(database: Database, name: str, *, migrate: bool) -> None:
    """Migrate the database, which messages call `name`, if it is older than this release.

    Raises:
        StoreTooNew: it was written by a newer release.
        StoreUnavailable: it is something else, or it is older and `migrate` is false.
    """
    with database.reading() as connection:
        found = _revision(connection)
        tables = [] if found else inspect(connection).get_table_names()
    if found == NEWEST:
        return
    if found is None and tables:
        raise StoreUnavailable(f"{name} is a database, but not one of qdwell's")
    if found is not None and found not in known_revisions():
        raise StoreTooNew(
            f"{name} has the schema of revision {found}, this release knows up to {NEWEST}: "
            "run the release that wrote it, or restore a backup"
        )
    if not migrate:
        raise StoreUnavailable(f"{name} has the schema of revision {found}, not {NEWEST}")
    with database.migrating() as connection:
        # Both look again, inside the lock: another process may have been faster.
        if found is None and not inspect(connection).get_table_names():
            create(connection)
        else:
            upgrade(connection)


def is_empty(database: Database) -> bool:
    """Whether nothing has been made in the database yet."""
    with database.reading() as connection:
        return not inspect(connection).get_table_names()


def known_revisions() -> set[str]:
    """All revisions that this release can migrate from or to."""
    return {path.stem[:4] for path in (_HERE / "versions").glob("[0-9]*.py")}


_HERE = Path(__file__).parent

# Alembic's own.
_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def create(connection: Connection) -> None:
    """Make the schema of this release in an empty database, as `upgrade` would."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(server.insert().values(id=1, last_seq=0))
    connection.execute(leader.insert().values(id=1, epoch=0))
    connection.execute(pulse.insert().values(id=1, epoch=0, seen_at=0))
    _VERSION.create(connection, checkfirst=False)
    connection.execute(_VERSION.insert().values(version_num=NEWEST))


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the schema to a revision; tests start from older ones."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
