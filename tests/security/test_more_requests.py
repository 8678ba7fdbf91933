"""A second round of strangers: requests of kinds that `test_requests` and `test_http` do not hold.

Each ends as a 4xx, or as an answer that means nothing but what it says; none is a 5xx or a hang.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import jwt
import pytest

from security.conftest import BASE, Person, Target, status

HOST = b"Host: q\r\n"
POST = b"POST /identity/token HTTP/1.1\r\n" + HOST

RAW: dict[str, bytes] = {
    "a vertical tab before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "an empty transfer encoding": POST + b"Transfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc",
    "a carriage return in a length": POST + b"Content-Length: 3\r0\r\n\r\nabc",
    "a length in hexadecimal": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "a length with a comma": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "a length in Arabic digits": POST + "Content-Length: ٣\r\n\r\nabc".encode(),
    "a chunk size with an underscore": POST + b"Transfer-Encoding: chunked\r\n\r\n1_0\r\na\r\n",
    "a chunk longer than it says": POST
    + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "a chunk ended by a line feed": POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "an expectation of its own": POST + b"Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc",
    "a space before the version": b"GET  /healthz  HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the line": b"GET\t/healthz\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "a target in quotes": b'GET "/healthz" HTTP/1.1\r\n' + HOST + b"\r\n",
    "a scheme of its own": b"GET gopher://q/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "credentials in the target": b"GET http://a:b@q/api/v1/jobs HTTP/1.1\r\n" + HOST + b"\r\n",
    "a header in UTF-16": b"GET /healthz HTTP/1.1\r\n" + "Höst: q\r\n\r\n".encode("utf-16"),
}


@pytest.mark.parametrize("name", RAW)
def test_more_broken_http(target: Target, name: str) -> None:
    """One answer at most, and no 5xx."""
    answer = target.raw(RAW[name])
    assert status(answer) in (0, 200) or 400 <= status(answer) < 500, answer[:300]
    assert answer.count(b"HTTP/1.1 ") <= 1, "a second request was smuggled in"


def _part(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def forged(bearer: str) -> dict[str, str]:
    head = jwt.get_unverified_header(bearer)
    claims = jwt.decode(bearer, options={"verify_signature": False})
    _, body, seal = bearer.split(".")
    twice = json.dumps(head)[:-1] + ', "alg": "none"}'
    return {
        "a critical extension": f"{_part({**head, 'crit': ['x'], 'x': 1})}.{body}.{seal}",
        "a payload that is not encoded": f"{_part({**head, 'b64': False})}..{seal}",
        "its own key": f"{_part({**head, 'jwk': {'kty': 'oct', 'k': 'AA'}})}.{body}.{seal}",
        "a compressed payload": f"{_part({**head, 'zip': 'DEF'})}.{body}.{seal}",
        "a key number": f"{_part({**head, 'kid': 5})}.{body}.{seal}",
        "a list of keys": f"{_part({**head, 'kid': [head['kid']]})}.{body}.{seal}",
        "a key of long ago": f"{_part({**head, 'kid': '0'})}.{body}.{seal}",
        "a key in other digits": f"{_part({**head, 'kid': '٣'})}.{body}.{seal}",
        "a key of 5,000 digits": f"{_part({**head, 'kid': '9' * 5_000})}.{body}.{seal}",
        "a header of lists": f"{_part('[' * 15_000)}.{body}.{seal}",
        "a header that is null": f"{_part(None)}.{body}.{seal}",
        "an algorithm that is a list": f"{_part({**head, 'alg': ['HS256']})}.{body}.{seal}",
        "the algorithm twice": f"{_part(twice)}.{body}.",
        "a later end": f"{_part(head)}.{_part({**claims, 'exp': claims['exp'] + 1})}.{seal}",
        "padding": f"{bearer}==",
        "a line's end in base64": bearer[:20] + "%0a" + bearer[20:],
        "five parts": f"{bearer}.{body}.{seal}",
    }


@pytest.mark.parametrize("name", forged(jwt.encode({"exp": 1}, "k" * 32, headers={"kid": "1"})))
def test_more_forged_credentials(target: Target, mallory: Person, name: str) -> None:
    """E1, whatever part was changed; on the API and as a cookie."""
    token = forged(mallory.bearer)[name]
    headers = {**mallory.headers, "Authorization": f"Bearer {token}"}
    answer = target.http.get(f"{BASE}/jobs", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 1201), answer.text
    page = target.http.get("/jobs", headers={"Cookie": f"qdwell_console={token}"})
    assert page.status_code == 303


def test_two_credentials_are_one_person(target: Target, mallory: Person, ada: Person) -> None:
    """Two headers of one name do not mix one's token with another's instance."""
    headers = [
        ("authorization", f"Bearer {mallory.bearer}"),
        ("authorization", f"Bearer {ada.bearer}"),
        ("service-crn", mallory.crn),
        ("service-crn", ada.crn),
    ]
    for order in (headers, headers[::-1], [headers[0], headers[3]], [headers[1], headers[2]]):
        answer = target.http.get(f"{BASE}/instances/usage", headers=order)
        assert answer.status_code in (200, 400, 401, 403)
        if answer.status_code == 200:
            first = dict(order[::-1])
            mine = mallory if mallory.bearer in first["authorization"] else ada
            assert answer.json()["instance_id"] == mine.crn


QUERIES = [
    *(f"/jobs?limit={it}" for it in ("٣", "²", "1e3", "-1", "9" * 30, "0x10", "1_0", "%00")),
    "/jobs?created_after=0001-01-01T00:00:00%2B23:59",
    "/jobs?created_after=9999-12-31T23:59:59-23:59",
    "/jobs?created_after=10000-01-01T00:00:00Z",
    "/jobs?created_before=2026-02-30T00:00:00Z",
    "/jobs?created_before=2026-W01-1",
    "/jobs?created_after=" + "9" * 400,
    "/jobs?tags=" + "&tags=".join(["a"] * 5_000),
    "/jobs?tags=%F0%9F%98%80&tags=%ED%A0%80",
    "/jobs?search=%25%25%25_%5C",
    "/jobs?pending=true&pending=false",
    "/usage/ledger?start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z",
    "/usage/ledger?start=0001-01-01T00:00:00Z&end=9999-12-31T23:59:59Z",
    "/usage/ledger?by=__class__&format=../csv",
    "/workloads?next=o²&limit=²",
    "/workloads?next=%00&previous=%00&limit=-5",
    "/workloads?next=" + "A" * 5_000,
    "/events?after=-1&wait_ms=0",
    "/events?after=" + "9" * 400 + "&wait_ms=0",
    "/events?after=%F0%9F%98%80:1&wait_ms=-1",
    "/backends?include_mocks=%00",
    "/backends/machine/properties?updated_before=9999-12-31T23:59:59-23:59",
    "/backends/machine/configuration?calibration_id=" + "a" * 3_000,
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_more_queries(target: Target, mallory: Person, query: str) -> None:
    """A list, perhaps an empty one, or what was wrong."""
    answer = mallory.ask("GET", target.url + BASE + query)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text


PAGES = [
    *(f"/jobs?page={it}" for it in ("-1", "9" * 30, "٣", "²", "1e9", "%00", "a")),
    *(f"/sessions?page={it}&show=%00" for it in ("-1", "9" * 30, "٣", "²")),
    *(f"/jobs?status={it}&from={it}&to={it}" for it in ("%00", "2026-02-30", "9" * 400)),
    "/timeline?machine=%00",
    "/timeline?from=9999-12-31T23:59:59Z&to=0001-01-01T00:00:00Z",
    *(f"/timeline?machine=machine&from={it}&to={it}" for it in ("-1", "9" * 30, "1e400", "²")),
    "/timeline.svg?machine=..%2F..%2Fetc%2Fpasswd",
    "/timeline.svg?machine=%22%0d%0aSet-Cookie:%20a=b",
    "/machines/%00",
    "/machines/..%2f..%2fadmin",
    "/jobs/%ED%A0%80",
    "/jobs/none/picture?picture=1",
    "/sessions/" + "a" * 5_000,
    "/static/..%2f..%2fsignin.py",
    "/static/%2e%2e/%2e%2e/signin.py",
    "/static/%00",
    "/static//etc/passwd",
    "/static/" + "a" * 5_000,
    "/live?x=" + "a" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("path", [it for it in PAGES if not it.startswith("/live")])
def test_more_pages(target: Target, mallory: Person, path: str) -> None:
    """A page, perhaps an empty one, or one that says what was wrong."""
    with httpx.Client(timeout=30) as http:
        http.post(target.url + "/sign-in", data={"token": mallory.token})
        answer = http.get(target.url + path)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text[:300]
    assert "set-cookie" not in answer.headers
    assert "class SignIn" not in answer.text


@pytest.mark.parametrize(
    "where",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "\t//evil",
     "/%0d%0aSet-Cookie:a=b", "/\r\nSet-Cookie: a=b", "/\t/evil.example", "/\n/evil.example",
     "\\\\evil", "/ü", "/\ud800"],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(target: Target, mallory: Person, where: str) -> None:
    """A path of ours, without a line's end, and not another site's however browsers read it."""
    with httpx.Client(timeout=30) as http:
        fields = {"token": mallory.token, "next": where.encode("utf-8", "replace")}
        answer = http.post(target.url + "/sign-in", data=fields)
    assert answer.status_code < 500, answer.text[:300]
    led = answer.headers.get("location", "/")
    assert led.startswith("/")
    assert not led.replace("\t", "").replace("\n", "").startswith(("//", "/\\"))
    assert "a" not in answer.cookies


BODIES: dict[str, tuple[str, str, Any]] = {
    "a backend in wide letters": ("POST", "/jobs", {"backend": "ａｅｒ_simulator"}),
    "a backend with a NUL": ("POST", "/jobs", {"backend": "aer_simulator\x00"}),
    "a backend written backwards": ("POST", "/jobs", {"backend": "\u202ereverse"}),
    "a cost with a fraction": ("POST", "/jobs", {"cost": 1.5}),
    "a cost of 2^63": ("POST", "/jobs", {"cost": 2**63, "backend": "none"}),
    "a cost in words": ("POST", "/jobs", {"cost": "5"}),
    "private in words": ("POST", "/jobs", {"private": "yes"}),
    "a session of emoji": ("POST", "/jobs", {"session_id": "😀" * 50}),
    "a tag of combining marks": ("POST", "/jobs", {"tags": ["a" + "\u0301" * 5_000]}),
    "a calibration of a megabyte": ("POST", "/jobs", {"calibration_id": "a" * 1_000_000}),
    "a life of 2^70": ("POST", "/sessions", {"max_ttl": 2**70, "backend": "machine"}),
    "a negative life": ("POST", "/sessions", {"max_ttl": -(2**70), "backend": "machine"}),
    "a life that is true": ("POST", "/sessions", {"max_ttl": True, "backend": "machine"}),
    "a life of 1e308": ("POST", "/sessions", {"max_ttl": 1e308, "backend": "machine"}),
    "an instance of its own": ("POST", "/sessions", {"instance": "crn:" + ":" * 10}),
    "a mode that is a list": ("POST", "/sessions", {"mode": ["batch"]}),
    "a keep-alive of nobody's": ("POST", "/sessions/x/keep_alive", {"seconds": 10**30}),
    "an account by a member": ("POST", "/admin/users", {"account": "x", "name": "y"}),
    "a token by a member": ("POST", "/admin/tokens", {"user": "default", "name": "y"}),
}


@pytest.mark.parametrize("name", BODIES)
def test_more_bodies(target: Target, mallory: Person, name: str) -> None:
    """A 4xx that says what is wrong with it."""
    method, path, fields = BODIES[name]
    body = fields
    if path == "/jobs":
        body = {"program_id": "sampler", "params": {"pubs": [], "version": 2}, **fields}
    answer = mallory.ask(method, BASE + path, content=json.dumps(body).encode())
    assert 400 <= answer.status_code < 500, answer.text
    assert len(answer.json()["error"]["message"]) > 5
