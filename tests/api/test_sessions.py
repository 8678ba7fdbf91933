"""Sessions and batches over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from api.conftest import Site, User, fault
from qdwell.clock import settle

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_new_session_shows_everything_and_has_done_nothing(user: User) -> None:
    """All fields of S36, with null where nothing has happened (S2)."""
    made = await user.session("spare", mode="dedicated", max_ttl=100)
    assert made == (await user.get(f"/sessions/{made['id']}")).json()
    created = made.pop("created")
    assert made.pop("timestamps") == [{"status": "open", "timestamp": created}]
    assert made == {
        "id": made["id"],
        "backend_name": "spare",
        "mode": "dedicated",
        "instance": user.crn,
        "state": "open",
        "accepting_jobs": True,
        "interactive_ttl": 1,
        "max_ttl": 100,
        "active_ttl": 100,
        "started_at": None,
        "activated_at": None,
        "last_job_started": None,
        "last_job_completed": None,
        "closed_at": None,
        "elapsed_time": None,
        "keep_alive_until": None,
        "cache": {"hits": 0, "misses": 0},
    }


async def test_defaults_come_from_the_plan(user: User, site: Site) -> None:
    """28 800 s, an idle time of its own for batches, a bound of a window if the plan has one."""
    session = await user.session("spare")
    batch = await user.session("spare", mode="batch")
    assert (session["mode"], session["max_ttl"], session["active_ttl"]) == (
        "dedicated",
        28800,
        28800,
    )
    assert (batch["mode"], batch["max_ttl"], batch["interactive_ttl"]) == ("batch", 28800, 1)
    tight = await site.user("tight")
    assert (await tight.session("spare"))["active_ttl"] == 60
    assert (await tight.session("spare", max_ttl=50))["active_ttl"] == 50
    free = await site.user("open")
    assert (await free.session("spare", mode="batch"))["max_ttl"] == 600


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"max_ttl": 0}, 400, 1208, "max_ttl"),
        ({"max_ttl": -1}, 400, 1208, "max_ttl"),
        ({"max_ttl": 28_801}, 400, 1208, "max_ttl"),
        ({"max_ttl": "60"}, 400, 1208, "max_ttl"),
        ({"max_ttl": 60, "max_session_ttl": 61}, 400, 1208, "max_ttl"),
        ({"mode": "session"}, 400, 1208, "mode"),
        ({"interactive_ttl": 500}, 400, 1208, "interactive_ttl"),
        ({"backend": "no-such"}, 400, 1007, "backend"),
        ({"backend": "aer_simulator"}, 400, 1208, "backend"),
        ({"instance": "crn:v1:another:::::::"}, 403, 1200, "instance"),
    ],
)
async def test_what_cannot_be_opened_is_refused(
    user: User, fields: dict[str, Any], status: int, code: int, field: str | None
) -> None:
    """With the field, and for a time out of range with the range (S6)."""
    answer = await user.ask("POST", "/sessions", json={"backend": "spare", **fields})
    error = fault(answer)
    assert (error["status"], error["code"], error.get("field")) == (status, code, field)
    if field == "max_ttl" and fields["max_ttl"] == 28_801:
        assert "1 to 28800" in error["message"]


async def test_the_longest_life_itself_may_be_asked_for(user: User) -> None:
    """Equality is allowed (S6); the older name means the same."""
    assert (await user.session("spare", max_ttl=28_800))["max_ttl"] == 28_800
    assert (await user.session("spare", max_session_ttl=7))["max_ttl"] == 7


async def test_a_plan_without_sessions_has_batches(site: Site) -> None:
    """Open plan: 400, 1352 (I3)."""
    free = await site.user("open")
    answer = fault(await free.ask("POST", "/sessions", json={"backend": "spare"}))
    assert (answer["status"], answer["code"]) == (400, 1352)
    assert "open plan" in answer["message"]
    tight = await site.user("tight")
    refused = await tight.ask("POST", "/sessions", json={"backend": "spare", "mode": "batch"})
    assert "batch" in fault(refused)["message"]


async def test_without_a_backend_a_machine_is_chosen_at_creation(user: User) -> None:
    """So that its details are defined (S3); never the simulator."""
    answer = await user.ask("POST", "/sessions", json={"mode": "batch", "instance": user.crn})
    assert answer.json()["backend_name"] != "aer_simulator"


async def test_a_session_runs_jobs_and_its_history_is_kept(user: User) -> None:
    """Opened, active with its first job, closed with its last (S11, S28)."""
    session = (await user.session())["id"]
    job_id = await user.submit(session_id=session)
    assert (await user.finished(job_id))["session_id"] == session
    active = (await user.get(f"/sessions/{session}")).json()
    assert active["state"] == "active"
    assert active["elapsed_time"] >= 0
    assert active["started_at"] == active["activated_at"] <= active["last_job_completed"]
    close = await user.ask("PATCH", f"/sessions/{session}", json={"accepting_jobs": False})
    assert (close.status_code, close.content) == (204, b"")
    closed = (await user.get(f"/sessions/{session}")).json()
    assert closed["state"] == "closed"
    assert closed["accepting_jobs"] is False
    assert [it["status"] for it in closed["timestamps"]] == ["open", "active", "closed"]
    assert closed["timestamps"][-1]["timestamp"] == closed["closed_at"]
    usage = (await user.get("/instances/usage")).json()["usage_consumed_seconds"]
    assert usage == closed["elapsed_time"]
    (row,) = (await user.get("/workloads")).json()["workloads"]
    assert (row["id"], row["mode"], row["status"]) == (session, "session", "completed")
    assert row["usage_seconds"] == usage


async def test_closing_and_opening_again(user: User) -> None:
    """Every row of S32."""
    session = (await user.session("spare"))["id"]

    async def patch(value: object) -> int:
        body = {"accepting_jobs": value}
        return (await user.ask("PATCH", f"/sessions/{session}", json=body)).status_code

    assert await patch(True) == 204
    assert await patch("no") == 400
    assert await patch(False) == 204
    assert await patch(False) == 204
    again = await user.ask("PATCH", f"/sessions/{session}", json={"accepting_jobs": True})
    assert (fault(again)["status"], fault(again)["code"]) == (400, 1217)
    assert (await user.ask("DELETE", f"/sessions/{session}/close")).status_code == 204


async def test_keeping_alive_tells_no_later_end_than_the_window_has(site: Site) -> None:
    """No keeping lengthens a window (S26) or a life (S27), so it promises neither."""
    tight = await site.user("tight")  # a window of 60 s
    for life, most in ((100, 60), (30, 30)):
        session = await tight.session(max_ttl=life)
        await tight.finished(await tight.submit(session_id=session["id"]))
        path = f"/sessions/{session['id']}"
        kept = (await tight.ask("POST", f"{path}/keep_alive", json={"seconds": 3_600})).json()
        end = datetime.fromisoformat(kept["activated_at"]) + timedelta(seconds=most)
        assert datetime.fromisoformat(kept["keep_alive_until"]) == end
        await tight.ask("DELETE", f"{path}/close")


async def test_a_closed_session_is_not_kept_alive_and_says_that_it_is_closed(user: User) -> None:
    """It is not told to submit a job, which would be refused; one that was never used is."""
    path = f"/sessions/{(await user.session())['id']}"
    seconds = {"seconds": 1}
    unused = fault(await user.ask("POST", f"{path}/keep_alive", json=seconds))
    assert (unused["status"], unused["code"]) == (409, "session_not_active")
    await user.ask("PATCH", path, json={"accepting_jobs": False})
    closed = fault(await user.ask("POST", f"{path}/keep_alive", json=seconds))
    assert (closed["code"], closed["field"]) == (1217, "session_id")


async def test_a_job_that_the_spend_limit_failed_is_not_told_to_live_longer(site: Site) -> None:
    """I9: no max_time is large enough; what helps is told instead."""
    prepaid = await site.user("prepaid")
    session = await prepaid.session("second")
    jobs = [await prepaid.submit("second", session_id=session["id"]) for _ in range(2)]
    documents = [await prepaid.finished(job_id) for job_id in jobs]
    assert documents[0]["status"] == "Completed"
    state = documents[1]["state"]
    assert (state["reason_code"], "usage limit" in state["reason"]) == (4001, True)
    assert "max_time" not in state["reason_solution"]
    assert "spend limit" in state["reason_solution"]


async def test_cancelling_takes_the_waiting_jobs(user: User) -> None:
    """Those in the QPU run on; the workload counts as canceled (S29, I14)."""
    session = (await user.session("endless"))["id"]
    first = await user.submit("endless", session_id=session)
    while "executions" not in (await user.get(f"/jobs/{first}/metrics")).json():
        await settle(5)
    second = await user.submit("endless", session_id=session)
    assert (await user.ask("DELETE", f"/sessions/{session}/close")).status_code == 204
    state = (await user.get(f"/jobs/{second}")).json()["state"]
    assert (state["status"], state["reason_code"]) == ("Cancelled", 5202)
    live = (await user.get(f"/sessions/{session}")).json()
    assert (live["state"], live["accepting_jobs"]) == ("active", False)
    await user.ask("POST", f"/jobs/{first}/cancel")
    await user.finished(first)
    (row,) = (await user.get("/workloads?mode=session")).json()["workloads"]
    assert row["status"] == "canceled"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/sessions/{}", None),
        ("PATCH", "/sessions/{}", {"accepting_jobs": False}),
        ("DELETE", "/sessions/{}/close", None),
    ],
)
@pytest.mark.parametrize("closed", [False, True])
async def test_a_foreign_session_is_answered_exactly_like_an_unknown_one(
    user: User, other: User, method: str, path: str, body: dict[str, Any] | None, closed: bool
) -> None:
    """Open or closed (S13)."""
    session = (await user.session("spare"))["id"]
    if closed:
        await user.ask("DELETE", f"/sessions/{session}/close")
    foreign = await other.ask(method, path.format(session), json=body)
    unknown = await other.ask(method, path.format("0" * len(session)), json=body)
    assert foreign.status_code == unknown.status_code == 404
    masked = fault(foreign)["message"].replace(session, "0" * len(session))
    assert masked == fault(unknown)["message"]
    assert (await user.get(f"/sessions/{session}")).json()["accepting_jobs"] is not closed
