"""Every route of the description, asked by every kind of asker: who is let in, and who never is."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable
from difflib import unified_diff
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

import qdwell
from api.conftest import PLANS, Site, User, as_if, bell, fault
from api.test_isolation import OPEN, OWN, ask, table, victim
from qdwell.clock import SystemClock
from qdwell.store import new_id
from qdwell.store.people import People
from qdwell.store.tables_who import tokens

pytestmark = pytest.mark.asyncio(loop_scope="session")

HERE = str(Path(qdwell.__file__).parent)
TRIES = 5
PAST = ("/api/turns.py", "/clock.py")  #: what an asker has used up before, and how it is timed


async def signed_in(site: Site, token: str, crn: str, like: User) -> User:
    answer = await site.http.post("/identity/token", data={"apikey": token})
    access = answer.json()["access_token"]
    return as_if(like, Authorization=f"Bearer {access}", Service_CRN=crn)


def book(site: Site) -> People:
    return People(site.store, "test", SystemClock().now(), PLANS)


async def member(site: Site, of: User, role: str, scope: str = "full") -> User:
    """Somebody new who has this role in the instance of `of`."""
    name = f"{role}-{new_id()}"
    people = book(site)
    people.create_user(of.credentials.instance_name, name)
    people.set_member(of.crn, name, role)
    return await signed_in(site, people.create_token(name, "x", scope), of.crn, of)


async def revoked(site: Site, of: User) -> User:
    """The user themselves, by a token that was revoked after they had signed in."""
    people = book(site)
    token = people.create_token(of.credentials.user_id, "gone")
    made = await signed_in(site, token, of.crn, of)
    (shown,) = [it for it in people.tokens(of.credentials.user_id) if it["name"] == "gone"]
    people.revoke_token(shown["id"])
    site.app.state.parts.auth.forget()
    return made


async def expired(site: Site, of: User) -> User:
    """The user themselves, by a token whose end has come."""
    people = book(site)
    now = SystemClock().now()
    token = people.create_token(of.credentials.user_id, "brief", lasts_ms=10**7)
    made = await signed_in(site, token, of.crn, of)
    brief = [it for it in people.tokens(of.credentials.user_id) if it["name"] == "brief"]
    with site.store.database.writing() as connection:
        mine = update(tokens).where(tokens.c.id == brief[0]["id"])
        connection.execute(mine.values(expires_at=now - 1))
    site.app.state.parts.auth.forget()
    return made


def described(site: Site) -> set[tuple[str, str]]:
    paths = site.app.openapi()["paths"]
    return {(method.upper(), path) for path, it in paths.items() for method in it}


async def test_the_walk_has_every_route_of_the_description(site: Site) -> None:
    """What is described is walked here, or needs no token by design."""
    walked = {(it.method, it.path) for it in table(site)}
    assert {path for _, path in described(site) - walked} == OPEN
    assert walked <= described(site)


async def test_who_is_not_let_in_is_not_let_in_anywhere(site: Site, user: User) -> None:
    """No token, a revoked one, an expired one, one of another server: 401 on every route."""
    mine = await victim(user)
    for who in (
        as_if(user, Authorization=""),
        as_if(user, Authorization="Bearer x.y.z"),
        await revoked(site, user),
        await expired(site, user),
    ):
        for route in table(site):
            answer = await ask(who, route, mine.path(route))
            assert answer.status_code == 401, (route, answer.text)
            assert not [it for it in mine.secrets if it in answer.text]


async def test_what_each_role_is_answered(site: Site, user: User, other: User) -> None:
    """Viewers read; members and admins act; operators' routes are operators'; others get 403."""
    mine = await victim(user)
    stranger_admin = as_if(other, Service_CRN=user.crn)  # an admin, of another instance
    operator = as_if(await site.user(who=site.first), Service_CRN=user.crn)
    viewer, plain = await member(site, user, "viewer"), await member(site, user, "member")
    admin = await member(site, user, "admin")
    for route in table(site):
        path, admins_own = mine.path(route), "/admin/" in route.path
        if route.path in OWN:
            continue
        reads = route.method == "GET"
        answers = [(who, await ask(who, route, path)) for who in (stranger_admin, operator)]
        for who, answer in answers:
            expected = 403 if not admins_own or who is stranger_admin else None
            assert expected in (answer.status_code, None), (route, answer.text)
            if not admins_own:
                assert not [it for it in mine.secrets if it in answer.text], (route, answer.text)
        answer = await ask(viewer, route, path)
        if admins_own or not reads:
            assert answer.status_code == 403, (route, answer.text)
        for who in (plain, admin):
            if admins_own:
                answer = await ask(who, route, path)
                assert answer.status_code == 403, (route, answer.text)
            elif reads:
                answer = await ask(who, route, path)
                assert answer.status_code in (200, 204, 404), (route, answer.text)
                assert answer.status_code != 404 or "logs" in route.path, (route, answer.text)


async def test_a_private_result_is_for_its_user_alone(site: Site, user: User) -> None:
    """J29: no other role takes it, and so nobody erases it; then its user reads it, once."""
    job = await user.submit(private=True)
    await user.finished(job)
    other = await member(site, user, "admin")
    reader = book(site).create_token(user.credentials.user_id, "reading", "read")
    for who in (
        other,
        await member(site, user, "member"),
        await member(site, user, "viewer"),
        await signed_in(site, reader, user.crn, user),
    ):
        for path in ("results", "outcome"):
            refused = fault(await who.get(f"/jobs/{job}/{path}"))
            assert refused["status"] == 403
            assert "private" in refused["message"]
        shown = (await who.get(f"/jobs/{job}")).json()
        assert (shown["params"], shown["private"]) == ({}, True)
        without = await who.get(f"/jobs/{job}/outcome", params={"result": "false"})
        assert "result" not in without.json()
    assert (await user.get(f"/jobs/{job}/results")).status_code == 200
    assert (await user.get(f"/jobs/{job}/results")).status_code == 204


async def test_what_a_queue_tells_of_others_is_a_number(
    site: Site, user: User, other: User
) -> None:
    """J34: the position is backend-wide; nothing else of another instance is in a job's metrics."""
    first = await other.submit("endless", tags=["hidden"])
    for _ in range(4):
        await other.submit("endless")
    job = await user.submit("endless")
    for who, theirs in ((user, other), (other, user)):
        for path in (f"/jobs/{job}/metrics", "/jobs", "/workloads", "/usage", "/usage/ledger"):
            text = (await who.get(path)).text
            for secret in (theirs.crn, theirs.credentials.instance_name, "hidden"):
                assert secret not in text or who is other, (path, text)
            if who is user:
                assert first not in text
    for each in (await other.get("/jobs", params={"pending": "true"})).json()["jobs"]:
        await other.ask("POST", f"/jobs/{each['id']}/cancel")
    await user.ask("POST", f"/jobs/{job}/cancel")


