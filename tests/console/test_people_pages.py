"""Members, tokens, and administration in the console: who sees and does what, and who does not."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

import pytest

from console.conftest import CONFIG, Reader, Site
from qdwell.clock import SystemClock
from qdwell.console.app import pages
from qdwell.store import accounts, new_id
from qdwell.store.people import People

pytestmark = pytest.mark.asyncio(loop_scope="session")
DAY_MS = 86_400_000


@dataclass
class Team:
    """An account with an instance, its admin, a member, a viewer; and somebody of another."""

    site: Site
    account: str
    admin: Reader
    member: Reader
    viewer: Reader
    stranger: Reader

    @property
    def people(self) -> People:
        return book(self.site)

    def name(self, role: str) -> str:
        return f"{role}-{self.account}"

    def roles(self) -> dict[str, str]:
        found = self.people.members(self.account)
        return {it["name"].removesuffix(f"-{self.account}"): it["role"] for it in found}


def book(site: Site) -> People:
    return People(site.store, "test", SystemClock().now(), CONFIG.plans)


async def signed_in(site: Site, token: str) -> Reader:
    owner = accounts.token_owner(site.store, token, SystemClock().now())
    assert owner is not None
    crn = owner.instances[0].crn
    made = accounts.Credentials(owner.account_id, owner.user_id, crn, "", token)
    return await site.reader(who=made)


@pytest.fixture
async def team(site: Site) -> Team:
    account, people = f"t{new_id()}", book(site)
    people.create_instance(account, account, "default")
    readers = {}
    for role in ("admin", "member", "viewer"):
        people.create_user(account, f"{role}-{account}")
        people.set_member(account, f"{role}-{account}", role)
        readers[role] = await signed_in(site, people.create_token(f"{role}-{account}", "first"))
    return Team(site, account, stranger=await site.reader(), **readers)


def text(page: str) -> str:
    """What a reader reads."""
    return html.unescape(re.sub(r"<[^>]+>|\s+", " ", page))


def shown_token(page: str) -> str:
    found = re.search(r'id="made">([\w-]+)</pre>', page)
    assert found, text(page)
    return found[1]


FORMS: dict[str, dict[str, str]] = {
    "/instances/members": {"user": "x", "role": "admin"},
    "/instances/members/remove": {"user": "x"},
    "/admin/accounts": {"name": "walked", "plan": "default"},
    "/admin/instances": {"name": "walked", "account": "walked", "plan": "default"},
    "/admin/instances/{name}": {"plan": "open"},
    "/admin/instances/{name}/members": {"user": "x", "role": "admin"},
    "/admin/instances/{name}/members/remove": {"user": "x"},
    "/admin/accounts/close": {"account": "x", "do": "close"},
    "/admin/instances/{name}/close": {"do": "close"},
    "/admin/plans": {"name": "walked"},
    "/admin/plans/{name}": {"mode-job": "1"},
    "/admin/plans/{name}/remove": {},
    "/admin/users": {"do": "create", "account": "default", "name": "walked"},
    "/admin/tokens": {"do": "create", "user": "default", "name": "walked", "days": "7"},
    "/machines/{name}/mode": {"mode": "paused"},
}


async def test_nobody_sees_or_does_what_their_role_forbids(site: Site, team: Team) -> None:
    """Each page and form of the console, by each role."""
    before, machine = team.people.audit(1), site.engine.backend("quick")
    table = [(method, path) for method, path, _ in pages(site.app.state.console)]
    changing = [path for method, path in table if method == "POST" and path in FORMS]
    assert len(changing) == len(FORMS)
    operators = [path for _, path in table if path.startswith("/admin")]
    for reader in (team.member, team.viewer, team.stranger):
        for path in operators:
            answer = await reader.http.get(path.format(name=team.account))
            if answer.status_code != 405:
                assert answer.status_code == 403, path
            assert team.name("admin") not in answer.text
        for path in changing:
            if reader is team.stranger and path.startswith("/instances"):
                continue  # they administer their own
            where = path.format(name="quick" if "machines" in path else team.account)
            answer = await reader.send(where, **FORMS[path])
            assert answer.status_code == 403, (path, answer.text)
    for path in operators + changing:
        if not path.startswith("/instances"):
            where = path.format(name="quick" if "machines" in path else team.account)
            answer = await team.admin.send(where, **FORMS.get(path, {}))
            assert answer.status_code in (403, 405), path
    assert team.people.audit(1) == before
    assert site.engine.backend("quick") == machine
    for reader in (team.member, team.viewer):
        page = text(await reader.page("/instances/members"))
        assert team.name("admin") in page  # whom to ask
        for other in ("member", "viewer"):
            assert team.name(other) not in page
        assert "Tokens of members" not in await reader.page("/instances/tokens")


async def test_a_form_without_the_pages_secret_does_nothing(site: Site, team: Team) -> None:
    operator = await site.reader(who=site.first)
    before = team.people.audit(1)
    for _, path, _ in (it for it in pages(site.app.state.console) if it[0] == "POST"):
        where = path.format(name=team.account, job_id="x", group_id="x")
        for secret in ({}, {"csrf": "0" * 64}, {"csrf": "\u00fc"}):
            answer = await operator.http.post(where, data={**FORMS.get(path, {}), **secret})
            assert answer.status_code == 403, path
        crossed = {"csrf": await operator.csrf(), **FORMS.get(path, {})}
        headers = {"Origin": "https://evil.example"}
        answer = await operator.http.post(where, data=crossed, headers=headers)
        assert answer.status_code == 403, path
    assert team.people.audit(1) == before


async def test_an_admin_adds_changes_and_removes_members(site: Site, team: Team) -> None:
    admin, place = team.admin, "/instances/members"
    team.people.create_user(team.account, f"new-{team.account}")
    done = await admin.send(place, user=team.name("new"), role="viewer")
    assert done.headers["location"] == f"{place}?done=1"
    assert "has effect with the next request" in await admin.page(f"{place}?done=1")
    await admin.send(place, user=team.name("new"), role="member")
    assert team.roles()["new"] == "member"
    await admin.send(f"{place}/remove", user=team.name("new"))
    assert "new" not in team.roles()
    actions = [(it["actor_name"], it["action"]) for it in team.people.audit(3)]
    me = team.name("admin")
    assert actions == [(me, "instance remove"), (me, "instance member"), (me, "instance member")]
    other = team.stranger.credentials.instance_name
    theirs = await admin.send(place, user=other, role="member")
    nobody = await admin.send(place, user="nobody-at-all", role="member")
    assert theirs.status_code == nobody.status_code == 404
    assert text(theirs.text).replace(other, "X") == text(nobody.text).replace("nobody-at-all", "X")
    for path, fields in (
        (place, {"user": team.name("admin"), "role": "member"}),
        (f"{place}/remove", {"user": team.name("admin")}),
        (place, {"user": team.name("member"), "role": "king"}),
        (place, {"user": "", "role": "member"}),
    ):
        answer = await admin.send(path, **fields)
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
    assert team.roles() == {"admin": "admin", "member": "member", "viewer": "viewer"}


async def test_the_admin_routes_know_the_same_admins(site: Site, team: Team) -> None:
    """By HTTP as in the console: an instance's admin, and nobody else."""
    place = f"/api/v1/admin/instances/{team.account}/members"
    for reader, status in (
        (team.admin, 200), (team.member, 403), (team.viewer, 403), (team.stranger, 403),
    ):  # fmt: skip
        form = {"apikey": reader.credentials.token}
        access = (await site.client().post("/identity/token", data=form)).json()["access_token"]
        headers = {"Authorization": f"Bearer {access}"}
        http = site.client()
        assert (await http.get(place, headers=headers)).status_code == status
        one, body = f"{place}/{team.name('viewer')}", {"role": "viewer"}
        put = await http.put(one, json=body, headers=headers)
        assert put.status_code == (204 if status == 200 else status), put.text
        alien = f"{place}/{team.stranger.credentials.instance_name}"
        put = await http.put(alien, json=body, headers=headers)
        assert put.status_code == (404 if status == 200 else status), put.text


