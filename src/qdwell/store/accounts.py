"""Who may use the server: accounts, their users, instances, and API tokens.

An account has instances and users; a user acts in the instances of which they are a member, as
far as their role there allows. An instance is known by its CRN everywhere. Of a token only the
SHA-256 is kept: it holds 256 random bits, so nothing slower is needed, and who reads the database
cannot sign in with what is there. The token itself is in the returned `Credentials` and nowhere
else. What operators change later is in `people`.

These functions may run in another process than the server's, at the same time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    func,
    not_,
    select,
    update,
)

from qdwell.config import Plan
from qdwell.errors import AccountExists, UnknownAccount, UnknownPlan
from qdwell.store import Store
from qdwell.store.ids import new_id, new_token
from qdwell.store.tables import accounts, instances, server, tokens, users
from qdwell.store.tables_who import members, plans

FIRST_ACCOUNT = "default"
DEFAULT_PLAN = "default"
ID_LETTERS = 12  # of a token's hash
USE_NOTED_MS = 60_000  # how exactly a token's last use is known
ACCOUNTS = "accounts"  #: what is announced when one was made


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a new user needs to sign in. The only place where a token is in the clear."""

    account_id: str
    user_id: str
    instance_crn: str
    instance_name: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance (I1)."""

    crn: str
    account_id: str
    name: str
    plan: str
    backends: tuple[str, ...] | None = None  #: those it may use; None: all
    allocation_seconds: int | None = None  #: its own instead of its plan's, as the next two
    limit_seconds: int | None = None
    spend_seconds: int | None = None
    role: str = "admin"  #: of the user who asks; without one it says nothing
    plan_settings: str | None = None  #: of a plan made by command, so that its change is seen
    closed: bool = False  #: it, or its account

    def terms(self, plan: Plan) -> Plan:
        """Its plan, with what is its own (I7-I9)."""
        own = {
            "usage_allocation_seconds": self.allocation_seconds,
            "usage_limit_seconds": self.limit_seconds,
            "spend_limit_seconds": self.spend_seconds,
        }
        given = {name: it for name, it in own.items() if it is not None}
        return replace(plan, **given) if given else plan  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Owner:
    """The user behind a token, and what they may act in."""

    user_id: str
    account_id: str
    account_name: str
    admin: bool  #: an operator: an administrator in the first account
    instances: tuple[Instance, ...]
    token: str = field(default="", compare=False)  #: id of the token by which they came
    may_change: bool = field(default=True, compare=False)  #: whether that token is for more
    expires_at: int | None = field(default=None, compare=False)  #: the end of that token
    only: str | None = field(default=None, compare=False)  #: the one instance that token is for
    identity: str = field(default="", compare=False)  #: the id of it, if they came by one


def first_start(store: Store, now: int) -> Credentials | None:
    """Make the first account of an empty store; None if there is one already."""
    with store.database.writing() as connection:
        if connection.execute(select(accounts.c.id).limit(1)).first() is not None:
            return None
        return make_account(connection, FIRST_ACCOUNT, DEFAULT_PLAN, now, admin=True)


def create_account(
    store: Store, name: str, plan: str, now: int, plans: Mapping[str, Plan] | None = None
) -> Credentials:
    """Make an account with a user, an instance, and a token.

    With `plans`, the plan must be one of them; without, the caller has checked it.

    Raises:
        AccountExists: there is one of this name.
        UnknownPlan: `plans` lacks the plan.
    """
    if plans is not None and plan not in plans:
        raise UnknownPlan(plan, tuple(plans))
    pending_max = None if plans is None else plans[plan].pending_jobs_max
    with store.database.writing() as connection:
        if connection.execute(select(accounts.c.id).where(accounts.c.name == name)).first():
            raise AccountExists(name)
        first = connection.execute(select(accounts.c.id).limit(1)).first() is None
        store.database.announce(connection, ACCOUNTS)
        return make_account(connection, name, plan, now, pending_max, admin=first)


def create_token(store: Store, account_name: str, now: int) -> Credentials:
    """Make one more token for the first user of an account; the older ones stay good.

    Raises:
        UnknownAccount: there is none of this name.
    """
    with store.database.writing() as connection:
        return first_users_token(connection, account_name, now)


def first_users_token(connection: Connection, account_name: str, now: int) -> Credentials:
    """Make one more token for the first user of an account, in a transaction of the caller's.

    Raises:
        UnknownAccount: there is none of this name.
    """
    query = (
        select(accounts.c.id, users.c.id, instances.c.crn, instances.c.name)
        .join_from(accounts, users, users.c.account == accounts.c.id)
        .join(instances, instances.c.account == accounts.c.id)
        .where(accounts.c.name == account_name)
        .order_by(users.c.created, users.c.id, instances.c.created, instances.c.crn)
    )
    row = connection.execute(query.limit(1)).first()
    if row is None:
        raise UnknownAccount(account_name)
    account_id, user_id, crn, name = row
    return Credentials(account_id, user_id, crn, name, add_token(connection, user_id, now))


def token_owner(store: Store, token: str, now: int) -> Owner | None:
    """Return whose token this is, and note its use; None if it is nobody's, or has ended."""
    name = _hash(token)
    with store.database.reading() as connection:
        row = connection.execute(select(tokens).where(tokens.c.hash == name)).first()
        # The index found it by its hash, of which timing tells nothing useful; this is for the
        # reader who would rather not think about that.
        if row is None or not hmac.compare_digest(row.hash, name):
            return None
        owner = _owner(connection, row, now)
    if owner is not None and (row.used_at is None or row.used_at < now - USE_NOTED_MS):
        with store.database.writing() as connection:
            connection.execute(update(tokens).where(tokens.c.hash == name).values(used_at=now))
    return owner


