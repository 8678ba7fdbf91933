"""The usage ledger over HTTP: JSON and CSV, sums, periods, and that it is the instance's own."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from api.conftest import Site, User

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/usage/ledger"


async def worked(user: User) -> str:
    """A session with two jobs, closed; return its id."""
    session = await user.session("spare")
    for _ in range(2):
        await user.finished(await user.submit("spare", session_id=session["id"]))
    await user.ask("DELETE", f"/sessions/{session['id']}/close")
    return str(session["id"])


async def read(user: User, **query: Any) -> Any:
    response = await user.get(PATH, params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_session_is_accounted_for_to_the_millisecond(
    site: Site, user: User, other: User
) -> None:
    session = await worked(user)
    single = await user.submit("spare")
    await user.finished(single)
    found = await read(user)
    mine = [each for each in found["entries"] if each["session_id"] == session]
    told = (await user.get(f"/sessions/{session}")).json()
    assert sum(each["milliseconds"] for each in mine) == round(told["elapsed_time"] * 1000)
    usage = (await user.get("/instances/usage")).json()["usage_consumed_seconds"]
    totals = found["totals"]
    assert totals["charged_milliseconds"] == round(usage * 1000) > 0
    assert totals["on_qpu_milliseconds"] > 0
    assert {each["use"] for each in mine} <= {"on_qpu", "classical", "interactive_idle"}
    assert {each["mode"] for each in found["entries"]} == {"session", "job"}
    assert single in {each["job_id"] for each in found["entries"]}
    assert (await read(other))["entries"] == []


async def test_sums_by_job_session_user_and_instance(user: User) -> None:
    await worked(user)
    whole = (await read(user))["totals"]
    for by in ("job", "session", "user", "instance"):
        sums = await read(user, by=by)
        assert sums["totals"] == whole
        for name, value in whole.items():
            assert sum(each[name] for each in sums["entries"]) == value
    assert next(iter(sums["entries"][0])) == "instance_id"


async def test_csv_by_format_or_by_accept(user: User) -> None:
    await worked(user)
    found = (await read(user))["entries"]
    for response in (
        await user.get(PATH, params={"format": "csv"}),
        await user.get(PATH, headers={"accept": "text/csv"}),
    ):
        assert response.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert [row["start"] for row in rows] == [each["start"] for each in found]
        assert sum(int(row["milliseconds"]) for row in rows) == sum(
            each["milliseconds"] for each in found
        )
    sums = await user.get(PATH, params={"format": "csv", "by": "session"})
    assert sums.text.startswith("session_id,user_id,instance_id,on_qpu_milliseconds,")


async def test_periods_are_checked(user: User) -> None:
    for query, field in (
        ({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "start"),
        ({"start": "2020-01-01T00:00:00Z"}, "start"),
        ({"start": "yesterday"}, "start"),
        ({"by": "moon"}, "by"),
        ({"format": "pdf"}, "format"),
        ({"from": "2020-01-01T00:00:00Z"}, "from"),
    ):
        response = await user.get(PATH, params=query)
        assert response.status_code == 400, query
        assert field in response.text
