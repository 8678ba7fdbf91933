"""What a database must offer, so that the one implementation of the store can be over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Dialect, Table

from qdwell.store.records import Finding
from qdwell.store.statements import Cursors


class Database(Protocol):
    """What a database must offer: `sqlite.SqliteDatabase`, `postgres.PostgresDatabase`."""

    dialect: Dialect
    name: str  #: as messages call it, without a password
    epoch: int | None  #: in which this process leads, where several servers share the database

    def insert(self, table: Table) -> Any:
        """Return the database's own INSERT, with ON CONFLICT."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """One write transaction at a time, durable when the block ends."""
        ...

    def migrating(self) -> AbstractContextManager[Connection]:
        """One transaction that may change the schema, with no server beside it."""
        ...

    def announce(self, connection: Connection, what: str) -> None:
        """Inside `writing`: tell every server, once it is committed, that `what` has changed."""
        ...

    def after_commit(self, step: Callable[[], None]) -> None:
        """Inside `writing`: run `step` after the commit and before the next transaction."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent view."""
        ...

    def glancing(self) -> AbstractContextManager[Cursors]:
        """For single statements that read: the quickest way to a row."""
        ...

    def ailments(self) -> Iterator[Finding]:
        """Findings of the database itself: damage, or settings that make promises empty."""
        ...

    def warm_up(self) -> None:
        """Do now what would make the first writes slower than later ones."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
