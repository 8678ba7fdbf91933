"""Admin: users and their identities, tokens of everybody, and the audit log."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.changes import book_of
from qdwell.api.operators import changed, taught
from qdwell.console.admin import operators_form
from qdwell.console.forms import (
    DAYS,
    PAGE_SIZE,
    acted,
    label,
    lasts_ms,
    paged,
    told,
)
from qdwell.console.signin import Visitor
from qdwell.console.site import Site
from qdwell.errors import BadInput
from qdwell.store.identities import Identity

USERS, TOKENS = "/admin/users", "/admin/tokens"


class AdminPeoplePages:
    """The operator's pages about people."""

    def __init__(self, site: Site) -> None:
        self._site = site

    # ---- users ----------------------------------------------------------------------------------

    async def users(self, request: Request, visitor: Visitor) -> Response:
        """Users of all accounts; make one, shut one out, link an identity."""
        book = book_of(self._site.parts, visitor.caller.owner)
        houses = {it["id"]: it["name"] for it in await taught(book.accounts)}
        linked: dict[str, list[dict[str, object]]] = {}
        for it in await taught(book.identities):
            linked.setdefault(it["user_id"], []).append(it)
        return self._site.page(
            request,
            "admin_users.html",
            visitor,
            accounts=houses,
            linked=linked,
            me=visitor.caller.owner.user_id,
            issuer=self._site.parts.config.sign_in.oidc.issuer,
            **paged(request, await taught(book.users), "name", "id"),
            **told(request),
        )

    async def change_user(self, request: Request, visitor: Visitor) -> Response:
        """Make a user, shut one out or let them in, link or unlink an identity."""
        fields = await operators_form(self._site, request, visitor)
        parts, owner = self._site.parts, visitor.caller.owner
        book, what = book_of(parts, owner), fields.get("do")

        async def act() -> None:
            if what == "create":
                account = label(fields, "account", "Account")
                name = label(fields, "name", "Name")
                await changed(parts, lambda: book.create_user(account, name))
            elif what in ("disable", "enable"):
                user = label(fields, "user", "User")
                await changed(parts, lambda: book.disable_user(user, disabled=what == "disable"))
            elif what == "link":
                issuer = parts.config.sign_in.oidc.issuer
                if issuer is None:
                    raise BadInput("The config has no identity provider (sign_in.oidc).")
                user = label(fields, "user", "User")
                identity = Identity(issuer, label(fields, "subject", "Subject"))
                await changed(parts, lambda: book.link_identity(user, identity))
            elif what == "unlink":
                await changed(parts, lambda: book.unlink_identity(fields.get("id", "")))
            else:
                raise BadInput("do must be create, disable, enable, link, or unlink.", field="do")

        return await acted(request, visitor, act, self.users, USERS)

    # ---- tokens ---------------------------------------------------------------------------------

    async def tokens(self, request: Request, visitor: Visitor) -> Response:
        """Tokens of all users, with the ended ones; make one, end one."""
        book = book_of(self._site.parts, visitor.caller.owner)
        return self._site.page(
            request,
            "admin_tokens.html",
            visitor,
            names={it["crn"]: it["name"] for it in await taught(book.instances)},
            days=DAYS,
            origin=self._site.origin(request),
            clock_now=self._site.parts.clock.now(),
            signed_in_by=visitor.caller.owner.token,
            **paged(request, await taught(book.tokens), "name", "user", "id"),
            **told(request),
        )

    async def change_token(self, request: Request, visitor: Visitor) -> Response:
        """Make a token of a user, shown only now; or end one."""
        fields = await operators_form(self._site, request, visitor)
        parts, what = self._site.parts, fields.get("do")
        book = book_of(parts, visitor.caller.owner)

        async def act() -> dict[str, str] | None:
            if what == "revoke":
                await changed(parts, lambda: book.revoke_token(fields.get("id", "")))
                return None
            if what != "create":
                raise BadInput("do must be create or revoke.", field="do")
            user, name = label(fields, "user", "User"), label(fields, "name", "Name")
            only, scope = fields.get("instance", "").strip() or None, fields.get("scope", "full")
            good = lasts_ms(fields)
            made = await changed(parts, lambda: book.create_token(user, name, scope, only, good))
            return {"name": f"{user}: {name}", "token": made}

        return await acted(request, visitor, act, self.tokens, TOKENS)

    # ---- the audit log --------------------------------------------------------------------------

    async def audit(self, request: Request, visitor: Visitor) -> Response:
        """What was done, newest first, by actor, action, and subject."""
        query = request.query_params
        words = {name: query.get(name, "").strip() for name in ("actor", "action", "subject")}
        given = query.get("before", "")
        before = int(given) if given.isascii() and given.isdigit() and len(given) < 16 else None
        asked = {name: it or None for name, it in words.items()}
        book = book_of(self._site.parts, visitor.caller.owner)
        found = await taught(lambda: book.audit(PAGE_SIZE + 1, before=before, **asked))
        return self._site.page(
            request,
            "admin_audit.html",
            visitor,
            lines=found[:PAGE_SIZE],
            older=found[PAGE_SIZE - 1]["id"] if len(found) > PAGE_SIZE else None,
            before=before,
            query=words,
            filtered=any(words.values()),
        )
