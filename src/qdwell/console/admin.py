"""Admin: the machines' switches, the instances of everybody, the plans."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from qdwell.console.signin import Visitor
from qdwell.console.site import Site
from qdwell.store import accounts


class AdminPages:
    """The operator's page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """Everything on one page; those who are no operators are told who is."""
        if not visitor.admin:
            return self._site.page(request, "admin_no.html", visitor, status=403)
        parts = self._site.parts
        instances = await asyncio.to_thread(accounts.all_instances, parts.store)
        rows = [
            (it, parts.engine.usage_ms(it.crn), parts.engine.pending(it.crn)) for it in instances
        ]
        return self._site.page(
            request,
            "admin.html",
            visitor,
            machines=self._site.machines(),
            instances=rows,
            plans=parts.engine.plans,
        )
