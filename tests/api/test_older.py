"""What clients from 0.20 to 0.40 ask for beside today's dialect (wire-protocol 14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from api.conftest import BASE, CONFIG, Site, User, as_if, fault
from qdwell.api.app import build
from qdwell.api.older import as_known
from qdwell.clock import SystemClock
from qdwell.store import accounts

OLD = replace(CONFIG, server=replace(CONFIG.server, old_clients=True))
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def old(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """The same server with the setting `old_clients`."""
    app = build(OLD, site.store, site.engine, SystemClock())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://qdwell") as http:
        yield http


def bearing(credentials: accounts.Credentials, old: httpx.AsyncClient) -> User:
    """A user of the cloud channel up to 0.38: its API token is in each request."""
    headers = {
        "Authorization": f"apikey {credentials.token}",
        "Service-CRN": credentials.instance_crn,
    }
    return User(old, credentials, headers)


async def test_an_api_token_serves_as_such(site: Site, old: httpx.AsyncClient) -> None:
    user = bearing(site.credentials(), old)
    names = (await user.get("/backends")).json()["devices"]
    assert "quick" in names  # names, not objects
    job = await user.submit()
    assert (await user.finished(job))["state"]["status"] == "Completed"
    assert (await user.get("/instance")).json() == {"qctrl_enabled": False}


async def test_a_wrong_one_does_not(site: Site, old: httpx.AsyncClient) -> None:
    user = bearing(site.credentials(), old)
    wrong = as_if(user, Authorization="apikey nonsense")
    assert fault(await wrong.get("/backends"))["status"] == 401
    other = as_if(user, Service_CRN=site.credentials().instance_crn)
    assert fault(await other.get("/backends"))["status"] == 403


async def test_without_the_setting_none_of_it_is_there(site: Site) -> None:
    user = bearing(site.credentials(), site.http)
    told = fault(await user.get("/backends"))
    assert told["status"] == 401
    assert "old_clients" in told["solution"]
    for path in ("//quantum/version", "/backends/quick/defaults", "/instance"):
        assert (await user.get(path)).status_code in (401, 404)


async def test_a_backend_has_what_old_clients_read_of_it(
    site: Site, old: httpx.AsyncClient
) -> None:
    user = bearing(site.credentials(), old)
    assert (await user.get("/backends/quick/defaults")).json() == {}
    assert fault(await user.get("/backends/nothing/defaults"))["status"] == 404
    assert (await user.get("/backends/quick/configuration")).json()["max_experiments"] > 0
    alias = (await user.get("/backends/ibmq_qasm_simulator/configuration")).json()
    assert alias["backend_name"] == "ibmq_qasm_simulator"


async def test_the_channel_ibm_quantum_signs_in(site: Site, old: httpx.AsyncClient) -> None:
    made = site.credentials()
    assert "api-auth" in (await old.get("/quantum/version")).json()
    answer = await old.post("/quantum/users/loginWithToken", json={"apiToken": made.token})
    assert answer.status_code == 200, answer.text
    user = User(old, made, {"X-Access-Token": answer.json()["id"]})
    me = (await user.get("//quantum/users/me")).json()["urls"]
    assert me["services"]["runtime"] == "http://qdwell/api/v1"
    (hub,) = (await old.get(f"{me['http']}/Network", headers=user.headers)).json()
    (name,) = hub["groups"]["main"]["projects"]
    job = await user.submit(hub=hub["name"], group="main", project=name)
    assert (await user.finished(job))["state"]["status"] == "Completed"
    session = await user.session(instance=f"{hub['name']}/main/{name}", mode="dedicated")
    assert session["instance"] == made.instance_crn
    answer = await user.ask("POST", "/sessions", json={"backend": "quick", "instance": "a/b/c"})
    assert fault(answer)["status"] == 403
    wrong = await old.post("/quantum/users/loginWithToken", json={"apiToken": "nonsense"})
    assert wrong.status_code == 401
    assert (await old.get(f"{BASE}/jobs", headers={"X-Access-Token": "x"})).status_code == 401


async def streamed(
    site: Site, path: str, headers: dict[str, str]
) -> list[tuple[str, str | int | None]]:
    """What a websocket is sent, and how it is closed."""
    app = build(OLD, site.store, site.engine, SystemClock())
    coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    coming.put_nowait({"type": "websocket.connect"})
    sent: list[tuple[str, str | int | None]] = []

    async def send(message: Any) -> None:
        sent.append((message["type"].split(".")[1], message.get("text", message.get("code"))))

    scope = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "root_path": "",
        "scheme": "wss", "query_string": b"", "subprotocols": [],
        "headers": [(key.lower().encode(), value.encode()) for key, value in headers.items()],
    }  # fmt: skip
    await app(scope, coming.get, send)
    return sent


async def test_a_websocket_gives_interim_results_and_closes_at_the_end(
    site: Site, old: httpx.AsyncClient
) -> None:
    """Wire-protocol 14.4: an acknowledgement, interim results, and code 1000 once it is final."""
    user = bearing(site.credentials(), old)
    job = await user.submit("brief")
    for base in ("/api/v1", BASE):
        told = await streamed(site, f"{base}/stream/jobs/{job}", user.headers)
        assert [kind for kind, _ in told] == ["accept", "send", "send", "close"]
        assert told[1][1] == "{}"
        assert '"PubResult"' in str(told[2][1])
        assert told[3][1] == 1000
    assert (await user.get(f"/jobs/{job}")).json()["state"]["status"] == "Completed"
    stranger = bearing(site.credentials(), old)
    refused = await streamed(site, f"/api/v1/stream/jobs/{job}", stranger.headers)
    assert refused == [("close", 1008)]
    nobody = await streamed(site, f"/api/v1/stream/jobs/{job}", {})
    assert nobody == [("close", 1008)]


# ---- results in the words of their time -------------------------------------------------------

SAMPLER: dict[str, Any] = {
    "__type__": "PrimitiveResult",
    "__value__": {
        "pub_results": [
            {
                "__type__": "SamplerPubResult",
                "__value__": {
                    "data": {
                        "__type__": "DataBin",
                        "__value__": {
                            "field_names": ["meas"],
                            "shape": [],
                            "fields": {"meas": {"__type__": "BitArray", "__value__": {}}},
                        },
                    },
                    "metadata": {},
                },
            }
        ],
        "metadata": {"version": 2},
    },
}


def known(release: str, **headers: str) -> str:
    raw = orjson.dumps(SAMPLER).replace(b"Sampler", b"Estimator", int(release > "0.24"))
    caller = f"qiskit-version-2/qiskit_ibm_runtime-{release}.0,qiskit-1/x"
    return as_known(raw, {"x-qx-client-application": caller, **headers}).decode()


async def test_results_have_the_names_that_each_release_knows() -> None:
    """Wire-protocol 14.1, 14.6."""
    for release in ("0.21", "0.23"):
        told = known(release)
        assert '"PubResult"' in told
        assert '"field_types":["BitArray"]' in told
    assert '"SamplerPubResult"' in known("0.24")
    assert '"PubResult"' in known("0.34")
    assert '"EstimatorPubResult"' in known("0.35", **{"ibm-api-version": "2024-01-01"})
    assert '"PubResult"' in as_known(orjson.dumps(SAMPLER), {}).decode()  # it does not say
    raw = orjson.dumps(SAMPLER)
    assert as_known(raw, {"ibm-api-version": "2025-05-01"}) is raw
