"""Sessions and batches: open, look at, close, cancel (wire-protocol 7, semantics 4 and 5)."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.auth import Caller, check_instance
from qdwell.api.body import Query, read_message
from qdwell.api.documents import mode_word, session_document
from qdwell.api.edge import no_content, reply
from qdwell.api.parts import Parts
from qdwell.api.repeats import check_same
from qdwell.api.repeats import job_id_of as id_of
from qdwell.api.turns import in_thread
from qdwell.config import Plan
from qdwell.core.group import Group, GroupState, Mode
from qdwell.engine.requests import NewGroup
from qdwell.errors import (
    BadInput,
    MaxTtlOutOfRange,
    NoGroupOnSimulator,
    SessionClosed,
    SessionNotInPlan,
    SessionNotReopened,
    TooManySessions,
    UnknownSession,
)
from qdwell.wire.messages import KeepAliveRequest, SessionChange, SessionRequest

BODY_BYTES_MAX = 65_536
PAGE_MAX = 200
OFFSET_MAX = 10**9
SESSION_QUERY = ("limit", "offset", "backend", "open")


class Sessions:
    """Groups of jobs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._opening = asyncio.Lock()  #: so that two at once cannot pass the limit together

    async def create(self, request: Request) -> Response:
        """Open a session or a batch (S1-S7)."""
        parts = self._parts
        caller = await parts.caller(request)
        group_id = id_of(caller.instance.crn, request.headers.get("idempotency-key"))
        asked = await read_message(request, SessionRequest, BODY_BYTES_MAX, 8)
        if group_id is not None and (made := await self._made(caller, group_id)) is not None:
            self._check_same(made, asked)
            return reply(await self._whole_document(made))
        check_instance(caller, instance=asked.instance)
        plan = parts.plan(caller)
        backend = self._parts.online(caller, asked.backend)
        mode = Mode(asked.mode)
        if mode_word(mode) not in plan.modes:
            raise SessionNotInPlan(caller.instance.plan, mode_word(mode))
        ttl = max_ttl_seconds(asked, mode, plan)
        if backend.simulator:
            raise NoGroupOnSimulator(backend.name)
        new = NewGroup(
            instance=caller.instance.crn,
            backend=backend.name,
            mode=mode,
            user_id=caller.user_id,
            interactive_ttl_ms=interactive_ttl_seconds(mode, plan) * 1000,
            max_ttl_ms=self._max_ttl_ms(ttl, mode, plan),
            max_ttl_cap_ms=most_ttl_seconds(mode, plan) * 1000,
            active_ttl_ms=active_ttl_ms(ttl, mode, plan),
            group_id=group_id,
        )
        return reply(await self._whole_document(await self._opened(new, plan.sessions_max)))

    async def _opened(self, new: NewGroup, most: int | None) -> Group:
        """Open it, unless the instance has so many already (L25)."""
        if most is None:
            return await self._parts.engine.create_group(new)
        async with self._opening:
            if self._parts.engine.open_groups(new.instance) >= most:
                raise TooManySessions(most)
            return await self._parts.engine.create_group(new)

    async def list(self, request: Request) -> Response:
        """List sessions and batches, newest first; `count` is exact."""
        caller = await self._parts.caller(request)
        query = Query(request)
        limit = query.page("limit", PAGE_MAX, PAGE_MAX)
        offset = query.page("offset", 0, OFFSET_MAX, least=0)
        backend = query.text("backend")
        view = self._parts.engine.backend(backend) if backend else None
        wanted = query.flag("open")
        closed = GroupState.CLOSED
        states = {None: None, False: [closed], True: [it for it in GroupState if it is not closed]}
        rows, count = await in_thread(
            self._parts.store.groups,
            caller.instance.crn,
            limit=limit,
            offset=offset,
            backend=view.name if view else backend,
            states=states[wanted],
        )
        documents = [self._document(row.group) for row in rows]
        return reply({"sessions": documents, "count": count, "limit": limit, "offset": offset})

    async def read(self, request: Request, session_id: str) -> Response:
        """Show a session or batch (S36)."""
        caller = await self._parts.caller(request)
        return reply(await self._whole_document(await self._group(caller, session_id)))

    async def change(self, request: Request, session_id: str) -> Response:
        """Close: accept no more jobs, let the accepted ones run (S28, S32)."""
        caller = await self._parts.caller(request)
        asked = await read_message(request, SessionChange, BODY_BYTES_MAX, 8)
        group = await self._group(caller, session_id)
        if asked.accepting_jobs:
            if not group.accepting:
                raise SessionNotReopened(session_id)
        elif group.accepting:
            await self._parts.engine.close_group(caller.instance.crn, session_id)
        return no_content()

    async def keep_alive(self, request: Request, session_id: str) -> Response:
        """Keep an active session active for a while, though no job comes; it is charged."""
        parts = self._parts
        caller = await parts.caller(request)
        asked = await read_message(request, KeepAliveRequest, BODY_BYTES_MAX, 8)
        group = await self._group(caller, session_id)
        if not group.session:
            raise BadInput("A batch holds no machine that could be kept.", field="session_id")
        if not group.accepting:
            raise SessionClosed(session_id)
        most = parts.plan(caller).session_keep_alive_max_seconds
        if asked.seconds > most:
            raise BadInput(
                f"{asked.seconds} s are more than the {most} s that the plan allows at once.",
                field="seconds",
                solution="Ask for less, and again before it is over.",
            )
        until = parts.clock.now() + asked.seconds * 1000
        await parts.engine.keep_alive(caller.instance.crn, session_id, until)
        return reply(await self._whole_document(await self._group(caller, session_id)))

    async def cancel(self, request: Request, session_id: str) -> Response:
        """Cancel: accept no more jobs, cancel those that have not reached the QPU (S29)."""
        caller = await self._parts.caller(request)
        group = await self._group(caller, session_id)
        if group.closed_at is None:
            await self._parts.engine.cancel_group(caller.instance.crn, session_id)
        return no_content()

    def _check_same(self, made: Group, asked: SessionRequest) -> None:
        """Refuse a key that was used for another session or batch."""
        view = None if asked.backend is None else self._parts.engine.backend(asked.backend)
        ttl = asked.max_ttl or asked.max_session_ttl
        same = {
            "mode": Mode(asked.mode) is made.mode,
            "backend": view is None or view.name == made.backend,
            "max_ttl": ttl is None or ttl * 1000 == made.max_ttl_ms,
        }
        check_same(mode_word(made.mode), made.id, same)

    async def _made(self, caller: Caller, group_id: str) -> Group | None:
        """The group that an earlier sending of the same request has made."""
        row = await in_thread(self._parts.store.group, caller.instance.crn, group_id)
        return None if row is None else row.group

    async def _group(self, caller: Caller, session_id: str) -> Group:
        """The group, live or closed; one of another instance is unknown (S13)."""
        crn = caller.instance.crn
        group = self._parts.engine.live_group(session_id)
        if group is not None and group.instance == crn:
            return group
        # Another instance's is looked for like an unknown one, so that it takes as long.
        row = await in_thread(self._parts.store.group, crn, session_id)
        if row is None:
            raise UnknownSession(session_id, on_resource=True)
        return row.group

    def _document(self, group: Group) -> dict[str, object]:
        history = self._parts.store.group_timestamps(group.id)
        return session_document(group, self._parts.clock.now(), history)

    async def _whole_document(self, group: Group) -> dict[str, object]:
        """The document with what is summed over its jobs, which a list would take too long for."""
        hits, misses = await in_thread(self._parts.store.cache_counts, group.id)
        return self._document(group) | {"cache": {"hits": hits, "misses": misses}}  # S37

    def _max_ttl_ms(self, asked_seconds: int | None, mode: Mode, plan: Plan) -> int | None:
        """What was asked for, or the default: the plan's, or None for the first job's (S5)."""
        if asked_seconds is not None:
            return asked_seconds * 1000
        first_job = self._parts.config.scheduler.session_default_ttl == "first_job"
        if first_job and mode is Mode.SESSION:
            return None
        return most_ttl_seconds(mode, plan) * 1000


