"""`POST /jobs`: the checks of a submission, in the order of J9, first failure wins.

Authentication, the rate of submissions, body shape and sizes, the program's own options; then the
backend, what the plan permits, the session. The last ones, pending jobs and the instance's policy,
are made by the engine in the transaction that accepts the job, because only there can they not be
overtaken. Nothing is written before all checks have passed, and the id is answered once the job is
durable. The only 404 is that of an unknown program: the stock client reads any 404 as that.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.auth import Caller, api_version, check_instance
from qdwell.api.backends import refuse_calibration
from qdwell.api.body import check, dump_json, in_proportion, parse_json, read_body
from qdwell.api.circuits import Circuits
from qdwell.api.outcomes import Outcomes, TwoLines, wanted_wait_ms
from qdwell.api.parts import Parts
from qdwell.api.repeats import (
    FOLLOWER,
    KEYED_BY_US,
    Repeats,
    UnderWay,
    check_same,
    fresh_id,
    job_id_of,
    mark_of,
)
from qdwell.api.turns import in_thread, leads_to_more
from qdwell.clock import passed_ms
from qdwell.config import SECONDS_MAX, Plan
from qdwell.core.group import Group
from qdwell.engine.requests import BackendView, NewJob
from qdwell.errors import (
    BadInput,
    NoGroupOnSimulator,
    RepeatedJob,
    ReusedKey,
    SessionClosed,
    SessionNotInPlan,
    TagTooLong,
    TooManyRequests,
    TooManyTags,
    UnknownCircuit,
    UnknownSession,
    WrongBackend,
)
from qdwell.wire.messages import JobRequest

MINUTE_MS = 60_000
CALLER_LENGTH_MAX = 500  # the application header is free text
ESTIMATE_MS = 2_000  # J35: the part that does not depend on the work
ESTIMATE_MS_PER_EXECUTION = 0.35
SHOTS = 4_096  # L23
ENGINE_FACTOR = 3.0  # with what the engine does for a job after it is accepted, about
PUBS_LOOKED_AT = 10_000


class Submission:
    """Takes jobs in."""

    def __init__(self, parts: Parts, outcomes: Outcomes) -> None:
        self._parts = parts
        self._outcomes = outcomes
        self._rate = Rate()
        self._circuits = Circuits()
        self._repeats = Repeats(parts.store, parts.clock)

    async def create(self, request: Request) -> Response:
        """Accept a job. With `Prefer: wait=N` its outcome follows in a second line."""
        parts = self._parts
        caller = await parts.caller(request)
        plan = parts.plan(caller)
        self._rate.check(caller.user_id, plan.submissions_per_minute, passed_ms(parts.clock))
        crn = caller.instance.crn
        key = request.headers.get("idempotency-key")
        job_id = job_id_of(crn, key)
        body = await read_body(request, parts.config.server.body_bytes_max)
        if job_id is not None and KEYED_BY_US not in request.headers:
            if (done := await self._again(request, crn, job_id, body)) is not None:
                return done
            return await self._accept(request, caller, plan, body, job_id, None)
        mark = mark_of(caller.user_id, crn, body)
        forwarded = request.headers.get(KEYED_BY_US) == FOLLOWER
        job_id = fresh_id(mark, parts.clock.now(), key, crn, forwarded=forwarded)
        if key is not None and (done := self._done(request, crn, job_id)) is not None:
            return done
        again = await self._repeats.earlier(request, crn, mark)
        if again is not None and (done := self._done(request, crn, *again)) is not None:
            return done
        begun = self._repeats.begin(request, crn, job_id)
        try:
            return await self._accept(request, caller, plan, body, job_id, begun)
        finally:
            self._repeats.end(begun)

    async def _accept(
        self,
        request: Request,
        caller: Caller,
        plan: Plan,
        body: bytes,
        job_id: str,
        begun: UnderWay | None,
    ) -> Response:
        """Check it, have it stored under this id, and answer; `begun` if it has no client's key."""
        crn, headers = caller.instance.crn, request.headers
        asked, params = await in_proportion(len(body), self._read, body, crn)
        backend, new = await self._checked(request, caller, plan, asked, params, job_id)
        try:
            job = await self._parts.engine.submit(new)
        except RepeatedJob:
            # The first one was under way when we looked; it is stored now.
            done = self._done(request, crn, job_id)
            if begun is None:
                self._check_same(crn, job_id, asked, params)
            if done is None:
                raise
            return done
        leads_to_more(ENGINE_FACTOR)
        # The name that was asked for: for another one the stock client loads that backend first.
        answer: dict[str, Any] = {"id": job.id, "backend": asked.backend or backend.name}
        if begun is None:
            # A client of our own: the stock one names no circuits.
            self._circuits.keep(crn, asked.params)
            answer["circuits_kept"] = True
        else:
            begun.accepted = True
        held = wanted_wait_ms(headers.get("prefer"))
        if held:
            if begun is not None:
                self._repeats.drop(begun)
            return TwoLines(orjson.dumps(answer), partial(self._outcomes.push, crn, job.id, held))
        return self._repeats.answer(request, orjson.dumps(answer), crn, job.id, begun)

    async def _checked(
        self,
        request: Request,
        caller: Caller,
        plan: Plan,
        asked: JobRequest,
        params: bytes,
        job_id: str,
    ) -> tuple[BackendView, NewJob]:
        """What the engine is asked for, after every check that is not the engine's own (J9)."""
        classic = [asked.hub, asked.group, asked.project]
        if any(classic):
            check_instance(caller, project="/".join(it or "" for it in classic))
        tags = check_tags(asked.tags or [], plan)
        named = None if asked.backend is None else self._parts.online(caller, asked.backend)
        if asked.session_id is None and "job" not in plan.modes:
            raise SessionNotInPlan(caller.instance.plan, "job")
        group = await self._group(caller, asked.session_id)
        backend = self._backend(caller, named, group)
        if backend.mock:  # a dry run is not part of the session
            group = None
        headers = request.headers
        return backend, NewJob(
            instance=caller.instance.crn,
            backend=backend.name,
            program_id=asked.program_id,
            params=params,
            user_id=caller.user_id,
            group=None if group is None else group.id,
            limit_ms=limit_seconds(plan, backend, asked.cost) * 1000,
            limit_asked=asked.cost is not None,
            estimate_ms=estimate_ms(asked.params),
            tags=tags,
            private=bool(asked.private),
            runtime=asked.runtime,
            log_level=asked.log_level,
            cost_s=None if asked.cost is None else min(asked.cost, SECONDS_MAX),
            calibration_id=asked.calibration_id,
            caller=headers.get("x-qx-client-application", "")[:CALLER_LENGTH_MAX],
            api_version=api_version(headers),
            executions_max=plan.executions_max,
            job_id=job_id,
        )

    async def _again(self, request: Request, crn: str, job_id: str, body: bytes) -> Response | None:
        """The answer to a submission with a client's own key that has made a job before.

        Raises:
            ReusedKey: it asks for another job.
        """
        if (done := self._done(request, crn, job_id)) is None:
            return None
        try:
            self._check_same(crn, job_id, *await in_proportion(len(body), self._read, body, crn))
        except UnknownCircuit:  # it was sent by its hash, and forgotten in a restart
            stored = await in_thread(self._parts.store.params, crn, job_id)
            if stored:  # else it cannot be compared (J29)
                self._circuits.keep(crn, await in_proportion(len(stored), orjson.loads, stored))
                await self._compare(crn, job_id, body)
        return done

    async def _compare(self, crn: str, job_id: str, body: bytes) -> None:
        """Refuse a key's second job; the circuits of its first one are known."""
        try:
            self._check_same(crn, job_id, *await in_proportion(len(body), self._read, body, crn))
        except UnknownCircuit:
            raise ReusedKey("job", job_id, "params") from None

    def _check_same(self, crn: str, job_id: str, asked: JobRequest, params: bytes) -> None:
        """Refuse a client's own key that was used for another job."""
        row = self._parts.store.job(crn, job_id)
        if row is None:
            return
        job, details = row.job, row.details
        view = None if asked.backend is None else self._parts.engine.backend(asked.backend)
        group = None if view is not None and view.mock else asked.session_id
        erased = not details.params  # J29
        same = {
            "program_id": asked.program_id == details.program_id,
            "backend": view is None or view.name == job.backend,
            "session_id": group == job.group,
            "params": erased or hashlib.sha256(params).hexdigest() == details.params,
        }
        check_same("job", job_id, same)

    def _done(
        self, request: Request, crn: str, job_id: str | None, first: UnderWay | None = None
    ) -> Response | None:
        """The answer to a submission that was accepted before, and is sent again."""
        row = None if job_id is None else self._parts.store.job(crn, job_id)
        if row is None:
            if first is not None:
                self._repeats.drop(first)
            return None
        content = orjson.dumps({"id": row.job.id, "backend": row.job.backend})
        return self._repeats.answer(request, content, crn, row.job.id, first)

    def _read(self, body: bytes, crn: str) -> tuple[JobRequest, bytes]:
        """Return the message, and the JSON text of its `params`."""
        message = check(JobRequest, parse_json(body, self._parts.config.server.body_depth_max))
        if message.start_session:
            raise BadInput(
                "Sessions are not started by their first job any more.",
                field="start_session",
                solution="Upgrade to qiskit-ibm-runtime 0.20 or later.",
            )
        if message.session_time:
            raise BadInput("session_time belongs to start_session.", field="session_time")
        refuse_calibration(message.calibration_id)
        self._circuits.resolve(crn, message.params)
        self._parts.engine.check_submission(message.program_id, message.params)
        return message, dump_json(message.params, body)

    async def _group(self, caller: Caller, session_id: str | None) -> Group | None:
        """The live group of a submission (S12, S13); one of another instance is unknown."""
        if session_id is None:
            return None
        crn = caller.instance.crn
        group = self._parts.engine.live_group(session_id)
        if group is not None and group.instance == crn:
            if not group.accepting:
                raise SessionClosed(session_id)
            return group
        row = await in_thread(self._parts.store.group, crn, session_id)
        if row is not None:
            raise SessionClosed(session_id)
        raise UnknownSession(session_id)

    def _backend(
        self, caller: Caller, named: BackendView | None, group: Group | None
    ) -> BackendView:
        """The backend to run on: the session's, the one that was named, or the least busy."""
        if group is None:
            return named or self._parts.online(caller, None)
        if named is None:
            return self._parts.online(caller, group.backend)
        if named.mock and self._twin_of(group.backend) == named.name:
            return named
        if named.simulator:
            raise NoGroupOnSimulator(named.name)
        if named.name != group.backend:
            raise WrongBackend(named.name, group.backend)
        return named

    def _twin_of(self, name: str) -> str | None:
        view = self._parts.engine.backend(name)
        return None if view is None else view.twin


