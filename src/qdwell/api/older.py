"""What clients from 0.20 to 0.40 need beside today's dialect; on by `server.old_clients`.

Up to 0.38 the cloud channel sends the API token itself with each request (`apikey`). The channel
`ibm_quantum`, up to 0.40, signs in once at an address of its own and names the instance as
hub/group/project; from there on it is the same dialect with `X-Access-Token`. That channel says
nowhere which instance a request is for, so it serves accounts with one instance.

Clients up to 0.34 do not know the names of all results; those up to 0.23 need `field_types` besides
(wire-protocol 14).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from qdwell.api.auth import GROUP, HUB
from qdwell.api.backends import OBJECTS_FROM
from qdwell.api.body import read_message
from qdwell.api.documents import client_version
from qdwell.api.edge import JsonBytes, reply
from qdwell.api.parts import Parts
from qdwell.api.turns import in_thread
from qdwell.errors import BadInput, QdwellError, UnknownBackend
from qdwell.store import JobRow
from qdwell.wire.messages import LoginRequest

QUANTUM = "/quantum"  #: the address that the channel ibm_quantum is given
#: The first release that knows each of these tags; before it, all of them are `PubResult`.
PUB_RESULTS_SINCE = {"SamplerPubResult": (0, 24), "EstimatorPubResult": (0, 35)}
_BODY_BYTES_MAX = 16_384
DONE, REFUSED = 1000, 1008  # codes that a websocket is closed with
LOOK_MS = 500  # between two looks for interim results


class Older:
    """Routes that only older clients ask for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def defaults(self, request: Request, name: str) -> Response:
        """Pulse defaults of a backend: none here, and `{}` is how a client is told so."""
        caller = await self._parts.caller(request)
        if self._parts.backend(caller, name) is None:
            raise UnknownBackend(name, on_resource=True)
        return JsonBytes(b"{}")

    async def instance(self, request: Request) -> Response:
        """The strategy of the instance, which clients up to 0.31 ask for: always the plain one."""
        await self._parts.caller(request)
        return reply({"qctrl_enabled": False})

    # ---- the channel ibm_quantum ----------------------------------------------------------------

    async def version(self, _: Request) -> Response:
        """What the address is: one that signs in."""
        return reply({"new_api": True, "api-auth": "1"})

    async def login(self, request: Request) -> Response:
        """Give an access token for an API token."""
        asked = await read_message(request, LoginRequest, _BODY_BYTES_MAX, 8)
        access, owner = await self._parts.auth.access(asked.apiToken)
        if len(owner.instances) != 1:
            raise BadInput(
                f"The channel ibm_quantum serves accounts with one instance; this one has "
                f"{len(owner.instances)}.",
                solution="Use the channel ibm_cloud, and name the instance.",
            )
        return reply({"id": access, "userId": owner.user_id})

    async def me(self, request: Request) -> Response:
        """Where the services are."""
        await self._parts.auth.owner(request)
        base = self._parts.config.server.public_url or str(request.base_url).rstrip("/")
        runtime = f"{base}/api/v1"
        return reply(
            {"urls": {"http": f"{base}{QUANTUM}", "ws": "", "services": {"runtime": runtime}}}
        )

    async def network(self, request: Request) -> Response:
        """The instances of the user, as a tree of hub, group, and project."""
        owner = await self._parts.auth.owner(request)
        projects = {it.name: {"isDefault": True} for it in owner.instances}
        return reply([{"name": HUB, "groups": {GROUP: {"projects": projects}}}])

    # ---- waiting, over TLS ----------------------------------------------------------------------

    async def stream(self, socket: WebSocket) -> None:
        """Send interim results of a job as they come, and close when it is final.

        The first message is taken for an acknowledgement by clients (wire-protocol 14.4).
        """
        parts, job_id = self._parts, socket.path_params["job_id"]
        try:
            asked = Request({**socket.scope, "type": "http", "method": "GET"})
            crn = (await parts.caller(asked)).instance.crn
        except QdwellError:
            await socket.close(REFUSED)
            return
        row = await in_thread(parts.store.job, crn, job_id)
        if row is None:
            await socket.close(REFUSED)
            return
        await socket.accept()
        gone = asyncio.ensure_future(socket.receive())
        try:
            await socket.send_text("{}")
            await self._send_interim(socket, crn, row, gone)
            if not gone.done():
                await socket.close(DONE)
        finally:
            gone.cancel()

    async def _send_interim(
        self, socket: WebSocket, crn: str, row: JobRow | None, gone: asyncio.Future[Any]
    ) -> None:
        parts, told = self._parts, 0
        while row is not None and not gone.done() and not parts.closing.is_set():
            job_id, final = row.job.id, row.job.final
            if not row.details.private:
                found = await in_thread(parts.store.interim_results, crn, job_id)
                for _, content in found[told:]:
                    await socket.send_text(as_known(content, socket.headers).decode())
                told = len(found)
            if final:
                return
            await parts.engine.wait_final(job_id, parts.clock.now() + LOOK_MS)
            row = await in_thread(parts.store.job, crn, job_id)


# ---- results ----------------------------------------------------------------------------------


def as_known(raw: bytes, headers: Mapping[str, str]) -> bytes:
    """A result in the words that the client knows; a release that does not say so gets the oldest,
    which all later ones read too."""
    if headers.get("ibm-api-version", "") >= OBJECTS_FROM:
        return raw
    version = client_version(headers) or (0, 0)
    away = {tag for tag, since in PUB_RESULTS_SINCE.items() if version < since}
    return orjson.dumps(_older(orjson.loads(raw), away)) if away else raw


def _older(value: Any, away: Set[str]) -> Any:
    if isinstance(value, list):
        return [_older(item, away) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _older(item, away) for key, item in value.items()}
    tag = made.get("__type__")
    if tag in away:
        made["__type__"] = "PubResult"
    elif tag == "DataBin":
        fields = made["__value__"]["fields"]
        made["__value__"]["field_types"] = [_type_of(fields[name]) for name in fields]
    return made


def _type_of(field: Any) -> str:
    return str(field["__type__"]) if isinstance(field, Mapping) else type(field).__name__