def max_ttl_seconds(asked: SessionRequest, mode: Mode, plan: Plan) -> int | None:
    """The longest life that was asked for, or None (S6).

    Raises:
        BadInput: both names of it are given, and they differ.
        MaxTtlOutOfRange: E14.
    """
    values = {it for it in (asked.max_ttl, asked.max_session_ttl) if it is not None}
    if not values:
        return None
    if len(values) > 1:
        raise BadInput("max_ttl and max_session_ttl differ.", field="max_ttl")
    (value,) = values
    most = most_ttl_seconds(mode, plan)
    if not 1 <= value <= most:
        raise MaxTtlOutOfRange(value, most)
    return value


def most_ttl_seconds(mode: Mode, plan: Plan) -> int:
    """The longest life that a plan allows, and its default (L6, L8)."""
    return plan.max_ttl_seconds if mode is Mode.SESSION else plan.batch_max_ttl_seconds


def interactive_ttl_seconds(mode: Mode, plan: Plan) -> int:
    """How long it stays active without work (L20, L21)."""
    if mode is Mode.SESSION:
        return plan.session_interactive_ttl_seconds
    return plan.batch_interactive_ttl_seconds


def active_ttl_ms(ttl: int | None, mode: Mode, plan: Plan) -> int | None:
    """The bound of one window; never above the life that was asked for (S26)."""
    if mode is Mode.BATCH or plan.active_ttl_seconds is None:
        return None
    return min(plan.active_ttl_seconds, ttl or plan.active_ttl_seconds) * 1000
