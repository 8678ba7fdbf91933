"""Plans by HTTP, for operators: the config file's are shown, those made by command are changed."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.edge import no_content, reply
from qdwell.api.operators import OperatorRoutes
from qdwell.api.parts import Parts
from qdwell.errors import BadInput
from qdwell.store.plan_book import PlanBook
from qdwell.wire.administration import NewPlanRequest, PlanChange


class PlanRoutes(OperatorRoutes[PlanBook]):
    """The book of plans."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts, PlanBook)

    async def list(self, request: Request) -> Response:
        """List the plans, with all their settings."""
        return await self._list(request, "plans", lambda book: book.plans())

    async def show(self, request: Request, name: str) -> Response:
        """Show one plan."""
        return await self._show(request, lambda book: book.show(name))

    async def create(self, request: Request) -> Response:
        """Make a plan."""
        book, asked = await self._asked(request, NewPlanRequest)
        settings = asked.settings.model_dump(exclude_unset=True)
        await self._change(lambda: book.create(asked.name, settings, asked.like))
        return reply({"name": asked.name})

    async def change(self, request: Request, name: str) -> Response:
        """Change settings of a plan, at once for all its instances."""
        book, asked = await self._asked(request, PlanChange)
        settings = asked.settings.model_dump(exclude_unset=True)
        if not settings:
            raise BadInput("Nothing is to be changed.", field="settings")
        await self._change(lambda: book.change(name, settings))
        return no_content()

    async def remove(self, request: Request, name: str) -> Response:
        """Remove a plan that no instance has."""
        book = await self._book(request)
        await self._change(lambda: book.remove(name))
        return no_content()
