"""What operators are shown of everybody's work, and nobody else is."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.asyncio(loop_scope="session")
async def test_operators_see_the_queue_of_all_instances(site: Any, user: Any) -> None:
    operator = await site.user(who=site.first)
    ids = [await user.submit("endless") for _ in range(6)]
    answer = await operator.get("/admin/queue?backend=endless")
    entries = [it for it in answer.json()["jobs"] if it["id"] in ids]
    assert [it["id"] for it in entries] == ids
    assert [it["status"] for it in entries].count("Running") <= 5
    waiting = entries[-1]
    assert (waiting["status"], waiting["instance"]) == ("Queued", user.crn)
    assert waiting["position"] >= 1
    assert waiting["instance_name"]
    for job_id in ids:
        await user.ask("POST", f"/jobs/{job_id}/cancel")
    unknown = await operator.get("/admin/queue?backend=nothing")
    assert unknown.status_code == 404


@pytest.mark.asyncio(loop_scope="session")
async def test_nobody_else_sees_it(user: Any) -> None:
    assert (await user.get("/admin/queue")).status_code == 403
    assert (await user.get("/events?all=true")).status_code == 403


@pytest.mark.asyncio(loop_scope="session")
async def test_operators_follow_the_events_of_all(site: Any, user: Any, other: Any) -> None:
    operator = await site.user(who=site.first)
    cursor = (await operator.get("/events?all=true")).json()["cursor"]
    own = (await other.get("/events")).json()["cursor"]
    job_id = await user.submit("quick")
    await user.finished(job_id)
    page = (await operator.get(f"/events?all=true&after={cursor}&wait_ms=5000")).json()
    mine = [it for it in page["changes"] if it["id"] == job_id]
    assert mine
    assert all(it["instance"] == user.crn for it in mine)
    assert (await other.get(f"/events?after={own}")).json()["changes"] == []
