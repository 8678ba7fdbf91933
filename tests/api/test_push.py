"""Waiting that is pushed: outcomes, events, and submissions that are sent twice."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from hashlib import sha256
from typing import Any

import httpx
import pytest
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import RuntimeEncoder

from api.conftest import BASE, CONFIG, Site, User, bell, fault
from qdwell.api.app import build
from qdwell.api.circuits import KEPT_FROM_CHARS, TAG
from qdwell.api.repeats import job_id_of
from qdwell.clock import SystemClock
from qdwell.store import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def events(user: User, after: str | None = None, wait_ms: int = 0) -> dict[str, Any]:
    query = {"wait_ms": wait_ms} | ({"after": after} if after else {})
    answer = await user.get("/events", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ---- outcomes ------------------------------------------------------------------------------------


async def test_an_outcome_is_held_until_the_end_and_brings_the_result(user: User) -> None:
    job = await user.submit("brief")
    answer = (await user.get(f"/jobs/{job}/outcome", params={"wait_ms": 30_000})).json()
    assert answer["job"]["state"]["status"] == "Completed"
    assert answer["result"] == (await user.get(f"/jobs/{job}/results")).json()
    bare = (await user.get(f"/jobs/{job}/outcome", params={"result": "false"})).json()
    assert set(bare) == {"job"}


async def test_an_outcome_that_is_not_waited_for_is_told_at_once(user: User) -> None:
    job = await user.submit("endless")
    for query in ({}, {"wait_ms": 20}):
        answer = (await user.get(f"/jobs/{job}/outcome", params=query)).json()
        assert answer["job"]["state"]["status"] in ("Queued", "Running")
        assert "result" not in answer
    await user.ask("POST", f"/jobs/{job}/cancel")
    answer = (await user.get(f"/jobs/{job}/outcome", params={"wait_ms": 30_000})).json()
    assert answer["job"]["state"]["status"] == "Cancelled"


async def test_anothers_outcome_is_unknown(user: User, other: User) -> None:
    job = await user.submit("endless")
    answer = await other.get(f"/jobs/{job}/outcome", params={"wait_ms": 30_000})
    assert fault(answer)["status"] == 404
    await user.ask("POST", f"/jobs/{job}/cancel")


async def test_a_private_result_comes_once(user: User) -> None:
    job = await user.submit("quick", private=True)
    answer = (await user.get(f"/jobs/{job}/outcome", params={"wait_ms": 30_000})).json()
    assert answer["result"] is not None
    again = (await user.get(f"/jobs/{job}/outcome")).json()
    assert again["result"] is None


# ---- events --------------------------------------------------------------------------------------


async def told(user: User, cursor: str, wanted: int) -> tuple[str, list[dict[str, Any]]]:
    """Ask until so many changes have been told."""
    found: list[dict[str, Any]] = []
    while len(found) < wanted:
        page = await events(user, cursor, 30_000)
        assert not page["reset"]
        cursor = page["cursor"]
        found += page["changes"]
    return cursor, found


async def test_events_tell_of_jobs_and_sessions(user: User) -> None:
    cursor = (await events(user))["cursor"]
    session = await user.session("quick")
    job = await user.submit("quick", session_id=session["id"])
    await user.finished(job)
    cursor, changes = await told(user, cursor, 4)
    assert {it["id"] for it in changes} == {job, session["id"]}
    assert [it["status"] for it in changes if it["kind"] == "job"][-1] == "Completed"
    assert "active" in [it["state"] for it in changes if it["kind"] == "session"]
    assert (await events(user, cursor, 20))["changes"] == []


async def test_a_held_request_is_answered_by_the_change(user: User) -> None:
    cursor = (await events(user))["cursor"]
    waiting = asyncio.ensure_future(events(user, cursor, 30_000))
    await asyncio.sleep(0)
    await user.submit("quick")
    assert (await waiting)["changes"]


async def test_others_see_nothing(user: User, other: User) -> None:
    cursor = (await events(other))["cursor"]
    await user.finished(await user.submit("quick"))
    assert (await events(other, cursor, 20))["changes"] == []


@pytest.mark.parametrize("cursor", ["1-1", "nonsense", "zz-zz", "-"])
async def test_a_cursor_of_another_process_is_answered_with_reset(user: User, cursor: str) -> None:
    page = await events(user, cursor)
    assert page["reset"]
    assert not (await events(user, page["cursor"]))["reset"]


async def test_a_stream_can_be_resumed(user: User, site: Site) -> None:
    cursor = (await events(user))["cursor"]
    job = await user.submit("quick")
    await user.finished(job)
    headers = {**user.headers, "Accept": "text/event-stream", "Last-Event-ID": cursor}
    seen = await streamed(site.app, headers, wanted=2)
    kinds = [json.loads(it["data"])["status"] for it in seen if it.get("event") == "job"]
    assert kinds[0] == "Queued"
    resumed = await streamed(site.app, {**headers, "Last-Event-ID": seen[0]["id"]}, wanted=1)
    assert resumed[0] == seen[1]  # exactly behind what was seen


async def streamed(app: Any, headers: dict[str, str], wanted: int) -> list[dict[str, str]]:
    """Read so many events of the stream, and hang up."""
    enough = asyncio.Event()
    text = ""

    async def receive() -> dict[str, Any]:
        if asked.pop() if asked else False:
            return {"type": "http.request", "body": b"", "more_body": False}
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal text
        text += message.get("body", b"").decode()
        if len(blocks(text)) >= wanted:
            enough.set()

    asked = [True]
    scope = {
        "type": "http", "method": "GET", "path": "/api/v1/events", "raw_path": b"/api/v1/events",
        "query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": "",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": None, "server": None, "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 30)
    return blocks(text)[:wanted]


def blocks(text: str) -> list[dict[str, str]]:
    """The events of a stream that have data."""
    found = []
    for block in text.split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in lines:
            found.append(lines)
    return found


# ---- a submission that is sent twice -------------------------------------------------------------


async def test_the_same_key_is_the_same_job(user: User, other: User) -> None:
    key = {"Idempotency-Key": new_id()}
    body = {"program_id": "sampler", "params": bell(), "backend": "quick"}
    first = (await user.ask("POST", "/jobs", json=body, headers=key)).json()
    assert first["circuits_kept"]
    again = (await user.ask("POST", "/jobs", json=body, headers=key)).json()
    assert again["id"] == first["id"]
    await user.finished(first["id"])
    assert (await user.ask("POST", "/jobs", json=body, headers=key)).json()["id"] == first["id"]
    assert (await user.get("/jobs")).json()["count"] == 1
    theirs = (await other.ask("POST", "/jobs", json=body, headers=key)).json()
    assert theirs["id"] != first["id"]  # a key means something to its own instance only


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "ö"])
async def test_a_key_of_another_form_is_refused(user: User, key: str) -> None:
    body = {"program_id": "sampler", "params": bell(), "backend": "quick"}
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = await user.ask("POST", "/jobs", json=body, headers=headers)
    assert (fault(answer)["status"], fault(answer)["field"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("key", ["x", "8e03978e-40d5-43e8-bc93-6894a57f9324", '"a b"', "~" * 255])
async def test_any_key_is_one_job_and_one_session(user: User, other: User, key: str) -> None:
    """Most clients send a UUID, or what RFC drafts call a structured string."""
    headers = {"Idempotency-Key": key}
    body = {"program_id": "sampler", "params": bell(), "backend": "quick"}
    made = [(await user.ask("POST", "/jobs", json=body, headers=headers)).json() for _ in "ab"]
    assert made[0]["id"] == made[1]["id"]
    assert (await user.finished(made[0]["id"]))["state"]["status"] == "Completed"
    opened = [
        (await user.ask("POST", "/sessions", json={"backend": "quick"}, headers=headers)).json()
        for _ in "ab"
    ]
    assert opened[0]["id"] == opened[1]["id"]
    await user.ask("DELETE", f"/sessions/{opened[0]['id']}/close")
    theirs = (await other.ask("POST", "/jobs", json=body, headers=headers)).json()
    assert theirs["id"] != made[0]["id"]


async def test_a_key_that_made_another_job_is_refused(user: User) -> None:
    """Its sender would take the first job for the second one."""
    headers = {"Idempotency-Key": new_id()}
    session = await user.session()
    body = {"program_id": "sampler", "params": bell(), "backend": "quick"}

    async def sent(**other: Any) -> dict[str, Any]:
        answer = await user.ask("POST", "/jobs", json={**body, **other}, headers=headers)
        return fault(answer) if answer.status_code >= 400 else answer.json()

    first = await sent()
    params = bell()
    params["options"] = {"default_shots": 17}
    estimator = {"program_id": "estimator", "params": {**bell(), "pubs": []}}
    others = {"params": {"params": params}, "program_id": estimator}
    others |= {"backend": {"backend": "spare"}, "session_id": {"session_id": session["id"]}}
    for field, more in others.items():
        told = await sent(**more)
        assert (told["status"], told["code"]) == (422, "reused_key"), field
        assert told["field"] == "Idempotency-Key"
        assert first["id"] in told["message"]
        assert field in told["message"]
    await user.finished(first["id"])
    assert (await sent())["id"] == first["id"]
    assert (await user.get("/jobs")).json()["count"] == 1
    await user.ask("DELETE", f"/sessions/{session['id']}/close")


async def test_a_key_is_compared_after_a_restart_with_circuits_by_hash(
    site: Site, user: User
) -> None:
    """Which circuits an instance has sent is forgotten in a restart; the job itself has its own."""
    headers = {**user.headers, "Idempotency-Key": new_id()}

    def by_hash(text: str) -> dict[str, Any]:
        named = {"__type__": TAG, "__value__": sha256(text.encode()).hexdigest()}
        return {**whole, "params": {**whole["params"], "pubs": [[named, None, 10]]}}

    circuit = QuantumCircuit(1, 1)
    for step in range(200):
        circuit.rz(step / 7, 0)
    circuit.measure(0, 0)
    text = json.loads(json.dumps(circuit, cls=RuntimeEncoder))["__value__"]
    assert len(text) >= KEPT_FROM_CHARS
    params = {**bell(), "pubs": [[{"__type__": "QuantumCircuit", "__value__": text}, None, 10]]}
    whole = {"program_id": "sampler", "params": params, "backend": "quick"}
    first = (await user.ask("POST", "/jobs", json=whole, headers=headers)).json()["id"]
    app = build(CONFIG, site.store, site.engine, SystemClock())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://qdwell") as restarted:
        sent = partial(restarted.post, f"{BASE}/jobs", headers=headers)
        told = fault(await sent(json=by_hash(text + " ")))
        assert (told["status"], told["code"]) == (422, "reused_key")
        assert "params" in told["message"]
        told = fault(await sent(json={**by_hash(text), "backend": "spare"}))
        assert (told["status"], told["code"]) == (422, "reused_key")
        assert (await sent(json=by_hash(text))).json()["id"] == first


async def test_a_private_jobs_key_is_its_own_after_its_input_is_erased(user: User) -> None:
    """What cannot be compared is not refused (J29)."""
    headers = {"Idempotency-Key": new_id()}
    body = {"program_id": "sampler", "params": bell(), "backend": "quick", "private": True}
    first = (await user.ask("POST", "/jobs", json=body, headers=headers)).json()
    await user.finished(first["id"])
    assert (await user.get(f"/jobs/{first['id']}/results")).status_code == 200
    again = (await user.ask("POST", "/jobs", json=body, headers=headers)).json()
    assert again["id"] == first["id"]


async def test_a_key_that_made_another_session_is_refused(user: User) -> None:
    headers = {"Idempotency-Key": new_id()}
    asked = {"backend": "quick", "mode": "dedicated", "max_ttl": 600}

    async def sent(**other: Any) -> Any:
        return await user.ask("POST", "/sessions", json={**asked, **other}, headers=headers)

    first = (await sent()).json()["id"]
    for other in ({"backend": "spare"}, {"mode": "batch"}, {"max_ttl": 601}):
        told = fault(await sent(**other))
        assert (told["status"], told["code"]) == (422, "reused_key")
        assert next(iter(other)) in told["message"]
        assert first in told["message"]
    assert (await sent()).json()["id"] == first
    await user.ask("DELETE", f"/sessions/{first}/close")


async def test_ids_of_keys_keep_their_time_and_differ() -> None:
    one, two = new_id(), new_id()
    assert job_id_of("a", one) == job_id_of("a", one)
    assert len({job_id_of(it, key) for it in "ab" for key in (one, two)}) == 4
    assert str(job_id_of("a", one))[:10] == one[:10]
    assert job_id_of("a", None) is None
