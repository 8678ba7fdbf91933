"""Operators change who may do what, and it has effect with the next request."""

from __future__ import annotations

import pytest

from api.conftest import Site, User, as_if, bell, fault
from qdwell.store import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_an_operator_changes_has_effect_at_once(site: Site) -> None:
    """An instance, a user, a member, a token: made, bounded, revoked; every step is in the log."""
    operator = await site.user(who=site.first)
    account, name = f"a-{new_id()}", f"n-{new_id()}"
    asked = {"account": account, "name": name, "backends": ["quick"], "limit_seconds": 77}
    crn = (await operator.ask("POST", "/admin/instances", json=asked)).json()["crn"]
    made = await operator.ask("POST", "/admin/users", json={"account": account, "name": name})
    assert made.status_code == 200
    member = f"/admin/instances/{name}/members/{name}"
    assert (await operator.ask("PUT", member, json={"role": "member"})).status_code == 204
    asked = {"user": name, "name": "laptop", "expires_in_seconds": 60}
    token = (await operator.ask("POST", "/admin/tokens", json=asked)).json()["token"]
    answer = (await site.http.post("/identity/token", data={"apikey": token})).json()
    assert answer["expires_in"] <= 60
    access = f"Bearer {answer['access_token']}"
    somebody = as_if(operator, Authorization=access, Service_CRN=crn)

    assert (await somebody.get("/instances/usage")).json()["usage_limit_seconds"] == 77
    assert [it["name"] for it in (await somebody.get("/backends")).json()["devices"]] == ["quick"]
    assert fault(await somebody.get("/backends/spare/status"))["status"] == 404
    body = {"program_id": "sampler", "params": bell(), "backend": "spare"}
    assert fault(await somebody.ask("POST", "/jobs", json=body))["status"] in (400, 404)
    await somebody.finished(await somebody.submit())
    where = f"/admin/instances/{name}"
    changes = {"backends": None, "limit_seconds": None}
    assert (await operator.ask("PATCH", where, json=changes)).status_code == 204
    assert (await somebody.get("/backends/spare/status")).status_code == 200
    assert "usage_limit_seconds" not in (await somebody.get("/instances/usage")).json()

    (shown,) = (await operator.get(f"/admin/tokens?user={name}")).json()["tokens"]
    assert shown["used_at"] is not None
    assert (await operator.ask("DELETE", f"/admin/tokens/{shown['id']}")).status_code == 204
    assert fault(await somebody.get("/jobs"))["status"] == 401
    lines = (await operator.get("/admin/audit?limit=6")).json()["audit"]
    assert [it["action"] for it in lines] == [
        "token revoke",
        "instance change",
        "token create",
        "instance member",
        "user create",
        "instance create",
    ]
    assert {it["actor"] for it in lines} == {site.first.user_id}


async def test_what_cannot_be_is_refused_by_name(site: Site, user: User) -> None:
    """Clear 4xx, and nothing in the log."""
    operator = await site.user(who=site.first)
    before = (await operator.get("/admin/audit")).json()
    for method, path, body, status in (
        ("POST", "/admin/users", {"account": "nobody", "name": "x"}, 404),
        ("POST", "/admin/users", {"account": "default", "name": "../x"}, 400),
        ("POST", "/admin/users", {"account": "default", "name": "default"}, 400),
        ("POST", "/admin/instances", {"account": "default", "name": "q", "plan": "gold"}, 400),
        ("PATCH", "/admin/instances/nothing", {"plan": "open"}, 404),
        ("PATCH", "/admin/instances/default", {}, 400),
        ("PUT", "/admin/instances/default/members/default", {"role": "king"}, 400),
        ("DELETE", "/admin/instances/default/members/nobody", None, 404),
        ("DELETE", "/admin/tokens/nothing", None, 404),
    ):
        given = {} if body is None else {"json": body}
        answer = await operator.ask(method, path, **given)
        assert fault(answer)["status"] == status, (method, path, answer.text)
    assert (await operator.get("/admin/audit")).json() == before
