"""The operator's routes. The operator is whoever owns an account that is marked so: the first."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.backends import device_entry
from qdwell.api.body import read_message
from qdwell.api.edge import reply
from qdwell.api.parts import Parts
from qdwell.core.events import BackendMode
from qdwell.errors import UnknownBackend
from qdwell.wire.messages import BackendModeRequest

BODY_BYTES_MAX = 4_096


class Admin:
    """What only the operator may do."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def set_mode(self, request: Request, name: str) -> Response:
        """Bring a backend online, pause it, or take it offline (I10, I11)."""
        parts = self._parts
        await parts.auth.operator(request)
        asked = await read_message(request, BackendModeRequest, BODY_BYTES_MAX, 4)
        view = parts.engine.backend(name)
        if view is None:
            raise UnknownBackend(name, on_resource=True)
        await parts.engine.set_backend_mode(view.name, BackendMode(asked.mode), asked.reason)
        after = parts.engine.backend(view.name)
        assert after is not None  # a backend never goes away while the server runs
        return reply(device_entry(after, after.name))
