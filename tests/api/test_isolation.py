"""Every route, asked by every role with the ids of others: nothing is read, changed, or told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from api.conftest import BASE, PLANS, Site, User, as_if, bell
from qdwell.api.app import Route, routes
from qdwell.api.metrics import Metrics
from qdwell.clock import SystemClock
from qdwell.store import new_id
from qdwell.store.people import People

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Those that name no instance: what they answer depends on the token, or on nothing.
OPEN = {
    "/identity/token", "/v3/resources/search", "/catalog/{plan_id}", "/healthz", "/metrics",
}  # fmt: skip
#: Those that a user asks as themselves, in no instance: a wrong one is no matter, nor is the role.
OWN = {"/api/v1/instances", "/api/v1/tokens", "/api/v1/tokens/{token_id}"}
BODIES: dict[str, Any] = {
    "/jobs": {"program_id": "sampler", "params": bell(), "backend": "quick"},
    "/sessions": {"backend": "quick"},
    "/jobs/{job_id}/tags": {"tags": ["mine"]},
    "/sessions/{session_id}": {"accepting_jobs": False},
    "/sessions/{session_id}/keep_alive": {"seconds": 1},
    "/admin/backends/{name}": {"mode": "online"},
    "/admin/accounts": {"name": "a"},
    "/admin/accounts/{name}": {"closed": True},
    "/admin/plans": {"name": "a", "like": "nothing"},
    "/admin/plans/{name}": {"settings": {"tags_max": 1}},
    "/admin/instances/import": {"account": "a", "rows": [{"name": "/"}]},
    "/admin/identities": {"user": "x", "subject": "y", "issuer": "https://id.example"},
    "/admin/instances": {"account": "a", "name": "/"},
    "/admin/instances/{name}": {"plan": "default"},
    "/admin/instances/{name}/members/{user}": {"role": "admin"},
    "/admin/users": {"account": "a", "name": "b"},
    "/admin/users/{name}": {"disabled": True},
    "/tokens": {"name": "mine"},
    "/admin/tokens": {"user": "x", "name": "y"},
}


@dataclass
class Victim:
    """Somebody with a private job, a job with a secret tag, and a session."""

    user: User
    job: str
    session: str
    secrets: tuple[str, ...]

    def path(self, route: Route) -> str:
        named = {"job_id": self.job, "session_id": self.session, "name": "spare"}
        return route.path.format_map(
            named | {"user": "x", "plan_id": "open", "token_id": "x", "identity_id": "x"}
        )


def table(site: Site) -> list[Route]:
    parts = site.app.state.parts
    return [it for it in routes(parts, Metrics(parts)) if it.path not in OPEN]


async def victim(user: User) -> Victim:
    tag = f"tag-{new_id()}"
    job = await user.submit(tags=[tag])
    await user.finished(job)
    session = (await user.session("spare"))["id"]
    name = user.credentials.instance_name
    return Victim(user, job, session, (tag, job, session, user.crn, name, user.credentials.user_id))


async def ask(user: User, route: Route, path: str, **more: Any) -> Any:
    body = BODIES.get(route.path.removeprefix(BASE.replace("/experimental", "")))
    given = {} if body is None else {"json": body}
    where = path.removeprefix("/api/v1")
    return await user.ask(route.method, where, **given, **more)


async def test_a_stranger_learns_and_changes_nothing(site: Site, user: User, other: User) -> None:
    """No route answers anything of another instance; unknown ids and others' are answered alike."""
    mine = await victim(user)
    before = (await user.get(f"/jobs/{mine.job}")).json()
    for route in table(site):
        theirs = await ask(other, route, mine.path(route))
        unknown = mine.path(route).replace(mine.job, "d0000000000000000000")
        unknown = unknown.replace(mine.session, "d0000000000000000000")
        nothing = await ask(other, route, unknown)
        assert theirs.status_code == nothing.status_code, (route, theirs.text)
        assert theirs.status_code < 500, (route, theirs.text)
        text = theirs.text.replace(mine.job if mine.job in mine.path(route) else "\0", "")
        text = text.replace(mine.session if mine.session in mine.path(route) else "\0", "")
        assert not [it for it in mine.secrets if it in text], (route, theirs.text)
        if "{job_id}" in route.path or "{session_id}" in route.path:
            assert theirs.status_code == 404, (route, theirs.text)
        if "/admin/" in route.path:
            assert theirs.status_code == 403, (route, theirs.text)
        pretended = await ask(as_if(other, Service_CRN=user.crn), route, mine.path(route))
        asks_as_itself = "/admin/" in route.path or route.path in OWN
        assert pretended.status_code == 403 or asks_as_itself, (route, pretended.text)
        nobody = await ask(as_if(other, Authorization=""), route, mine.path(route))
        assert nobody.status_code == 401, (route, nobody.text)
    assert (await user.get(f"/jobs/{mine.job}")).json() == before
    state = (await user.get(f"/sessions/{mine.session}")).json()
    assert state["accepting_jobs"]


async def test_viewers_and_reading_tokens_change_nothing(site: Site, user: User) -> None:
    """A viewer, and a token for reading, may ask for everything in the instance and no more."""
    mine = await victim(user)
    people = People(site.store, "test", SystemClock().now(), PLANS)
    name = f"v-{new_id()}"
    people.create_user(user.credentials.instance_name, name)
    people.set_member(user.crn, name, "viewer")
    reader = people.create_token(user.credentials.user_id, "reader", "read")
    for token in (people.create_token(name, "first"), reader):
        form = {"apikey": token}
        access = (await site.http.post("/identity/token", data=form)).json()["access_token"]
        viewer = as_if(user, Authorization=f"Bearer {access}")
        assert (await viewer.get(f"/jobs/{mine.job}")).status_code == 200
        for route in table(site):
            answer = await ask(viewer, route, mine.path(route))
            if route.path in OWN and token is not reader:
                assert answer.status_code in (200, 404), (route, answer.text)
            elif route.method != "GET" or "/admin/" in route.path:
                assert answer.status_code == 403, (route, answer.text)
    state = (await user.get(f"/sessions/{mine.session}")).json()
    assert state["accepting_jobs"]
    people.set_member(user.crn, name, "member")
    site.app.state.parts.auth.forget()
    body = json.loads(json.dumps(BODIES["/jobs"]))
    first = people.create_token(name, "second")
    access = (await site.http.post("/identity/token", data={"apikey": first})).json()
    member = as_if(user, Authorization=f"Bearer {access['access_token']}")
    assert (await member.ask("POST", "/jobs", json=body)).status_code == 200
