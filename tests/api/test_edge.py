"""What every answer has in common, and what happens when something goes wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

import httpx
import pytest

from api.conftest import BODY_MAX, Site, User, bell, fault
from qdwell.errors import StoreUnavailable

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_same_routes_are_under_both_bases(user: User, site: Site) -> None:
    """The stock client needs the word `experimental`; everybody else can leave it out."""
    for base in ("/api/v1", "/experimental/api/v1"):
        answer = await site.http.get(f"{base}/instances/usage", headers=user.headers)
        assert answer.status_code == 200
        assert answer.headers["uber-trace-id"]


async def test_unknown_paths_and_methods_have_the_shape_of_errors(user: User) -> None:
    """Not the framework's own shape."""
    assert fault(await user.get("/nothing"))["status"] == 404
    refused = await user.ask("PATCH", "/jobs")
    assert fault(refused)["status"] == 405
    assert refused.headers["allow"] == "GET, POST"  # RFC 9110: a 405 says what is allowed
    assert "GET, POST" in fault(refused)["message"]
    assert (await user.ask("HEAD", "/jobs")).status_code == 405


async def test_no_route_ignores_what_it_is_asked(user: User, site: Site) -> None:
    """A query parameter that means nothing is refused by each route, and nothing is done."""
    job_id, session = await user.submit(), await user.session()
    places = defaultdict(lambda: "x", job_id=job_id, session_id=session["id"], name="quick")
    described = site.app.described
    ours = [it for it in described if it.query is not None]
    assert {it.path for it in described if it.query is None} == {
        "/identity/token",
        "/v3/resources/search",
        "/catalog/{plan_id}",
    }
    assert len(ours) > 60
    for route in ours:
        path = route.path.format_map(places)
        answer = await site.http.request(
            route.method, path, params={"nonsense": "1"}, headers=user.headers
        )
        told = fault(answer)
        assert (told["status"], told["field"]) == (400, "nonsense"), (route.method, path)
        for name in route.query or ():
            assert name in told["solution"]
    assert (await user.get(f"/jobs/{job_id}")).status_code == 200
    assert (await user.get(f"/sessions/{session['id']}")).json()["accepting_jobs"] is True
    await user.ask("DELETE", f"/sessions/{session['id']}/close")


@pytest.mark.parametrize("given", ["x", "-1", "60001", "1.5"])
async def test_a_wait_that_is_no_number_is_refused(user: User, given: str) -> None:
    """It was taken for none, so that a client's mistake became a loop without a pause."""
    job_id = await user.submit()
    for path in (f"/jobs/{job_id}/outcome", "/events"):
        answer = await user.get(path, params={"wait_ms": given})
        assert (fault(answer)["status"], fault(answer)["field"]) == (400, "wait_ms")
        assert "60000" in fault(answer)["message"]


async def test_the_server_says_that_it_is_ready(site: Site) -> None:
    """Without any credentials."""
    assert (await site.http.head("/healthz")).status_code == 200  # so some monitors ask
    answer = await site.http.get("/healthz")
    assert answer.status_code == 200
    assert set(answer.json()["backends"].values()) == {"ready"}


async def test_the_description_and_its_page_need_nothing_from_elsewhere(site: Site) -> None:
    """Every route is described, and the page loads no script or style from another server."""
    description = (await site.http.get("/openapi.json")).json()
    assert description["paths"]["/api/v1/jobs"]["post"]["requestBody"]["required"]
    for methods in description["paths"].values():
        for operation in methods.values():
            assert operation["summary"].endswith((".", ")"))
    page = (await site.http.get("/docs")).text
    assert "/api/v1/jobs/{job_id}/metrics" in page
    assert "<script" not in page
    assert "src=" not in page
    assert "http" not in page.replace("http-equiv", "").lower().split("</style>")[1][:200]


async def test_a_body_that_says_it_is_too_long_is_not_read(user: User, site: Site) -> None:
    """413 with the limit, whether the length is declared or found out on the way."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 65_536
            yield b" " * 65_536

    answer = await user.ask("POST", "/jobs", content=endless())
    assert fault(answer)["status"] == 413
    assert str(BODY_MAX) in fault(answer)["message"]
    assert read < 10 * BODY_MAX
    declared = await user.ask("POST", "/jobs", content=b" " * (BODY_MAX + 1))
    assert fault(declared)["status"] == 413


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"program_id":"sampler"}', b"[" * 5000]
)
async def test_a_body_that_makes_no_sense_is_400(user: User, body: bytes) -> None:
    """With a sentence, and never a 5xx."""
    answer = fault(await user.ask("POST", "/jobs", content=body))
    assert (answer["status"], answer["code"]) == (400, 1208)


async def test_a_compressed_body_is_refused(user: User) -> None:
    """It could be a thousand times as long inside."""
    answer = await user.ask("POST", "/jobs", content=b"x", headers={"Content-Encoding": "gzip"})
    assert fault(answer)["status"] == 400


async def test_a_fault_of_ours_is_told_with_a_trace_and_nothing_else(
    user: User, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, no text of the exception; the stock client may repeat the request (E29)."""

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(site.engine, "usage_ms", broken)
    answer = await user.get("/instances/usage")
    assert fault(answer)["status"] == 500
    assert fault(answer)["code"] == 9999
    assert "secret" not in answer.text
    monkeypatch.undo()
    assert (await user.get("/instances/usage")).is_success


async def test_a_store_that_fails_leaves_no_job_behind(
    user: User, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is committed before a 5xx, since the client sends the job again."""

    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("no space on the disk at /var/lib")

    monkeypatch.setattr(site.engine, "submit", unavailable)
    body = {"program_id": "sampler", "params": bell(), "backend": "quick"}
    answer = await user.ask("POST", "/jobs", json=body)
    assert fault(answer)["status"] == 503
    assert "/var/lib" not in answer.text
    assert (await user.get("/jobs")).json()["count"] == 0


async def test_each_request_has_its_own_trace(user: User) -> None:
    """Two requests can be told apart in the log."""
    first: httpx.Response = await user.get("/jobs/x")
    second = await user.get("/jobs/x")
    assert fault(first)["status"] == fault(second)["status"] == 404
    assert first.headers["uber-trace-id"] != second.headers["uber-trace-id"]
