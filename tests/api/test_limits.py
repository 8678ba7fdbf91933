"""Each limit of a request, met exactly and by one more (L1-L25); the words name limit and field."""

from __future__ import annotations

import asyncio
import json

import pytest

from api.conftest import BODY_MAX, Site, User, bell, fault

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refused(user: User, **fields: object) -> dict[str, object]:
    body = {"program_id": "sampler", "params": bell(), "backend": "quick", **fields}
    return fault(await user.ask("POST", "/jobs", json=body))


async def test_l25_open_sessions(site: Site) -> None:
    """As many as the plan says, also when they are asked for at once; closing one makes room."""
    few, free = await site.user("few"), await site.user()
    asked = [few.ask("POST", "/sessions", json={"backend": "spare"}) for _ in range(5)]
    answers = await asyncio.gather(*asked)
    opened = [it.json()["id"] for it in answers if it.status_code == 200]
    assert len(opened) == 2
    said = fault(next(it for it in answers if it.status_code != 200))
    assert (said["status"], said["code"]) == (400, "session_limit")
    assert "2 open sessions" in said["message"]
    assert "Close one" in said["solution"]
    assert (await free.session("spare"))["id"]
    await few.ask("DELETE", f"/sessions/{opened[0]}/close")
    assert (await few.session("spare", mode="batch"))["id"]


async def test_l17_tags(site: Site, user: User) -> None:
    """Eight of 86 characters each, at submission and when they are replaced (J28)."""
    job = await user.submit(tags=[f"{n}" + "x" * 85 for n in range(8)])
    said = await refused(user, tags=[str(n) for n in range(9)])
    assert (said["code"], said["field"]) == (1204, "tags")
    assert "9" in str(said["message"])
    assert "8" in str(said["message"])
    said = await refused(user, tags=["x" * 87])
    assert (said["code"], said["field"]) == (1205, "tags")
    assert "86" in str(said["message"])
    where = f"/jobs/{job}/tags"
    eight = {"tags": [str(n) for n in range(8)]}
    assert (await user.ask("PUT", where, json=eight)).status_code == 204
    nine = {"tags": [str(n) for n in range(9)]}
    assert fault(await user.ask("PUT", where, json=nine))["code"] == 1204


async def test_l13_bytes_of_a_body(user: User) -> None:
    """The last byte is taken; one more is 413."""
    body = {"program_id": "sampler", "params": bell(), "backend": "quick"}
    text = json.dumps(body).encode()
    whole = text[:-1] + b" " * (BODY_MAX - len(text)) + b"}"
    assert len(whole) == BODY_MAX
    assert (await user.ask("POST", "/jobs", content=whole)).status_code == 200
    said = fault(await user.ask("POST", "/jobs", content=whole[:-1] + b" }"))
    assert said["status"] == 413
    assert str(BODY_MAX) in said["message"]


async def test_l6_l7_life_of_a_session(site: Site) -> None:
    """The plan's longest life itself may be asked for; a second more names the range."""
    tight = await site.user("tight")
    session = await tight.session("spare", max_ttl=100)
    assert session["max_ttl"] == 100
    for asked in (0, 101, 2**31):
        body = {"backend": "spare", "max_ttl": asked}
        said = fault(await tight.ask("POST", "/sessions", json=body))
        assert (said["status"], said["field"]) == (400, "max_ttl")
        assert "1 to 100 s" in said["message"]


async def test_l24_pubs_of_a_job(user: User) -> None:
    """Ten thousand PUBs are too many for a body here; one more than that is refused by number."""
    params = {"pubs": [["x"]] * 10_001, "version": 2}
    said = await refused(user, params=params)
    assert said["status"] == 400
    assert "10000" in str(said["message"])


async def test_i9_at_the_spend_limit(site: Site) -> None:
    """A second of usage at a limit of one: 409, with both numbers."""
    prepaid = await site.user("prepaid")
    job = await prepaid.submit("second")
    await prepaid.finished(job)
    said = await refused(prepaid)
    assert (said["status"], said["code"]) == (409, "usage_limit_reached")
    assert "limit of 1 s" in str(said["message"])


async def test_usage_is_the_ledgers_to_the_millisecond(user: User) -> None:
    """Usage and ledger agree on a job, a session, a batch, and a cancel in the QPU."""
    await user.finished(await user.submit("brief"))
    session = (await user.session("brief"))["id"]
    await user.finished(await user.submit("brief", session_id=session))
    await user.ask("PATCH", f"/sessions/{session}", json={"accepting_jobs": False})
    batch = (await user.session("brief", mode="batch"))["id"]
    await user.finished(await user.submit("brief", session_id=batch))
    await user.ask("DELETE", f"/sessions/{batch}/close")
    running = await user.submit("endless")
    while (await user.get(f"/jobs/{running}/metrics")).json()["usage"]["quantum_seconds"] == 0:
        if (await user.get(f"/jobs/{running}")).json()["status"] != "Queued":
            break
    await user.ask("POST", f"/jobs/{running}/cancel")
    await user.finished(running)
    ledger = (await user.get("/usage/ledger")).json()
    charged = ledger["totals"]["charged_milliseconds"]
    usage = (await user.get("/instances/usage")).json()["usage_consumed_seconds"]
    assert round(usage * 1000) == charged > 0
    assert usage * 1000 == pytest.approx(charged, abs=1e-6)
