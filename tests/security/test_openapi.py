"""Requests made from our own description (schemathesis): every route, by a member and an operator.

A real server, with old clients served too, so that no route is left out. Whatever is asked, valid
or not, the answer is no 5xx, comes soon, and has the shape of errors if it is one. Short here; the
long campaign asks each route hundreds of times.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation

from security.conftest import CONFIG, Person, Target
from security.served import served

EXAMPLES = int(os.environ.get("QDWELL_API_EXAMPLES", "4"))
LONG = int(os.environ.get("QDWELL_API_EXAMPLES_LONG", "150"))
SECONDS = 60  # a held request waits for 20 s, and the machine may be busy
ROLES = ("member", "operator")


pytestmark = pytest.mark.timeout(600)  # its library takes long to load for the first time


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server with every route."""
    config = CONFIG.replace("[server]", "[server]\nold_clients = true")
    with (
        served(tmp_path_factory.mktemp("described"), config) as made,
        httpx.Client(base_url=made.url, timeout=SECONDS) as http,
    ):
        yield Target(made.process, made.url, http, made.folder, made.log)


@pytest.fixture(scope="module")
def people(everything: Target) -> dict[str, Person]:
    """A member with a job and a session, and the operator of the first account."""
    member = everything.person("member")
    lines = (everything.folder / "credentials.env").read_text()
    found = dict(it[7:].split("=", 1) for it in lines.splitlines() if it.startswith("export "))
    token, crn = (found[it].strip("'") for it in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_INSTANCE"))
    answer = everything.http.post("/identity/token", data={"apikey": token})
    operator = Person(everything, token, crn, answer.json()["access_token"])
    return {"member": member, "operator": operator}


def names(person: Person) -> dict[str, list[str]]:
    """What is there, so that not every path leads to a 404."""
    sent = person.submit({"pubs": [], "version": 2}, "machine")
    session = person.ask("POST", "/api/v1/sessions", json={"backend": "machine"})
    jobs = [sent.json()["id"]] if sent.is_success else []
    sessions = [session.json()["id"]] if session.is_success else []
    return {"job_id": jobs, "session_id": sessions, "name": ["machine", "default"]}


def operations(target: Target) -> list[APIOperation]:
    """Every one of the description."""
    description = target.http.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(description)
    return [it.ok() for it in schema.get_all_operations()]


def ask_all(target: Target, person: Person, count: int) -> list[str]:
    """Ask each route `count` times; the faults that were found."""
    there, faults = names(person), []
    for operation in operations(target):
        cases = st.one_of(
            operation.as_strategy(GenerationMode.POSITIVE),
            operation.as_strategy(GenerationMode.NEGATIVE),
        )

        @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
        @given(cases, st.data())
        def asked(case: Case, data: st.DataObject) -> None:
            for name in case.path_parameters or {}:
                if there.get(name) and data.draw(st.booleans()):
                    case.path_parameters[name] = data.draw(st.sampled_from(there[name]))
            fault = ask(target, person, case)
            if fault is not None:
                faults.append(fault)

        asked()
    return faults


def ask(target: Target, person: Person, case: Case) -> str | None:
    """Send one request; what is wrong with the answer, or None."""
    told = case.as_transport_kwargs(base_url=target.url)
    headers = {k: v for k, v in (told.get("headers") or {}).items() if isinstance(v, str)}
    content = _content(told, headers)
    try:
        answer = target.http.request(
            told["method"],
            told["url"],
            params=_flat(told.get("params")),
            headers={**headers, **person.headers},
            content=content,
        )
    except (httpx.InvalidURL, UnicodeError):
        return None  # nobody can send this
    except httpx.HTTPError as error:
        return f"{case.method} {told['url']}: {error!r}"
    shown = f"{case.method} {told['url']} {told.get('params')} {content!r:.300}: {answer.text:.300}"
    if answer.status_code >= 500:
        return f"{answer.status_code} {shown}"
    if answer.status_code >= 400 and not _shaped(answer):
        return f"shape: {shown}"
    return None


def _content(told: dict[str, Any], headers: dict[str, str]) -> bytes:
    if "json" in told:
        headers["Content-Type"] = "application/json"
        return json.dumps(told["json"]).encode()
    given = told.get("data") or b""
    return given.encode() if isinstance(given, str) else bytes(given)


def _flat(params: Any) -> list[tuple[str, str]]:
    pairs = params.items() if isinstance(params, dict) else params or []
    return [
        (str(name), str(it))
        for name, value in pairs
        for it in (value if isinstance(value, list) else [value])
    ]


def _shaped(answer: httpx.Response) -> bool:
    try:
        body = answer.json()
        return bool(body["errors"][0]["message"]) and "code" in body["error"]
    except (ValueError, KeyError, IndexError, TypeError):
        return False


def check(target: Target, person: Person, count: int) -> list[str]:
    faults = ask_all(target, person, count)
    if not faults:
        target.well()
    return faults


def test_every_route_is_asked(everything: Target) -> None:
    """The description has them all: those of old clients and of operators too."""
    paths = {it.path for it in operations(everything)}
    assert len(paths) > 40
    assert {"/api/v1/admin/tokens", "/identity/token", "/api/v1/jobs/{job_id}/outcome"} <= paths


@pytest.mark.parametrize("role", ROLES)
def test_no_request_is_too_strange(
    everything: Target, people: dict[str, Person], role: str
) -> None:
    """A few for each route, valid and not."""
    assert check(everything, people[role], EXAMPLES) == []


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("role", ROLES)
def test_no_request_is_too_strange_in_a_campaign(
    everything: Target, people: dict[str, Person], role: str
) -> None:
    """Hundreds for each."""
    assert check(everything, people[role], LONG) == []


def test_the_log_has_no_token(everything: Target, people: dict[str, Person]) -> None:
    """After all of that."""
    log = Path(everything.log).read_text()
    for person in people.values():
        assert person.token not in log
        assert person.bearer not in log
