"""A submission that is sent twice is one job.

A client that lost the answer to a submission cannot know whether the job is there. With an
`Idempotency-Key` it sends the same again: the job's id is made of the instance and the key, so the
repetition finds the job, also after a restart, because the id is as durable as the job. A key of
the form of our ids, 10 letters of time and 16 of chance, leaves its time in front, so that new rows
stay together in the database; any other one, such as a UUID, is as good.

The stock client gives no key, and many users submit the same circuit again on purpose. So a
submission without a key is taken for a repetition only of one that nobody has heard of: same user,
same instance, same bytes; accepted, and its connection was closed before its id was handed over,
or we died before; and not longer than `WINDOW_MS` ago. For this, 8 letters of such a job's id are a
digest of who sent what. They are stored with the job, in its own transaction, so the next start
finds them; a file says which ids were handed over (see `store/answers.py`), or, where several
servers share a database, a table of that (`store/heard.py`).
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b

from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from qdwell.api.edge import JsonBytes
from qdwell.clock import Clock
from qdwell.errors import BadInput, ReusedKey
from qdwell.store import Store, new_id
from qdwell.store.answers import RECENT, answers_of
from qdwell.store.ids import LETTERS, SPELT_BYTES, spelt

#: Said by a server that has given a request a key because the client gave none; and who it was when
#: the request came. `FOLLOWER` sends the same again, with its key, if the leader dies. What it says
#: goes into the job's id, so it stays as it was when that server has become the leader meanwhile.
KEYED_BY_US = "x-qdwell-keyed"
FOLLOWER, LEADER = "follower", "leader"
WINDOW_MS = 60_000  # since the connection was closed, or since the restart
BEFORE_MS = 600_000  # how long before a restart a job may have been accepted

_KEY = re.compile("[ -~]{1,255}")
_OWN_KEY = re.compile(f"[{LETTERS}]{{26}}")
_TIME_LETTERS = 10
_MARK = slice(10, 18)  # of an id: the letters that are a digest
_WAY = 18  # of an id: a letter of the first half if the client's own connection led to the leader
_UNHEARD_MOST = 10_000


def job_id_of(instance: str, key: str | None) -> str | None:
    """The id of the job that is submitted with this key; None without a key.

    Raises:
        BadInput: the key is longer than 255 characters, or not of visible ASCII.
    """
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise BadInput(
            "Idempotency-Key must be 1 to 255 visible ASCII characters.", field="Idempotency-Key"
        )
    time = key[:_TIME_LETTERS] if _OWN_KEY.fullmatch(key) else "0" * _TIME_LETTERS
    return time + _digest(f"{instance}\n{key}".encode())


def check_same(kind: str, made: str, same: Mapping[str, bool]) -> None:
    """Refuse a key that made something else: its sender would take that for what is asked now.

    Raises:
        ReusedKey: names the first field that is not the same.
    """
    differs = next((name for name, is_same in same.items() if not is_same), None)
    if differs is not None:
        raise ReusedKey(kind, made, differs)


def mark_of(user_id: str, instance: str, body: bytes) -> str:
    """The letters that tell who sent what."""
    return _digest(_who(user_id, instance) + body)[:8]


@lru_cache(1_000)
def _who(user_id: str, instance: str) -> bytes:
    return blake2b(f"{user_id}\n{instance}\n".encode(), digest_size=10).digest()


def marked(mark: str, job_id: str, *, forwarded: bool = False) -> str:
    """The id, with the mark in it: 39 bits of chance are left, within one millisecond."""
    letter = LETTERS.index(job_id[_WAY]) % 16 + 16 * forwarded
    return job_id[: _MARK.start] + mark + LETTERS[letter] + job_id[_WAY + 1 :]


def _was_forwarded(job_id: str) -> bool:
    return LETTERS.find(job_id[_WAY : _WAY + 1]) >= 16


def _digest(content: bytes) -> str:
    return spelt(blake2b(content, digest_size=SPELT_BYTES).digest())


class UnderWay:
    """A submission without a client's key, from its arrival to its answer."""

    def __init__(self, request: Request, instance: str, job_id: str) -> None:
        self.asked_by(request)
        self.accepted = False
        self.job_id = job_id
        self.what = (instance, job_id[_MARK])
        self.stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def asked_by(self, request: Request) -> None:
        """Whoever sent this request asks for it: the newest asker, if it was repeated meanwhile."""
        self.receive = request.receive
        self._cycle = _cycle_of(request.receive)

    @property
    def abandoned(self) -> bool:
        """Whether its asker has hung up. Asked of all that are alike, for each new one."""
        cycle = self._cycle
        return has_left(self.receive) if cycle is None else _is_over(cycle)


