"""Global search and catalog: how the stock client finds the instances of its user.

Both are answered as far as that client reads them (wire-protocol 3.2, 3.3). What is found depends
on the token alone, never on the query.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.body import read_message
from qdwell.api.edge import not_found, reply
from qdwell.api.parts import Parts
from qdwell.wire.messages import SearchRequest

PAGE = 100
PRICING = "paid"  # the client sorts by it, and knows only a few words
BODY_BYTES_MAX = 65_536


class Discovery:
    """The two services beside the API."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def search(self, request: Request) -> Response:
        """List the instances of the user."""
        owner = await self._parts.auth.owner(request)
        await read_message(request, SearchRequest, BODY_BYTES_MAX, 8)
        items = [
            {
                "crn": instance.crn,
                "name": instance.name,
                "service_plan_unique_id": instance.plan,
                # The client leaves out instances whose extensions are empty.
                "doc": {"extensions": {"account": owner.account_id}},
                "tags": [],
            }
            for instance in owner.instances
        ]
        return reply({"items": items, "limit": PAGE})

    async def plan(self, request: Request, plan_id: str) -> Response:
        """Describe the plan of an instance of the user's."""
        owner = await self._parts.auth.owner(request)
        if plan_id not in {it.plan for it in owner.instances}:  # others' plans are not told
            raise not_found(f"Plan {plan_id!r} not found.", "List the instances for their plans.")
        return reply(
            {
                "id": plan_id,
                "name": plan_id,
                "overview_ui": {"en": {"display_name": plan_id}},
                "metadata": {"pricing": {"type": PRICING}},
            }
        )

    async def instances(self, request: Request) -> Response:
        """List the instances of the user, plainly."""
        owner = await self._parts.auth.owner(request)
        return reply(
            {
                "instances": [
                    {"crn": it.crn, "name": it.name, "plan": it.plan} for it in owner.instances
                ]
            }
        )
