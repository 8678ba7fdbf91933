"""Jobs after their submission: documents, lists, results, cancel, tags, logs, metrics."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.conftest import Site, User, as_if, bell, fault
from qdwell.clock import settle

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_job_from_submission_to_result(user: User) -> None:
    """The document has the fields of J33, none of them null, and the result is the client's."""
    job_id = await user.submit(tags=["abc"], cost=300, log_level="INFO", runtime="a/b:1")
    document = await user.finished(job_id)
    assert document["id"] == job_id
    assert document["state"] == {"status": "Completed"}
    assert document["status"] == "Completed"
    assert document["program"] == {"id": "sampler"}
    assert document["user_id"] == user.credentials.user_id
    assert document["params"] == bell()
    assert document["cost"] == 300
    assert document["runtime"] == "a/b:1"
    assert document["created"].endswith("Z")
    assert "session_id" not in document
    assert "private" not in document
    assert None not in document.values()
    assert document["usage"]["quantum_seconds"] > 0
    result = await user.get(f"/jobs/{job_id}/results")
    assert result.headers["content-type"] == "application/json"
    assert result.json()["__type__"] == "PrimitiveResult"


async def test_inputs_are_shown_unless_they_are_excluded(user: User) -> None:
    """In the single view by default, in lists on demand (J27)."""
    job_id = await user.submit()
    assert "params" in (await user.get(f"/jobs/{job_id}")).json()
    assert "params" not in (await user.get(f"/jobs/{job_id}?exclude_params=true")).json()
    (listed,) = (await user.get("/jobs")).json()["jobs"]
    assert "params" not in listed
    (listed,) = (await user.get("/jobs?exclude_params=false")).json()["jobs"]
    assert listed["params"] == bell()


async def test_a_job_whose_input_is_lost_is_shown_without_it(user: User, site: Site) -> None:
    """A file of the data folder was removed or damaged; the rest of the job is still there."""
    params = bell()
    params["pubs"] *= 400  # more than a row keeps
    job_id = await user.submit(params=params)
    await user.finished(job_id)
    row = site.store.job(user.crn, job_id)
    assert row is not None
    (file,) = site.store.folders[0].rglob(row.details.params)
    site.store.blobs._cache.clear()  # as if it were another day
    for content in (file.read_bytes()[:-1], None):
        file.unlink() if content is None else file.write_bytes(content)
        answer = await user.get(f"/jobs/{job_id}")
        assert (answer.status_code, answer.json()["params"]) == (200, {})
        assert answer.json()["state"] == {"status": "Completed"}


async def test_one_question_is_enough_for_a_small_job(user: User) -> None:
    """The answer waits for the end of a job that is young and at work."""
    job_id = await user.submit("brief")
    assert (await user.get(f"/jobs/{job_id}")).json()["state"]["status"] == "Completed"


async def test_a_client_that_goes_away_frees_its_question(user: User, site: Site) -> None:
    """Nothing goes on waiting for it."""
    job_id = await user.submit("endless")
    question = asyncio.ensure_future(user.get(f"/jobs/{job_id}"))
    await settle(50)
    assert site.engine._memory._waiting.get(job_id)
    question.cancel()
    await settle(50)
    assert not site.engine._memory._waiting.get(job_id)
    await user.ask("POST", f"/jobs/{job_id}/cancel")


async def test_a_server_that_stops_answers_who_waits(user: User, site: Site) -> None:
    """A held question is answered with the state of the moment."""
    job_id = await user.submit("endless")
    question = asyncio.ensure_future(user.get(f"/jobs/{job_id}"))
    await settle(50)
    assert not question.done()
    closing = site.app.state.parts.closing
    closing.set()
    try:
        assert (await question).json()["state"]["status"] == "Running"
    finally:
        closing.clear()
    await user.ask("POST", f"/jobs/{job_id}/cancel")


async def test_a_cancelled_job_has_no_result_and_cannot_be_cancelled_again(user: User) -> None:
    """204 for what is not there, 409 for what cannot be done (J22)."""
    job_id = await user.submit("endless")
    assert fault(await user.ask("DELETE", f"/jobs/{job_id}"))["status"] == 400
    assert (await user.get(f"/jobs/{job_id}/results")).status_code == 204
    assert (await user.ask("POST", f"/jobs/{job_id}/cancel")).status_code == 204
    document = (await user.get(f"/jobs/{job_id}")).json()
    assert document["state"]["status"] == document["status"] == "Cancelled"
    assert document["state"]["reason_code"] == 5202
    assert fault(await user.ask("POST", f"/jobs/{job_id}/cancel"))["status"] == 409
    assert (await user.get(f"/jobs/{job_id}/results")).status_code == 204


