"""Who may use the server: accounts, their users, instances, and API tokens.

An account has one user and one instance today; the tables allow more. An instance is known by its
CRN everywhere. Of a token only the SHA-256 is kept: it holds 256 random bits, so nothing slower
is needed, and who reads the database cannot sign in with what is there. The token itself is in
the returned `Credentials` and nowhere else.

These functions may run in another process than the server's, at the same time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, func, select, update

from qdwell.config import Plan
from qdwell.errors import AccountExists, UnknownAccount, UnknownPlan
from qdwell.store import Store
from qdwell.store.ids import new_id, new_token
from qdwell.store.tables import accounts, instances, server, tokens, users

FIRST_ACCOUNT = "default"
DEFAULT_PLAN = "default"
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


@dataclass(frozen=True, slots=True)
class Owner:
    """The user behind a token, and what they may act in."""

    user_id: str
    account_id: str
    account_name: str
    admin: bool  #: whether they may pause backends: the first account's users may
    instances: tuple[Instance, ...]


def first_start(store: Store, now: int) -> Credentials | None:
    """Make the first account of an empty store; None if there is one already."""
    with store.database.writing() as connection:
        if connection.execute(select(accounts.c.id).limit(1)).first() is not None:
            return None
        return _create(connection, FIRST_ACCOUNT, DEFAULT_PLAN, None, now, admin=True)


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
        return _create(connection, name, plan, pending_max, now, admin=first)


def create_token(store: Store, account_name: str, now: int) -> Credentials:
    """Make one more token for the first user of an account; the older ones stay good.

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
    with store.database.writing() as connection:
        row = connection.execute(query.limit(1)).first()
        if row is None:
            raise UnknownAccount(account_name)
        account_id, user_id, crn, name = row
        return Credentials(account_id, user_id, crn, name, _add_token(connection, user_id, now))


def token_owner(store: Store, token: str) -> Owner | None:
    """Return whose token this is, or None."""
    name = _hash(token)
    query = select(tokens.c.hash, tokens.c.user_id).where(tokens.c.hash == name)
    with store.database.reading() as connection:
        row = connection.execute(query).first()
        # The index found it by its hash, of which timing tells nothing useful; this is for the
        # reader who would rather not think about that.
        if row is None or not hmac.compare_digest(row.hash, name):
            return None
        return _owner(connection, row.user_id)


def user_owner(store: Store, user_id: str) -> Owner | None:
    """Return a user as `token_owner` does, or None."""
    with store.database.reading() as connection:
        return _owner(connection, user_id)


def first_account(store: Store) -> str | None:
    """Return the id of the first account, whose users administer; None in an empty store."""
    with store.database.reading() as connection:
        return connection.execute(select(accounts.c.id).where(accounts.c.admin)).scalar()


def all_instances(store: Store) -> list[Instance]:
    """Return every instance, oldest first."""
    with store.database.reading() as connection:
        return [Instance(*row) for row in connection.execute(_select_instances())]


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


def _create(
    connection: Connection,
    name: str,
    plan: str,
    pending_max: int | None,
    now: int,
    *,
    admin: bool,
) -> Credentials:
    account_id, user_id = new_id(now), new_id(now)
    # The client parses parts 3 and 6; `us-east` is the region that it adds to no URL.
    crn = f"crn:v1:qdwell:private:quantum-computing:us-east:a/{account_id}:{new_id(now)}::"
    connection.execute(accounts.insert().values(id=account_id, name=name, admin=admin, created=now))
    connection.execute(users.insert().values(id=user_id, account=account_id, created=now))
    connection.execute(
        instances.insert().values(
            crn=crn,
            account=account_id,
            name=name,
            plan=plan,
            pending_max=pending_max,
            created=now,
        )
    )
    return Credentials(account_id, user_id, crn, name, _add_token(connection, user_id, now))


def _add_token(connection: Connection, user_id: str, now: int) -> str:
    token = new_token()
    connection.execute(tokens.insert().values(hash=_hash(token), user_id=user_id, created=now))
    return token


def _owner(connection: Connection, user_id: str) -> Owner | None:
    query = (
        select(users.c.id, accounts.c.id, accounts.c.name, accounts.c.admin)
        .join(accounts, accounts.c.id == users.c.account)
        .where(users.c.id == user_id)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    mine = _select_instances().where(instances.c.account == row[1])
    return Owner(*row, tuple(Instance(*it) for it in connection.execute(mine)))


def _select_instances() -> Select[Any]:
    return select(
        instances.c.crn, instances.c.account, instances.c.name, instances.c.plan
    ).order_by(instances.c.created, instances.c.crn)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
