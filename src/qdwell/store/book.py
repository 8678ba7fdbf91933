"""What every operator's change has in common: one transaction, with its line in the audit log.

Every change and its line are one transaction; the log is only ever added to, which the database
itself sees to. Names are those of the command line: an account, an instance, and a user are known
by their names, which are unique, or by their ids. The number of the newest line also tells another
process that something has changed (`revision`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, func, insert, or_, select

from qdwell.config import Plan
from qdwell.errors import BadName, InBook, NotInBook, UnknownPlan
from qdwell.store import Store, plans
from qdwell.store.accounts import ACCOUNTS
from qdwell.store.tables_who import audit, instances, users

PAGE_MAX = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class Book:
    """The book in the hands of `actor` at `now`; `plans` are those of the config file.

    Every method may raise:
        NotInBook: what is named is not there.
        InBook: what is to be made is there already.
        BadName: a name, role, or scope is none.
        UnknownPlan: there is no such plan.
        OwnRole: somebody would shut themselves out.
        TooManyTokens: a user has as many as one may have.
        StoreError: nothing was changed.
    """

    def __init__(self, store: Store, actor: str, now: int, plans: Mapping[str, Plan]) -> None:
        self._store = store
        self._actor = actor
        self._now = now
        self._file_plans = plans

    @property
    def now(self) -> int:
        """When it is."""
        return self._now

    def note(self, action: str, subject: str, **detail: Any) -> None:
        """Add a line about something that was done elsewhere, such as a backend's switch."""
        with self._changing(action, subject, **detail):
            pass

    def audit(
        self,
        limit: int = PAGE_MAX,
        *,
        before: int | None = None,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
    ) -> list[dict[str, Any]]:
        """Lines of the audit log, newest first: those older than line `before`, of one actor (a
        user's name or id, or `command line`), whose action begins with a word, about a subject."""
        about = users.alias()
        query = select(
            audit, users.c.name.label("actor_name"), about.c.name.label("subject_name")
        ).outerjoin(users, users.c.id == audit.c.actor)
        query = query.outerjoin(about, about.c.id == audit.c.subject)
        if before is not None:
            query = query.where(audit.c.id < before)
        if actor is not None:
            query = query.where(or_(audit.c.actor == actor, users.c.name == actor))
        if action is not None:
            query = query.where(audit.c.action.startswith(action, autoescape=True))
        if subject is not None:
            query = query.where(or_(audit.c.subject == subject, about.c.name == subject))
        found = self._read(query.order_by(audit.c.id.desc()).limit(limit))
        return [{**it, "detail": json.loads(it["detail"])} for it in found]

    def _read(self, query: Any) -> list[dict[str, Any]]:
        with self._store.database.reading() as connection:
            found = connection.execute(query).mappings()
            return [{str(name): value for name, value in it.items()} for it in found]

    @contextmanager
    def _changing(self, action: str, subject: str, **detail: Any) -> Iterator[Connection]:
        with self._store.database.writing() as connection:
            yield connection
            line = {"at": self._now, "actor": self._actor, "action": action, "subject": subject}
            connection.execute(insert(audit).values(detail=json.dumps(detail), **line))
            self._store.database.announce(connection, ACCOUNTS)

    def _find(self, connection: Connection, table: Table, name: str) -> dict[str, Any]:
        key = table.c["crn"] if table is instances else table.c["id"]
        query = select(table).where(or_(table.c["name"] == name, key == name))
        found = connection.execute(query.order_by(table.c["created"])).mappings().first()
        if found is None:
            raise NotInBook(table.name.removesuffix("s"), name)
        return {str(key): value for key, value in found.items()}  # they are a kind of their own

    def _fresh(self, connection: Connection, table: Table, name: str) -> None:
        kind = table.name.removesuffix("s")
        if not _NAME.fullmatch(name):
            raise BadName(kind, name)
        if connection.execute(select(table.c["name"]).where(table.c["name"] == name)).first():
            raise InBook(kind, name)

    def _check_plan(self, connection: Connection, plan: str) -> None:
        known = {**plans.stored(connection), **self._file_plans}
        if plan not in known:
            raise UnknownPlan(plan, tuple(known))


def revision(store: Store) -> int:
    """The number of the newest line of the audit log; it grows with each change."""
    with store.database.reading() as connection:
        return connection.execute(select(func.max(audit.c.id))).scalar() or 0
