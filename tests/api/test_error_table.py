"""The table of errors, row by row (semantics 11): what each situation is answered, or ends with.

E18 is no answer here: at its limit an instance's jobs wait (I8). E29 is in `test_edge`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.conftest import BODY_MAX, Site, User, as_if, bell, fault

pytestmark = pytest.mark.asyncio(loop_scope="session")

Answered = tuple[int, object]
Situation = Callable[[Site, User], Awaitable[dict[str, Any]]]
SITUATIONS: dict[str, tuple[Answered, Situation]] = {}


def row(name: str, status: int, code: object) -> Callable[[Situation], Situation]:
    """Note that this situation is this row of the table."""

    def note(situation: Situation) -> Situation:
        SITUATIONS[name] = ((status, code), situation)
        return situation

    return note


async def refused(user: User, **fields: Any) -> dict[str, Any]:
    body = {"program_id": "sampler", "params": bell(), "backend": "quick", **fields}
    return fault(await user.ask("POST", "/jobs", json=body))


async def not_opened(user: User, **fields: Any) -> dict[str, Any]:
    return fault(await user.ask("POST", "/sessions", json={"backend": "quick", **fields}))


async def closed(user: User) -> str:
    session_id = str((await user.session())["id"])
    await user.ask("PATCH", f"/sessions/{session_id}", json={"accepting_jobs": False})
    return session_id


@row("E1", 401, 1201)
async def _(_: Site, user: User) -> dict[str, Any]:
    return await refused(as_if(user, Authorization="Bearer nothing"))


@row("E2", 403, 1200)
async def _(site: Site, user: User) -> dict[str, Any]:
    other = await site.user()
    return await refused(as_if(user, Service_CRN=other.crn))


@row("E3", 429, 1202)
async def _(site: Site, _: User) -> dict[str, Any]:
    slow = await site.user("slow")
    for _n in range(2):
        await slow.submit()
    return await refused(slow)


@row("E4", 400, 1208)
async def _(_: Site, user: User) -> dict[str, Any]:
    answer = await refused(user, cost="soon")
    assert answer["field"] == "cost"
    return answer


@row("E5", 400, 1204)
async def _(_: Site, user: User) -> dict[str, Any]:
    answer = await refused(user, tags=[str(n) for n in range(9)])
    assert "8" in answer["message"]
    return answer


@row("E5 (length)", 400, 1205)
async def _(_: Site, user: User) -> dict[str, Any]:
    answer = await refused(user, tags=["x" * 87])
    assert "86" in answer["message"]
    return answer


@row("E6", 413, 1208)
async def _(_: Site, user: User) -> dict[str, Any]:
    answer = await refused(user, params={"x": "y" * BODY_MAX})
    assert str(BODY_MAX) in answer["message"].replace(",", "")
    return answer


@row("E7", 404, "not_found")
async def _(_: Site, user: User) -> dict[str, Any]:
    return await refused(user, program_id="knitting")


@row("E8", 400, 1007)
async def _(_: Site, user: User) -> dict[str, Any]:
    return await refused(user, backend="nowhere")


@row("E8 (itself)", 404, 1007)
async def _(_: Site, user: User) -> dict[str, Any]:
    return fault(await user.get("/backends/nowhere/status"))


@row("E9", 400, 1004)
async def _(site: Site, user: User) -> dict[str, Any]:
    operator = await site.user(who=site.first)
    try:
        await operator.ask("PUT", "/admin/backends/spare", json={"mode": "offline"})
        return await refused(user, backend="spare")
    finally:
        await operator.ask("PUT", "/admin/backends/spare", json={"mode": "online"})


@row("E10", 400, 1217)
async def _(_: Site, user: User) -> dict[str, Any]:
    return await refused(user, session_id=await closed(user))


@row("E11", 404, "not_found")
async def _(_: Site, user: User) -> dict[str, Any]:
    return fault(await user.get("/sessions/nothing"))


@row("E11 (submission)", 400, 1208)
async def _(_: Site, user: User) -> dict[str, Any]:
    return await refused(user, session_id="nothing")


@row("E12", 400, 1352)
async def _(site: Site, _: User) -> dict[str, Any]:
    return await not_opened(await site.user("open"), mode="dedicated")


@row("E13", 400, 1208)
async def _(_: Site, user: User) -> dict[str, Any]:
    session = await user.session(max_ttl=60)
    answer = await refused(user, session_id=session["id"], cost=61)
    assert {"60", "61"} <= set(answer["message"].replace(".", " ").split())
    return answer


@row("E14", 400, 1208)
async def _(_: Site, user: User) -> dict[str, Any]:
    answer = await not_opened(user, max_ttl=28_801)
    assert "28800" in answer["message"]
    return answer


@row("E15", 400, 1208)
async def _(_: Site, user: User) -> dict[str, Any]:
    session = await user.session("spare")
    return await refused(user, session_id=session["id"], backend="quick")


@row("E16", 400, 3458)
async def _(site: Site, _: User) -> dict[str, Any]:
    tight = await site.user("tight")
    job_id = await tight.submit("endless")
    answer = await refused(tight)
    await tight.ask("POST", f"/jobs/{job_id}/cancel")
    return answer


@row("E17", 409, "usage_limit_reached")
async def _(site: Site, _: User) -> dict[str, Any]:
    prepaid = await site.user("prepaid")
    await prepaid.finished(await prepaid.submit("second"))
    return await refused(prepaid)


@row("E19", 404, "not_found")
async def _(_: Site, user: User) -> dict[str, Any]:
    return fault(await user.get("/jobs/nothing"))


@row("E20", 409, "not_cancellable")
async def _(_: Site, user: User) -> dict[str, Any]:
    job_id = await user.submit()
    await user.finished(job_id)
    return fault(await user.ask("POST", f"/jobs/{job_id}/cancel"))


@row("E21", 400, "not_final")
async def _(_: Site, user: User) -> dict[str, Any]:
    job_id = await user.submit("endless")
    answer = fault(await user.ask("DELETE", f"/jobs/{job_id}"))
    await user.ask("POST", f"/jobs/{job_id}/cancel")
    return answer


@row("E30", 400, 1217)
async def _(_: Site, user: User) -> dict[str, Any]:
    path = f"/sessions/{await closed(user)}"
    return fault(await user.ask("PATCH", path, json={"accepting_jobs": True}))


@pytest.mark.parametrize("name", SITUATIONS)
async def test_a_refusal_is_answered_as_its_row_says(name: str, site: Site, user: User) -> None:
    expected, situation = SITUATIONS[name]
    answer = await situation(site, user)
    assert (answer["status"], answer["code"]) == expected
    assert answer["solution"], "an error says what to do next"


# ---- rows that are the end of a job --------------------------------------------------------------


def circuit(name: str) -> dict[str, Any]:
    """Input whose circuit cannot be run, or not be read."""
    import json

    from qiskit import QuantumCircuit
    from qiskit_ibm_runtime import RuntimeEncoder

    made = QuantumCircuit(1)
    made.h(0)
    made.measure_all()
    params: dict[str, Any] = json.loads(
        json.dumps({"pubs": [[made, None, 10]], "version": 2}, cls=RuntimeEncoder)
    )
    if name == "unreadable":
        params["pubs"][0][0]["__value__"] = "AAAA"
    return params


async def end_of(user: User, **fields: Any) -> dict[str, Any]:
    document = await user.finished(await user.submit(**fields))
    state: dict[str, Any] = document["state"]
    return {**state, "long": document["status"]}


@pytest.mark.parametrize(
    ("name", "fields", "status", "code"),
    [
        ("E23", {"backend": "endless", "cost": 1}, "Cancelled", 1305),
        ("E25", {"params": "foreign"}, "Failed", 1517),
        ("E26", {"params": "unreadable"}, "Failed", 1603),
        ("E27", {"params": "too much"}, "Failed", 6000),
        ("E28", {"backend": "failing"}, "Failed", 5203),
    ],
)
async def test_a_job_ends_as_its_row_says(
    name: str, fields: dict[str, Any], status: str, code: int, user: User
) -> None:
    if fields.get("params") == "too much":
        params = bell()
        params["pubs"][0][2] = 10_000_001  # L14
        fields = {"params": params}
    elif "params" in fields:
        fields = {"params": circuit(fields["params"])}
    end = await end_of(user, **fields)
    assert (name, end["status"], end["reason_code"]) == (name, status, code)
    assert end["reason"]
    if name == "E23":
        assert end["long"] == "Cancelled - Ran too long"  # J1
        assert end["reason"].upper() == "RAN TOO LONG"  # J16
    if name == "E27":
        assert "10000000" in end["reason"].replace(",", "")


async def test_jobs_that_a_session_takes_with_it(user: User) -> None:
    """E22 at its maximum, E24 when it is cancelled; and E24 for one job that is."""
    for ends, status, code in (("max_ttl", "Failed", 4001), ("cancel", "Cancelled", 5202)):
        session = await user.session("endless", **({"max_ttl": 1} if ends == "max_ttl" else {}))
        first = await user.submit("endless", session_id=session["id"])
        waits = await user.submit("endless", session_id=session["id"])
        if ends == "cancel":
            while (await user.get(f"/jobs/{first}/metrics")).json()["phases"]["qpu_start"] is None:
                pass
            await user.ask("DELETE", f"/sessions/{session['id']}/close")
        state = (await user.finished(waits))["state"]
        assert (state["status"], state["reason_code"]) == (status, code)
        await user.ask("POST", f"/jobs/{first}/cancel")
        state = (await user.finished(first))["state"]
        assert (state["status"], state["reason_code"]) == ("Cancelled", 5202)


#: The endpoint index of the protocol (section 4), without what only old clients use.
WIRE = """
GET /backends
GET /backends/{}/configuration
GET /backends/{}/properties
GET /backends/{}/status
POST /jobs
GET /jobs
GET /jobs/{}
DELETE /jobs/{}
GET /jobs/{}/results
POST /jobs/{}/cancel
GET /jobs/{}/logs
GET /jobs/{}/metrics
PUT /jobs/{}/tags
GET /jobs/{}/interim_results
POST /sessions
GET /sessions/{}
PATCH /sessions/{}
DELETE /sessions/{}/close
GET /instances/usage
GET /workloads
"""


async def test_every_route_of_the_protocol_is_described(site: Site) -> None:
    """The hot ones too, which read and write bytes."""
    import re

    paths = (await site.http.get("/openapi.json")).json()["paths"]
    told = {
        f"{method.upper()} {re.sub('{[^}]*}', '{}', path.removeprefix('/api/v1'))}"
        for path, methods in paths.items()
        for method in methods
    }
    assert set(WIRE.split("\n")) - {""} <= told
    assert {"POST /identity/token", "POST /v3/resources/search", "GET /healthz"} <= told
    assert any(name.startswith("GET /catalog/") for name in told)