async def test_work_of_several_members_is_told_apart(site: Site, user: User) -> None:
    """`user` of the workload list; the ledger says who, and of a deleted job that nobody knows."""
    colleague = await member(site, user, "member")
    jobs = {}
    for who in (user, colleague):
        job = await who.submit("brief")
        jobs[(await who.finished(job))["user_id"]] = job
    assert len(jobs) == 2
    for asker in (user, colleague):
        for whose, job in jobs.items():
            found = (await asker.get("/workloads", params={"user": whose})).json()
            assert [it["id"] for it in found["workloads"]] == [job]
            assert found["total_count"] == 1
    assert (await user.get("/workloads?user=nobody")).json()["total_count"] == 0
    sums = (await user.get("/usage/ledger?by=user")).json()
    assert {it["user_id"] for it in sums["entries"]} == set(jobs)
    (theirs,) = set(jobs) - {user.credentials.user_id}
    assert (await colleague.ask("DELETE", f"/jobs/{jobs[theirs]}")).status_code == 204
    after = (await user.get("/usage/ledger?by=user")).json()
    assert {it["user_id"] for it in after["entries"]} == {user.credentials.user_id, None}
    assert after["totals"] == sums["totals"]


async def test_a_place_in_the_feed_tells_nothing_of_others(user: User, other: User) -> None:
    """The cursor of a quiet instance stays while others are busy; trace ids do not count."""
    cursor = (await user.get("/events")).json()["cursor"]
    for _ in range(3):
        await other.finished(await other.submit())
    page = (await user.get("/events", params={"after": cursor})).json()
    assert page == {"cursor": cursor, "changes": [], "reset": False}
    traces = [(await user.get("/jobs")).headers["uber-trace-id"] for _ in range(3)]
    steps = {int(b, 16) - int(a, 16) for a, b in itertools.pairwise(traces)}
    assert not any(abs(step) < 10**6 for step in steps)


