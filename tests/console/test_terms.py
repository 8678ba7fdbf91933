"""What operators change by forms of an account's, an instance's, and a plan's terms."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any

import pytest

from console.conftest import Reader, Site
from console.test_pages import job_of
from qdwell.api.auth import FRESH_MS
from qdwell.api.changes import book_of
from qdwell.api.operators import changed
from qdwell.clock import SystemClock
from qdwell.store import accounts, new_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


async def test_a_plan_is_made_changed_and_removed(site: Site) -> None:
    """Beside the config file's, which are shown and left alone; at once for its instances."""
    operator, name = await site.reader(who=site.first), f"p{new_id()}"
    place = f"/admin/plans/{name}"
    assert (await operator.send("/admin/plans", name=name, like="open")).status_code == 303
    assert name in await operator.page("/admin/plans")
    page = await operator.page(place)
    assert 'name="mode-session" value="1" >' in page
    assert 'id="pending_jobs_max"' in page
    fields = {"mode-job": "1", "mode-session": "1", "pending_jobs_max": "7", "tags_max": ""}
    done = await operator.send(place, **fields)
    assert (done.status_code, done.headers["location"]) == (303, f"{place}?done=1")
    plan = site.engine.plans[name]
    assert (plan.modes, plan.pending_jobs_max) == (("job", "session"), 7)
    assert plan.usage_limit_seconds is None, "an empty field is as in a new plan"
    seen = book_of(site.app.state.parts, await _owner(site)).audit(1)[0]
    assert (seen["action"], seen["subject"]) == ("plan change", name)
    for wrong, word in (
        ({"mode-job": "1", "tags_max": "many"}, "tags_max must be a whole number"),
        ({"mode-job": "1", "tags_max": "-1"}, "tags_max must be a whole number"),
        ({"mode-job": "1", "max_ttl_seconds": "9" * 13}, "max_ttl_seconds"),
        ({"mode-job": "1", "active_ttl_seconds": "3"}, "must be from"),
        ({}, "at least one mode"),
    ):
        answer = await operator.send(place, **wrong)
        assert answer.status_code == 400, wrong
        assert word in words(answer.text)
    assert site.engine.plans[name] == plan
    account = f"a{new_id()}"
    await operator.send("/admin/accounts", name=account, plan=name)
    used = await operator.send(f"{place}/remove")
    assert used.status_code == 400
    assert account in words(used.text)
    await operator.send(f"/admin/instances/{account}", plan="default")
    assert (await operator.send(f"{place}/remove")).headers["location"] == "/admin/plans?done=1"
    assert name not in await operator.page("/admin/plans")
    await operator.page(place, 404)


async def test_a_plan_of_the_file_is_shown_and_not_changed(site: Site) -> None:
    operator = await site.reader(who=site.first)
    page = words(await operator.page("/admin/plans/limited"))
    assert "of the config file" in page
    assert "usage_limit_seconds 100" in page
    for path in ("/admin/plans/limited", "/admin/plans/limited/remove"):
        answer = await operator.send(path, **{"mode-job": "1"})
        assert answer.status_code == 400
        assert "file" in words(answer.text)
    again = await operator.send("/admin/plans", name="limited")
    assert again.status_code == 400
    assert "there is plan 'limited' already" in words(again.text)


async def test_an_account_is_closed_and_opened_again(site: Site) -> None:
    """Nobody of it signs in meanwhile; the operators' own is never closed."""
    operator, other = await site.reader(who=site.first), await site.reader()
    name = other.credentials.instance_name
    place = "/admin/accounts/close"
    assert (await operator.send(place, account=name, do="close")).status_code == 303
    assert (await other.http.get("/jobs")).status_code in (303, 401)
    assert "closed" in words(await operator.page(f"/admin/accounts?q={name}"))
    assert (await operator.send(place, account=name, do="reopen")).status_code == 303
    assert accounts.token_owner(site.store, other.credentials.token, SystemClock().now())
    for fields in ({"account": "default", "do": "close"}, {"account": name, "do": "shut"}):
        assert (await operator.send(place, **fields)).status_code == 400
    assert (await operator.send(place, account="nobody", do="close")).status_code == 404


async def test_an_instance_is_closed_and_opened_again(site: Site) -> None:
    """Not the one that the operator is in, which would lead out of the console."""
    operator, other = await site.reader(who=site.first), await site.reader()
    place = f"/admin/instances/{other.credentials.instance_name}"
    assert (await operator.send(f"{place}/close", do="close")).status_code == 303
    page = words(await operator.page(place))
    assert "Reopen it" in page
    assert (await other.http.get("/jobs")).status_code != 200
    assert (await operator.send(f"{place}/close", do="reopen")).status_code == 303
    assert "Close it" in words(await operator.page(place))
    mine = f"/admin/instances/{site.first.instance_name}"
    assert "Close it" not in words(await operator.page(mine))
    answer = await operator.send(f"{mine}/close", do="close")
    assert answer.status_code == 400
    assert "You are in this instance now" in words(answer.text)


async def test_a_pages_stream_ends_with_its_token(site: Site) -> None:
    """What happens after the token was revoked here is not told to a page that is still open."""
    reader = await site.reader()
    stream = asyncio.create_task(reader.http.get("/live"))
    before = await job_of(site, reader)
    await site.engine.wait_final(before, 2**60)
    await revoke(site, reader)
    after = await job_of(site, reader)
    answer = await asyncio.wait_for(stream, 60)
    assert answer.status_code == 200
    assert before in answer.text
    assert after not in answer.text


async def test_a_page_that_is_told_much_does_not_ask_for_its_token_each_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It believes what the API believes, as long; then it ends by what a command has changed."""
    reader, asked = await site.reader(), 0
    real = accounts.user_owner

    def counted(*args: Any) -> accounts.Owner | None:
        nonlocal asked
        asked += args[1] == reader.credentials.user_id
        return real(*args)

    monkeypatch.setattr(accounts, "user_owner", counted)
    begin = SystemClock().now()
    stream = asyncio.create_task(reader.http.get("/live"))
    told = [await job_of(site, reader) for _ in range(20)]
    for job in told:
        await site.engine.wait_final(job, 2**60)
    assert 0 < asked <= 3 + (SystemClock().now() - begin) // FRESH_MS
    # Not by the server, which would forget at once what it knows.
    people = book_of(site.app.state.parts, await _owner(site))
    people.revoke_token(accounts.token_id(reader.credentials.token))
    while not stream.done():  # another change, until it is seen that nobody may be told
        await site.engine.wait_final(await job_of(site, reader), 2**60)
        assert SystemClock().now() < begin + 60_000
    assert told[0] in stream.result().text


async def revoke(site: Site, reader: Reader) -> None:
    """As the console and the API do it."""
    book = book_of(site.app.state.parts, await _owner(site))
    token = accounts.token_id(reader.credentials.token)
    await changed(site.app.state.parts, lambda: book.revoke_token(token))


async def _owner(site: Site) -> accounts.Owner:
    found = accounts.token_owner(site.store, site.first.token, SystemClock().now())
    assert found is not None
    return found
