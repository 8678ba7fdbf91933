"""Backends, discovery, usage, and administration."""

from __future__ import annotations

import pytest

from api.conftest import Site, User, as_if, bell, fault

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = [
    "aer_simulator",
    "ibmq_qasm_simulator",
    "quick",
    "brief",
    "endless",
    "failing",
    "spare",
    "second",
]


@pytest.mark.parametrize(
    ("version", "objects"),
    [("2026-04-15", True), ("2025-05-01", True), ("2024-01-01", False), ("", False)],
)
async def test_devices_are_objects_or_names_by_version(
    user: User, version: str, objects: bool
) -> None:
    """The wrong one breaks the client (wire-protocol 5.1)."""
    devices = (await as_if(user, IBM_API_Version=version).get("/backends")).json()["devices"]
    if not objects:
        assert devices == NAMES
        return
    assert [it["name"] for it in devices] == NAMES
    for device in devices:
        assert device["physical_qubits"] == device["qubits"]
        assert device["status"]["name"] == "online"
        assert device["queue_length"] >= 0
        assert device["qubits"] > 0


async def test_what_older_clients_say_of_their_instance_is_compared(
    user: User, other: User
) -> None:
    """I1: in a query or a body, by any of its three names; it chooses nothing, and is no riddle."""
    name = user.credentials.instance_name
    for own in (user.crn, name, f"qdwell/main/{name}"):
        for field in ("provider", "instance"):
            assert (await user.get("/backends", params={field: own})).json()["devices"]
        assert (await user.get("/jobs", params={"provider": own})).json()["count"] == 0
    theirs = other.credentials.instance_name
    for named in (other.crn, theirs, f"qdwell/main/{theirs}", "ibm-q/open/main"):
        asked = [("/backends", "provider"), ("/backends", "instance"), ("/jobs", "provider")]
        for path, field in asked:
            told = fault(await user.get(path, params={field: named}))
            assert (told["status"], told["code"]) == (403, 1200)
            assert told["field"] == field
            assert named in told["message"]
    body = {"program_id": "sampler", "params": bell(), "backend": "quick"}
    classic = {"hub": "qdwell", "group": "main", "project": theirs}
    told = fault(await user.ask("POST", "/jobs", json=body | classic))
    assert (told["status"], told["code"]) == (403, 1200)
    assert told["field"] == "project"
    await user.submit(hub="qdwell", group="main", project=name)


async def test_there_is_one_channel_strategy(user: User) -> None:
    """Clients up to 0.31 may name it, when they ask for backends and when they submit."""
    assert (await user.get("/backends", params={"channel_strategy": "default"})).json()["devices"]
    told = fault(await user.get("/backends", params={"channel_strategy": "q-ctrl"}))
    assert (told["status"], told["code"]) == (400, 1208)
    assert told["field"] == "channel_strategy"
    await user.submit(channel_strategy="default")
    body = {"program_id": "sampler", "params": bell(), "channel_strategy": "q-ctrl"}
    told = fault(await user.ask("POST", "/jobs", json=body))
    assert (told["status"], told["code"]) == (400, 1208)
    assert told["field"] == "channel_strategy"


async def test_each_backend_describes_itself_under_each_of_its_names(user: User) -> None:
    """A client finds its backend by the name that it asked for."""
    for name in NAMES:
        configuration = (await user.get(f"/backends/{name}/configuration")).json()
        assert configuration["backend_name"] == name
        assert configuration["simulator"] is (name in NAMES[:2])
        properties = (await user.get(f"/backends/{name}/properties")).json()
        assert properties is not None
        status = (await user.get(f"/backends/{name}/status")).json()
        assert status["state"] is True
        assert status["status"] == "active"
        assert status["length_queue"] == 0
        assert status["backend_version"]


@pytest.mark.parametrize("what", ["configuration", "properties", "status"])
async def test_an_unknown_backend_is_404_on_itself(user: User, what: str) -> None:
    """And 400 on submission (E8)."""
    assert fault(await user.get(f"/backends/nosuch/{what}")) | {"solution": ""} == {
        "status": 404,
        "code": 1007,
        "message": "Backend 'nosuch' not found.",
        "solution": "",
        "more_info": "/docs",
    }


