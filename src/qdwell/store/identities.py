"""Who signs in by an identity provider: the subject that it knows them by, and our user.

An identity is an issuer and a subject, which the issuer never gives to anybody else; it belongs to
one user. An e-mail address does not identify: providers reassign addresses. It is kept for people
to read. Operators link and unlink identities by `people`; what is here is asked at each sign-in,
and at each page that somebody who came so opens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select, update

from qdwell.store import Store
from qdwell.store.accounts import USE_NOTED_MS, Owner, owner_of
from qdwell.store.tables_who import identities

ID_LETTERS = 32  # of the hash of issuer and subject: 128 bits, so no two are alike
SUBJECT_MAX = 255  # characters, as the standard has it
EMAIL_MAX = 320


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody, as a provider has told."""

    issuer: str
    subject: str
    email: str | None = None  #: as it is shown; at most 320 characters
    email_verified: bool = False

    @property
    def id(self) -> str:
        """What operators and cookies call it by."""
        return identity_id(self.issuer, self.subject)


def identity_id(issuer: str, subject: str) -> str:
    """The id of an identity: letters of a hash. No issuer's URL has a line break."""
    return hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()[:ID_LETTERS]


def identity_owner(store: Store, identity: Identity, now: int) -> Owner | None:
    """Return who signs in, and note the use; None if nobody is linked, or they are shut out."""
    with store.database.writing() as connection:
        owner = _owner(connection, identity.id, identity.issuer)
        if owner is not None:
            used = update(identities).where(identities.c.id == identity.id)
            connection.execute(used.values(used_at=now, email=identity.email))
    return owner


def known(store: Store, identity: Identity) -> bool:
    """Whether an identity is linked to a user, shut out or not."""
    query = select(identities.c.id).where(identities.c.id == identity.id)
    with store.database.reading() as connection:
        return connection.execute(query).first() is not None


def signed_in_owner(
    store: Store, identity: str, user_id: str, issuer: str, now: int
) -> Owner | None:
    """Return the user of an identity that signed in before, if it is still theirs, or None."""
    with store.database.reading() as connection:
        owner = _owner(connection, identity, issuer)
        query = select(identities.c.used_at).where(identities.c.id == identity)
        used_at = connection.execute(query).scalar()
    if owner is None or owner.user_id != user_id:
        return None
    if used_at is None or used_at < now - USE_NOTED_MS:
        with store.database.writing() as connection:
            used = update(identities).where(identities.c.id == identity).values(used_at=now)
            connection.execute(used)
    return owner


def _owner(connection: Connection, identity: str, issuer: str) -> Owner | None:
    query = select(identities.c.user_id).where(
        identities.c.id == identity, identities.c.issuer == issuer
    )
    user_id = connection.execute(query).scalar()
    owner = None if user_id is None else owner_of(connection, user_id)
    return None if owner is None else replace(owner, identity=identity)
