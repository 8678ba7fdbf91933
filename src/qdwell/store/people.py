"""What operators do: accounts, instances, users, members, and tokens, each change with its line.

Like `accounts`, it works in other processes than the server's; what it changes has effect there
within two seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, delete, func, or_, select, update

from qdwell.errors import (
    AccountError,
    AccountExists,
    BadName,
    BadRows,
    FirstAccount,
    NotInBook,
    OwnRole,
    TooManyTokens,
)
from qdwell.store import accounts as book
from qdwell.store.accounts import Credentials
from qdwell.store.identity_book import IdentityBook
from qdwell.store.tables_who import ROLES, SCOPES, accounts, instances, members, tokens, users


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a class list: its name is the instance's and the user's."""

    name: str
    plan: str
    line: int = 0  #: of the file, the first is 1


TOKENS_MAX = 200  # of one user that have not ended


class People(IdentityBook):
    """The book of who may use the server."""

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

    def account(self, name: str) -> dict[str, Any]:
        """One account, with the names of its instances and users."""
        found = self._one(accounts, name)
        return found | {
            "instances": self._names(instances, found["id"]),
            "users": self._names(users, found["id"]),
        }

    def instance(self, name: str) -> dict[str, Any]:
        """One instance, with its members."""
        found = self._one(instances, name)
        backends = json.loads(found["backends"] or "null")
        return {**found, "backends": backends, "members": self.members(found["crn"])}

    def user(self, name: str) -> dict[str, Any]:
        """One user, with the instances of which they are a member."""
        found = self._one(users, name)
        query = (
            select(instances.c.name, instances.c.crn, members.c.role)
            .join(members, members.c.instance == instances.c.crn)
            .where(members.c.user_id == found["id"])
        )
        return found | {"instances": self._read(query.order_by(instances.c.created))}

    def token(self, token_id: str) -> dict[str, Any]:
        """One token, without what signs in."""
        found = [it for it in self.tokens() if it["id"] == token_id]
        if not found:
            raise NotInBook("token", token_id)
        return found[0]

    def _one(self, table: Table, name: str) -> dict[str, Any]:
        with self._store.database.reading() as connection:
            return self._find(connection, table, name)

    def _names(self, table: Table, account_id: str) -> list[str]:
        query = select(table.c["name"]).where(table.c["account"] == account_id)
        return [it["name"] for it in self._read(query.order_by(table.c["created"]))]

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

    def member_tokens(self, instance: str) -> list[dict[str, Any]]:
        """Tokens in use of an instance's members that are good for it; `reach` lists the CRNs of
        all instances that each is good for."""
        crn = self._one(instances, instance)["crn"]
        mine = select(members.c.user_id).where(members.c.instance == crn)
        shown = [it for it in tokens.c if it is not tokens.c.hash]
        query = select(*shown, users.c.name.label("user")).join(
            users, users.c.id == tokens.c.user_id
        )
        query = query.where(
            tokens.c.user_id.in_(mine),
            tokens.c.revoked_at.is_(None),
            or_(tokens.c.instance.is_(None), tokens.c.instance == crn),
        )
        everywhere = select(members.c.user_id, members.c.instance)
        reach: dict[str, list[str]] = {}
        for row in self._read(everywhere.where(members.c.user_id.in_(mine))):
            reach.setdefault(row["user_id"], []).append(row["instance"])
        found = self._read(query.order_by(users.c.name, tokens.c.created, tokens.c.id))
        return [
            {**it, "reach": [it["instance"]] if it["instance"] else reach.get(it["user_id"], [])}
            for it in found
        ]

    # ---- changing -------------------------------------------------------------------------------

    def create_account(self, name: str, plan: str) -> Credentials:
        """Make an account with an instance and a user of its name, and a token."""
        with self._changing("account create", name, plan=plan) as it:
            if it.execute(select(accounts.c.id).where(accounts.c.name == name)).first():
                raise AccountExists(name)
            for table in (accounts, instances, users):
                self._fresh(it, table, name)
            self._check_plan(it, plan)
            first = it.execute(select(accounts.c.id).limit(1)).first() is None
            return book.make_account(it, name, plan, self._now, admin=first)

    def close_account(self, name: str, *, closed: bool = True) -> None:
        """Shut an account's users and instances out, or let them in again; what is there stays."""
        with self._changing("account close" if closed else "account reopen", name) as it:
            found = self._find(it, accounts, name)
            if closed and found["admin"]:
                raise FirstAccount(found["name"])
            at = self._now if closed else None
            mine = accounts.c.id == found["id"]
            it.execute(update(accounts).where(mine).values(closed_at=at))

    def close_instance(self, name: str, *, closed: bool = True) -> None:
        """Nobody acts in an instance any more, or again; what waits in it waits so long."""
        with self._changing("instance close" if closed else "instance reopen", name) as it:
            crn = self._find(it, instances, name)["crn"]
            at = self._now if closed else None
            it.execute(update(instances).where(instances.c.crn == crn).values(closed_at=at))

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
                self._check_plan(it, changes["plan"])
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
            if disabled and user_id == self._actor:
                raise OwnRole
            at = self._now if disabled else None
            it.execute(update(users).where(users.c.id == user_id).values(disabled_at=at))

    def set_member(
        self, instance: str, user: str, role: str, *, account: str | None = None
    ) -> None:
        """Let a user act in an instance, as admin, member, or viewer.

        With `account`, an id: somebody who is no member yet must be one of that account's users;
        others are not there for whoever asks.
        """
        if role not in ROLES:
            raise BadName("role", role, ROLES)
        with self._changing("instance member", instance, user=user, role=role) as it:
            mine, user_id, crn = self._membership(it, instance, user, account)
            created = it.execute(select(members.c.created).where(mine)).scalar() or self._now
            if role != "admin":
                self._not_own(it, mine, user_id)
            it.execute(delete(members).where(mine))
            row = {"instance": crn, "user_id": user_id, "role": role, "created": created}
            it.execute(members.insert().values(**row))

    def remove_member(self, instance: str, user: str, *, account: str | None = None) -> None:
        """Let a user act in an instance no longer."""
        with self._changing("instance remove", instance, user=user) as it:
            mine, user_id, _ = self._membership(it, instance, user, account)
            self._not_own(it, mine, user_id)
            if not it.execute(delete(members).where(mine)).rowcount:
                raise NotInBook("member", user)

    def create_token(
        self,
        user: str,
        name: str,
        scope: str = "full",
        instance: str | None = None,
        lasts_ms: int | None = None,
        latest: int | None = None,
    ) -> str:
        """Make a token of a user; return it, which nobody can do again.

        Args:
            user: its name or id.
            name: what the token is for.
            scope: `full`, or `read`: it changes nothing.
            instance: the only one that it is for; default: all of the user's.
            lasts_ms: it ends so much later than it was made; default: never.
            latest: it ends no later than then, in milliseconds since 1970; default: no bound.
        """
        if scope not in SCOPES:
            raise BadName("scope", scope, SCOPES)
        own_end = None if lasts_ms is None else self._now + lasts_ms
        expires_at = min((it for it in (own_end, latest) if it is not None), default=None)
        more = {"scope": scope, "instance": instance, "expires_at": expires_at}
        with self._changing("token create", user, name=name, **more) as it:
            user_id = self._find(it, users, user)["id"]
            if it.execute(_live(user_id, self._now)).scalar_one() >= TOKENS_MAX:
                raise TooManyTokens(TOKENS_MAX)
            if instance is not None:
                more["instance"] = self._find(it, instances, instance)["crn"]
            return book.add_token(it, user_id, self._now, name, **more)

    def token_of_account(self, account: str) -> Credentials:
        """Make one more token for the first user of an account; the older ones stay good."""
        with self._changing("token create", account, name="first") as it:
            return book.first_users_token(it, account, self._now)

    def revoke_token(self, token_id: str) -> None:
        """End a token: nobody signs in with it, and who did is out."""
        with self._changing("token revoke", token_id) as it:
            live = (tokens.c.id == token_id) & tokens.c.revoked_at.is_(None)
            if not it.execute(update(tokens).where(live).values(revoked_at=self._now)).rowcount:
                raise NotInBook("token in use", token_id)

    def import_class(
        self,
        account: str,
        rows: Iterable[Row],
        hand_over: Callable[[list[Credentials]], None] | None = None,
    ) -> list[Credentials]:
        """Make an instance, a user who is a member of it, and a token for each row: all or none.

        `hand_over` gets what was made before it counts; if it raises, nothing was made. So no token
        counts that nobody has got.

        Raises:
            BadRows: names each line that cannot be, and why.
        """
        rows = list(rows)
        made = []
        with self._changing("instance import", account, names=[it.name for it in rows]) as it:
            self._check_rows(it, rows)
            account_id = self._account(it, account)
            for row in rows:
                crn = self._add_instance(it, account_id, row.name, row.plan, {})
                user_id = book.add_user(it, account_id, row.name, self._now)
                member = {"instance": crn, "user_id": user_id, "role": "member"}
                it.execute(members.insert().values(created=self._now, **member))
                token = book.add_token(it, user_id, self._now, "import")
                made.append(Credentials(account_id, user_id, crn, row.name, token))
            if hand_over is not None:
                hand_over(made)
        return made

    def _check_rows(self, connection: Connection, rows: list[Row]) -> None:
        """Look at all rows before any is made, so that all faults are told at once."""
        lines: dict[str, int] = {}
        faults = []
        for row in rows:
            try:
                for table in (instances, users):
                    self._fresh(connection, table, row.name)
                self._check_plan(connection, row.plan)
            except AccountError as error:
                faults.append((row.line, str(error)))
            else:
                if row.name in lines:
                    why = f"{row.name!r} is on line {lines[row.name]} too"
                    faults.append((row.line, why))
            lines.setdefault(row.name, row.line)
        if faults:
            raise BadRows(faults)

    # ---- common ---------------------------------------------------------------------------------

    def _account(self, connection: Connection, name: str) -> str:
        try:
            return str(self._find(connection, accounts, name)["id"])
        except NotInBook:
            self._fresh(connection, accounts, name)
            return book.add_account(connection, name, self._now)

    def _add_instance(
        self, connection: Connection, account_id: str, name: str, plan: str, own: Mapping[str, Any]
    ) -> str:
        self._check_plan(connection, plan)
        return book.add_instance(connection, account_id, name, plan, self._now, **_stored(own))

    def _membership(
        self, connection: Connection, instance: str, user: str, account: str | None
    ) -> tuple[Any, str, str]:
        """The row of a membership as a condition, the user's id, and the instance's CRN."""
        crn = str(self._find(connection, instances, instance)["crn"])
        found = self._find(connection, users, user)
        mine = (members.c.instance == crn) & (members.c.user_id == found["id"])
        theirs = account is None or found["account"] == account
        if not theirs and connection.execute(select(members.c.role).where(mine)).first() is None:
            raise NotInBook("user", user)
        return mine, str(found["id"]), crn

    def _not_own(self, connection: Connection, mine: Any, user_id: str) -> None:
        role = connection.execute(select(members.c.role).where(mine)).scalar()
        if user_id == self._actor and role == "admin":
            raise OwnRole


def _stored(own: Mapping[str, Any]) -> dict[str, Any]:
    """What is an instance's own, as its columns have it."""
    backends = own.get("backends")
    stored = {"backends": None if backends is None else json.dumps(list(backends))}
    return {**own, **(stored if "backends" in own else {})}


def _live(user_id: str, now: int) -> Select[int]:
    """How many tokens of a user sign in."""
    ends = tokens.c.expires_at
    mine = (tokens.c.user_id == user_id) & tokens.c.revoked_at.is_(None)
    return select(func.count()).select_from(tokens).where(mine, or_(ends.is_(None), ends > now))
