"""Who may ask, and in which instance."""

from __future__ import annotations

from pathlib import Path

import httpx
import jwt
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from api.conftest import Site, User, as_if, fault
from qdwell.api.auth import FRESH_MS, TOKEN_SECONDS, Auth, api_version
from qdwell.api.edge import HANDLERS, Edge, reply
from qdwell.clock import ManualClock
from qdwell.store import accounts, open_store
from qdwell.store.people import People
from standing_clock import Standing

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_api_token_is_exchanged_for_a_signed_token_with_whole_times(site: Site) -> None:
    """The client cannot use a token without integer `iat` and `exp`, or one that is not a JWT."""
    form = {
        "grant_type": "urn:ibm:params:oauth:grant-type:apikey",
        "apikey": site.first.token,
        "response_type": "cloud_iam",
    }
    body = (await site.http.post("/identity/token", data=form)).json()
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert isinstance(claims["iat"], int)
    assert claims["exp"] == claims["iat"] + TOKEN_SECONDS == body["expiration"]
    assert claims["sub"] == site.first.user_id
    assert site.first.token not in body["access_token"]


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"apikey": "wrong"}, 401),
        ({"apikey": ""}, 400),
        ({}, 400),
        ({"apikey": "x", "grant_type": "password"}, 400),
    ],
)
async def test_a_bad_exchange_is_a_clear_4xx(site: Site, form: dict[str, str], status: int) -> None:
    """Never a 5xx: the client would repeat it for a quarter of a minute."""
    assert fault(await site.http.post("/identity/token", data=form))["status"] == status


async def test_a_request_without_a_good_token_is_401(site: Site, user: User) -> None:
    """None, another scheme, rubbish, another key, no algorithm: all alike."""
    claims = {"iss": "qdwell", "sub": user.credentials.user_id, "iat": 0, "exp": 9_999_999_999}
    forged = [
        "",
        f"apikey {user.credentials.token}",
        f"Bearer {user.credentials.token}",
        "Bearer a.b.c",
        f"Bearer {jwt.encode(claims, 'k' * 32, algorithm='HS256')}",
        f"Bearer {jwt.encode(claims, None, algorithm='none')}",
        user.headers["Authorization"][:-2],
    ]
    for value in forged:
        answer = await as_if(user, Authorization=value).get("/jobs")
        assert fault(answer) | {"solution": ""} == fault(answer) | {
            "status": 401,
            "code": 1201,
            "solution": "",
        }, value
    assert "IAM_URL" in fault(await as_if(user, Authorization="apikey x").get("/jobs"))["solution"]


async def test_a_token_speaks_for_its_users_instances_only(site: Site, user: User) -> None:
    """A foreign instance and one that does not exist are answered alike (S13)."""
    other = site.credentials()
    foreign = await as_if(user, Service_CRN=other.instance_crn).get("/jobs")
    unknown = await as_if(user, Service_CRN="crn:v1:a:b:c:d:e:f::").get("/jobs")
    assert fault(foreign)["status"] == 403
    assert fault(foreign)["code"] == 1200
    assert fault(foreign) == fault(unknown)


async def test_an_instance_by_name_or_not_at_all(user: User) -> None:
    """Row D of the settings sends the name; who has one instance need not name it."""
    assert (await as_if(user, Service_CRN=user.credentials.instance_name).get("/jobs")).is_success
    assert (await as_if(user, Service_CRN="").get("/jobs")).is_success


async def test_an_account_made_after_the_start_can_be_used_at_once(site: Site) -> None:
    """The command runs in another process, so nothing tells the server."""
    fresh = await site.user("default")
    assert (await fresh.get("/instances/usage")).json()["usage_consumed_seconds"] == 0
    assert await fresh.finished(await fresh.submit())


def small_app(auth: Auth, clock: ManualClock) -> Starlette:
    async def who(request: Request) -> object:
        return reply((await auth.owner(request)).user_id)

    app = Starlette(
        routes=[Route("/who", who), Route("/identity/token", auth.exchange, methods=["POST"])],
        exception_handlers=HANDLERS,
    )
    app.add_middleware(Edge, who=auth.who, clock=clock)
    return app


async def test_a_token_ends_when_it_says_so_and_survives_a_restart(
    tmp_path: Path, clock: ManualClock
) -> None:
    """The end is checked by the server's own clock; the key is kept in the store."""
    store = open_store(tmp_path)
    made = accounts.first_start(store, clock.now())
    assert made is not None
    transport = httpx.ASGITransport(small_app(Auth(store, clock), clock))
    restarted = httpx.ASGITransport(small_app(Auth(store, clock), clock))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://q") as http,
        httpx.AsyncClient(transport=restarted, base_url="http://q") as again,
    ):
        answer = await http.post("/identity/token", data={"apikey": made.token})
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        clock.advance(TOKEN_SECONDS * 1000 - 1)
        for client in (http, again):
            assert (await client.get("/who", headers=bearer)).json() == made.user_id
        clock.advance(1)
        for client in (http, again):
            assert (await client.get("/who", headers=bearer)).status_code == 401
    store.close()


async def test_a_revoked_token_ends_while_the_clock_stands(tmp_path: Path) -> None:
    """C8: what was read about a user is believed for two seconds, not until the clock goes on."""
    clock = Standing(1_800_000_000_000)
    store = open_store(tmp_path)
    made = accounts.first_start(store, clock.now())
    assert made is not None
    transport = httpx.ASGITransport(small_app(Auth(store, clock), clock))
    async with httpx.AsyncClient(transport=transport, base_url="http://q") as http:
        answer = await http.post("/identity/token", data={"apikey": made.token})
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        clock.set_back()
        people = People(store, "operator", clock.now(), {})
        people.revoke_token(people.tokens(made.user_id)[0]["id"])
        clock.advance(FRESH_MS)
        assert (await http.get("/who", headers=bearer)).status_code == 401
    store.close()


async def test_the_dialect_is_read_from_the_version_header() -> None:
    """What is not a version is the oldest dialect."""
    assert api_version({"ibm-api-version": "2026-04-15"}) == "2026-04-15"
    assert api_version({}) is None
    assert api_version({"ibm-api-version": "1"}) is None
