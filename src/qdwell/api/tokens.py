"""A user's own tokens by HTTP: list them, make one, show one, end one.

They are asked for as a user, not in an instance, so no CRN is named. Nobody sees or ends another
user's here, whatever their role: that is what the routes for operators are for.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.body import read_message
from qdwell.api.changes import book_of, make_token, own_tokens
from qdwell.api.edge import no_content, not_found, reply
from qdwell.api.operators import BODY_BYTES_MAX, changed
from qdwell.api.parts import Parts
from qdwell.errors import NotAllowed
from qdwell.store.accounts import Owner, token_id
from qdwell.wire.administration import OwnTokenRequest


class TokenRoutes:
    """What anybody may do with their own tokens."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def list(self, request: Request) -> Response:
        """List one's own tokens in use, oldest first, without what signs in."""
        owner = await self._parts.auth.owner(request)
        return reply({"tokens": await own_tokens(self._parts, owner)})

    async def show(self, request: Request, token_id: str) -> Response:
        """Show one of one's own tokens in use, without what signs in."""
        owner = await self._parts.auth.owner(request)
        return reply(await self._one(owner, token_id))

    async def create(self, request: Request) -> Response:
        """Make a token for oneself; this answer is the only place where it is ever shown."""
        owner = await self._changing(request)
        asked = await read_message(request, OwnTokenRequest, BODY_BYTES_MAX, 4)
        lasts_ms = asked.expires_in_seconds and asked.expires_in_seconds * 1000
        only = None if asked.instance is None else _crn(owner, asked.instance)
        made = await make_token(self._parts, owner, asked.name, asked.scope, only, lasts_ms)
        return reply({**await self._one(owner, token_id(made)), "token": made})

    async def revoke(self, request: Request, token_id: str) -> Response:
        """End one of one's own tokens; who signed in with it is out."""
        owner = await self._changing(request)
        await self._one(owner, token_id)
        book = book_of(self._parts, owner)
        await changed(self._parts, lambda: book.revoke_token(token_id))
        return no_content()

    async def _changing(self, request: Request) -> Owner:
        """Who asks.

        Raises:
            NotAllowed: their token is for reading, so it neither makes nor ends any.
        """
        owner = await self._parts.auth.owner(request)
        if not owner.may_change:
            raise NotAllowed("This token is for reading only: it makes and ends no tokens.")
        return owner

    async def _one(self, owner: Owner, wanted: str) -> dict[str, Any]:
        """One of those that are listed; another user's is answered as one that never was."""
        for each in await own_tokens(self._parts, owner):
            if each["id"] == wanted:
                return each
        raise not_found(
            f"You have no token {wanted!r} in use.", "List your tokens: GET /api/v1/tokens."
        )


def _crn(owner: Owner, named: str) -> str:
    """The CRN of an instance that is given by CRN or name; others' are answered 403 alike."""
    return next((it.crn for it in owner.instances if named in (it.crn, it.name)), named)
