"""From every released schema to this release's, on each database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import MetaData

from conformance.stores.world import NOW, WINDOW_MS, World
from qdwell.store import Store, accounts
from qdwell.store.migrations import NEWEST, known_revisions, upgrade
from qdwell.store.shelves import MARK
from qdwell.store.sql import SqlStore
from qdwell.store.tables import metadata

OLDER = sorted(known_revisions() - {NEWEST})
MADE_AT_ONCE = ("server", "leader", "pulse", "events")  # or not needed here
ENGINE_OPTIONS = {"compare_type": True}


def downgraded(store: Store, revision: str) -> None:
    """Leave in the store's place an earlier release's database with one queued job."""
    assert isinstance(store, SqlStore)
    world = World(store)
    job = world.submit()
    rows = {}
    with store.database.writing() as connection:
        for table in metadata.sorted_tables:
            rows[table.name] = [dict(it._mapping) for it in connection.execute(table.select())]
    with store.database.migrating() as connection:
        everything = MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
        upgrade(connection, revision)
        old = MetaData()
        old.reflect(connection)
        for table in metadata.sorted_tables:
            if table.name in old.tables and table.name not in MADE_AT_ONCE:
                into = old.tables[table.name]
                for row in rows[table.name]:
                    values = {key: it for key, it in row.items() if key in into.c}
                    connection.execute(into.insert().values(values))
    assert job.state == "queued"
    store.blobs.shelf.remove(MARK)  # which those releases did not have
    store.close()


@pytest.mark.parametrize("revision", OLDER)
def test_an_older_database_keeps_all_that_it_has(
    reopen: Callable[[], Store], revision: str
) -> None:
    """It is brought up to date when it is opened, once, and goes on being used."""
    downgraded(reopen(), revision)
    store = reopen()
    assert [it.id for it in store.load(NOW, WINDOW_MS).snapshot.jobs] == ["job1"]
    accounts.create_account(store, "new", "default", NOW)
    assert len(accounts.all_instances(store)) == 3
    store.close()
    reopen().close()


def test_the_migrations_make_what_the_tables_say(store: Store) -> None:
    """Asked of the database itself, by Alembic: nothing to add, to drop, or to change."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store.database.reading() as connection:
        context = MigrationContext.configure(connection, opts=ENGINE_OPTIONS)
        found: list[Any] = compare_metadata(context, metadata)
    assert found == []
