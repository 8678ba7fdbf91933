"""Admin: machines' switches, accounts, and instances of everybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.changes import book_of, check_backends
from qdwell.api.operators import changed, taught
from qdwell.console.forms import acted, label, paged, seconds, segment, told
from qdwell.console.signin import Visitor
from qdwell.console.site import Page, Site
from qdwell.errors import BadInput, NotAllowed
from qdwell.store.tables_who import ROLES

OWN = ("allocation_seconds", "limit_seconds", "spend_seconds")


def for_operators(site: Site, page: Page) -> Page:
    """A page that only operators see; others are told whose it is."""

    async def shown(request: Request, visitor: Visitor) -> Response:
        if visitor.admin:
            return await page(request, visitor)
        return site.page(request, "admin_no.html", visitor, status=403)

    return shown


async def operators_form(site: Site, request: Request, visitor: Visitor) -> dict[str, str]:
    """The fields of a form that only operators send.

    Raises:
        NotAllowed: the visitor is none, or may only look.
    """
    fields = await site.form(request, visitor)
    if not visitor.admin:
        raise NotAllowed
    return fields


def closing(fields: Mapping[str, str]) -> bool:
    """Whether a form closes or reopens.

    Raises:
        BadInput: it does neither.
    """
    if fields.get("do") not in ("close", "reopen"):
        raise BadInput("do must be close or reopen.", field="do")
    return fields["do"] == "close"


class AdminPages:
    """The operator's pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """The machines with their switches."""
        machines = self._site.machines()
        return self._site.page(request, "admin.html", visitor, machines=machines)

    async def accounts(self, request: Request, visitor: Visitor) -> Response:
        """Accounts; make one."""
        book = book_of(self._site.parts, visitor.caller.owner)
        return self._site.page(
            request,
            "admin_accounts.html",
            visitor,
            plans=self._site.parts.engine.plans,
            **paged(request, await taught(book.accounts), "name"),
            **told(request),
        )

    async def make_account(self, request: Request, visitor: Visitor) -> Response:
        """Make an account with an instance, a user, and a token."""
        fields = await operators_form(self._site, request, visitor)

        async def act() -> dict[str, str]:
            book, name = (
                book_of(self._site.parts, visitor.caller.owner),
                label(fields, "name", "Name"),
            )
            plan = fields.get("plan", "")
            made = await changed(self._site.parts, lambda: book.create_account(name, plan))
            return {"name": name, "token": made.token}

        return await acted(request, visitor, act, self.accounts, "/admin/accounts")

    async def close_account(self, request: Request, visitor: Visitor) -> Response:
        """Close an account, or open it again."""
        fields = await operators_form(self._site, request, visitor)

        async def act() -> None:
            book, closed = book_of(self._site.parts, visitor.caller.owner), closing(fields)
            account = label(fields, "account", "Account")
            await changed(self._site.parts, lambda: book.close_account(account, closed=closed))

        return await acted(request, visitor, act, self.accounts, "/admin/accounts")

    async def instances(self, request: Request, visitor: Visitor) -> Response:
        """The instances of everybody; make one."""
        parts = self._site.parts
        book = book_of(parts, visitor.caller.owner)
        found, houses = await taught(book.instances), await taught(book.accounts)
        return self._site.page(
            request,
            "admin_instances.html",
            visitor,
            accounts={it["id"]: it["name"] for it in houses},
            usage={it["crn"]: parts.engine.usage_ms(it["crn"]) for it in found},
            pending={it["crn"]: parts.engine.pending(it["crn"]) for it in found},
            plans=parts.engine.plans,
            **paged(request, found, "name", "plan"),
            **told(request),
        )

    async def make_instance(self, request: Request, visitor: Visitor) -> Response:
        """Make an instance."""
        fields = await operators_form(self._site, request, visitor)

        async def act() -> None:
            book = book_of(self._site.parts, visitor.caller.owner)
            given = [label(fields, it, it.capitalize()) for it in ("account", "name", "plan")]
            await changed(self._site.parts, lambda: book.create_instance(*given))

        return await acted(request, visitor, act, self.instances, "/admin/instances")

    async def instance(self, request: Request, visitor: Visitor) -> Response:
        """One instance: its terms and its members."""
        parts = self._site.parts
        row = await self._row(request, visitor)
        book = book_of(parts, visitor.caller.owner)
        members = await taught(lambda: book.members(row["crn"]))
        return self._site.page(
            request,
            "admin_instance.html",
            visitor,
            it=row,
            plans=parts.engine.plans,
            backends=[view.name for view in self._site.machines()],
            roles=ROLES,
            me=visitor.caller.owner.user_id,
            used=parts.engine.usage_ms(row["crn"]),
            place=_place(row["name"]),
            **paged(request, members, "name"),
            **told(request),
        )

    async def change_instance(self, request: Request, visitor: Visitor) -> Response:
        """Change an instance's terms: all of them, as the form has them."""
        fields = await operators_form(self._site, request, visitor)
        row = await self._row(request, visitor)
        parts = self._site.parts

        async def act() -> None:
            names = [view.name for view in self._site.machines()]
            chosen = [name for name in names if fields.get(f"backend-{name}")]
            check_backends(parts, chosen)
            wanted: dict[str, Any] = {name: seconds(fields, name, name) for name in OWN}
            wanted |= {"plan": fields.get("plan", ""), "backends": chosen or None}
            book = book_of(parts, visitor.caller.owner)
            changes = {name: it for name, it in wanted.items() if row[name] != it}
            if changes:
                await changed(parts, lambda: book.change_instance(row["crn"], changes))

        return await acted(request, visitor, act, self.instance, _place(row["name"]))

    async def close_instance(self, request: Request, visitor: Visitor) -> Response:
        """Close an instance, or open it again; not the one that the operator is in."""
        fields = await operators_form(self._site, request, visitor)
        row = await self._row(request, visitor)

        async def act() -> None:
            book, closed = book_of(self._site.parts, visitor.caller.owner), closing(fields)
            if row["crn"] == visitor.crn:
                raise BadInput("You are in this instance now.", solution="Choose another first.")
            await changed(self._site.parts, lambda: book.close_instance(row["crn"], closed=closed))

        return await acted(request, visitor, act, self.instance, _place(row["name"]))

    async def put_member(self, request: Request, visitor: Visitor) -> Response:
        """Add a member of any instance, or change a role."""
        fields = await operators_form(self._site, request, visitor)
        row = await self._row(request, visitor)

        async def act() -> None:
            book = book_of(self._site.parts, visitor.caller.owner)
            user, role = label(fields, "user", "User"), fields.get("role", "")
            await changed(self._site.parts, lambda: book.set_member(row["crn"], user, role))

        return await acted(request, visitor, act, self.instance, _place(row["name"]))

    async def remove_member(self, request: Request, visitor: Visitor) -> Response:
        """Let a member of any instance act in it no longer."""
        fields = await operators_form(self._site, request, visitor)
        row = await self._row(request, visitor)

        async def act() -> None:
            book, user = book_of(self._site.parts, visitor.caller.owner), fields.get("user", "")
            await changed(self._site.parts, lambda: book.remove_member(row["crn"], user))

        return await acted(request, visitor, act, self.instance, _place(row["name"]))

    async def _row(self, request: Request, visitor: Visitor) -> dict[str, Any]:
        book, name = book_of(self._site.parts, visitor.caller.owner), request.path_params["name"]
        return await taught(lambda: book.instance(name))


def _place(name: str) -> str:
    return f"/admin/instances/{segment(name)}"
