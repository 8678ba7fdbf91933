"""Forged credentials, path tricks, and absurd bodies: each a 4xx that names what is wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest

from qdwell.clock import SystemClock, stopwatch_ns
from security.conftest import BASE, SECOND, Person, Target

NOW = SystemClock().now() // 1000
CLAIMS = {"iss": "qdwell", "sub": "x", "iat": NOW, "exp": NOW + 3600}


def _unsigned(claims: dict[str, Any], **head: Any) -> str:
    parts = [{"alg": "none", "typ": "JWT", **head}, claims]
    return ".".join(
        [base64.urlsafe_b64encode(json.dumps(it).encode()).decode().rstrip("=") for it in parts]
        + [""]
    )


def forged(bearer: str) -> dict[str, str]:
    head, body, seal = bearer.split(".")
    claims = jwt.decode(bearer, options={"verify_signature": False})
    admin = _unsigned({**claims, "admin": True, "sub": "other"}).split(".")[1]
    good = {**CLAIMS, **claims}
    return {
        "nothing": "",
        "a word": "Bearer x",
        "no token": "Bearer",
        "another scheme": f"Basic {base64.b64encode(b'admin:admin').decode()}",
        "the API token where the access token goes": "Bearer secret",
        "apikey fallback": "apikey secret",
        "no signature": f"Bearer {head}.{body}.",
        "half a signature": f"Bearer {head}.{body}.{seal[:20]}",
        "another's claims": f"Bearer {head}.{admin}.{seal}",
        "alg none": f"Bearer {_unsigned(good)}",
        "alg None": f"Bearer {_unsigned(good, alg='None')}",
        "alg nOnE": f"Bearer {_unsigned(good, alg='nOnE')}",
        "a guessed key": "Bearer " + jwt.encode(good, "secret" * 6, algorithm="HS256"),
        "an empty key": "Bearer " + jwt.encode(good, b"\0" * 32, algorithm="HS256"),
        "a key id in a file": "Bearer "
        + jwt.encode(good, "k" * 32, algorithm="HS256", headers={"kid": "../../../../dev/null"}),
        "a key id in SQL": "Bearer "
        + jwt.encode(good, "k" * 32, algorithm="HS256", headers={"kid": "' OR 1=1 --"}),
        "a key of its own": "Bearer "
        + jwt.encode(good, "k" * 32, algorithm="HS256", headers={"jku": "http://127.0.0.1:1/"}),
        "512 bits": "Bearer " + jwt.encode(good, "k" * 64, algorithm="HS512"),
        "numbers as claims": "Bearer " + jwt.encode({**good, "exp": 1e300}, "k" * 32),
        "words as claims": "Bearer " + jwt.encode({**good, "iat": "yesterday"}, "k" * 32),
        "very long": "Bearer " + "a" * 60_000,
        "many dots": "Bearer " + "." * 60_000,
        "bytes": "Bearer \xff\xfe\xfd",
        "two tokens": f"Bearer {bearer} {bearer}",
        "a token and a NUL in quotes": f"Bearer {bearer}%00",
    }


NAMES = list(forged(jwt.encode(CLAIMS, "k" * 32)))


@pytest.mark.parametrize("name", NAMES)
def test_forged_credentials_are_refused(target: Target, mallory: Person, name: str) -> None:
    """E1, and nothing else: the answer does not say how near it was."""
    headers = {**mallory.headers, "Authorization": forged(mallory.bearer)[name]}
    raw = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
    for path in (f"{BASE}/jobs", f"{BASE}/instances/usage", f"{BASE}/instances"):
        answer = target.http.get(path, headers=raw)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 1201), answer.text


@pytest.mark.parametrize(
    "crn",
    [
        "crn:v1:qdwell:private:quantum-computing:us-east:a/x:y::",
        "ada",
        "../ada",
        "*",
        "%",
        "' OR '1'='1",
        "null",
        "0",
        "crn:" + ":" * 5_000,
        "a\xff",
    ],
)
def test_another_instance_is_refused_alike_whether_it_exists(
    target: Target, mallory: Person, ada: Person, crn: str
) -> None:
    """E2 for every instance that is not one's own."""
    answers = [
        target.http.get(
            f"{BASE}/jobs",
            headers=[
                (b"authorization", f"Bearer {mallory.bearer}".encode()),
                (b"service-crn", it.encode("latin-1")),
            ],
        )
        for it in (crn, ada.crn)
    ]
    assert [it.status_code for it in answers] == [403, 403]
    first, second = (it.json()["error"] for it in answers)
    assert first == second


