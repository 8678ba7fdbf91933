"""What keeps a user's browser from harm: headers on every answer, and forms that only we can make.

Against the real server, since some answers are made where no framework sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest

from qdwell.console.app import pages
from qdwell.console.site import POLICY, Site
from security.conftest import BASE, Person, Target

GUARDS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": ("no-referrer", "same-origin"),
    "cache-control": "no-store",
}
OPEN = ("/healthz", "/openapi.json", "/docs", "/metrics", "/sign-in", "/nothing", "/static/nothing")
SIGNED_IN = ("/jobs", "/sessions", "/machines", "/timeline", "/timeline.svg", "/instances")
SIGNED_IN += ("/admin", "/start", "/", "/jobs/none", "/machines/aer_simulator")
PRIVATE = ("/jobs", "/jobs/none", "/instances/usage", "/backends", "/events?wait_ms=0", "/usage")
FORMS = sorted(path for method, path, _ in pages(cast(Site, None)) if method == "POST")


def unguarded(headers: Any, *, kept: bool = False) -> dict[str, str | None]:
    """The headers that are missing or say something else; `kept`: a browser may keep a copy."""
    wrong: dict[str, str | None] = {}
    for name, value in GUARDS.items():
        allowed = value if isinstance(value, tuple) else (value,)
        if name == "cache-control" and kept:
            allowed = ("public, max-age=86400",)
        if headers.get(name) not in allowed:
            wrong[name] = headers.get(name)
    policy = headers.get("content-security-policy", "")
    needed = "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
    if not needed or "unsafe" in policy:
        wrong["content-security-policy"] = policy
    if "strict-transport-security" in headers:
        wrong["strict-transport-security"] = "only with TLS"
    return wrong


@pytest.fixture(scope="module")
def browser(target: Target, mallory: Person) -> Iterator[httpx.Client]:
    """A browser that is signed in, in a window of its own."""
    with httpx.Client(base_url=target.url, timeout=30) as http:
        answer = http.post("/sign-in", data={"token": mallory.token})
        assert answer.status_code == 303
        yield http


@pytest.mark.parametrize("path", OPEN)
def test_answers_to_everybody_are_guarded(target: Target, path: str) -> None:
    """Pages, descriptions, and what is not there."""
    assert unguarded(target.http.get(path).headers) == {}


@pytest.mark.parametrize("path", PRIVATE)
def test_private_answers_are_guarded(target: Target, mallory: Person, path: str) -> None:
    """With credentials and without; nothing of it stays in a browser or a proxy."""
    assert unguarded(mallory.ask("GET", BASE + path).headers) == {}
    assert unguarded(target.http.get(BASE + path).headers) == {}


def test_tokens_are_never_kept(target: Target, mallory: Person) -> None:
    """RFC 6749, 5.1: an answer with a token says no-store; so does one that refuses it."""
    for token in (mallory.token, "wrong"):
        assert unguarded(target.http.post("/identity/token", data={"apikey": token}).headers) == {}


@pytest.mark.parametrize("path", SIGNED_IN)
def test_pages_are_guarded(browser: httpx.Client, path: str) -> None:
    """No script but our file, no style but our file, no frame, no form to elsewhere."""
    headers = browser.get(path).headers
    assert unguarded(headers) == {}
    if headers.get("content-type", "").startswith("text/html"):
        assert headers["content-security-policy"] == POLICY


def test_files_of_the_console_may_be_kept(target: Target, browser: httpx.Client) -> None:
    """Their addresses change with their content."""
    found = re.findall(r'"(/static/[^"]+)"', browser.get("/start").text)
    assert found
    for path in found:
        answer = target.http.get(path)
        assert answer.status_code == 200
        assert unguarded(answer.headers, kept=True) == {}


def test_pages_hold_nothing_that_the_policy_would_have_to_allow(browser: httpx.Client) -> None:
    """No script, style, or handler in a page; the policy needs no exception, so it has none."""
    for path in SIGNED_IN:
        answer = browser.get(path)
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=", answer.text), path


def test_the_description_page_allows_its_one_style_by_its_hash(target: Target) -> None:
    """And no script at all."""
    policy = target.http.get("/docs").headers["content-security-policy"]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]{44}'; frame-ancestors 'none'", policy
    )


@pytest.mark.parametrize("sent", [b"\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 90_000])
def test_refusals_at_the_socket_are_guarded(target: Target, sent: bytes) -> None:
    """They are made before any framework."""
    head = target.raw(sent).partition(b"\r\n\r\n")[0].decode().lower()
    assert unguarded(dict(line.split(": ", 1) for line in head.split("\r\n")[1:])) == {}


# ---- forms ---------------------------------------------------------------------------------------


def secret(browser: httpx.Client) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', browser.get("/start").text)
    assert found
    return found[1]


FOREIGN: dict[str, dict[str, str]] = {
    "another site, as new browsers tell": {"Sec-Fetch-Site": "cross-site"},
    "a sister site": {"Sec-Fetch-Site": "same-site"},
    "another site, as old browsers tell": {"Origin": "https://evil.example"},
    "a sandboxed frame": {"Origin": "null"},
    "a name that ends like ours": {"Origin": "http://evil-127.0.0.1"},
    "another port": {"Origin": "http://127.0.0.1:1"},
}


def test_there_are_forms_to_try() -> None:
    """The table of pages is where they are found."""
    assert {"/jobs/{job_id}/cancel", "/machines/{name}/mode", "/sign-out"} <= set(FORMS)


@pytest.mark.parametrize("path", FORMS)
def test_a_form_without_its_secret_is_refused(
    target: Target, browser: httpx.Client, path: str
) -> None:
    """Every one of the console that changes something, by whoever is signed in."""
    url = re.sub(r"{\w+}", "aer_simulator", path)
    for fields in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "\u00fc"}, {"csrf": "a\x00"}):
        answer = browser.post(url, data=fields)
        assert answer.status_code == 403, (fields, answer.text)
        assert "set-cookie" not in answer.headers
    assert browser.get("/start").status_code == 200, "still signed in"
    # Nor without a cookie, whatever the secret: there is nobody whose it could be.
    answer = target.http.post(url, data={"csrf": secret(browser)})
    assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_form_of_another_site_is_refused_even_with_the_secret(
    browser: httpx.Client, mallory: Person, name: str
) -> None:
    """And so is its sign-in, which would make us look into the attacker's account."""
    headers = FOREIGN[name]
    fields = {"csrf": secret(browser)}
    assert browser.post("/sign-out", data=fields, headers=headers).status_code == 403
    answer = httpx.post(
        str(browser.base_url.join("/sign-in")), data={"token": mallory.token}, headers=headers
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_secret_is_good_for_its_own_sign_in_only(
    target: Target, browser: httpx.Client, ada: Person
) -> None:
    """One user's secret opens nothing in another's window."""
    with httpx.Client(base_url=target.url) as other:
        other.post("/sign-in", data={"token": ada.token})
        mine = secret(browser)
        assert mine != secret(other)
        assert other.post("/sign-out", data={"csrf": mine}).status_code == 403


COOKIES = {
    "the access token": lambda person: person.bearer,
    "the API token": lambda person: person.token,
    "nothing signed": lambda person: person.bearer.rpartition(".")[0] + ".",
    "deep JSON": lambda _: "W1tb" * 10_000 + ".e30.AA",
}


@pytest.mark.parametrize("name", COOKIES)
def test_what_is_no_cookie_of_ours_signs_nobody_in(
    target: Target, mallory: Person, name: str
) -> None:
    """An access token is no cookie, and a cookie no access token: their keys differ."""
    cookie = f"qdwell_console={COOKIES[name](mallory)}"
    answer = target.http.get("/jobs", headers={"Cookie": cookie})
    assert answer.status_code == 303
    with httpx.Client(base_url=target.url) as other:
        signed = other.post("/sign-in", data={"token": mallory.token}).cookies["qdwell_console"]
    headers = {**mallory.headers, "Authorization": f"Bearer {signed}"}
    assert target.http.get(f"{BASE}/jobs", headers=headers).status_code == 401
