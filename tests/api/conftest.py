"""The whole server in this process: real store, real engine, scripted machines; only HTTP is short.

One server for all tests of a worker process, because its workers take seconds to start. Each test
makes users of its own, so that none sees another's jobs.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from qdwell.api.app import build
from qdwell.clock import SystemClock, settle
from qdwell.config import Backend, Config, Plan, Server
from qdwell.engine.engine import Engine
from qdwell.store import Store, accounts, new_id, open_store

BASE = "/experimental/api/v1"
VERSION = "2026-04-15"
BODY_MAX = 200_000

PLANS = {
    "default": Plan(session_interactive_ttl_seconds=1),
    "open": Config().plans["open"],
    "tight": Plan(
        modes=("job", "session"),
        pending_jobs_max=1,
        tags_max=2,
        tag_length_max=5,
        max_ttl_seconds=100,
        active_ttl_seconds=60,
    ),
    "slow": Plan(submissions_per_minute=2),
    "few": Plan(sessions_max=2),
    "groups": Plan(modes=("session", "batch")),
    "prepaid": Plan(spend_limit_seconds=1),
    "limited": Plan(usage_limit_seconds=100, usage_allocation_seconds=50),
}


def scripted(name: str, **options: Any) -> Backend:
    return Backend(name, "scripted", options=options)


CONFIG = Config(
    server=Server(body_bytes_max=BODY_MAX),
    plans=PLANS,
    backends=(
        Backend("aer_simulator", "aer", aliases=("ibmq_qasm_simulator",)),
        scripted("quick"),
        scripted("brief", run_ms=150),
        scripted("endless", run_ms=600_000),
        scripted("failing", fail_rate=1.0),
        scripted("spare"),
        scripted("second", run_ms=1_100),
    ),
)


@dataclass
class User:
    """Somebody who asks."""

    http: httpx.AsyncClient
    credentials: accounts.Credentials
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def crn(self) -> str:
        return self.credentials.instance_crn

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request to the API; `headers` are added to the user's own."""
        headers = {**self.headers, **more.pop("headers", {})}
        where = path if path.startswith("//") else BASE + path
        return await self.http.request(method, where.removeprefix("/"), headers=headers, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.ask("GET", path, **more)

    async def submit(self, backend: str = "quick", **fields: Any) -> str:
        """Submit a Bell circuit; return the id."""
        body = {"program_id": "sampler", "params": bell(), "backend": backend, **fields}
        answer = await self.ask("POST", "/jobs", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def finished(self, job_id: str) -> dict[str, Any]:
        """Ask until the job is final; the server holds each question."""
        while True:
            document = (await self.get(f"/jobs/{job_id}")).json()
            if document["state"]["status"] not in ("Queued", "Running"):
                return document
            await settle(1)

    async def session(self, backend: str = "quick", **fields: Any) -> dict[str, Any]:
        answer = await self.ask("POST", "/sessions", json={"backend": backend, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()


@dataclass
class Site:
    """The server of these tests."""

    store: Store
    engine: Engine
    http: httpx.AsyncClient
    first: accounts.Credentials
    app: Any

    def credentials(self, plan: str = "default") -> accounts.Credentials:
        return accounts.create_account(self.store, f"u-{new_id()}", plan, SystemClock().now())

    async def user(self, plan: str = "default", who: accounts.Credentials | None = None) -> User:
        """Make a user with an access token; `who` is one that exists."""
        credentials = who or self.credentials(plan)
        answer = await self.http.post("/identity/token", data={"apikey": credentials.token})
        assert answer.status_code == 200, answer.text
        headers = {
            "Authorization": f"Bearer {answer.json()['access_token']}",
            "Service-CRN": credentials.instance_crn,
            "IBM-API-Version": VERSION,
        }
        return User(self.http, credentials, headers)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    clock = SystemClock()
    store = open_store(folder)
    first = accounts.first_start(store, clock.now())
    assert first is not None
    engine = Engine(CONFIG, store, clock)
    await engine.start()
    await engine.ready()
    app = build(CONFIG, store, engine, clock)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://qdwell") as http:
        yield Site(store, engine, http, first, app)
    await engine.stop(0)
    store.close()


@pytest_asyncio.fixture(loop_scope="session")
async def user(site: Site) -> User:
    return await site.user()


@pytest_asyncio.fixture(loop_scope="session")
async def other(site: Site) -> User:
    return await site.user()


@cache
def _bell() -> str:
    from qiskit import QuantumCircuit
    from qiskit_ibm_runtime import RuntimeEncoder

    circuit = QuantumCircuit(2, name="bell")
    circuit.x(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return json.dumps({"pubs": [[circuit, None, 10]], "version": 2}, cls=RuntimeEncoder)


def bell() -> dict[str, Any]:
    """Input of a sampler job, as the stock client encodes it."""
    params: dict[str, Any] = json.loads(_bell())
    return params


def fault(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer, after checking what every error has."""
    body = answer.json()
    (item,) = body["errors"]
    assert body["error"]["code"] == item["code"]
    assert item["message"] in body["error"]["message"]
    assert body["trace"] == answer.headers["uber-trace-id"]
    assert "Traceback" not in answer.text
    return {"status": answer.status_code, **item}


Changed = Callable[..., User]


def as_if(user: User, **headers: str) -> User:
    """The same user with other headers; an empty one is left out."""
    merged = {**user.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return replace(user, headers={k: v for k, v in merged.items() if v})