async def test_a_token_is_made_shown_once_used_and_revoked(site: Site, team: Team) -> None:
    place = "/instances/tokens"
    for reader in (team.member, team.viewer, team.admin):
        fields = {"name": "laptop", "scope": "full", "days": "30"}
        page = await reader.send(place, **fields)
        assert page.status_code == 200
        token = shown_token(page.text)
        assert token not in await reader.page(place)
        owner = accounts.token_owner(site.store, token, SystemClock().now())
        assert owner is not None
        assert owner.user_id == reader.credentials.user_id
        assert owner.expires_at is not None
        assert 29 * DAY_MS < owner.expires_at - SystemClock().now() <= 30 * DAY_MS
        exchanged = await site.client().post("/identity/token", data={"apikey": token})
        assert exchanged.status_code == 200
        assert owner.token in await reader.page(place)
        done = await reader.send(f"{place}/revoke", id=owner.token)
        assert done.status_code == 303
        assert accounts.token_owner(site.store, token, SystemClock().now()) is None
    for fields, field in (
        ({"name": "", "days": "30"}, "Name"),
        ({"name": "x", "days": "31"}, "days"),
        ({"name": "x", "days": "30", "scope": "king"}, "scope"),
        ({"name": "x" * 201, "days": "30"}, "Name"),
        ({"name": "a\nb", "days": "30"}, "Name"),
    ):
        answer = await team.member.send(place, **fields)
        assert answer.status_code == 400
        assert field in text(answer.text)


