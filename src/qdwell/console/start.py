"""Get started: the lines to paste, with this server's address and the visitor's instance."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qdwell.console.signin import Visitor
from qdwell.console.site import Site


class StartPages:
    """The page for a first job."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """Lines for our client, for the stock one, and for the shell."""
        origin = self._site.origin(request)
        machine = next((it.name for it in self._site.machines() if not it.simulator), None)
        first = machine or self._site.machines()[0].name
        return self._site.page(
            request,
            "start.html",
            visitor,
            origin=origin,
            crn=visitor.crn,
            name=visitor.caller.instance.name,
            machine=first,
        )
