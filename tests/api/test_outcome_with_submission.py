"""`Prefer: wait=N`: a submission whose outcome follows in a second line of the same answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.conftest import Site, User, bell, fault
from qdwell.api import outcomes
from qdwell.api.outcomes import wanted_wait_ms
from qdwell.store import new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def submitted(user: User, prefer: str, backend: str = "quick", **fields: Any) -> list[Any]:
    body = {"program_id": "sampler", "params": bell(), "backend": backend, **fields}
    answer = await user.ask("POST", "/jobs", json=body, headers={"Prefer": prefer})
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait"
    assert "content-length" not in answer.headers
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_the_outcome_is_the_one_that_can_be_asked_for(user: User) -> None:
    accepted, outcome = await submitted(user, "wait=30", "brief")
    assert outcome["job"]["state"]["status"] == "Completed"
    assert outcome == (await user.get(f"/jobs/{accepted['id']}/outcome")).json()


async def test_a_job_that_takes_longer_is_told_as_it_is(user: User) -> None:
    accepted, outcome = await submitted(user, "wait=1", "endless")
    assert outcome["job"]["state"]["status"] in ("Queued", "Running")
    assert "result" not in outcome
    await user.ask("POST", f"/jobs/{accepted['id']}/cancel")


async def test_a_failed_job_has_its_reason(user: User) -> None:
    _, outcome = await submitted(user, "wait=30", "failing")
    assert outcome["job"]["state"]["status"] == "Failed"
    assert outcome["job"]["state"]["reason"]


async def test_a_private_result_is_not_spent_on_who_may_not_read_it(user: User) -> None:
    lines = await submitted(user, "wait=30", private=True)
    assert len(lines) == 1
    outcome = (await user.get(f"/jobs/{lines[0]['id']}/outcome")).json()
    assert outcome["result"] is not None


async def test_a_large_result_must_be_asked_for(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "PUSHED_RESULT_BYTES_MAX", 10)
    lines = await submitted(user, "wait=30")
    assert len(lines) == 1
    outcome = (await user.get(f"/jobs/{lines[0]['id']}/outcome")).json()
    assert outcome["result"] is not None


async def test_without_the_preference_nothing_changes(user: User) -> None:
    for prefer in ("", "return=minimal", "wait=0", "wait=soon"):
        body = {"program_id": "sampler", "params": bell(), "backend": "quick"}
        answer = await user.ask("POST", "/jobs", json=body, headers={"Prefer": prefer})
        assert set(answer.json()) == {"id", "backend"}
        assert "preference-applied" not in answer.headers


async def test_a_refused_submission_is_refused_as_ever(user: User) -> None:
    body = {"program_id": "sampler", "params": bell(), "backend": "nowhere"}
    answer = await user.ask("POST", "/jobs", json=body, headers={"Prefer": "wait=30"})
    assert fault(answer)["status"] == 400


async def test_a_repeated_submission_is_the_same_job(user: User, site: Site) -> None:
    key = new_id(site.engine._clock.now())
    body = {"program_id": "sampler", "params": bell(), "backend": "quick"}
    headers = {"Prefer": "wait=30", "Idempotency-Key": key}
    first = await user.ask("POST", "/jobs", json=body, headers=headers)
    again = await user.ask("POST", "/jobs", json=body, headers=headers)
    assert json.loads(first.text.splitlines()[0])["id"] == json.loads(again.text)["id"]


@pytest.mark.parametrize(
    ("prefer", "ms"),
    [
        (None, 0),
        ("wait=5", 5_000),
        ("Wait = 5", 5_000),
        ('respond-async, wait="7"; x=1', 7_000),
        ("wait=100000000000", 60_000),
        ("wait=-1", 0),
        ("wait", 0),
        ("wait=1.5", 0),
        ("waiting=5", 0),
    ],
)
async def test_the_header_is_read_as_its_standard_says(prefer: str | None, ms: int) -> None:
    assert wanted_wait_ms(prefer) == ms
