"""What operators do with identities: who an identity provider says that users are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, select

from qdwell.errors import BadName, InBook, NotInBook
from qdwell.store import accounts as book
from qdwell.store.book import Book
from qdwell.store.identities import SUBJECT_MAX, Identity, identity_id
from qdwell.store.tables_who import identities, instances, members, users


class IdentityBook(Book):
    """The part of the book that is about identities."""

    def identities(self, user: str | None = None) -> list[dict[str, Any]]:
        """Who identity providers say that users are: of one user, or all."""
        query = select(identities, users.c.name.label("user")).join(
            users, users.c.id == identities.c.user_id
        )
        if user is not None:
            with self._store.database.reading() as connection:
                query = query.where(users.c.id == self._find(connection, users, user)["id"])
        return self._read(query.order_by(identities.c.created, identities.c.id))

    def link_identity(self, user: str, identity: Identity, *, first: bool = False) -> str:
        """Let whom a provider knows by a subject sign in as a user; return the identity's id.

        `first`: only a user who has no identity yet, and is not shut out.
        """
        more = {"issuer": identity.issuer, "sub": identity.subject, "email": identity.email}
        with self._changing("user link", user, **more) as it:
            found = self._find(it, users, user)
            linked = select(identities.c.id).where(identities.c.user_id == found["id"])
            if first and (found["disabled_at"] is not None or it.execute(linked).first()):
                raise NotInBook("user without an identity", user)
            return self._link(it, found["id"], identity)

    def unlink_identity(self, identity: str) -> None:
        """Undo it: whoever signed in so is out."""
        with self._changing("user unlink", identity) as it:
            mine = identities.c.id == identity
            if not it.execute(delete(identities).where(mine)).rowcount:
                raise NotInBook("identity", identity)

    def admit(self, name: str, instance: str, role: str, identity: Identity) -> str:
        """Make a user of somebody who signed in, in one instance; return their id."""
        more = {"instance": instance, "role": role, "sub": identity.subject}
        with self._changing("user create", name, issuer=identity.issuer, **more) as it:
            self._fresh(it, users, name)
            found = self._find(it, instances, instance)
            user_id = book.add_user(it, found["account"], name, self._now)
            member = {"instance": found["crn"], "user_id": user_id, "role": role}
            it.execute(members.insert().values(created=self._now, **member))
            self._link(it, user_id, identity)
            return user_id

    def _link(self, connection: Connection, user_id: str, identity: Identity) -> str:
        if not 0 < len(identity.subject) <= SUBJECT_MAX:
            raise BadName("subject", identity.subject, (f"1 to {SUBJECT_MAX} characters",))
        made = identity_id(identity.issuer, identity.subject)
        if connection.execute(select(identities.c.id).where(identities.c.id == made)).first():
            raise InBook("identity", identity.subject)
        row = {"issuer": identity.issuer, "subject": identity.subject, "email": identity.email}
        row |= {"id": made, "user_id": user_id}
        connection.execute(identities.insert().values(created=self._now, **row))
        return made