async def test_a_failed_job_answers_200_with_its_reason(user: User) -> None:
    """A 404 would escape from `status()` of the stock client (J25)."""
    job_id = await user.submit("failing")
    state = (await user.finished(job_id))["state"]
    assert state["status"] == "Failed"
    assert state["reason_code"] == state["reasonCode"] == 5203
    assert state["reason_solution"]
    answer = await user.get(f"/jobs/{job_id}/results")
    assert answer.status_code == 200
    assert state["reason"] in answer.text
    assert answer.encoding == "utf-8"


async def test_old_clients_are_not_shown_the_code_under_its_new_name(user: User) -> None:
    """Up to 0.25 they would put it before the reason and fail to read that (J16)."""
    job_id = await user.submit("failing")
    await user.finished(job_id)
    old = as_if(user, IBM_API_Version="", X_Qx_Client_Application="qiskit_ibm_runtime-0.25.0/x")
    state = (await old.get(f"/jobs/{job_id}")).json()["state"]
    assert "reason_code" not in state
    assert state["reasonCode"] == 5203
    newer = as_if(old, X_Qx_Client_Application="q/qiskit_ibm_runtime-0.26.1,x")
    assert (await newer.get(f"/jobs/{job_id}")).json()["state"]["reason_code"] == 5203


async def test_a_private_job_shows_its_result_once_and_its_inputs_never(user: User) -> None:
    """J29; its tags stay visible."""
    job_id = await user.submit(private=True, tags=["abc"])
    document = await user.finished(job_id)
    assert document["private"] is True
    assert document["params"] == {}
    assert document["tags"] == ["abc"]
    assert (await user.get(f"/jobs/{job_id}/interim_results")).json() == []
    assert (await user.get(f"/jobs/{job_id}/results")).json()
    assert (await user.get(f"/jobs/{job_id}/results")).status_code == 204


async def test_a_deleted_job_is_unknown_and_its_usage_stays(user: User) -> None:
    """Accounting does not depend on what users delete (J30)."""
    job_id = await user.submit()
    await user.finished(job_id)
    before = (await user.get("/instances/usage")).json()["usage_consumed_seconds"]
    assert (await user.ask("DELETE", f"/jobs/{job_id}")).status_code == 204
    assert fault(await user.get(f"/jobs/{job_id}"))["status"] == 404
    after = (await user.get("/instances/usage")).json()["usage_consumed_seconds"]
    assert after == before > 0


async def test_tags_are_replaced_and_cleared(user: User, site: Site) -> None:
    """The client accepts nothing but 204 (J28)."""
    job_id = await user.submit(tags=["abc"])
    for tags in (["x", "yy"], []):
        answer = await user.ask("PUT", f"/jobs/{job_id}/tags", json={"tags": tags})
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await user.get(f"/jobs/{job_id}")).json()["tags"] == tags
    nine = {"tags": [str(n) for n in range(9)]}
    assert fault(await user.ask("PUT", f"/jobs/{job_id}/tags", json=nine))["code"] == 1204
    assert fault(await user.ask("PUT", f"/jobs/{job_id}/tags", json={}))["field"] == "tags"
    tight = await site.user("tight")
    own = await tight.submit()
    long = await tight.ask("PUT", f"/jobs/{own}/tags", json={"tags": ["123456"]})
    assert fault(long)["code"] == 1205


async def test_new_tags_of_a_live_job_are_told_with_its_end(user: User, site: Site) -> None:
    """Who waits for the end is given what the engine knows of the job, and not what is stored."""
    job_id = await user.submit("endless", tags=["abc"])
    await user.ask("PUT", f"/jobs/{job_id}/tags", json={"tags": ["x", "yy"]})
    known = site.engine._shelf.known(job_id)
    assert known is not None
    assert known.details.tags == ("x", "yy")
    await user.ask("POST", f"/jobs/{job_id}/cancel")
    assert (await user.get(f"/jobs/{job_id}")).json()["tags"] == ["x", "yy"]


async def test_logs_are_there_once_the_job_has_ended(user: User) -> None:
    """Before that, 404, which the client shows as an empty text (J31)."""
    running = await user.submit("endless")
    assert fault(await user.get(f"/jobs/{running}/logs"))["status"] == 404
    await user.ask("POST", f"/jobs/{running}/cancel")
    failed = await user.submit("failing")
    await user.finished(failed)
    answer = await user.get(f"/jobs/{failed}/logs")
    assert answer.status_code == 200
    assert "failed" in answer.text