async def test_a_token_makes_none_that_may_more(site: Site, team: Team) -> None:
    """For reading: none; for one instance, or that ends: only such."""
    people, name, now = team.people, team.name("member"), SystemClock().now()
    people.create_instance(team.account, f"other-{team.account}", "default")
    people.set_member(f"other-{team.account}", name, "member")
    place, fields = "/instances/tokens", {"name": "x", "scope": "full", "days": "never"}
    reading = await signed_in(site, people.create_token(name, "reading", "read"))
    assert (await reading.send(place, **fields)).status_code == 403
    assert (await reading.send(f"{place}/revoke", id="x")).status_code == 403
    narrow = people.create_token(name, "narrow", "full", team.account, DAY_MS)
    by_narrow = await signed_in(site, narrow)
    made = shown_token((await by_narrow.send(place, **fields)).text)
    owner = accounts.token_owner(site.store, made, now)
    assert owner is not None
    assert [it.name for it in owner.instances] == [team.account]
    assert owner.expires_at == now + DAY_MS
    wide = accounts.token_id(team.member.credentials.token)
    assert wide not in await by_narrow.page(place)
    assert (await by_narrow.send(f"{place}/revoke", id=wide)).status_code == 404


async def test_an_admin_ends_tokens_that_are_for_their_instances_alone(
    site: Site, team: Team
) -> None:
    people, place = team.people, "/instances/tokens"
    theirs = accounts.token_id(team.member.credentials.token)
    assert theirs in await team.admin.page(place)
    people.create_instance("elsewhere", f"e{team.account}", "default")
    people.set_member(f"e{team.account}", team.name("member"), "member")
    assert theirs not in await team.admin.page(place)  # it is good for more than this team
    assert (await team.admin.send(f"{place}/revoke", id=theirs)).status_code == 404
    bound = people.create_token(team.name("member"), "bound", "full", team.account)
    done = await team.admin.send(f"{place}/revoke", id=accounts.token_id(bound))
    assert done.status_code == 303
    assert accounts.token_owner(site.store, bound, SystemClock().now()) is None
    admins = accounts.token_id(team.admin.credentials.token)
    for reader in (team.member, team.viewer, team.stranger):
        assert (await reader.send(f"{place}/revoke", id=admins)).status_code == 404