@pytest.mark.parametrize("what", ["configuration", "properties"])
async def test_a_calibration_by_id_is_refused(user: User, what: str) -> None:
    """There is one, without an id: the present one would be passed off as the one asked for."""
    refused = fault(await user.get(f"/backends/quick/{what}?calibration_id=x"))
    assert (refused["status"], refused["field"]) == (400, "calibration_id")


async def test_a_device_that_starts_is_waited_for(site: Site, user: User) -> None:
    """After a restart of the server clients try again (503); a broken device they do not (E9)."""
    station = site.engine._stations["spare"]
    body = {"program_id": "sampler", "params": bell(), "backend": "spare"}
    asked = (
        ("POST", "/jobs", body),
        ("POST", "/sessions", {"backend": "spare"}),
        ("GET", "/backends/spare/configuration", None),
    )
    known, station.described = station.described, False
    try:
        for why, status in (("the device is starting", 503), ("no cable", 400)):
            station.unready_because, station.starting = why, status == 503
            for method, path, json in asked:
                refused = fault(await user.ask(method, path, json=json))
                assert (refused["status"], refused["code"]) == (status, 1004), path
                assert why in refused["message"]
    finally:
        station.described, station.unready_because, station.starting = known, "", False
    assert (await user.finished(await user.submit("spare")))["status"] == "Completed"


async def test_that_all_devices_start_is_waited_for(site: Site, user: User) -> None:
    """A submission that leaves the choice (J11) comes again, too."""
    stations = site.engine._stations.values()
    known = [(it, it.described, it.unready_because) for it in stations]
    asked = (
        ("/jobs", {"program_id": "sampler", "params": bell()}),
        ("/sessions", {"mode": "dedicated"}),
    )
    try:
        for why, status in (("the device is starting", 503), ("no cable", 400)):
            for station in stations:
                station.described, station.unready_because = False, why
                station.starting = status == 503
            for path, body in asked:
                refused = fault(await user.ask("POST", path, json=body))
                assert (refused["status"], refused["code"]) == (status, 1004), path
    finally:
        for station, described, why in known:
            station.described, station.unready_because, station.starting = described, why, False


async def test_the_operator_pauses_and_stops_a_backend(site: Site, user: User) -> None:
    """Paused accepts and starts nothing, offline refuses; only the operator may (I10, I11)."""
    operator = await site.user(who=site.first)

    async def put(mode: str, by: User = operator, **more: str) -> int:
        body = {"mode": mode, **more}
        return (await by.ask("PUT", "/admin/backends/spare", json=body)).status_code

    try:
        assert await put("paused", user) == 403
        assert await put("paused", reason="calibration") == 200
        status = (await user.get("/backends/spare/status")).json()
        assert (status["state"], status["status"]) == (True, "calibration")
        job_id = await user.submit("spare")
        assert (await user.get(f"/jobs/{job_id}")).json()["status"] == "Queued"
        assert await put("offline", reason="moved") == 200
        status = (await user.get("/backends/spare/status")).json()
        assert (status["state"], status["status"]) == (False, "moved")
        body = {"program_id": "sampler", "params": {"pubs": []}, "backend": "spare"}
        refused = fault(await user.ask("POST", "/jobs", json=body))
        assert (refused["status"], refused["code"]) in {(400, 1004), (400, 1208)}
        opened = fault(await user.ask("POST", "/sessions", json={"backend": "spare"}))
        assert (opened["status"], opened["code"]) == (400, 1004)
        assert "moved" in opened["message"]
    finally:
        assert await put("online") == 200
    assert (await user.finished(job_id))["status"] == "Completed"
    assert await put("asleep") == 400
    unknown = await operator.ask("PUT", "/admin/backends/x", json={"mode": "paused"})
    assert fault(unknown)["status"] == 404


