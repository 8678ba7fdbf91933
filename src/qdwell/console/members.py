"""Members of the visitor's instance: who may act in it, and as what."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.changes import administers, book_of, check_administers
from qdwell.api.operators import changed, taught
from qdwell.console.forms import acted, label, paged, told
from qdwell.console.signin import Visitor
from qdwell.console.site import Site
from qdwell.store.tables_who import ROLES

PLACE = "/instances/members"


class MemberPages:
    """The list of members, for admins; others learn who the admins are."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """Members with their roles, newest first."""
        owner, book = visitor.caller.owner, book_of(self._site.parts, visitor.caller.owner)
        may = administers(owner, visitor.crn)
        found = await taught(lambda: book.members(visitor.crn))
        shown = found if may else [it for it in found if it["role"] == "admin"]
        return self._site.page(
            request,
            "members.html",
            visitor,
            may=may,
            may_change=may and owner.may_change,
            instance=visitor.caller.instance,
            roles=ROLES,
            me=owner.user_id,
            place=PLACE,
            **paged(request, shown, "name"),
            **told(request),
        )

    async def put(self, request: Request, visitor: Visitor) -> Response:
        """Add a member, or change a role."""
        fields = await self._site.form(request, visitor, changes=False)
        account = check_administers(visitor.caller.owner, visitor.crn)

        async def act() -> None:
            book = book_of(self._site.parts, visitor.caller.owner)
            user, role = label(fields, "user", "User"), fields.get("role", "")
            await changed(
                self._site.parts,
                lambda: book.set_member(visitor.crn, user, role, account=account),
            )

        return await acted(request, visitor, act, self.show, PLACE)

    async def remove(self, request: Request, visitor: Visitor) -> Response:
        """Let somebody act in it no longer."""
        fields = await self._site.form(request, visitor, changes=False)
        account = check_administers(visitor.caller.owner, visitor.crn)

        async def act() -> None:
            book, user = book_of(self._site.parts, visitor.caller.owner), fields.get("user", "")
            await changed(
                self._site.parts, lambda: book.remove_member(visitor.crn, user, account=account)
            )

        return await acted(request, visitor, act, self.show, PLACE)
