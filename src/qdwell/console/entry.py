"""In and out: the sign-in page, and where the console begins."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from qdwell.console.signin import Visitor, safe_next
from qdwell.console.site import HEADERS, Site, back_to, read_form
from qdwell.errors import NotAllowed, NotAuthenticated, QdwellError


class Entry:
    """Signing in with an API token, and out."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def home(self, request: Request, visitor: Visitor) -> Response:
        """The first page: the jobs."""
        return back_to("/jobs")

    async def form(self, request: Request) -> Response:
        """Ask for a token, or whether to go to the identity provider."""
        target = safe_next(request.query_params.get("next"))
        return self._site.sign_in_page(request, None, target)

    async def sign_in(self, request: Request) -> Response:
        """Let whoever has a token in."""
        site = self._site
        try:
            site.sign_in.check_origin(request)
            fields = await read_form(request)
        except QdwellError as error:
            return site.failed(request, None, error)
        target = safe_next(fields.get("next"))
        owner = await asyncio.to_thread(site.sign_in.by_token, fields.get("token", ""))
        if owner is None:
            wrong = NotAuthenticated("This token is not known here.", solution="")
            return site.sign_in_page(request, wrong, target)
        if not owner.instances:
            return site.sign_in_page(
                request, NotAllowed("The user of this token is a member of no instance."), target
            )
        response = RedirectResponse(target, 303, headers=HEADERS)
        site.sign_in.set_cookie(response, owner, owner.instances[0].crn)
        return response

    async def sign_out(self, request: Request, visitor: Visitor) -> Response:
        """Forget who looks."""
        await self._site.form(request, visitor, changes=False)
        response = back_to("/sign-in")
        self._site.sign_in.clear_cookie(response)
        return response
