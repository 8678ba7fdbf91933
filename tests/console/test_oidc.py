"""Sign-in by an identity provider, which is a process of its own: what protects it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from console.provider import CLIENT, SECRET
from console.university import (
    MINUTES,
    PUBLIC,
    World,
    elsewhere,
    free_port,
    started,
    tell_users,
    told,
)


async def test_the_request_has_what_protects_it(world: World) -> None:
    """State, nonce, and an S256 challenge, anew each time; the secret is nowhere."""
    browser, seen = world.browser(), []
    for _ in range(2):
        begun = await browser.get("/sign-in/oidc")
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        assert asked["redirect_uri"] == [f"{PUBLIC}/sign-in/oidc/callback"]
        assert asked["code_challenge_method"] == ["S256"]
        assert asked["response_type"] == ["code"]
        seen += [asked[name][0] for name in ("state", "nonce", "code_challenge")]
        assert SECRET not in begun.text + str(begun.headers)
    assert len(set(seen)) == 6
    assert min(map(len, seen)) >= 43
    cookie = begun.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/sign-in/oidc" in cookie


@pytest.mark.parametrize(
    ("faults", "word"),
    [
        ({"claims": {"nonce": "another"}}, "nonce"),
        ({"claims": {"nonce": None}}, "nonce"),
        ({"claims": {"aud": "somebody-else"}}, "aud"),
        ({"claims": {"aud": ["somebody-else"], "azp": CLIENT}}, "aud"),
        ({"claims": {"aud": [CLIENT, "other"], "azp": "other"}}, "azp"),
        ({"claims": {"aud": None}}, "aud"),
        ({"claims": {"iss": "http://127.0.0.1:1"}}, "iss"),
        ({"claims": {"iss": None}}, "iss"),
        ({"claims": {"sub": None}}, "sub"),
        ({"claims": {"sub": 7}}, "sub"),
        ({"claims": {"sub": ""}}, "sub"),
        ({"claims": {"exp": None}}, "exp"),
        ({"claims": {"exp": "tomorrow"}}, "exp"),
        ({"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}, "at_hash"),
        ({"times": {"exp": -61}}, "expired"),
        ({"times": {"iat": 120, "exp": 300}}, "future"),
        ({"times": {"nbf": 120}}, "not yet valid"),
        ({"signed": "none"}, "not signed by"),
        ({"signed": "secret"}, "not signed by"),
        ({"signed": "public"}, "not signed by"),
        ({"signed": "other"}, "not signed by"),
        ({"token": {"id_token": "a.b"}}, "not signed by"),
        ({"token": {"id_token": 5}}, "no ID token"),
        ({"back": {"state": "another"}}, "began no such"),
        ({"back": {"state": "\u00fcber"}}, "began no such"),
        ({"back": {"state": None}}, "began no such"),
        ({"back": {"iss": "https://evil.example"}}, "another identity provider"),
        ({"back": {"iss": None}}, "another identity provider"),  # it says that it sends one
        ({"back": {"code": "guessed"}}, "refused the code: invalid_grant"),
        ({"back": {"code": None}}, "no code"),
        ({"refuse": "access_denied"}, "says: access_denied"),
        ({"refuse": "<script>alert(1)</script>"}, "an unknown error"),
    ],
)  # fmt: skip
async def test_what_is_wrong_lets_nobody_in(shared: World, faults: Any, word: str) -> None:
    world = shared
    world.tell(claims={"sub": "s-1"}, faults=faults)
    browser, answer = await world.sign_in()
    assert answer.status_code == 403
    assert word in told(answer).lower() or word in told(answer)
    assert (await browser.get("/start")).status_code == 303
    world.tell(claims={"sub": "s-1"})
    _, answer = await world.sign_in(browser=browser)  # and nothing is left behind
    assert answer.status_code == 303, answer.text


async def test_clocks_may_differ_by_a_minute(world: World) -> None:
    world.user("ada", "s-1")
    for seconds in (-50, 50):
        world.tell(
            claims={"sub": "s-1"}, faults={"times": {"exp": seconds, "iat": min(50, seconds)}}
        )
        _, answer = await world.sign_in()
        assert answer.status_code == 303, told(answer)


async def test_keys_that_change_are_read_again_and_only_then(world: World) -> None:
    world.user("ada", "s-1")
    for claims in ({"claims": {"sub": "s-1"}}, {"claims": {"sub": "s-1"}, "no_kid": True}):
        world.tell(**claims)
        _, answer = await world.sign_in()
        assert answer.status_code == 303
        world.tell(**claims)
        _, answer = await world.sign_in()
        assert "keys" not in world.asked()
        world.rotate()
        _, answer = await world.sign_in()
        assert answer.status_code == 303, told(answer)
        assert world.asked().count("keys") == 1


async def test_an_answer_is_good_once_in_one_browser_for_ten_minutes(world: World) -> None:
    world.user("ada", "s-1")
    browser = world.browser()
    back = await world.there(browser)
    stranger = await world.browser().get(back)  # a link that was sent to somebody
    assert "This browser began no such sign-in" in told(stranger)
    kept = dict(browser.cookies)
    assert (await browser.get(back)).status_code == 303
    assert "began no such" in told(await browser.get(back))
    thief = world.browser()
    thief.cookies.update(kept)  # even with what the browser had before
    assert "completed already" in told(await thief.get(back))
    late = await world.there(browser)
    world.clock.advance(10 * MINUTES)
    assert "Ten minutes have passed" in told(await browser.get(late))
    forged = world.browser()
    forged.cookies.set("qdwell_sign_in", "e30.e30.AAAA")
    assert "began no such" in told(await forged.get(back))


async def test_two_tabs_may_sign_in_at_once(world: World) -> None:
    world.user("ada", "s-1")
    browser = world.browser()
    one, two = await world.there(browser), await world.there(browser, "?next=/machines")
    assert (await browser.get(two)).headers["location"] == "/machines"
    assert (await browser.get(one)).headers["location"] == "/jobs"


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "evil",
     "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "/\r\nX: 1", "/" + "a" * 5000],
)  # fmt: skip
async def test_nobody_is_sent_elsewhere_afterwards(shared: World, target: str) -> None:
    browser = shared.browser()
    shared.tell(claims={"sub": "s-1"})
    begun = await browser.get("/sign-in/oidc", params={"next": target})
    answer = await browser.get(elsewhere(begun.headers["location"]))
    assert answer.headers["location"] == "/jobs"
    by_token = await browser.post("/sign-in", data={"token": shared.first.token, "next": target})
    assert by_token.headers["location"] == "/jobs"


async def test_a_provider_that_is_down_keeps_nobody_with_a_token_out(
    tmp_path: Path,
) -> None:
    """What is wrong is told, with a status that is no fault of ours; it heals by itself."""
    world = World(tmp_path, f"http://127.0.0.1:{free_port()}")
    browser = world.browser()
    page = await browser.get("/sign-in")
    assert "Sign in with the university" in page.text
    answer = await browser.get("/sign-in/oidc?next=/machines")
    assert answer.status_code == 424
    assert "does not answer" in told(answer)
    assert 'value="/machines"' in answer.text
    by_token = await browser.post("/sign-in", data={"token": world.first.token})
    assert by_token.status_code == 303
    world.store.close()


@pytest.mark.parametrize(
    ("faults", "word"),
    [
        ({"broken_description": 200}, "fails"),
        ({"broken_description": 503}, "HTTP 503"),
        ({"other_issuer": "https://evil.example"}, "describes another identity provider"),
    ],
)
async def test_a_broken_description_is_told(world: World, faults: Any, word: str) -> None:
    world.tell(faults=faults)
    answer = await world.browser().get("/sign-in/oidc")
    assert answer.status_code == 424
    assert word in told(answer)


async def test_a_provider_that_fails_on_the_way_back_is_told(world: World) -> None:
    world.user("ada", "s-1")
    world.tell(claims={"sub": "s-1"}, faults={"token_status": 500})
    _, answer = await world.sign_in()
    assert answer.status_code == 424
    assert "fails: HTTP 500" in told(answer)


async def test_a_provider_that_we_did_not_write(tmp_path: Path) -> None:
    """The same way there and back with another program: its form, its keys, its tokens."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    process = started([*command, "--require-nonce", "true"], url)
    claims = {"email": "ada@uni.example", "email_verified": True}
    tell_users(url, "s-1", claims)
    try:
        world = World(tmp_path, url, email_domains=("uni.example",))
        world.user("ada", "s-1")
        browser = world.browser()
        begun = await browser.get("/sign-in/oidc")
        answer = await browser.get(elsewhere(begun.headers["location"], sub="s-1"))
        assert answer.status_code == 303, told(answer)
        assert "ada" in (await browser.get("/start")).text
        world.store.close()
    finally:
        process.terminate()
        process.wait(10)