def user_owner(store: Store, user_id: str, token_id: str, now: int) -> Owner | None:
    """Return the user of a token that was good before, if it still is, or None."""
    with store.database.reading() as connection:
        query = select(tokens).where(tokens.c.id == token_id, tokens.c.user_id == user_id)
        row = connection.execute(query).first()
        return None if row is None else _owner(connection, row, now)


def first_account(store: Store) -> str | None:
    """Return the id of the first account, whose users administer; None in an empty store."""
    with store.database.reading() as connection:
        return connection.execute(select(accounts.c.id).where(accounts.c.admin)).scalar()


def all_instances(store: Store) -> list[Instance]:
    """Return every instance, oldest first."""
    with store.database.reading() as connection:
        return [_instance(row) for row in connection.execute(_select_instances())]


def apply_plans(store: Store, plans: Mapping[str, Plan]) -> list[Instance]:
    """Copy each plan's pending limit to its instances, where the store's guard reads it (P5, L11).

    The engine does this at its start and when accounts have changed. Returns every instance.

    Raises:
        UnknownPlan: an instance has a plan that `plans` lacks; nothing was changed.
    """
    found = all_instances(store)
    for instance in found:
        if instance.plan not in plans:
            raise UnknownPlan(instance.plan, tuple(plans))
    with store.database.reading() as connection:
        query = select(instances.c.crn, instances.c.pending_max)
        current = {row.crn: row.pending_max for row in connection.execute(query)}
    wanted = {it.crn: plans[it.plan].pending_jobs_max for it in found}
    changed = {crn: most for crn, most in wanted.items() if current[crn] != most}
    if changed:
        with store.database.writing() as connection:
            for crn, most in changed.items():
                connection.execute(
                    update(instances).where(instances.c.crn == crn).values(pending_max=most)
                )
    return found


def signing_key(store: Store) -> bytes:
    """Return the key that access tokens are signed with: 32 random bytes, made once and kept."""
    query = select(server.c.signing_key)
    with store.database.reading() as connection:
        key = connection.execute(query).scalar_one()
    if key is None:
        with store.database.writing() as connection:
            fresh = func.coalesce(server.c.signing_key, secrets.token_bytes(32))
            connection.execute(update(server).values(signing_key=fresh))
            key = connection.execute(query).scalar_one()
    return bytes(key)


def make_account(
    connection: Connection,
    name: str,
    plan: str,
    now: int,
    pending_max: int | None = None,
    *,
    admin: bool = False,
) -> Credentials:
    """Make an account with an instance, a user who administers it, and a token."""
    account_id = add_account(connection, name, now, admin=admin)
    crn = add_instance(connection, account_id, name, plan, now, pending_max=pending_max)
    user_id = add_user(connection, account_id, name, now)
    connection.execute(
        members.insert().values(instance=crn, user_id=user_id, role="admin", created=now)
    )
    token = add_token(connection, user_id, now)
    return Credentials(account_id, user_id, crn, name, token)