async def test_the_log_says_which_options_had_no_effect(user: User) -> None:
    """O45: on a simulator they are never an error. A log of level ERROR leaves it out (O7)."""
    params = bell() | {"options": {"dynamical_decoupling": {"enable": True}}}
    told = await user.submit("aer_simulator", params=params)
    silent = await user.submit("aer_simulator", params=params, log_level="ERROR")
    assert (await user.finished(told))["status"] == "Completed"
    assert (await user.finished(silent))["status"] == "Completed"
    text = (await user.get(f"/jobs/{told}/logs")).text
    assert "WARNING options.dynamical_decoupling has no effect on a simulator." in text
    assert fault(await user.get(f"/jobs/{silent}/logs"))["status"] == 404


async def test_metrics_have_every_field_at_every_time(user: User) -> None:
    """`usage.quantum_seconds` always exists; what is not reached is null (J34)."""
    running = await user.submit("endless")
    metrics = (await user.get(f"/jobs/{running}/metrics")).json()
    assert metrics["usage"]["quantum_seconds"] == 0
    assert metrics["usage"]["status"] == "pending"
    assert metrics["timestamps"]["finished"] is None
    assert metrics["position_in_queue"] is None
    await user.ask("POST", f"/jobs/{running}/cancel")
    done = await user.submit()
    await user.finished(done)
    metrics = (
        await user.get(f"/jobs/{done}/metrics", headers={"X-Qx-Client-Application": "me"})
    ).json()
    quantum = metrics["usage"]["quantum_seconds"]
    assert metrics["circuits_execution_time_ns"] == round(quantum * 1e9) > 0
    assert metrics["usage"]["seconds"] == metrics["bss"]["seconds"] == 1
    assert metrics["usage"]["qpu_charge_time_seconds"] == 1
    assert metrics["usage"]["status"] == "complete"
    assert metrics["executions"] == 10
    assert metrics["num_circuits"] == 1
    assert metrics["num_qubits"] == [2]
    assert metrics["circuit_depths"] == [3]
    assert metrics["qiskit_version"]
    assert isinstance(metrics["caller"], str)


async def test_phases_come_in_their_order(user: User) -> None:
    """C5, J3: a simulator's job has its worker first, is prepared there, and then runs."""
    for backend in ("aer_simulator", "quick"):
        job_id = await user.submit(backend)
        await user.finished(job_id)
        phases = (await user.get(f"/jobs/{job_id}/metrics")).json()["phases"]
        assert phases["ready"] <= phases["qpu_start"] <= phases["qpu_end"]


async def test_a_queued_job_knows_its_place(site: Site, user: User, other: User) -> None:
    """Behind a session nothing starts; ranks are over the backend and over the instance (Q30)."""
    session = await user.session("spare")
    first = await user.submit("spare", session_id=session["id"])
    await user.finished(first)
    jobs = [await other.submit("spare"), await other.submit("spare")]
    places = []
    for job_id in jobs:
        metrics = (await other.get(f"/jobs/{job_id}/metrics")).json()
        places.append((metrics["position_in_queue"], metrics["position_in_provider"]))
        assert metrics["estimated_start_time"] is None or metrics["estimated_start_time"] > "2026"
        earliest, latest = metrics["estimated_start_earliest"], metrics["estimated_start_latest"]
        assert earliest <= metrics["estimated_start_time"]
        assert latest is None or metrics["estimated_start_time"] <= latest
        assert metrics["queue_reason_code"] == "session_active"
        assert "held by a session of another instance" in metrics["queue_reason"]
        assert session["id"] not in metrics["queue_reason"]
    assert places == [(1, 1), (2, 2)]
    assert (await user.get("/backends/spare/status")).json()["length_queue"] == 2
    queued = (await other.get(f"/jobs/{jobs[0]}")).json()
    assert queued["state"]["status"] == "Queued"
    await user.ask("DELETE", f"/sessions/{session['id']}/close")
    assert (await other.finished(jobs[1]))["status"] == "Completed"


async def test_interim_results_come_by_pub(user: User) -> None:
    """One for each (R5)."""
    params = bell()
    params["pubs"] = params["pubs"] * 3
    job_id = await user.submit(params=params)
    await user.finished(job_id)
    assert len((await user.get(f"/jobs/{job_id}/interim_results")).json()) == 3


# ---- lists ---------------------------------------------------------------------------------------


async def listed(user: User, query: str = "") -> tuple[list[str], int]:
    body = (await user.get(f"/jobs{query}")).json()
    return [job["id"] for job in body["jobs"]], body["count"]


