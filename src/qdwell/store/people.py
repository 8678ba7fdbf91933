"""What operators do: accounts, instances, users, members, and tokens, each change with its line.

Every change and its line in the audit log are one transaction; the log is only ever added to, which
the database itself sees to. Names are those of the command line: an account, an instance, and a
user are known by their names, which are unique, or by their ids; a token by its id.

Like `accounts`, it works in other processes than the server's; what it changes has effect there
within two seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, or_, select, update

from qdwell.errors import BadName, InBook, NotInBook, UnknownPlan
from qdwell.store import Store
from qdwell.store import accounts as book
from qdwell.store.accounts import Credentials
from qdwell.store.tables_who import (
    ROLES,
    SCOPES,
    accounts,
    audit,
    instances,
    members,
    tokens,
    users,
)

PAGE_MAX = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a class list: its name is the instance's and the user's."""

    name: str
    plan: str


class People:
    """The book of who may use the server, in the hands of `actor` at `now`.

    `plans`: the names that the config has.

    Every method may raise:
        NotInBook: what is named is not there.
        InBook: what is to be made is there already.
        BadName: a name, role, or scope is none.
        UnknownPlan: the config lacks the plan.
    """

    def __init__(self, store: Store, actor: str, now: int, plans: Iterable[str]) -> None:
        self._store = store
        self._actor = actor
        self._now = now
        self._plans = tuple(plans)

    # ---- reading --------------------------------------------------------------------------------

    def accounts(self) -> list[dict[str, Any]]:
        """All accounts, oldest first."""
        return self._read(select(accounts).order_by(accounts.c.created, accounts.c.id))

    def instances(self) -> list[dict[str, Any]]:
        """All instances, oldest first."""
        found = self._read(select(instances).order_by(instances.c.created, instances.c.crn))
        return [{**it, "backends": json.loads(it["backends"] or "null")} for it in found]

    def users(self) -> list[dict[str, Any]]:
        """All users, oldest first."""
        return self._read(select(users).order_by(users.c.created, users.c.id))

    def members(self, instance: str) -> list[dict[str, Any]]:
        """The members of an instance, with their roles."""
        with self._store.database.reading() as connection:
            crn = self._find(connection, instances, instance)["crn"]
        query = (
            select(users.c.id.label("user"), users.c.name, members.c.role, members.c.created)
            .join(members, members.c.user_id == users.c.id)
            .where(members.c.instance == crn)
        )
        return self._read(query.order_by(members.c.created, users.c.id))

    def tokens(self, user: str | None = None) -> list[dict[str, Any]]:
        """Tokens without what signs in: of one user, or all."""
        shown = [it for it in tokens.c if it is not tokens.c.hash]
        query = select(*shown, users.c.name.label("user")).join(
            users, users.c.id == tokens.c.user_id
        )
        if user is not None:
            with self._store.database.reading() as connection:
                query = query.where(users.c.id == self._find(connection, users, user)["id"])
        return self._read(query.order_by(tokens.c.created, tokens.c.id))

    def audit(self, limit: int = PAGE_MAX) -> list[dict[str, Any]]:
        """The newest lines of the audit log, newest first."""
        found = self._read(select(audit).order_by(audit.c.id.desc()).limit(limit))
        return [{**it, "detail": json.loads(it["detail"])} for it in found]

    # ---- changing -------------------------------------------------------------------------------

    def create_instance(self, account: str, name: str, plan: str, **own: Any) -> str:
        """Make an instance in an account, which is made if need be; return its CRN."""
        with self._changing("instance create", name, account=account, plan=plan, **own) as it:
            self._fresh(it, instances, name)
            account_id = self._account(it, account)
            return self._add_instance(it, account_id, name, plan, own)

    def change_instance(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change the plan, the backends, or the own limits of an instance; None: the plan's."""
        with self._changing("instance change", name, **changes) as it:
            if "plan" in changes:
                self._check_plan(changes["plan"])
            crn = self._find(it, instances, name)["crn"]
            query = update(instances).where(instances.c.crn == crn)
            it.execute(query.values(**_stored(changes)))

    def create_user(self, account: str, name: str) -> str:
        """Make a user in an account; return their id."""
        with self._changing("user create", name, account=account) as it:
            self._fresh(it, users, name)
            account_id = self._find(it, accounts, account)["id"]
            return book.add_user(it, account_id, name, self._now)

    def disable_user(self, name: str, *, disabled: bool = True) -> None:
        """Shut a user out, or let them in again; their jobs stay."""
        with self._changing("user disable" if disabled else "user enable", name) as it:
            user_id = self._find(it, users, name)["id"]
            at = self._now if disabled else None
            it.execute(update(users).where(users.c.id == user_id).values(disabled_at=at))

    def set_member(self, instance: str, user: str, role: str) -> None:
        """Let a user act in an instance, as admin, member, or viewer."""
        if role not in ROLES:
            raise BadName("role", role, ROLES)
        with self._changing("instance member", instance, user=user, role=role) as it:
            crn, user_id = self._membership(it, instance, user)
            mine = (members.c.instance == crn) & (members.c.user_id == user_id)
            it.execute(delete(members).where(mine))
            row = {"instance": crn, "user_id": user_id, "role": role, "created": self._now}
            it.execute(members.insert().values(**row))

    def remove_member(self, instance: str, user: str) -> None:
        """Let a user act in an instance no longer."""
        with self._changing("instance remove", instance, user=user) as it:
            crn, user_id = self._membership(it, instance, user)
            mine = (members.c.instance == crn) & (members.c.user_id == user_id)
            if not it.execute(delete(members).where(mine)).rowcount:
                raise NotInBook("member", user)

    def create_token(
        self,
        user: str,
        name: str,
        scope: str = "full",
        instance: str | None = None,
        expires_at: int | None = None,
    ) -> str:
        """Make a token of a user; return it, which nobody can do again."""
        if scope not in SCOPES:
            raise BadName("scope", scope, SCOPES)
        more = {"scope": scope, "instance": instance, "expires_at": expires_at}
        with self._changing("token create", user, name=name, **more) as it:
            user_id = self._find(it, users, user)["id"]
            if instance is not None:
                more["instance"] = self._find(it, instances, instance)["crn"]
            return book.add_token(it, user_id, self._now, name, **more)

    def revoke_token(self, token_id: str) -> None:
        """End a token: nobody signs in with it, and who did is out."""
        with self._changing("token revoke", token_id) as it:
            live = (tokens.c.id == token_id) & tokens.c.revoked_at.is_(None)
            if not it.execute(update(tokens).where(live).values(revoked_at=self._now)).rowcount:
                raise NotInBook("token in use", token_id)

    def import_class(self, account: str, rows: Iterable[Row]) -> list[Credentials]:
        """Make an instance, a user who is a member of it, and a token for each row: all or none."""
        rows = list(rows)
        made = []
        with self._changing("instance import", account, names=[it.name for it in rows]) as it:
            account_id = self._account(it, account)
            for row in rows:
                self._fresh(it, instances, row.name)
                self._fresh(it, users, row.name)
                crn = self._add_instance(it, account_id, row.name, row.plan, {})
                user_id = book.add_user(it, account_id, row.name, self._now)
                member = {"instance": crn, "user_id": user_id, "role": "member"}
                it.execute(members.insert().values(created=self._now, **member))
                token = book.add_token(it, user_id, self._now, "import")
                made.append(Credentials(account_id, user_id, crn, row.name, token))
        return made

    # ---- common ---------------------------------------------------------------------------------

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
            self._store.database.announce(connection, book.ACCOUNTS)

    def _find(self, connection: Connection, table: Table, name: str) -> dict[str, Any]:
        key = table.c["crn"] if table is instances else table.c["id"]
        query = select(table).where(or_(table.c["name"] == name, key == name))
        found = connection.execute(query.order_by(table.c["created"])).mappings().first()
        if found is None:
            raise NotInBook(table.name.removesuffix("s"), name)
        return dict(found)

    def _fresh(self, connection: Connection, table: Table, name: str) -> None:
        kind = table.name.removesuffix("s")
        if not _NAME.fullmatch(name):
            raise BadName(kind, name)
        if connection.execute(select(table.c["name"]).where(table.c["name"] == name)).first():
            raise InBook(kind, name)

    def _account(self, connection: Connection, name: str) -> str:
        try:
            return str(self._find(connection, accounts, name)["id"])
        except NotInBook:
            self._fresh(connection, accounts, name)
            return book.add_account(connection, name, self._now)

    def _add_instance(
        self, connection: Connection, account_id: str, name: str, plan: str, own: Mapping[str, Any]
    ) -> str:
        self._check_plan(plan)
        return book.add_instance(connection, account_id, name, plan, self._now, **_stored(own))

    def _check_plan(self, plan: str) -> None:
        if plan not in self._plans:
            raise UnknownPlan(plan, self._plans)

    def _membership(self, connection: Connection, instance: str, user: str) -> tuple[str, str]:
        crn = self._find(connection, instances, instance)["crn"]
        return str(crn), str(self._find(connection, users, user)["id"])


def _stored(own: Mapping[str, Any]) -> dict[str, Any]:
    """What is an instance's own, as its columns have it."""
    backends = own.get("backends")
    stored = {"backends": None if backends is None else json.dumps(list(backends))}
    return {**own, **(stored if "backends" in own else {})}
