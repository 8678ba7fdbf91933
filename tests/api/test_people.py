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


async def test_a_plan_made_by_command_has_effect_at_once(site: Site) -> None:
    """Made, given to an instance, changed, and seen by the next request; OpenAPI has its ranges."""
    operator, name = await site.user(who=site.first), f"p-{new_id()}"
    where = f"/admin/plans/{name}"
    made = {"name": name, "like": "tight", "settings": {"pending_jobs_max": None, "tags_max": 1}}
    assert (await operator.ask("POST", "/admin/plans", json=made)).status_code == 200
    shown = (await operator.get(where)).json()
    assert not shown["of_file"]
    assert shown["settings"]["modes"] == ["job", "session"]
    assert shown["settings"]["tags_max"] == 1
    assert shown["settings"]["pending_jobs_max"] is None
    account = {"name": f"a-{new_id()}", "plan": name}
    student = (await operator.ask("POST", "/admin/accounts", json=account)).json()
    answer = (await site.http.post("/identity/token", data={"apikey": student["token"]})).json()
    access = f"Bearer {answer['access_token']}"
    somebody = as_if(operator, Authorization=access, Service_CRN=student["crn"])
    body = {"program_id": "sampler", "params": bell(), "backend": "quick", "tags": ["a", "b"]}
    refused = fault(await somebody.ask("POST", "/jobs", json=body))
    assert (refused["code"], refused["field"]) == (1204, "tags")
    change = {"settings": {"tags_max": 2}}
    assert (await operator.ask("PATCH", where, json=change)).status_code == 204
    assert (await somebody.ask("POST", "/jobs", json=body)).status_code == 200
    modes = {"settings": {"modes": ["session"]}}
    assert (await operator.ask("PATCH", where, json=modes)).status_code == 204
    assert (await operator.get(where)).json()["settings"]["modes"] == ["session"]
    assert fault(await somebody.ask("POST", "/jobs", json=body))["code"] == 1352
    plan = (await somebody.get(f"//catalog/{name}")).json()
    assert plan["id"] == name
    assert "such as" in fault(await operator.ask("DELETE", where))["message"]
    closed = {"closed": True}
    one = f"/admin/accounts/{account['name']}"
    assert (await operator.ask("PATCH", one, json=closed)).status_code == 204
    assert fault(await somebody.get("/jobs"))["status"] == 401
    schema = site.app.openapi()["paths"]["/api/v1/admin/plans"]["post"]["requestBody"]
    text = str(schema)
    assert "2147483647" in text
    assert "Submissions of one account" in text


async def test_what_waits_in_a_closed_instance_waits(site: Site) -> None:
    """Closed: nobody acts in it, and its queue is held; opened again, it goes on."""
    operator, user = await site.user(who=site.first), await site.user()
    pause = "/admin/backends/spare"
    assert (await operator.ask("PUT", pause, json={"mode": "paused"})).status_code == 200
    job = await user.submit("spare")
    one = f"/admin/instances/{user.credentials.instance_name}"
    assert (await operator.ask("PATCH", one, json={"closed": True})).status_code == 204
    assert fault(await user.get(f"/jobs/{job}"))["status"] == 403
    online = {"mode": "online", "reason": ""}
    assert (await operator.ask("PUT", pause, json=online)).status_code == 200
    probe = await site.user()
    await probe.finished(await probe.submit("spare"))
    live = site.engine.live_job(job)
    assert live is not None
    assert live.state == "queued"
    assert (await operator.ask("PATCH", one, json={"closed": False})).status_code == 204
    assert (await user.finished(job))["status"] == "Completed"
    lines = (await operator.get("/admin/audit?limit=4")).json()["audit"]
    assert [it["action"] for it in lines] == [
        "instance reopen", "backend online", "instance close", "backend paused",
    ]  # fmt: skip
    shown = (await operator.get(pause)).json()
    assert (shown["mode"], "default" in shown["instances"]) == ("online", True)


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
        ("GET", "/admin/tokens/nothing", None, 404),
        ("GET", "/admin/plans/nothing", None, 404),
        ("GET", "/admin/audit?before=x", None, 400),
        ("PATCH", "/admin/plans/open", {"settings": {"tags_max": 1}}, 400),
        ("POST", "/admin/plans", {"name": "x", "settings": {"tags_max": -1}}, 400),
        ("POST", "/admin/plans", {"name": "x", "settings": {"modes": ["fast"]}}, 400),
        ("POST", "/admin/plans", {"name": "x", "settings": {"modes": []}}, 400),
        ("POST", "/admin/plans", {"name": "x", "settings": {"modes": "job"}}, 400),
        ("PATCH", "/admin/accounts/default", {"closed": True}, 400),
        ("POST", "/admin/instances/import", {"account": "c", "rows": [{"name": "/"}]}, 400),
        ("PUT", "/admin/backends/nothing", {"mode": "online"}, 404),
    ):
        given = {} if body is None else {"json": body}
        answer = await operator.ask(method, path, **given)
        assert fault(answer)["status"] == status, (method, path, answer.text)
    assert (await operator.get("/admin/audit")).json() == before
