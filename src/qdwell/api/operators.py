"""What the routes for operators have in common: the book, in the hands of whoever asks.

Every change is in the audit log, and has effect with the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.body import read_message
from qdwell.api.edge import not_found, reply
from qdwell.api.parts import Parts
from qdwell.errors import AccountError, BadInput, ConfigError, NotInBook
from qdwell.store.book import Book

BODY_BYTES_MAX = 16_384
T = TypeVar("T")
B = TypeVar("B", bound=Book)
M = TypeVar("M", bound=BaseModel)


class OperatorRoutes(Generic[B]):
    """What only an operator may see and do, in a book of one kind."""

    def __init__(self, parts: Parts, kind: type[B]) -> None:
        self._parts = parts
        self._kind = kind

    async def _book(self, request: Request) -> B:
        parts = self._parts
        owner = await parts.auth.operator(request)
        return self._kind(parts.store, owner.user_id, parts.clock.now(), parts.config.plans)

    async def _asked(
        self, request: Request, model: type[M], bytes_max: int = BODY_BYTES_MAX
    ) -> tuple[B, M]:
        book = await self._book(request)
        return book, await read_message(request, model, bytes_max, 4)

    async def _show(self, request: Request, ask: Callable[[B], Any]) -> Response:
        """One thing."""
        book = await self._book(request)
        return reply(await taught(lambda: ask(book)))

    async def _list(self, request: Request, name: str, ask: Callable[[B], Any]) -> Response:
        """Many, under their name."""
        book = await self._book(request)
        return reply({name: await taught(lambda: ask(book))})

    async def _change(self, change: Callable[[], T]) -> T:
        return await changed(self._parts, change)


async def changed(parts: Parts, change: Callable[[], T]) -> T:
    """Do it, and believe nothing that was read before."""
    done = await taught(change)
    parts.auth.forget()
    await parts.engine.instances_changed()
    return done


async def taught(work: Callable[[], T]) -> T:
    """Do it in a thread; what the book refuses is the request's fault."""
    try:
        return await asyncio.to_thread(work)
    except NotInBook as error:
        raise not_found(f"{error}.", "List what there is.") from None
    except ConfigError as error:
        field = error.key.split(".", 2)[-1]
        raise BadInput(f"Setting {field!r} {error.why}.", field=f"settings.{field}") from None
    except AccountError as error:
        raise BadInput(f"{error}.") from None