async def test_lists_are_filtered_and_counted_exactly(user: User) -> None:
    """An inexact count makes the stock client ask for ever (wire-protocol 6.3)."""
    jobs = [await user.submit(tags=["all", f"n-{n}"]) for n in range(3)]
    jobs.append(await user.submit("brief", tags=["all"]))
    for job_id in jobs:
        document = await user.finished(job_id)
    newest_first = jobs[::-1]
    created = document["created"]
    assert await listed(user) == (newest_first, 4)
    assert await listed(user, "?sort=ASC") == (jobs, 4)
    assert await listed(user, "?limit=2&offset=1") == (newest_first[1:3], 4)
    assert await listed(user, "?limit=2&offset=9") == ([], 4)
    assert await listed(user, "?backend=brief") == (jobs[3:], 1)
    assert await listed(user, "?program=estimator") == ([], 0)
    assert await listed(user, "?pending=true") == ([], 0)
    assert (await listed(user, "?pending=False"))[1] == 4
    assert await listed(user, "?tags=all&tags=n-1") == ([jobs[1]], 1)
    assert await listed(user, "?session_id=unknown") == ([], 0)
    assert await listed(user, f"?created_after={created}") == ([jobs[3]], 1)
    assert (await listed(user, f"?created_before={created}"))[1] == 4
    assert (await listed(user, "?created_after=2999-01-01T00:00:00%2B00:00"))[1] == 0
    for silent in ("limit=0", "limit=201", "limit=x", "offset=-1", "offset=x"):
        assert (await listed(user, f"?{silent}"))[1] == 4


async def test_the_stock_client_is_told_when_it_has_skipped_everything(user: User) -> None:
    """It asks until it has `count - skip` jobs, which past the end is less than none."""
    await user.finished(await user.submit())
    stock = as_if(user, X_Qx_Client_Application="qiskit-version-2/qiskit_ibm_runtime-0.51.0/qiskit")
    assert await listed(stock, "?offset=1") == ([], 1)
    assert await listed(stock, "?offset=5") == ([], 5)
    assert await listed(user, "?offset=5") == ([], 1)


@pytest.mark.parametrize(
    "query", ["sort=up", "pending=maybe", "created_after=now", "tags=ab", "tag=abc", "limits=3"]
)
async def test_a_filter_that_means_nothing_is_refused(user: User, query: str) -> None:
    """A mistyped one would match everything."""
    assert fault(await user.get(f"/jobs?{query}"))["status"] == 400


async def test_more_tags_than_a_database_can_look_for_are_the_askers_mistake(user: User) -> None:
    """They were answered 503, as if the store had failed (J28); a repeated one is one."""
    job_id = await user.submit(tags=["abc"])
    assert await listed(user, "?" + "&".join(["tags=abc"] * 900)) == ([job_id], 1)
    hundred = "&".join(f"tags=n-{n}" for n in range(100))
    for path in ("/jobs", "/workloads"):
        assert (await user.get(f"{path}?{hundred}")).status_code == 200
        refused = fault(await user.get(f"{path}?{hundred}&tags=abc"))
        assert (refused["status"], refused["field"]) == (400, "tags")


# ---- isolation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/jobs/{}", None),
        ("DELETE", "/jobs/{}", None),
        ("POST", "/jobs/{}/cancel", None),
        ("GET", "/jobs/{}/results", None),
        ("GET", "/jobs/{}/interim_results", None),
        ("GET", "/jobs/{}/logs", None),
        ("GET", "/jobs/{}/metrics", None),
        ("PUT", "/jobs/{}/tags", {"tags": ["mine"]}),
    ],
)
@pytest.mark.parametrize("backend", ["quick", "endless"])
async def test_a_foreign_job_is_answered_exactly_like_an_unknown_one(
    user: User, other: User, method: str, path: str, body: dict[str, Any] | None, backend: str
) -> None:
    """Running or ended, read or written: nobody learns that it exists (I1)."""
    job_id = await user.submit(backend, tags=["abc"])
    if backend == "quick":
        await user.finished(job_id)
    foreign = await other.ask(method, path.format(job_id), json=body)
    unknown = await other.ask(method, path.format("0" * len(job_id)), json=body)
    assert foreign.status_code == unknown.status_code == 404
    mask = {"trace": ""}
    assert foreign.json() | mask == {
        **unknown.json(),
        **mask,
        "errors": foreign.json()["errors"],
        "error": foreign.json()["error"],
    }
    assert fault(foreign)["message"].replace(job_id, "0" * len(job_id)) == fault(unknown)["message"]
    assert (await user.get(f"/jobs/{job_id}?exclude_params=true")).json()["tags"] == ["abc"]
    assert (await other.get("/jobs?search=abc")).json()["count"] == 0
    if backend == "endless":
        assert (await user.ask("POST", f"/jobs/{job_id}/cancel")).status_code == 204
