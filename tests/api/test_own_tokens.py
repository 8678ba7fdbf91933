"""A user's own tokens by HTTP: made, used, listed, ended; never another's, never for more."""

from __future__ import annotations

from typing import Any

import pytest

from api.conftest import PLANS, Site, User, as_if, fault
from api.test_roles import member, signed_in
from qdwell.clock import SystemClock
from qdwell.store import new_id
from qdwell.store.people import People

pytestmark = pytest.mark.asyncio(loop_scope="session")


def book(site: Site) -> People:
    return People(site.store, "test", SystemClock().now(), PLANS)


async def make(user: User, **asked: Any) -> dict[str, Any]:
    answer = await user.ask("POST", "/tokens", json={"name": "laptop", **asked})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def listed(user: User) -> list[dict[str, Any]]:
    answer = await user.get("/tokens")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["tokens"]
    return found


async def test_a_token_is_made_shown_once_used_and_ended(site: Site, user: User) -> None:
    """It signs in, is in the list without its secret, and is out at once when it is revoked."""
    made = await make(user, name="notebook", expires_in_seconds=3_600)
    secret = made.pop("token")
    assert (made["name"], made["scope"], made["instance"]) == ("notebook", "full", None)
    assert made["expires_at"] - made["created"] == 3_600_000
    shown = await user.get(f"/tokens/{made['id']}")
    assert shown.json() == made
    tokens = await listed(user)
    assert len(tokens) == 2  # the first one, too
    assert made in tokens
    assert secret not in shown.text + str(tokens)
    by_it = await signed_in(site, secret, user.crn, user)
    await by_it.finished(await by_it.submit())
    assert (await user.get(f"/tokens/{made['id']}")).json()["used_at"] is not None
    assert (await user.ask("DELETE", f"/tokens/{made['id']}")).status_code == 204
    assert fault(await by_it.get("/jobs"))["status"] == 401
    assert fault(await user.get(f"/tokens/{made['id']}"))["status"] == 404
    assert fault(await user.ask("DELETE", f"/tokens/{made['id']}"))["status"] == 404
    lines = book(site).audit(2)
    assert [it["action"] for it in lines] == ["token revoke", "token create"]
    assert {it["actor"] for it in lines} == {user.credentials.user_id}
    assert secret not in str(lines)


async def test_anothers_token_is_as_one_that_never_was(site: Site, user: User, other: User) -> None:
    """Not shown, not listed, not ended: to a stranger, an admin of the instance, or an operator."""
    mine = await make(user, name="mine")
    operator = await site.user(who=site.first)
    for who in (other, await member(site, user, "admin"), operator):
        assert mine["id"] not in {it["id"] for it in await listed(who)}
        for method in ("GET", "DELETE"):
            theirs = fault(await who.ask(method, f"/tokens/{mine['id']}"))
            unknown = fault(await who.ask(method, "/tokens/000000000000"))
            assert theirs["status"] == unknown["status"] == 404
            assert theirs["message"].replace(mine["id"], "0" * 12) == unknown["message"]
    # Nor of somebody whose name is the user's id.
    people = book(site)
    namesake = people.create_user(user.credentials.instance_name, user.credentials.user_id)
    people.create_token(namesake, "namesake")
    assert {it["user_id"] for it in await listed(user)} == {user.credentials.user_id}


async def test_a_token_makes_none_that_is_good_for_more(site: Site, user: User) -> None:
    """For reading: none at all. For one instance, or with an end: only such."""
    reading = await make(user, name="reading", scope="read")
    reader = await signed_in(site, reading["token"], user.crn, user)
    assert reading["id"] in {it["id"] for it in await listed(reader)}
    for scope in ("full", "read"):
        body = {"name": "more", "scope": scope}
        refused = fault(await reader.ask("POST", "/tokens", json=body))
        assert refused["status"] == 403
        assert "reading" in refused["message"]
    assert fault(await reader.ask("DELETE", f"/tokens/{reading['id']}"))["status"] == 403

    people, second = book(site), f"n-{new_id()}"
    crn = people.create_instance(user.credentials.instance_name, second, "default")
    people.set_member(crn, user.credentials.user_id, "member")
    site.app.state.parts.auth.forget()
    bound = await make(user, name="bound", instance=second, expires_in_seconds=600)
    assert bound["instance"] == crn
    holder = await signed_in(site, bound["token"], crn, user)
    child = await make(holder, name="child", expires_in_seconds=10**9)
    assert (child["instance"], child["expires_at"]) == (crn, bound["expires_at"])
    assert {it["id"] for it in await listed(holder)} == {bound["id"], child["id"]}
    outside = {"name": "out", "instance": user.crn}
    assert fault(await holder.ask("POST", "/tokens", json=outside))["status"] == 403
    first = next(it for it in await listed(user) if it["instance"] is None)
    assert fault(await holder.ask("DELETE", f"/tokens/{first['id']}"))["status"] == 404
    elsewhere = as_if(holder, Service_CRN=user.crn)
    assert fault(await elsewhere.get("/jobs"))["status"] == 403


async def test_a_viewers_token_is_for_viewing(site: Site, user: User) -> None:
    """A role is the user's, not the token's: a viewer's full token changes nothing in there."""
    viewer = await member(site, user, "viewer")
    made = await make(viewer)
    by_it = await signed_in(site, made["token"], user.crn, user)
    assert (await by_it.get("/jobs")).status_code == 200
    assert fault(await by_it.ask("POST", "/sessions", json={"backend": "spare"}))["status"] == 403


async def test_what_cannot_be_is_refused_by_name(user: User, other: User) -> None:
    """Clear 4xx that name the field; and no more than 200 at once."""
    before = await listed(user)
    for body, status, field in (
        ({}, 400, "name"),
        ({"name": ""}, 400, "name"),
        ({"name": "x" * 201}, 400, "name"),
        ({"name": "x", "scope": "all"}, 400, "scope"),
        ({"name": "x", "expires_in_seconds": 0}, 400, "expires_in_seconds"),
        ({"name": "x", "user": "default"}, 400, "user"),
        ({"name": "x", "instance": other.crn}, 403, None),
        ({"name": "x", "instance": "nothing"}, 403, None),
    ):
        refused = fault(await user.ask("POST", "/tokens", json=body))
        assert (refused["status"], refused.get("field")) == (status, field), refused
    assert fault(await user.get("/tokens?user=default"))["field"] == "user"
    assert await listed(user) == before
    for _ in range(200 - len(before)):
        await make(user)
    refused = fault(await user.ask("POST", "/tokens", json={"name": "one more"}))
    assert (refused["status"], "200" in refused["message"]) == (400, True)
