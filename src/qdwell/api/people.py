"""Accounts, instances, users, members, and tokens by HTTP, for operators; the commands' names.

Every change is in the audit log, and has effect with the next request.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.body import Query
from qdwell.api.edge import no_content, reply
from qdwell.api.operators import OperatorRoutes
from qdwell.api.parts import Parts
from qdwell.errors import BadInput, UnknownBackend
from qdwell.store.book import PAGE_MAX
from qdwell.store.people import People, Row
from qdwell.wire import administration as m

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
        """List who may act in an instance, and as what."""
        return await self._list(request, "members", lambda book: book.members(name))

    async def tokens(self, request: Request) -> Response:
        """List tokens, of one user or all, without what signs in."""
        user = Query(request, ("user",)).text("user")
        return await self._list(request, "tokens", lambda book: book.tokens(user), ("user",))

    async def audit(self, request: Request) -> Response:
        """List what operators did, newest first."""
        limit = Query(request, ("limit",)).page("limit", 100, PAGE_MAX)
        return await self._list(request, "audit", lambda book: book.audit(limit), ("limit",))

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
        self._check_backends(asked.backends)
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
        self._check_backends(asked.backends)
        closed = changes.pop("closed", None)

        def change() -> None:
            if changes:
                book.change_instance(name, changes)
            if closed is not None:
                book.close_instance(name, closed=closed)

        await self._change(change)
        return no_content()

    async def put_member(self, request: Request, name: str, user: str) -> Response:
        """Let a user act in an instance, in a role."""
        book, asked = await self._asked(request, m.MemberRequest)
        await self._change(lambda: book.set_member(name, user, asked.role))
        return no_content()

    async def delete_member(self, request: Request, name: str, user: str) -> Response:
        """Let a user act in an instance no longer."""
        book = await self._book(request)
        await self._change(lambda: book.remove_member(name, user))
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
        ends = None
        if asked.expires_in_seconds is not None:
            ends = self._parts.clock.now() + asked.expires_in_seconds * 1000
        made = await self._change(
            lambda: book.create_token(asked.user, asked.name, asked.scope, asked.instance, ends)
        )
        return reply({"token": made, "name": asked.name})

    async def revoke_token(self, request: Request, token_id: str) -> Response:
        """End a token."""
        book = await self._book(request)
        await self._change(lambda: book.revoke_token(token_id))
        return no_content()

    # ---- common ---------------------------------------------------------------------------------

    def _check_backends(self, names: list[str] | None) -> None:
        for name in names or ():
            view = self._parts.engine.backend(name)
            if view is None or view.name != name:
                raise UnknownBackend(name)
