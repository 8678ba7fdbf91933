"""Submissions without a key that come twice: told apart by who has heard the answer (J9, P6)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.types import Message

from api.conftest import BASE, Site, User, bell
from qdwell.api import repeats
from qdwell.api.repeats import mark_of, marked
from qdwell.store import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Caller:
    """Posts a job as a connection that may be closed at any moment."""

    def __init__(self, site: Site, user: User, tag: str, **headers: str) -> None:
        self.site = site
        body = {"program_id": "sampler", "params": bell(), "backend": "quick", "tags": [tag]}
        self.body = json.dumps(body).encode()
        given = {**user.headers, **headers}
        self.headers = [(name.lower().encode(), it.encode()) for name, it in given.items()]
        self.sent: list[Message] = []

    async def post(self, gone: asyncio.Event | None = None) -> str | None:
        """The id that is answered; None if nothing is."""
        gone, unread = gone or asyncio.Event(), [self.body]
        self.sent = []

        async def receive() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            self.sent.append(message)

        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": f"{BASE}/jobs",
            "raw_path": f"{BASE}/jobs".encode(),
            "query_string": b"",
            "headers": self.headers,
            "scheme": "http",
            "server": ("qdwell", 80),
            "client": ("127.0.0.1", 1),
        }
        await self.site.app(scope, receive, send)
        if not self.sent:
            return None
        assert self.sent[0]["status"] == 200, self.sent
        return str(json.loads(self.sent[1]["body"])["id"])


def left() -> asyncio.Event:
    """A connection that was closed when its request was read."""
    gone = asyncio.Event()
    gone.set()
    return gone


async def ids(user: User, tag: str) -> set[str]:
    answer = await user.get(f"/jobs?tags={tag}&limit=50")
    return {it["id"] for it in answer.json()["jobs"]}


async def test_an_answer_that_nobody_heard_is_given_again_once(site: Site, user: User) -> None:
    """The next one with the same bytes is that job; the one after it is another."""
    caller = Caller(site, user, "unheard")
    assert await caller.post(left()) is None
    (stored,) = await ids(user, "unheard")
    assert await caller.post() == stored
    assert await caller.post() != stored
    assert len(await ids(user, "unheard")) == 2


async def test_a_repetition_overtakes_the_commit(
    site: Site, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gave up while the first was being stored, and twice again: still one job."""
    arrived, earlier = asyncio.Semaphore(0), repeats.Repeats.earlier

    async def watched(self: repeats.Repeats, *rest: Any) -> Any:
        arrived.release()
        return await earlier(self, *rest)

    monkeypatch.setattr(repeats.Repeats, "earlier", watched)
    caller, gone = Caller(site, user, "slow"), asyncio.Event()
    second_gone = asyncio.Event()
    submit, free = site.engine.submit, asyncio.Event()

    async def slow(new: Any) -> Any:
        await free.wait()
        return await submit(new)

    site.engine.submit = slow  # type: ignore[method-assign]
    try:
        first = asyncio.ensure_future(caller.post(gone))
        await arrived.acquire()
        gone.set()
        again = Caller(site, user, "slow")
        second = asyncio.ensure_future(again.post(second_gone))
        await arrived.acquire()
        second_gone.set()
        last = Caller(site, user, "slow")
        third = asyncio.ensure_future(last.post())
        await arrived.acquire()
        free.set()
        assert await first is None
        assert await second is None
        told = await third
    finally:
        site.engine.submit = submit  # type: ignore[method-assign]
    assert await ids(user, "slow") == {told}


async def test_twice_at_once_on_purpose_is_two_jobs(site: Site, user: User) -> None:
    """Two connections that are both open are two submissions, however alike."""
    told = await asyncio.gather(*(Caller(site, user, "both").post() for _ in range(8)))
    assert len(set(told)) == 8
    assert await ids(user, "both") == set(told)


async def test_other_bytes_other_users_and_late_ones_are_other_jobs(
    site: Site, user: User, other: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same user, same instance, same bytes, within the window: all four."""
    monkeypatch.setattr(repeats, "WINDOW_MS", -1)
    assert await Caller(site, user, "late").post(left()) is None
    assert await Caller(site, user, "late").post() is not None
    assert len(await ids(user, "late")) == 2
    monkeypatch.undo()
    assert await Caller(site, user, "mine").post(left()) is None
    (stored,) = await ids(user, "mine")
    assert await Caller(site, other, "mine").post() != stored
    assert await Caller(site, user, "mine too").post() != stored
    assert await Caller(site, user, "mine").post() == stored


@pytest.mark.parametrize("given_by", [repeats.FOLLOWER, repeats.LEADER])
async def test_a_key_given_by_a_server_of_ours(site: Site, user: User, given_by: str) -> None:
    """Passed on twice by a follower: one job; the user's own repetition has another such key.

    So it is too if the second leader is that follower itself, which passes nothing on.
    """
    key = {"Idempotency-Key": new_id(), repeats.KEYED_BY_US: given_by}
    caller = Caller(site, user, "passed on", **key)
    told = await Caller(site, user, "passed on", **key, **{"X-Qdwell-Forwarded": "1"}).post()
    assert await caller.post() == told
    assert await caller.post(left()) is None
    again = Caller(site, user, "passed on", **{**key, "Idempotency-Key": new_id()})
    assert await again.post() == told
    assert len(await ids(user, "passed%20on")) <= 1


async def test_ids_keep_their_form() -> None:
    """J6: 26 letters; the mark is of user, instance, and bytes."""
    mark, made = mark_of("u", "crn", b"body"), new_id(1)
    assert len(marked(mark, made)) == 26
    assert marked(mark, made)[:10] == made[:10]
    assert len({mark, mark_of("v", "crn", b"body"), mark_of("u", "c", b"body")}) == 3
    assert mark_of("u", "crn", b"body.") != mark


async def test_a_sender_that_waits_is_not_one_that_left(site: Site, user: User) -> None:
    """The plain way, by an HTTP client: two equal submissions one after the other are two jobs."""
    body = {"program_id": "sampler", "params": bell(), "backend": "quick", "tags": ["plain"]}
    answers: list[httpx.Response] = [await user.ask("POST", "/jobs", json=body) for _ in range(2)]
    assert len({it.json()["id"] for it in answers}) == 2