IDS = [
    "..",
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f",
    "%00",
    "a%00b",
    "%ff%fe",
    "%ed%a0%80",
    "%f0%9f%92%a9",
    "' OR '1'='1",
    "1;DROP TABLE jobs",
    "${jndi:ldap:%2f%2fx%2fa}",
    "{{7*7}}",
    "%0d%0aSet-Cookie:%20a=b",
    "a" * 5_000,
    "-1",
    "0",
    "null",
    "undefined",
    "*",
    "con",
    "%25%32%66",
]
ROUTES = [
    ("GET", "/jobs/{}"),
    ("DELETE", "/jobs/{}"),
    ("POST", "/jobs/{}/cancel"),
    ("GET", "/jobs/{}/results"),
    ("GET", "/jobs/{}/logs"),
    ("GET", "/jobs/{}/metrics"),
    ("GET", "/jobs/{}/interim_results"),
    ("GET", "/jobs/{}/outcome?wait_ms=0"),
    ("PUT", "/jobs/{}/tags"),
    ("GET", "/sessions/{}"),
    ("PATCH", "/sessions/{}"),
    ("DELETE", "/sessions/{}/close"),
    ("POST", "/sessions/{}/keep_alive"),
    ("GET", "/backends/{}/status"),
    ("GET", "/backends/{}/configuration"),
    ("GET", "/backends/{}/properties"),
    ("PUT", "/admin/backends/{}"),
    ("GET", "/jobs?session_id={}"),
    ("GET", "/jobs?tags={}"),
    ("GET", "/jobs?backend={}"),
    ("GET", "/jobs?created_after={}"),
    ("GET", "/jobs?search={}"),
    ("GET", "/jobs?limit={}&offset={}"),
    ("GET", "/jobs?sort={}"),
    ("GET", "/workloads?next={}"),
    ("GET", "/workloads?search={}"),
    ("GET", "/workloads?created_before={}"),
    ("GET", "/events?after={}&wait_ms=0"),
    ("GET", "/sessions?backend={}"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_ids_that_are_tricks_are_unknown(
    target: Target, mallory: Person, method: str, path: str
) -> None:
    """Nothing but an id is an id; filters match nothing, or name what they take."""
    bodies = {"PUT": {"tags": []}, "PATCH": {"accepting_jobs": False}, "POST": {"seconds": 1}}
    if "admin" in path:
        bodies["PUT"] = {"mode": "online"}
    for trick in IDS:
        url = target.url + BASE + path.replace("{}", trick)
        answer = mallory.ask(method, url, json=bodies.get(method))
        listed = "?" in path and answer.status_code == 200
        assert listed or 400 <= answer.status_code < 500, (trick, answer.text)
        assert "set-cookie" not in answer.headers
        assert "root:" not in answer.text


DEEP = 100_000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "a NUL": b"\x00",
    "half an object": b'{"program_id": ',
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep lists that do not end": b"[" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep params": b'{"program_id": "sampler", "params": {"pubs": '
    + b"[" * DEEP
    + b"]" * DEEP
    + b"}}",
    "a million values": b'{"program_id": "sampler", "params": {"pubs": ['
    + b"1," * 2_000_000
    + b"1]}}",
    "a million keys": b"{" + b",".join(b'"%d":1' % n for n in range(400_000)) + b"}",
    "equal keys": b'{"program_id": "sampler", "program_id": "estimator", "params": {}}',
    "NaN": b'{"program_id": NaN, "params": {}}',
    "infinite cost": b'{"program_id": "sampler", "params": {}, "cost": Infinity}',
    "a cost in seconds beyond 64 bits": b'{"program_id": "sampler", "params": 1, "cost": '
    + b"9" * 400
    + b"}",
    "a number of a million digits": b'{"program_id": "sampler", "params": {}, "cost": '
    + b"9" * 1_000_000
    + b"}",
    "a cost with exponent": b'{"program_id": "sampler", "params": {}, "cost": 1e400}',
    "a negative cost": b'{"program_id": "sampler", "params": {}, "cost": -1}',
    "not UTF-8": b'{"program_id": "\xff\xfe", "params": {}}',
    "UTF-16": '{"program_id": "sampler"}'.encode("utf-16"),
    "overlong UTF-8": b'{"program_id": "\xc0\xaf", "params": {}}',
    "a lone surrogate as a tag": b'{"program_id": "sampler", "params": '
    b'{"pubs": [[null, null, NaN]], "version": 2}, "tags": ["\\ud800"]}',
    "a NUL as a tag": b'{"program_id": "sampler", "params": {"pubs": [], "version": 2}, '
    b'"tags": ["a\\u0000b"]}',
    "a thousand tags": json.dumps(
        {"program_id": "sampler", "params": {}, "tags": [str(n) for n in range(1000)]}
    ).encode(),
    "a long tag": json.dumps(
        {"program_id": "sampler", "params": {}, "tags": ["a" * 10_000]}
    ).encode(),
    "tags that are numbers": b'{"program_id": "sampler", "params": {}, "tags": [1]}',
    "a program with a path": b'{"program_id": "../../bin/sh", "params": {}}',
    "a program that is a module": b'{"program_id": "os.system", "params": {"version": 2}}',
    "params in a list": b'{"program_id": "sampler", "params": []}',
    "a field too many": b'{"program_id": "sampler", "params": {}, "admin": true}',
    "the prototype": b'{"program_id": "sampler", "params": {}, "__proto__": {"admin": true}}',
    "a backend with a path": b'{"program_id": "sampler", "params": {}, "backend": "../x"}',
    "a session that is a list": b'{"program_id": "sampler", "params": {}, "session_id": ["a"]}',
    "an image with a command": b'{"program_id": "sampler", "params": {}, "runtime": "a:b;rm -rf"}',
    "a log level of its own": b'{"program_id": "sampler", "params": {}, "log_level": "TRACE"}',
    "a form": b"program_id=sampler&params={}",
    "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    "too long": b'{"program_id": "' + b"a" * 6_500_000 + b'"}',
    "many quotes": b'"' * 5_000_000,
    "many backslashes": b'"' + b"\\" * 5_000_000 + b'"',
}


@pytest.mark.parametrize("name", BODIES)
def test_absurd_bodies_are_refused(target: Target, mallory: Person, name: str) -> None:
    """A 400 or 413, soon; and nothing was accepted."""
    for method, path in (("POST", "/jobs"), ("POST", "/sessions"), ("PUT", "/jobs/x/tags")):
        began = stopwatch_ns()
        answer = mallory.ask(method, BASE + path, content=BODIES[name])
        assert 400 <= answer.status_code < 500, (path, answer.text)
        assert answer.json()["error"]["message"]
        assert stopwatch_ns() - began < 10 * SECOND
    if len(BODIES[name]) < 1_000_000:
        for path in ("/identity/token", "/v3/resources/search"):
            answer = mallory.ask("POST", path, content=BODIES[name])
            assert answer.status_code < 500, (path, answer.text)


HEADERS: dict[str, dict[str, str]] = {
    "a compressed body": {"Content-Encoding": "gzip"},
    "compressed twice": {"Content-Encoding": "gzip, gzip"},
    "an image": {"Content-Type": "image/png"},
    "no type": {"Content-Type": ""},
    "a form": {"Content-Type": "multipart/form-data"},
    "a charset": {"Content-Type": "application/json; charset=utf-7"},
    "a dialect of tomorrow": {"IBM-API-Version": "9999-99-99"},
    "a dialect with a path": {"IBM-API-Version": "2026-04-15/../../x" + "y" * 5_000},
    "a dialect in bytes": {"IBM-API-Version": "\xff\xff"},
    "an application": {"X-Qx-Client-Application": "\x80" * 5_000},
    "a client's version": {"X-Qx-Client-Application": "qiskit_ibm_runtime-99999999999.9999999"},
    "an idempotency key": {"Idempotency-Key": "../../x"},
    "a long idempotency key": {"Idempotency-Key": "a" * 10_000},
    "an idempotency key in bytes": {"Idempotency-Key": "\xff\x80"},
    "another method": {"X-HTTP-Method-Override": "DELETE"},
    "another host": {"Host": "evil.example"},
    "another address": {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"},
    "a trace": {"uber-trace-id": "\xff" * 1_000},
    "a range": {"Range": "bytes=0-" + "9" * 100},
    "a cookie": {"Cookie": "qdwell=" + "a" * 10_000},
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_all_sorts_do_no_harm(target: Target, mallory: Person, name: str) -> None:
    """On a route that reads, and on one that writes."""
    more = [(k.encode(), v.encode("latin-1")) for k, v in HEADERS[name].items()]
    for method, path, content in (
        ("GET", "/jobs?limit=1", b""),
        ("POST", "/jobs", b'{"program_id": "sampler", "params": {"pubs": 1, "version": 2}}'),
        ("POST", "/sessions", b'{"backend": "aer_simulator"}'),
    ):
        headers = [(k.encode(), v.encode()) for k, v in mallory.headers.items()]
        names = {k.lower() for k, _ in more}
        kept = [it for it in headers if it[0].lower() not in names]
        answer = target.http.request(method, BASE + path, headers=[*kept, *more], content=content)
        assert answer.status_code < 500, answer.text
        assert method == "GET" or answer.status_code >= 400, answer.text


def test_secrets_are_not_in_the_log(target: Target, mallory: Person) -> None:
    """No API token, no access token: not in an error, not at any level."""
    target.http.post("/identity/token", data={"apikey": mallory.token, "grant_type": "wrong"})
    target.http.get(f"{BASE}/jobs", headers={"Authorization": f"apikey {mallory.token}"})
    log = target.log.read_text()
    assert mallory.token not in log
    assert mallory.bearer not in log
    assert mallory.bearer.rpartition(".")[2] not in log
