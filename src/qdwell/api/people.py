"""Accounts, instances, users, members, and tokens by HTTP, for operators; the commands' names.

Every change is in the audit log, and has effect with the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.body import Query, read_message
from qdwell.api.edge import not_found, reply
from qdwell.api.parts import Parts
from qdwell.errors import AccountError, BadInput, NotInBook, UnknownBackend
from qdwell.store.people import PAGE_MAX, People
from qdwell.wire.messages import (
    InstanceChange,
    MemberRequest,
    NewInstanceRequest,
    NewTokenRequest,
    NewUserRequest,
    UserChange,
)

BODY_BYTES_MAX = 16_384
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class PeopleRoutes:
    """What only an operator may see and do."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

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

    async def create_instance(self, request: Request) -> Response:
        """Make an instance, and its account if there is none of that name."""
        book, asked = await self._asked(request, NewInstanceRequest)
        own = asked.model_dump(exclude={"account", "name", "plan"}, exclude_none=True)
        self._check_backends(asked.backends)
        crn = await self._change(
            lambda: book.create_instance(asked.account, asked.name, asked.plan, **own)
        )
        return reply({"crn": crn, "name": asked.name})

    async def change_instance(self, request: Request, name: str) -> Response:
        """Change an instance's plan, backends, or own limits; null gives the plan's back."""
        book, asked = await self._asked(request, InstanceChange)
        changes = asked.model_dump(exclude_unset=True)
        if not changes or ("plan" in changes and asked.plan is None):
            raise BadInput("Nothing is to be changed, or the plan to nothing.", field="plan")
        self._check_backends(asked.backends)
        await self._change(lambda: book.change_instance(name, changes))
        return Response(status_code=204)

    async def put_member(self, request: Request, name: str, user: str) -> Response:
        """Let a user act in an instance, in a role."""
        book, asked = await self._asked(request, MemberRequest)
        await self._change(lambda: book.set_member(name, user, asked.role))
        return Response(status_code=204)

    async def delete_member(self, request: Request, name: str, user: str) -> Response:
        """Let a user act in an instance no longer."""
        book = await self._book(request)
        await self._change(lambda: book.remove_member(name, user))
        return Response(status_code=204)

    async def create_user(self, request: Request) -> Response:
        """Make a user in an account."""
        book, asked = await self._asked(request, NewUserRequest)
        made = await self._change(lambda: book.create_user(asked.account, asked.name))
        return reply({"id": made, "name": asked.name})

    async def change_user(self, request: Request, name: str) -> Response:
        """Shut a user out, or let them in again."""
        book, asked = await self._asked(request, UserChange)
        await self._change(lambda: book.disable_user(name, disabled=asked.disabled))
        return Response(status_code=204)

    async def create_token(self, request: Request) -> Response:
        """Make a token; this answer is the only place where it is ever shown."""
        book, asked = await self._asked(request, NewTokenRequest)
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
        return Response(status_code=204)

    # ---- common ---------------------------------------------------------------------------------

    async def _book(self, request: Request) -> People:
        parts = self._parts
        owner = await parts.auth.operator(request)
        return People(parts.store, owner.user_id, parts.clock.now(), parts.config.plans)

    async def _asked(self, request: Request, model: type[M]) -> tuple[People, M]:
        book = await self._book(request)
        return book, await read_message(request, model, BODY_BYTES_MAX, 4)

    async def _list(
        self,
        request: Request,
        name: str,
        ask: Callable[[People], list[dict[str, Any]]],
        query: tuple[str, ...] = (),
    ) -> Response:
        book = await self._book(request)
        Query(request, query)
        return reply({name: await _taught(lambda: ask(book))})

    async def _change(self, change: Callable[[], T]) -> T:
        done = await _taught(change)
        self._parts.auth.forget()
        await self._parts.engine.instances_changed()
        return done

    def _check_backends(self, names: list[str] | None) -> None:
        for name in names or ():
            view = self._parts.engine.backend(name)
            if view is None or view.name != name:
                raise UnknownBackend(name)


async def _taught(work: Callable[[], T]) -> T:
    """Do it in a thread; what the book refuses is the request's fault."""
    try:
        return await asyncio.to_thread(work)
    except NotInBook as error:
        raise not_found(f"{error}.", "List what there is.") from None
    except AccountError as error:
        raise BadInput(f"{error}.") from None
