"""The console's pages through its own front door, in this process: who sees what, and what not."""

from __future__ import annotations

import re

import pytest

from console.conftest import Reader, Site
from qdwell.core.group import Mode
from qdwell.engine.requests import NewGroup, NewJob

PARAMS = b'{"pubs":[["OPENQASM 3.0; include \\"stdgates.inc\\"; qubit[2] q; bit[2] c; x q[0]; '
PARAMS += b'cx q[0], q[1]; c = measure q;", null, 20]], "version": 2}'


async def job_of(site: Site, reader: Reader, backend: str = "quick", **more: object) -> str:
    new = NewJob(
        instance=reader.crn,
        backend=backend,
        program_id="sampler",
        params=PARAMS,
        user_id=reader.credentials.user_id,
        **more,  # type: ignore[arg-type]
    )
    return (await site.engine.submit(new)).id


async def group_of(site: Site, reader: Reader, backend: str = "quick") -> str:
    new = NewGroup(
        instance=reader.crn,
        backend=backend,
        mode=Mode.SESSION,
        user_id=reader.credentials.user_id,
        interactive_ttl_ms=30_000,
        max_ttl_ms=600_000,
    )
    return (await site.engine.create_group(new)).id


@pytest.mark.asyncio(loop_scope="session")
async def test_whoever_is_not_signed_in_is_asked_to_and_comes_back(site: Site) -> None:
    async with site.client() as http:
        for path in ("/", "/jobs", "/sessions/x", "/timeline.svg", "/live", "/admin"):
            answer = await http.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/sign-in"), path
        assert (await http.post("/jobs/x/cancel")).status_code == 303
        page = await http.get("/sign-in?next=https://evil.example/")
        assert 'name="next" value="/jobs"' in page.text
        page = await http.get("/sign-in?next=//evil.example/")
        assert 'name="next" value="/jobs"' in page.text


@pytest.mark.asyncio(loop_scope="session")
async def test_pages_allow_nothing_from_elsewhere(site: Site) -> None:
    reader = await site.reader()
    for path in ("/jobs", "/timeline", "/sign-in"):
        answer = await reader.http.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert " style=" not in answer.text
        assert "<script>" not in answer.text
        assert not re.search(r'(src|href)="https?://', answer.text)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_form_of_another_site_does_nothing(site: Site) -> None:
    reader = await site.reader()
    job_id = await job_of(site, reader, "endless")
    refused = [
        await reader.http.post(f"/jobs/{job_id}/cancel", data={"csrf": "0" * 64}),
        await reader.http.post(f"/jobs/{job_id}/cancel", data={}),
        await reader.http.post(
            f"/jobs/{job_id}/cancel",
            data={"csrf": await reader.csrf()},
            headers={"Origin": "https://evil.example"},
        ),
    ]
    assert [it.status_code for it in refused] == [403] * 3
    live = site.engine.live_job(job_id)
    assert live is not None
    done = await reader.send(f"/jobs/{job_id}/cancel")
    assert done.status_code == 303
    assert "Cancelled" in await reader.page(f"/jobs/{job_id}")


@pytest.mark.asyncio(loop_scope="session")
async def test_a_cookie_is_not_forged_and_no_access_token_is_a_cookie(site: Site) -> None:
    reader = await site.reader()
    answer = await reader.http.post("/identity/token", data={"apikey": reader.credentials.token})
    async with site.client() as http:
        for value in ("", "x.y.z", answer.json()["access_token"]):
            http.cookies.set("qdwell_console", value)
            assert (await http.get("/jobs")).status_code == 303


@pytest.mark.asyncio(loop_scope="session")
async def test_nothing_of_another_instance_is_shown(site: Site) -> None:
    ada, eve = await site.reader(), await site.reader()
    group_id = await group_of(site, ada)
    job_id = await job_of(site, ada, group=group_id, tags=("ada-only",))
    await site.engine.wait_final(job_id, 2**60)
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/picture", f"/sessions/{group_id}"):
        assert "Not found" in await eve.page(path, 404)
        await ada.page(path)
    for path in ("/jobs", "/sessions", "/machines", "/timeline?machine=quick", "/jobs?text=ada"):
        text = await eve.page(path)
        assert job_id not in text
        assert group_id not in text
        assert ada.crn not in text
    assert (await eve.send(f"/sessions/{group_id}/cancel")).status_code == 404
    assert (await eve.send(f"/jobs/{job_id}/cancel")).status_code == 404
    timeline = await eve.page("/timeline?machine=quick&span=60000")
    assert "a job of others" in timeline
    assert job_id in await ada.page("/timeline?machine=quick&span=60000")
    await ada.send(f"/sessions/{group_id}/close")