def add_account(connection: Connection, name: str, now: int, *, admin: bool = False) -> str:
    """Make an account; return its id."""
    account_id = new_id(now)
    connection.execute(accounts.insert().values(id=account_id, name=name, admin=admin, created=now))
    return account_id


def add_instance(
    connection: Connection, account_id: str, name: str, plan: str, now: int, **own: Any
) -> str:
    """Make an instance of an account, with what is its own; return its CRN."""
    # The client parses parts 3 and 6; `us-east` is the region that it adds to no URL.
    crn = f"crn:v1:qdwell:private:quantum-computing:us-east:a/{account_id}:{new_id(now)}::"
    row = {"crn": crn, "account": account_id, "name": name, "plan": plan, "created": now, **own}
    connection.execute(instances.insert().values(**row))
    return crn


def add_user(connection: Connection, account_id: str, name: str, now: int) -> str:
    """Make a user of an account; return their id."""
    user_id = new_id(now)
    row = {"id": user_id, "account": account_id, "created": now, "name": name}
    connection.execute(users.insert().values(**row))
    return user_id


def add_token(
    connection: Connection, user_id: str, now: int, name: str = "first", **more: Any
) -> str:
    """Make a token of a user; return it, which nobody can do again."""
    token = new_token()
    row = {"hash": _hash(token), "user_id": user_id, "created": now, "name": name, **more}
    connection.execute(tokens.insert().values(id=token_id(token), **row))
    return token


def token_id(token: str) -> str:
    """What operators call a token by: letters of its hash, which tell nothing of it."""
    return _hash(token)[:ID_LETTERS]


def _owner(connection: Connection, token: Row[Any], now: int) -> Owner | None:
    if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
        return None
    owner = owner_of(connection, token.user_id, token.instance)
    if owner is None:
        return None
    may_change = token.scope != "read"
    return replace(owner, token=token.id, may_change=may_change, expires_at=token.expires_at)


def owner_of(connection: Connection, user_id: str, only: str | None = None) -> Owner | None:
    """A user and what they may act in, or in it the instance `only`; None if they are shut out."""
    query = (
        select(users.c.id, accounts.c.id, accounts.c.name, accounts.c.admin)
        .join(accounts, accounts.c.id == users.c.account)
        .where(users.c.id == user_id, users.c.disabled_at.is_(None))
        .where(accounts.c.closed_at.is_(None))
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    mine = (
        _select_instances(members.c.role)
        .join(members, members.c.instance == instances.c.crn)
        .where(members.c.user_id == user_id, _open())
    )
    if only is not None:
        mine = mine.where(instances.c.crn == only)
    found = tuple(_instance(it, it.role) for it in connection.execute(mine))
    _, account_id, name, is_first = row
    operator = is_first and any(it.role == "admin" and it.account_id == account_id for it in found)
    return Owner(user_id, account_id, name, operator, found, only=only)


def _open() -> ColumnElement[bool]:
    return and_(instances.c.closed_at.is_(None), accounts.c.closed_at.is_(None))


def _select_instances(*more: Any) -> Select[Any]:
    return (
        select(
            instances.c.crn,
            instances.c.account,
            instances.c.name,
            instances.c.plan,
            instances.c.backends,
            instances.c.allocation_seconds,
            instances.c.limit_seconds,
            instances.c.spend_seconds,
            plans.c.settings,
            not_(_open()).label("closed"),
            *more,
        )
        .join_from(instances, accounts, accounts.c.id == instances.c.account)
        .outerjoin(plans, plans.c.name == instances.c.plan)
        .order_by(instances.c.created, instances.c.crn)
    )


def _instance(row: Row[Any], role: str = "admin") -> Instance:
    backends = None if row.backends is None else tuple(json.loads(row.backends))
    own = row.allocation_seconds, row.limit_seconds, row.spend_seconds
    more = row.settings, bool(row.closed)
    return Instance(row.crn, row.account, row.name, row.plan, backends, *own, role, *more)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
