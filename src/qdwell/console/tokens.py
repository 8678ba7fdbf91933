"""Tokens: one's own, which are made here and shown once, and for admins those of members."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.changes import administers, book_of, make_token, may_end, own_tokens
from qdwell.api.edge import not_found
from qdwell.api.operators import changed, taught
from qdwell.console.forms import DAYS, acted, label, lasts_ms, told
from qdwell.console.signin import Visitor
from qdwell.console.site import Site
from qdwell.errors import BadInput, NotAllowed
from qdwell.store.tables_who import SCOPES

PLACE = "/instances/tokens"


class TokenPages:
    """How somebody who signed in gets what programs sign in with."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The visitor's tokens in use, newest first; and those of members that they may end."""
        owner, parts = visitor.caller.owner, self._site.parts
        mine = await own_tokens(parts, owner)
        return self._site.page(
            request,
            "tokens.html",
            visitor,
            mine=mine[::-1],
            theirs=await self._theirs(visitor),
            admin=administers(owner, visitor.crn),
            may_change=owner.may_change,
            instance=visitor.caller.instance,
            names={it.crn: it.name for it in owner.instances},
            only=owner.only is not None,
            ends=owner.expires_at,
            days=DAYS,
            signed_in_by=owner.token,
            origin=self._site.origin(request),
            clock_now=parts.clock.now(),
            **told(request),
        )

    async def make(self, request: Request, visitor: Visitor) -> Response:
        """Make a token, and show it now and never again."""
        fields = await self._site.form(request, visitor, changes=False)
        parts, owner = self._site.parts, visitor.caller.owner
        if not owner.may_change:
            raise NotAllowed

        async def act() -> dict[str, str]:
            name, scope = label(fields, "name", "Name"), fields.get("scope", "full")
            if scope not in SCOPES:
                raise BadInput("scope must be full or read.", field="scope")
            only = visitor.crn if fields.get("only") else None
            made = await make_token(parts, owner, name, scope, only, lasts_ms(fields))
            return {"name": name, "token": made}

        return await acted(request, visitor, act, self.show, PLACE)

    async def revoke(self, request: Request, visitor: Visitor) -> Response:
        """End a token of the visitor's, or one of a member's that they may end."""
        fields = await self._site.form(request, visitor, changes=False)
        parts, owner, wanted = self._site.parts, visitor.caller.owner, fields.get("id", "")
        if not owner.may_change:
            raise NotAllowed

        async def act() -> None:
            known = [*await own_tokens(parts, owner), *await self._theirs(visitor)]
            if wanted not in {it["id"] for it in known}:
                raise not_found("There is no such token.", "It may have been revoked already.")
            book = book_of(parts, owner)
            await changed(parts, lambda: book.revoke_token(wanted))

        return await acted(request, visitor, act, self.show, PLACE)

    async def _theirs(self, visitor: Visitor) -> list[dict[str, Any]]:
        owner, now = visitor.caller.owner, self._site.parts.clock.now()
        if not administers(owner, visitor.crn):
            return []
        book = book_of(self._site.parts, owner)
        found = await taught(lambda: book.member_tokens(visitor.crn))
        return [
            it
            for it in found
            if it["user_id"] != owner.user_id
            and (it["expires_at"] is None or it["expires_at"] > now)
            and may_end(owner, it, it["reach"])
        ]