async def test_search_and_catalog_tell_what_the_client_needs(user: User, site: Site) -> None:
    """Truthy extensions, a pricing type that it knows (wire-protocol 3.2, 3.3)."""
    body = {"query": "service_name:quantum-computing", "fields": ["crn", "name"]}
    where = "/v3/resources/search?limit=100"
    page = (await site.http.post(where, json=body, headers=user.headers)).json()
    (item,) = page["items"]
    assert item["crn"] == user.crn
    assert item["doc"]["extensions"]
    assert not page.get("search_cursor")
    plan = item["service_plan_unique_id"]
    entry = (await site.http.get(f"/catalog/{plan}", headers=user.headers)).json()
    assert entry["overview_ui"]["en"]["display_name"] == "default"
    assert entry["metadata"]["pricing"]["type"] == "paid"
    assert fault(await site.http.get("/catalog/x", headers=user.headers))["status"] == 404
    assert fault(await site.http.post(where, json=body))["status"] == 401
    assert (await user.get("/instances")).json()["instances"][0]["crn"] == user.crn


async def test_usage_leaves_out_what_does_not_apply(user: User, site: Site) -> None:
    """A null limit would crash the client's arithmetic (I4)."""
    usage = (await user.get("/instances/usage")).json()
    assert usage["usage_consumed_seconds"] == 0
    assert set(usage) == {"instance_id", "plan_id", "usage_period", "usage_consumed_seconds"}
    limited = await site.user("limited")
    usage = (await limited.get("/instances/usage")).json()
    assert usage["usage_limit_seconds"] == 100
    assert usage["usage_allocation_seconds"] == 50
    assert usage["usage_limit_reached"] is False
    (entry,) = (await limited.get("/usage")).json()["byInstance"]
    assert (entry["quota"], entry["usage"], entry["pendingJobs"]) == (100, 0, 0)


async def test_at_the_spend_limit_nothing_more_is_taken(site: Site) -> None:
    """409 for a job and for a session, with both numbers; usage says so too (I9)."""
    prepaid = await site.user("prepaid")
    job_id = await prepaid.submit("second")
    assert (await prepaid.finished(job_id))["status"] == "Completed"
    usage = (await prepaid.get("/instances/usage")).json()
    assert usage["usage_consumed_seconds"] >= 1
    assert usage["usage_limit_reached"] is True
    job = {"program_id": "sampler", "params": bell(), "backend": "quick"}
    for path, body in (("/jobs", job), ("/sessions", {"backend": "quick"})):
        refused = fault(await prepaid.ask("POST", path, json=body))
        assert (refused["status"], refused["code"]) == (409, "usage_limit_reached")
        assert "limit of 1 s" in refused["message"]


async def test_workloads_are_paged_by_cursor(user: User, other: User) -> None:
    """Job-mode jobs, sessions, and batches, newest first; group jobs are not rows (I14)."""
    ids = []
    for _ in range(3):
        ids.append(await user.submit())
        await user.finished(ids[-1])
    ids.append((await user.session("spare", mode="batch"))["id"])
    ids.reverse()
    first = (await user.get("/workloads?limit=3")).json()
    assert [it["id"] for it in first["workloads"]] == ids[:3]
    assert first["total_count"] == 4
    assert "previous" not in first
    second = (await user.get("/workloads", params={"limit": 3, "next": first["next"]})).json()
    assert [it["id"] for it in second["workloads"]] == ids[3:]
    assert "next" not in second
    back = (
        await user.get("/workloads", params={"limit": 3, "previous": second["previous"]})
    ).json()
    assert back["workloads"] == first["workloads"]
    batch = (await user.get("/workloads?mode=batch&status=pending")).json()["workloads"]
    assert [(it["id"], it["accepting_jobs"]) for it in batch] == [(ids[0], True)]
    several = await user.get("/workloads?status=pending&status=completed&status=failed")
    assert [it["id"] for it in several.json()["workloads"]] == ids
    neither = await user.get("/workloads?status=in_progress&status=canceled")
    assert neither.json()["total_count"] == 0
    oldest = (await user.get("/workloads?sort=createdAt&limit=1")).json()["workloads"]
    assert [it["id"] for it in oldest] == ids[-1:]
    assert (await other.get("/workloads")).json()["total_count"] == 0
    for query in ("next=x", "mode=shift", "status=odd", "sort=up", "statuses=pending"):
        assert fault(await user.get(f"/workloads?{query}"))["status"] == 400
