"""From every released schema to this release's, on each database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, inspect

from conformance.stores.world import NOW, WINDOW_MS, World
from qdwell.store import Store, accounts
from qdwell.store.migrations import NEWEST, create, known_revisions, upgrade
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
        emptied(connection)
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


def emptied(connection: Connection) -> None:
    """Take everything out of a database."""
    everything = MetaData()
    everything.reflect(connection)
    everything.drop_all(connection)


def described(connection: Connection) -> dict[str, Any]:
    """All that a schema says, and the rows that are there from the start."""
    asked = inspect(connection)
    told: dict[str, Any] = {}
    for name in asked.get_table_names():
        told[name] = {
            "columns": {
                it["name"]: (str(it["type"]), it["nullable"]) for it in asked.get_columns(name)
            },
            "key": asked.get_pk_constraint(name)["constrained_columns"],
            "foreign": by_text(asked.get_foreign_keys(name), "name"),
            "unique": by_text(asked.get_unique_constraints(name), "name"),
            "checks": by_text(asked.get_check_constraints(name)),
            "indexes": by_text(asked.get_indexes(name), "dialect_options"),
            "rows": [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")],
        }
    if connection.dialect.name == "sqlite":
        more = "SELECT sql FROM sqlite_master WHERE type = 'trigger' OR sql LIKE '% WHERE %'"
    else:
        more = (
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid"
            " IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)"
            " UNION SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()"
        )
    told["more"] = sorted(" ".join(sql.split()) for (sql,) in connection.exec_driver_sql(more))
    return told


def by_text(found: Iterable[Mapping[str, Any]], *without: str) -> list[str]:
    """What was found, in an order of its own."""
    return sorted(
        repr(sorted((key, repr(it)) for key, it in one.items() if key not in without))
        for one in found
    )


def test_a_new_database_is_what_the_migrations_make(store: Store) -> None:
    """It is made at once, without their steps."""
    assert isinstance(store, SqlStore)
    with store.database.migrating() as connection:
        emptied(connection)
        create(connection)
        at_once = described(connection)
        emptied(connection)
        upgrade(connection)
        step_by_step = described(connection)
    assert at_once.keys() == step_by_step.keys()
    for name, told in at_once.items():
        assert told == step_by_step[name], name
    assert len(at_once["more"]) > 1
    assert len(at_once["jobs"]["checks"]) > 10
    assert at_once["alembic_version"]["rows"] == [(NEWEST,)]


def test_the_migrations_make_what_the_tables_say(store: Store) -> None:
    """Asked of the database itself, by Alembic: nothing to add, to drop, or to change."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    assert isinstance(store, SqlStore)
    with store.database.migrating() as connection:
        emptied(connection)
        upgrade(connection)
        context = MigrationContext.configure(connection, opts=ENGINE_OPTIONS)
        found: list[Any] = compare_metadata(context, metadata)
    assert found == []