def in_the_loop(frame: Any) -> bool:
    """Whether the engine's loop has called this: a timer of its own may be due at any moment."""
    while frame is not None:
        if "/engine/loop" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _spelt(way: list[tuple[str, int]]) -> list[str]:
    return [f"{file}:{line}\n" for file, line in way]


async def path_of(work: Callable[[], Any]) -> list[tuple[str, int]]:
    """The lines of our own code that ran in this thread, in order."""
    lines: list[tuple[str, int]] = []

    def trace(frame: Any, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(HERE) or name.endswith(PAST) or in_the_loop(frame):
            return None
        if event == "line":
            lines.append((name.removeprefix(HERE), frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        await work()
    finally:
        sys.settrace(None)
    return lines


async def test_anothers_id_takes_the_way_of_an_unknown_one(
    site: Site, user: User, other: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clock can tell them apart: line by line the same code runs, on every route with an id.

    The work of threads is done in this one meanwhile, so that its lines are seen as well.
    """

    async def here(work: Any, *args: Any, **more: Any) -> Any:
        return work(*args, **more)

    async def at_once(_: Any, work: Any, *args: Any) -> Any:
        return work(*args)

    mine = await victim(user)
    live = await user.submit("endless")
    monkeypatch.setattr(asyncio, "to_thread", here)
    monkeypatch.setattr(type(site.engine), "_in_thread", at_once)
    unknown = "d" + "0" * 25
    seen = 0
    for route in table(site):
        if "{job_id}" not in route.path and "{session_id}" not in route.path:
            continue
        # What the engine does of itself comes between now and then; a difference would stay.
        for _ in range(TRIES):
            ways = []
            for job, session in ((mine.job, mine.session), (live, mine.session), (unknown,) * 2):
                # What is made once, and what is remembered of the asker for a moment.
                await ask(other, route, mine.path(route).replace(mine.job, unknown))
                path = mine.path(route).replace(mine.job, job).replace(mine.session, session)
                ways.append(await path_of(partial(ask, other, route, path)))
            if ways[0] == ways[1] == ways[2]:
                break
        for way in ways[:2]:
            assert "".join(unified_diff(*map(_spelt, (way, ways[2])), n=2)) == "", route.path
        assert len(ways[0]) > 20
        seen += 1
    assert seen >= 13
    monkeypatch.undo()
    await user.ask("POST", f"/jobs/{live}/cancel")


async def test_a_session_of_another_instance_is_unknown_to_a_submission(
    user: User, other: User
) -> None:
    """S13: the same words for another's session as for one that never was."""
    theirs = (await user.session("spare"))["id"]
    said = []
    for session in (theirs, "d" + "0" * 25):
        body = {"program_id": "sampler", "params": bell(), "backend": "spare"}
        refused = fault(await other.ask("POST", "/jobs", json=body | {"session_id": session}))
        said.append((refused["status"], refused["message"].replace(session, "")))
    assert said[0] == said[1]


async def test_a_stream_of_events_ends_with_its_token(site: Site, user: User) -> None:
    """What happens after the token was revoked is not told, and the stream is closed."""
    people = book(site)
    token = people.create_token(user.credentials.user_id, "streams")
    listener = await signed_in(site, token, user.crn, user)
    opened = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def passed(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                opened.set()

        await site.app(scope, receive, passed)

    headers = {"Accept": "text/event-stream"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=site.http.base_url) as http:
        listener.http = http
        stream = asyncio.create_task(listener.get("/events", headers=headers))
        await asyncio.wait_for(opened.wait(), 60)
        before, after = await _around_the_end(site, user, people)
        answer = await asyncio.wait_for(stream, 60)
    assert answer.status_code == 200
    assert before in answer.text
    assert after not in answer.text


async def _around_the_end(site: Site, user: User, people: People) -> tuple[str, str]:
    """A job before the token was revoked, and one after."""
    before = await user.submit()
    await user.finished(before)
    (shown,) = [it for it in people.tokens(user.credentials.user_id) if it["name"] == "streams"]
    people.revoke_token(shown["id"])
    site.app.state.parts.auth.forget()
    return before, await user.submit()