class Repeats:
    """Which submissions nobody has heard of.

    Args:
        store: whose newest jobs are looked at, once.
        clock: tells the window.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._under_way: dict[tuple[str, str], list[UnderWay]] = {}
        self._unheard: OrderedDict[tuple[str, str], list[tuple[str, int]]] = OrderedDict()
        alone = store.database.epoch is None
        self._answers = answers_of(store, clock.now)
        since = max(clock.now() - BEFORE_MS, self._answers.since or 0)
        newest = [it for it in store.newest_jobs(RECENT) if it[2] > since]
        missing = self._answers.missing(job_id for _, job_id, _ in newest)
        for instance, job_id, _ in reversed(newest):
            # What came by a follower is sent again by that, with its key.
            if job_id in missing and (alone or not _was_forwarded(job_id)):
                self._miss(instance, job_id)

    def begin(self, request: Request, instance: str, job_id: str) -> UnderWay:
        """A submission is about to be stored; `end` must follow."""
        begun = UnderWay(request, instance, job_id)
        self._under_way.setdefault(begun.what, []).append(begun)
        return begun

    def end(self, begun: UnderWay) -> None:
        """It was accepted and stored, or not. If it was, it is under way until its answer is."""
        begun.stored.set_result(begun.accepted)
        if not begun.accepted:
            self.drop(begun)

    def drop(self, begun: UnderWay) -> None:
        """It is not under way any more."""
        others = self._under_way.get(begun.what, [])
        if begun in others:
            others.remove(begun)
        if not others:
            self._under_way.pop(begun.what, None)

    async def earlier(
        self, request: Request, instance: str, mark: str
    ) -> tuple[str, UnderWay | None] | None:
        """The job that this submission asks for again, if it does, and if that is under way."""
        what = (instance, mark)
        for first in list(self._under_way.get(what, ())):
            if first.abandoned:
                first.asked_by(request)
                if await first.stored:
                    return first.job_id, first
        unheard, now = self._unheard.get(what, []), self._clock.now()
        while unheard:
            job_id, until = unheard.pop(0)
            if until >= now:
                return job_id, None
        self._unheard.pop(what, None)
        return None

    def _miss(self, instance: str, job_id: str) -> None:
        what = (instance, job_id[_MARK])
        until = self._clock.now() + WINDOW_MS
        self._unheard.setdefault(what, []).append((job_id, until))
        if len(self._unheard) > _UNHEARD_MOST:
            self._unheard.popitem(last=False)

    def _find(self, instance: str, job_id: str) -> None:
        """Its id was handed over after all, to somebody who knew its key."""
        missed = self._unheard.get((instance, job_id[_MARK]), [])
        missed[:] = [it for it in missed if it[0] != job_id]

    def answer(
        self,
        request: Request,
        content: bytes,
        instance: str,
        job_id: str,
        first: UnderWay | None,
    ) -> Answer:
        """The answer that hands over a job's id, and remembers whether it could.

        Args:
            first: the submission under way that this request began, or asks for again.
        """

        def told(*, heard: bool | None) -> None:
            if heard:
                self._answers.note(job_id)
                self._find(instance, job_id)
            if first is not None and first.receive is not request.receive:
                return  # a later asker has taken it over, and tells
            if first is not None:
                self.drop(first)
            if heard is False:
                self._miss(instance, job_id)

        return Answer(content, told)


class Answer(JsonBytes):
    """The answer to a submission: it looks whether somebody is there to hear it."""

    def __init__(self, content: bytes, told: Callable[..., None]) -> None:
        super().__init__(content)
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless the client has gone."""
        if has_left(receive):
            self._told(heard=False)
            return
        self._told(heard=None)  # being sent: it is not under way for others any more
        sent = False
        try:
            await super().__call__(scope, receive, send)
            sent = True
        finally:
            self._told(heard=sent)


def has_left(receive: Receive) -> bool:
    """Whether a client whose request was read has hung up.

    `Request.is_disconnected` tells the same for 0.1 ms, a fifth of a submission: it makes a scope,
    cancels it, and writes down why. The server's own cycle knows; elsewhere what would wait is let
    go at its first step.
    """
    cycle = _cycle_of(receive)
    if cycle is not None:
        return _is_over(cycle)
    waiting = receive().__await__()
    try:
        next(waiting)
    except StopIteration as told:
        return bool(told.value["type"] == "http.disconnect")
    waiting.close()
    return False


def _cycle_of(receive: Receive) -> RequestResponseCycle | None:
    """The server's own cycle of a request; None elsewhere than in our server."""
    cycle = getattr(receive, "__self__", None)
    return cycle if isinstance(cycle, RequestResponseCycle) else None


def _is_over(cycle: RequestResponseCycle) -> bool:
    return cycle.disconnected or cycle.response_complete


def fresh_id(
    mark: str, now: int, key: str | None, instance: str, *, forwarded: bool = False
) -> str:
    """An id with the mark: made of the key that a server of ours gave, or new."""
    return marked(mark, job_id_of(instance, key) or new_id(now), forwarded=forwarded)