@pytest.mark.asyncio(loop_scope="session")
async def test_only_operators_switch_machines_and_see_the_admin_page(site: Site) -> None:
    reader, operator = await site.reader(), await site.reader(who=site.first)
    await reader.page("/admin", 403)
    assert (await reader.send("/machines/line/mode", mode="paused")).status_code == 403
    assert "Pause" in await operator.page("/admin")
    assert (await operator.send("/machines/line/mode", mode="sideways")).status_code == 400
    done = await operator.send("/machines/line/mode", mode="paused", reason="<b>cold</b>")
    assert done.status_code == 303
    text = await reader.page("/machines/line")
    assert "&lt;b&gt;cold&lt;/b&gt;" in text
    await operator.send("/machines/line/mode", mode="online")


@pytest.mark.asyncio(loop_scope="session")
async def test_the_list_is_filtered_by_everything_that_it_offers(site: Site) -> None:
    reader = await site.reader()
    plain = await job_of(site, reader)
    tagged = await job_of(site, reader, tags=("needle in hay",))
    for job_id in (plain, tagged):
        await site.engine.wait_final(job_id, 2**60)

    async def listed(query: str) -> set[str]:
        return set(re.findall(r'<a href="/jobs/(\w+)">', await reader.page(f"/jobs?{query}")))

    assert await listed("") == {plain, tagged}
    assert await listed("state=completed") == {plain, tagged}
    assert await listed("state=queued") == set()
    assert await listed("state=failed") == set()
    assert await listed("tag=needle+in+hay") == {tagged}
    assert await listed("text=NEEDLE") == {tagged}
    assert await listed(f"text={plain}") == {plain}
    assert await listed("text=sampl") == {plain, tagged}
    assert await listed("text=100%25") == set()
    assert await listed("backend=line") == set()
    assert await listed("session=nothing") == set()
    assert await listed("after=2020-01-01&before=2020-02-01") == set()
    assert await listed("after=2020-01-01") == {plain, tagged}
    assert "There is no state" in await reader.page("/jobs?state=lost", 400)
    assert "is not an ISO" in await reader.page("/jobs?after=yesterday", 400)
    assert await listed("page=2") == set()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_private_job_shows_no_input_and_its_result_is_not_used_up(site: Site) -> None:
    reader = await site.reader()
    job_id = await job_of(site, reader, private=True)
    await site.engine.wait_final(job_id, 2**60)
    assert "This job is private" in await reader.page(f"/jobs/{job_id}/picture")  # J29
    assert site.store.read_result(reader.crn, job_id) is not None


@pytest.mark.asyncio(loop_scope="session")
async def test_a_job_is_drawn_from_its_input_and_result(site: Site) -> None:
    reader = await site.reader()
    job_id = await job_of(site, reader)
    await site.engine.wait_final(job_id, 2**60)
    text = await reader.page(f"/jobs/{job_id}/picture")
    assert 'class="picture circuit"' in text
    assert "Counts of <code>c</code>, 20 shots" in text
    assert text.count("measure into bit") == 2


@pytest.mark.asyncio(loop_scope="session")
async def test_a_limited_plan_shows_how_much_is_left(site: Site) -> None:
    reader = await site.reader("limited")
    text = await reader.page("/instances")
    assert "0 % of the limit of 100 s" in text
    assert "Nothing was charged yet" in text


@pytest.mark.asyncio(loop_scope="session")
async def test_get_started_has_the_users_own_address_and_instance(site: Site) -> None:
    reader = await site.reader()
    text = await reader.page("/start")
    assert "http://qdwell/experimental/api/v1" in text
    assert reader.crn in text
    assert reader.credentials.token not in text


@pytest.mark.asyncio(loop_scope="session")
async def test_what_does_not_exist_is_told_kindly(site: Site) -> None:
    reader = await site.reader()
    for path in ("/jobs/none", "/sessions/none", "/machines/none", "/timeline?machine=none"):
        assert "Not found" in await reader.page(path, 404)
    assert "milliseconds" in await reader.page("/timeline?span=long", 400)
    assert "before it begins" in await reader.page("/timeline?from=2&to=1", 400)
