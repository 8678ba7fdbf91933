"""What operators and instances' admins change: done once, for the routes and for the console.

Each change is made by the book of people in a thread, has its line in the audit log, and has
effect with the next request. Who may is asked here, too: an operator may do everything; an admin
of an instance may let users of their own account act in it, and end tokens that are for nothing
but instances of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdwell.api.operators import changed, taught
from qdwell.api.parts import BackendView, Parts
from qdwell.core.events import BackendMode
from qdwell.errors import NotAllowed, UnknownBackend
from qdwell.store.accounts import Owner
from qdwell.store.people import People


def book_of(parts: Parts, owner: Owner) -> People:
    """The book of people in somebody's hands, now."""
    return People(parts.store, owner.user_id, parts.clock.now(), parts.config.plans)


def check_backends(parts: Parts, names: Sequence[str] | None) -> None:
    """Refuse names of backends that there are none of.

    Raises:
        UnknownBackend: names the first.
    """
    for name in names or ():
        view = parts.engine.backend(name)
        if view is None or view.name != name:
            raise UnknownBackend(name)


async def set_mode(parts: Parts, owner: Owner, name: str, mode: str, reason: str) -> BackendView:
    """Bring a backend online, pause it, or take it offline (I10, I11); for operators.

    Raises:
        UnknownBackend: there is none of this name.
    """
    view = parts.engine.backend(name)
    if view is None:
        raise UnknownBackend(name, on_resource=True)
    await parts.engine.set_backend_mode(view.name, BackendMode(mode), reason)
    book = book_of(parts, owner)
    await taught(lambda: book.note(f"backend {mode}", view.name, reason=reason))
    after = parts.engine.backend(view.name)
    assert after is not None  # a backend never goes away while the server runs
    return after


# ---- who may -------------------------------------------------------------------------------------


def administers(owner: Owner, instance: str) -> bool:
    """Whether somebody may see and change who acts in an instance, given by name or CRN."""
    mine = any(instance in (it.crn, it.name) and it.role == "admin" for it in owner.instances)
    return owner.admin or mine


def check_administers(owner: Owner, instance: str, *, changing: bool = True) -> str | None:
    """Refuse who may not; return the account whose users they may name, None for all accounts.

    Raises:
        NotAllowed: they are neither operator nor admin there, or their token is for reading.
    """
    if not administers(owner, instance) or (changing and not owner.may_change):
        raise NotAllowed()
    return None if owner.admin else owner.account_id


def may_end(owner: Owner, token: dict[str, Any], reach: Sequence[str]) -> bool:
    """Whether somebody may see and end a token that is good for the instances of these CRNs."""
    if owner.admin or token["user_id"] == owner.user_id:
        return True
    return bool(reach) and all(administers(owner, crn) for crn in reach)


async def own_tokens(parts: Parts, owner: Owner) -> list[dict[str, Any]]:
    """The tokens in use that somebody may know of as theirs, oldest first.

    Who came by a token that is for a single instance sees those that are for that alone.
    """
    book, now = book_of(parts, owner), parts.clock.now()
    found = await taught(lambda: book.tokens(owner.user_id))
    return [
        it
        for it in found
        if it["user_id"] == owner.user_id  # and not of somebody who has this id for a name
        and it["revoked_at"] is None
        and (it["expires_at"] is None or it["expires_at"] > now)
        and owner.only in (None, it["instance"])
    ]


async def make_token(
    parts: Parts, owner: Owner, name: str, scope: str, instance: str | None, lasts_ms: int | None
) -> str:
    """Make a token for oneself; return it.

    Who came by a token that is for one instance, or that ends, gets no other by it than such.

    Raises:
        NotAllowed: they came by a token that is for reading, or name an instance of others.
    """
    if not owner.may_change or instance not in (None, *(it.crn for it in owner.instances)):
        raise NotAllowed()
    if owner.only is not None:
        instance = owner.only
    book, user, latest = book_of(parts, owner), owner.user_id, owner.expires_at
    return await changed(
        parts, lambda: book.create_token(user, name, scope, instance, lasts_ms, latest)
    )
