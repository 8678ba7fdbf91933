"""Accounts, instances, users, members, and tokens by HTTP, for operators; the commands' names.

Every change is in the audit log, and has effect with the next request.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.body import Query, read_message
from qdwell.api.changes import book_of, check_administers, check_backends
from qdwell.api.edge import no_content, reply
from qdwell.api.operators import BODY_BYTES_MAX, OperatorRoutes, taught
from qdwell.api.parts import Parts
from qdwell.errors import BadInput
from qdwell.store.book import PAGE_MAX
from qdwell.store.identities import Identity
from qdwell.store.people import People, Row
from qdwell.wire import administration as m

AUDIT_QUERY = ("limit", "before", "actor", "action", "subject")
CLASS_BYTES_MAX = 2_000_000  # ten thousand names, with their plans


class PeopleRoutes(OperatorRoutes[People]):
    """The book of people."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts, People)

    # ---- reading --------------------------------------------------------------------------------

    async def accounts(self, request: Request) -> Response:
        """List the accounts."""
        return await self._list(request, "accounts", lambda book: book.accounts())

    async def instances(self, request: Request) -> Response:
        """List the instances of all accounts."""
        return await self._list(request, "instances", lambda book: book.instances())

    async def users(self, request: Request) -> Response:
        """List the users of all accounts."""
        return await self._list(request, "users", lambda book: book.users())

    async def account(self, request: Request, name: str) -> Response:
        """Show one account, with its instances and users."""
        return await self._show(request, lambda book: book.account(name))

    async def instance(self, request: Request, name: str) -> Response:
        """Show one instance, with its members."""
        return await self._show(request, lambda book: book.instance(name))

    async def user(self, request: Request, name: str) -> Response:
        """Show one user, with the instances of which they are a member."""
        return await self._show(request, lambda book: book.user(name))

    async def token(self, request: Request, token_id: str) -> Response:
        """Show one token, without what signs in."""
        return await self._show(request, lambda book: book.token(token_id))

    async def members(self, request: Request, name: str) -> Response:
        """List who may act in an instance, and as what; for its admins, too."""
        owner = await self._parts.auth.owner(request)
        check_administers(owner, name, changing=False)
        book = book_of(self._parts, owner)
        return reply({"members": await taught(lambda: book.members(name))})

    async def identities(self, request: Request) -> Response:
        """List who the identity provider says that users are: of one user or all."""
        user = Query(request).text("user")
        return await self._list(request, "identities", lambda it: it.identities(user))

    async def tokens(self, request: Request) -> Response:
        """List tokens, of one user or all, without what signs in."""
        user = Query(request).text("user")
        return await self._list(request, "tokens", lambda book: book.tokens(user))

    async def audit(self, request: Request) -> Response:
        """List what operators did, newest first; `before` a line's id: those that are older."""
        query = Query(request)
        limit = query.page("limit", 100, PAGE_MAX)
        before = query.number("before", 0, 2**53) or None
        words = {name: query.text(name) for name in ("actor", "action", "subject")}
        return await self._list(
            request, "audit", lambda it: it.audit(limit, before=before, **words)
        )

    # ---- changing -------------------------------------------------------------------------------

    async def create_account(self, request: Request) -> Response:
        """Make an account with an instance and a user of its name, and a token, shown only here."""
        book, asked = await self._asked(request, m.NewAccountRequest)
        made = await self._change(lambda: book.create_account(asked.name, asked.plan))
        return reply({"name": asked.name, "token": made.token, "crn": made.instance_crn})

    async def change_account(self, request: Request, name: str) -> Response:
        """Close an account, so that nobody of it signs in; or open it again."""
        book, asked = await self._asked(request, m.ClosedChange)
        await self._change(lambda: book.close_account(name, closed=asked.closed))
        return no_content()

    async def import_class(self, request: Request) -> Response:
        """Make an instance, a user, and a token for each line of a class list: all or none."""
        book, asked = await self._asked(request, m.ClassRequest, CLASS_BYTES_MAX)
        rows = [Row(it.name, it.plan, line) for line, it in enumerate(asked.rows, 1)]
        made = await self._change(lambda: book.import_class(asked.account, rows))
        return reply(
            {
                "made": [
                    {"name": it.instance_name, "token": it.token, "crn": it.instance_crn}
                    for it in made
                ]
            }
        )

    async def create_instance(self, request: Request) -> Response:
        """Make an instance, and its account if there is none of that name."""
        book, asked = await self._asked(request, m.NewInstanceRequest)
        own = asked.model_dump(exclude={"account", "name", "plan"}, exclude_none=True)
        check_backends(self._parts, asked.backends)
        crn = await self._change(
            lambda: book.create_instance(asked.account, asked.name, asked.plan, **own)
        )
        return reply({"crn": crn, "name": asked.name})

    async def change_instance(self, request: Request, name: str) -> Response:
        """Change an instance's plan, backends, or own limits, or close it; null: the plan's."""
        book, asked = await self._asked(request, m.InstanceChange)
        changes = asked.model_dump(exclude_unset=True)
        for field in ("plan", "closed"):
            if field in changes and changes[field] is None:
                raise BadInput(f"Field {field!r} cannot be null.", field=field)
        if not changes:
            raise BadInput("Nothing is to be changed.", solution="Name what shall be otherwise.")
        check_backends(self._parts, asked.backends)
        closed = changes.pop("closed", None)

        def change() -> None:
            if changes:
                book.change_instance(name, changes)
            if closed is not None:
                book.close_instance(name, closed=closed)

        await self._change(change)
        return no_content()

    async def put_member(self, request: Request, name: str, user: str) -> Response:
        """Let a user act in an instance, in a role; for its admins, too."""
        owner = await self._parts.auth.owner(request)
        account = check_administers(owner, name)
        asked = await read_message(request, m.MemberRequest, BODY_BYTES_MAX, 4)
        book = book_of(self._parts, owner)
        await self._change(lambda: book.set_member(name, user, asked.role, account=account))
        return no_content()

    async def delete_member(self, request: Request, name: str, user: str) -> Response:
        """Let a user act in an instance no longer; for its admins, too."""
        owner = await self._parts.auth.owner(request)
        account = check_administers(owner, name)
        book = book_of(self._parts, owner)
        await self._change(lambda: book.remove_member(name, user, account=account))
        return no_content()

    async def create_user(self, request: Request) -> Response:
        """Make a user in an account."""
        book, asked = await self._asked(request, m.NewUserRequest)
        made = await self._change(lambda: book.create_user(asked.account, asked.name))
        return reply({"id": made, "name": asked.name})

    async def change_user(self, request: Request, name: str) -> Response:
        """Shut a user out, or let them in again."""
        book, asked = await self._asked(request, m.UserChange)
        await self._change(lambda: book.disable_user(name, disabled=asked.disabled))
        return no_content()

    async def create_token(self, request: Request) -> Response:
        """Make a token; this answer is the only place where it is ever shown."""
        book, asked = await self._asked(request, m.NewTokenRequest)
        lasts_ms = asked.expires_in_seconds and asked.expires_in_seconds * 1000
        more = (asked.name, asked.scope, asked.instance, lasts_ms)
        made = await self._change(lambda: book.create_token(asked.user, *more))
        return reply({"token": made, "name": asked.name})

    async def revoke_token(self, request: Request, token_id: str) -> Response:
        """End a token."""
        book = await self._book(request)
        await self._change(lambda: book.revoke_token(token_id))
        return no_content()

    async def link_identity(self, request: Request) -> Response:
        """Let whom the identity provider knows by a subject sign in as a user."""
        book, asked = await self._asked(request, m.NewIdentityRequest)
        issuer = asked.issuer or self._parts.config.sign_in.oidc.issuer
        if issuer is None:
            raise BadInput("The config has no identity provider: name one.", field="issuer")
        identity = Identity(issuer, asked.subject)
        made = await self._change(lambda: book.link_identity(asked.user, identity))
        return reply({"id": made, "name": asked.user})

    async def unlink_identity(self, request: Request, identity_id: str) -> Response:
        """Undo it: whoever signed in so is out."""
        book = await self._book(request)
        await self._change(lambda: book.unlink_identity(identity_id))
        return no_content()