async def test_an_operator_administers_by_forms(site: Site, team: Team) -> None:
    operator, people, name = await site.reader(who=site.first), team.people, f"o{new_id()}"
    page = await operator.send("/admin/accounts", name=name, plan="open")
    assert accounts.token_owner(site.store, shown_token(page.text), SystemClock().now())
    assert name in await operator.page(f"/admin/accounts?q={name}")
    again = await operator.send("/admin/accounts", name=name, plan="open")
    assert again.status_code == 400
    assert "exists already" in again.text
    where = f"/admin/instances/{name}"
    terms = {"plan": "limited", "limit_seconds": "77", "backend-quick": "1"}
    assert (await operator.send(where, **terms)).status_code == 303
    row = people.instance(name)
    assert (row["plan"], row["limit_seconds"], row["backends"]) == ("limited", 77, ["quick"])
    assert (await operator.send(where, plan="limited")).status_code == 303
    row = people.instance(name)
    assert (row["limit_seconds"], row["backends"]) == (None, None)
    for wrong in ({"plan": "gold"}, {"plan": "open", "limit_seconds": "-1"}):
        assert (await operator.send(where, **wrong)).status_code == 400
    await operator.send(f"{where}/members", user=team.name("viewer"), role="viewer")
    assert team.name("viewer") in await operator.page(where)
    await operator.send(f"{where}/members/remove", user=team.name("viewer"))
    assert team.name("viewer") not in await operator.page(where)
    made = {"do": "create", "account": name, "name": f"u-{name}"}
    assert (await operator.send("/admin/users", **made)).status_code == 303
    await operator.send("/admin/users", do="disable", user=f"u-{name}")
    assert people.user(f"u-{name}")["disabled_at"]
    await operator.send("/admin/users", do="enable", user=f"u-{name}")
    assert people.user(f"u-{name}")["disabled_at"] is None
    own = await operator.send("/admin/users", do="disable", user="default")
    assert own.status_code == 400
    fields = {"do": "create", "user": f"u-{name}", "name": "n", "days": "7", "scope": "read"}
    token = shown_token((await operator.send("/admin/tokens", **fields)).text)
    owner = accounts.token_owner(site.store, token, SystemClock().now())
    assert owner is not None
    assert not owner.may_change
    assert owner.token in await operator.page(f"/admin/tokens?q=u-{name}")
    await operator.send("/admin/tokens", do="revoke", id=owner.token)
    assert "revoked" in await operator.page(f"/admin/tokens?q={owner.token}")
    assert (await operator.page("/admin/plans")).count("limited") >= 1
    assert (await operator.http.get("/admin/instances/none")).status_code == 404


async def test_the_audit_log_is_filtered_and_paged(site: Site, team: Team) -> None:
    operator = await site.reader(who=site.first)
    await operator.send("/machines/line/mode", mode="paused", reason="cold", **{"from": "admin"})
    await operator.send("/machines/line/mode", mode="online", **{"from": "admin"})
    page = await operator.page("/admin/audit?action=backend&subject=line")
    assert page.index("backend online") < page.index("backend paused")
    assert "cold" in page
    assert "default" in page  # who it was, by name
    for _ in range(60):
        team.people.note("backend paused", "nothing", reason="<i>")
    page = await operator.page("/admin/audit?subject=nothing")
    assert page.count("<tr>") == 51
    assert "<i>" not in page
    older = html.unescape(re.findall(r'href="([^"]*before=[^"]*)"', page)[-1])
    assert (await operator.page(older)).count("<tr>") == 11
    assert "No line matches" in await operator.page("/admin/audit?actor=nobody")
    assert (await operator.http.get("/admin/audit?before=x&action=%25")).status_code == 200


async def test_lists_are_paged_and_searched(site: Site) -> None:
    operator, account = await site.reader(who=site.first), f"c{new_id()}"
    people: Any = book(site)
    people.create_instance(account, account, "default")
    for number in range(60):
        people.create_user(account, f"{account}-{number:02}")
    page = await operator.page(f"/admin/users?q={account}-")
    assert page.count('class="lead"') == 50
    assert f"{account}-00" in page
    page = await operator.page(f"/admin/users?q={account}-&page=2")
    assert page.count('class="lead"') == 10
    assert f"{account}-59" in page
    assert (await operator.http.get("/admin/users?page=9999999")).status_code == 200