class Rate:
    """Submissions of each user within the last minute (L12)."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, deque[int]] = OrderedDict()

    def check(self, user_id: str, limit: int | None, now: int) -> None:
        """Count one submission.

        Raises:
            TooManyRequests: there have been `limit` of them within a minute; it is not counted.
        """
        if limit is None:
            return
        recent = self._recent.setdefault(user_id, deque())
        while recent and recent[0] <= now - MINUTE_MS:
            recent.popleft()
        if len(recent) >= limit:
            raise TooManyRequests(limit, -(-(recent[0] + MINUTE_MS - now) // 1000))
        recent.append(now)


def limit_seconds(plan: Plan, backend: BackendView, asked: int | None) -> int:
    """How long the job may run: what was asked for, within what the plan allows (J13, J15)."""
    most = plan.job_limit_seconds
    if backend.simulator:
        most = min(most, plan.simulator_job_limit_seconds)
    return min(asked or most, most)


def check_tags(tags: list[str], plan: Plan) -> tuple[str, ...]:
    """Return the tags without repetitions.

    Raises:
        TooManyTags, TagTooLong: E5, by the limits of the plan (L17).
        BadInput: a tag is empty, or has control characters.
    """
    unique = tuple(dict.fromkeys(tags))
    if len(unique) > plan.tags_max:
        raise TooManyTags(len(unique), plan.tags_max)
    for tag in unique:
        if not tag:
            raise BadInput("A tag is empty.", field="tags")
        if not tag.isprintable():  # a NUL is no text to every database
            raise BadInput("A tag has a control character in it.", field="tags")
        if len(tag) > plan.tag_length_max:
            raise TagTooLong(tag, plan.tag_length_max)
    return unique


def estimate_ms(params: dict[str, Any]) -> int:
    """Baseline estimate of quantum time (J35) from what can be seen without opening circuits."""
    pubs = params.get("pubs")
    options = params.get("options")
    default = options.get("default_shots") if isinstance(options, dict) else None
    if not isinstance(default, int) or not 0 < default < 10**9:
        default = SHOTS
    executions = 0
    for pub in pubs[:PUBS_LOOKED_AT] if isinstance(pubs, list) else []:
        shots = pub[2] if isinstance(pub, list) and len(pub) == 3 else None
        executions += shots if isinstance(shots, int) and 0 < shots < 10**9 else default
    return ESTIMATE_MS + int(ESTIMATE_MS_PER_EXECUTION * executions)
