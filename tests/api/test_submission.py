"""What is checked before a job is accepted, in which order, and what is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.conftest import Site, User, bell, fault
from qdwell.api.submission import Rate, estimate_ms
from qdwell.errors import TooManyRequests

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refused(user: User, **fields: Any) -> dict[str, Any]:
    body = {"program_id": "sampler", "params": bell(), "backend": "quick", **fields}
    body = {key: value for key, value in body.items() if value != "absent"}
    return fault(await user.ask("POST", "/jobs", json=body))


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"program_id": "no-such"}, 404, "not_found", "program_id"),
        ({"backend": "no-such"}, 400, 1007, "backend"),
        ({"session_id": "no-such"}, 400, 1208, "session_id"),
        ({"tags": [str(n) for n in range(9)]}, 400, 1204, "tags"),
        ({"tags": ["x" * 87]}, 400, 1205, "tags"),
        ({"tags": [""]}, 400, 1208, "tags"),
        ({"tags": ["a\0b"]}, 400, 1208, "tags"),
        ({"cost": 0}, 400, 1208, "cost"),
        ({"cost": -5}, 400, 1208, "cost"),
        ({"cost": "5"}, 400, 1208, "cost"),
        ({"start_session": True}, 400, 1208, "start_session"),
        ({"session_time": 60}, 400, 1208, "session_time"),
        ({"calibration_id": "x"}, 400, 1208, "calibration_id"),
        ({"runtime": "no tag"}, 400, 1208, "runtime"),
        ({"log_level": "debug"}, 400, 1208, "log_level"),
        ({"shots": 10}, 400, 1208, "shots"),
        ({"params": "x"}, 400, 1208, "params"),
        ({"params": "absent"}, 400, 1208, "params"),
    ],
)
async def test_each_fault_has_its_answer_and_its_field(
    user: User, fields: dict[str, Any], status: int, code: object, named: str
) -> None:
    """Only an unknown program is 404: the client reads any 404 as that (S13)."""
    answer = await refused(user, **fields)
    assert (answer["status"], answer["code"], answer["field"]) == (status, code, named)
    assert (await user.get("/jobs")).json()["count"] == 0


async def test_half_of_a_character_pair_is_refused_before_a_database_meets_it(user: User) -> None:
    """JSON can spell it, UTF-8 cannot: it was a 500 of the commit."""
    body = {"program_id": "sampler", "backend": "machine", "params": bell(), "tags": ["\ud800"]}
    headers = {**user.headers, "Content-Type": "application/json"}
    answer = await user.http.post("/api/v1/jobs", content=json.dumps(body), headers=headers)
    assert fault(answer)["status"] == 400


async def test_an_option_that_is_not_there_yet_is_refused_by_its_name(user: User) -> None:
    """Nothing is accepted and then ignored."""
    params = bell() | {"options": {"execution": {"meas_type": "kerneled"}}}
    assert "meas_type" in (await refused(user, params=params))["message"]


async def test_tags_are_counted_in_characters_and_each_once(user: User) -> None:
    """86 characters of any alphabet; a repeated tag is one (J28)."""
    job_id = await user.submit(tags=["ä" * 86, "b", "b"])
    assert (await user.get(f"/jobs/{job_id}")).json()["tags"] == ["ä" * 86, "b"]


async def test_a_limit_is_cut_to_the_systems(user: User) -> None:
    """Above 10 800 s it is capped, not refused (J13); without one nothing is shown."""
    asked = {None: None, 300: 300, 50_000: 10_800}
    for cost, shown in asked.items():
        fields = {} if cost is None else {"cost": cost}
        document = (await user.get(f"/jobs/{await user.submit(**fields)}")).json()
        assert document.get("cost") == shown


async def test_without_a_backend_a_machine_is_taken_before_a_simulator(user: User) -> None:
    """A simulator has no queue and would always win (J11)."""
    body = {"program_id": "sampler", "params": bell()}
    answer = await user.ask("POST", "/jobs", json=body)
    assert answer.json()["backend"] != "aer_simulator"


async def test_the_answer_has_the_name_that_was_asked_for(user: User) -> None:
    """For any other name the client would load that backend first."""
    body = {"program_id": "sampler", "params": bell(), "backend": "ibmq_qasm_simulator"}
    answer = (await user.ask("POST", "/jobs", json=body)).json()
    assert answer["backend"] == "ibmq_qasm_simulator"
    assert (await user.get(f"/jobs/{answer['id']}")).json()["backend"] == "aer_simulator"


async def test_sessions_are_checked(user: User, other: User) -> None:
    """A closed one is closed, a foreign one is unknown, the backend must be its own (S12, S13)."""
    session = (await user.session("spare", max_ttl=100))["id"]
    assert (await refused(other, session_id=session))["code"] == 1208
    wrong = await refused(user, session_id=session, backend="quick")
    assert "quick" in wrong["message"]
    assert "spare" in wrong["message"]
    assert (await refused(user, session_id=session, backend="aer_simulator"))["status"] == 400
    above = await refused(user, session_id=session, backend="absent", cost=101)
    assert ("101" in above["message"], "100" in above["message"]) == (True, True)
    job_id = await user.submit("spare", session_id=session, cost=100)
    assert (await user.finished(job_id))["session_id"] == session
    await user.ask("PATCH", f"/sessions/{session}", json={"accepting_jobs": False})
    assert (await refused(user, session_id=session, backend="absent"))["code"] == 1217
    assert (await refused(other, session_id=session, backend="absent"))["code"] == 1208


async def test_the_plan_decides_which_modes_there_are(site: Site) -> None:
    """Job mode is a mode as well (I3)."""
    grouped = await site.user("groups")
    assert (await refused(grouped))["code"] == 1352
    session = (await grouped.session("spare"))["id"]
    assert await grouped.submit("spare", session_id=session)
    await grouped.ask("DELETE", f"/sessions/{session}/close")


async def test_the_pending_limit_of_the_plan_is_kept(site: Site) -> None:
    """Queued and running jobs together; it names the number (L11)."""
    tight = await site.user("tight")
    job_id = await tight.submit("endless")
    answer = await refused(tight)
    assert (answer["status"], answer["code"]) == (400, 3458)
    assert "1 pending" in answer["message"]
    assert (await tight.ask("POST", f"/jobs/{job_id}/cancel")).status_code == 204
    assert await tight.submit()


async def test_submissions_too_fast_are_429_with_when_to_come_back(site: Site) -> None:
    """Checked before the body is read (J9)."""
    slow = await site.user("slow")
    for _ in range(2):
        await slow.submit()
    answer = await slow.ask("POST", "/jobs", content=b"not even JSON")
    assert fault(answer)["code"] == 1202
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


async def test_what_is_told_first() -> None:
    """A minute is a sliding one, and a refused submission is not counted."""
    rate = Rate()
    for at in (0, 30_000):
        rate.check("u", 2, at)
    for at in (30_001, 59_999):
        with pytest.raises(TooManyRequests):
            rate.check("u", 2, at)
    rate.check("u", 2, 60_000)
    rate.check("another", 2, 60_000)
    rate.check("unlimited", None, 60_000)


async def test_the_first_failure_wins(site: Site, user: User) -> None:
    """The order of J9: sign-in, shape, backend, plan, session."""
    grouped = await site.user("groups")
    assert (await refused(grouped, backend="no-such", shots=1))["field"] == "shots"
    assert (await refused(grouped, backend="no-such"))["code"] == 1007
    assert (await refused(grouped, session_id="no-such", backend="no-such"))["code"] == 1007


async def test_the_estimate_is_made_from_what_can_be_seen() -> None:
    """2 s and 0.35 ms for each execution (J35)."""
    assert estimate_ms({}) == 2_000
    assert estimate_ms({"pubs": [["c", None, 1000]]}) == 2_350
    assert estimate_ms({"pubs": [["c"], ["c"]], "options": {"default_shots": 100}}) == 2_070
    assert estimate_ms({"pubs": "x", "options": [1]}) == 2_000
