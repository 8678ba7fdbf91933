"""Where secrets may not be: in a log of real work, in a traceback, in a `repr`, in a worker."""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from qdwell import QiskitRuntimeService, SamplerV2, Session
from qdwell.api.auth import Auth
from qdwell.cli.credentials import ServerFacts
from qdwell.client.accounts import Account
from qdwell.client.errors import IBMNotAuthorizedError, RequestsApiError
from qdwell.client.transport import Transport
from qdwell.clock import ManualClock
from qdwell.config import Config, Storage
from qdwell.console.signin import SignIn
from qdwell.store import accounts, open_store
from qdwell.store.places import Place
from security.payloads import bell
from security.served import ONE_MACHINE, served

pytestmark = pytest.mark.timeout(600)  # servers start slowly on a busy machine

SECRET = "hunter2-" * 4
LOUD = '[server]\nlog_format = "json"\nlog_jobs = true\n' + ONE_MACHINE


def test_a_whole_session_of_work_leaves_no_secret_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the loudest: a session, jobs, errors, the console, wrong tokens; and what it printed."""
    caplog.set_level(logging.DEBUG)
    with served(tmp_path, LOUD) as server:
        lines = server.lines()
        token = lines["QISKIT_IBM_TOKEN"]
        service = QiskitRuntimeService(
            url=server.url, token=token, instance=lines["QISKIT_IBM_INSTANCE"]
        )
        with Session(backend=service.backend("machine")) as session:
            SamplerV2(mode=session).run([bell()], shots=3).result()
        with pytest.raises(RequestsApiError) as refused:
            Transport(server.url, token).send(_wrong())
        with httpx.Client(base_url=server.url) as http:
            given = http.post("/identity/token", data={"apikey": token}).json()["access_token"]
            headers = {"Authorization": f"Bearer {given}"}
            http.get("/api/v1/jobs/none", headers=headers)
            http.get("/api/v1/jobs", headers={"Authorization": f"apikey {token}"})
            http.post("/identity/token", data={"apikey": token, "grant_type": token})
            http.post("/identity/token", content=token.encode())
            http.get("/api/v1/jobs", headers={"Authorization": f"Bearer {given}x"})
            cookie = http.post("/sign-in", data={"token": token}).cookies["qdwell_console"]
            http.get("/jobs")
            http.post("/sign-out", data={"csrf": cookie})
        shown = [repr(service), str(refused.value), repr(refused.value)]
        service.close()
    theirs = ("httpx", "httpcore")  # the test's own client tells all
    said = [it.getMessage() for it in caplog.records if not it.name.startswith(theirs)]
    log = server.log.read_text()
    moved = [json.loads(it) for it in log.splitlines() if it.startswith("{")]
    assert any(it["event"] == "job moved" for it in moved), "nothing was logged"
    for secret in (token, given, given.rpartition(".")[2], cookie):
        assert secret not in log
        assert all(secret not in it for it in said)
        assert all(secret not in it for it in shown)


def _wrong() -> Any:
    from qdwell.client.transport import Request

    return Request("GET", "/jobs/none")


TRACED = """
import asyncio, sys
from qdwell.api.edge import Edge
from qdwell.api.server import _log_to_stderr
from qdwell.clock import ManualClock
_log_to_stderr(as_json=sys.argv[1] == "json")

async def broken(scope, receive, send):
    api_token = {"apikey": sys.argv[2]}
    raise RuntimeError("it broke")

async def main():
    scope = {"type": "http", "path": "/", "method": "GET", "query_string": b"",
             "headers": [(b"authorization", b"Bearer " + sys.argv[2].encode())]}
    sent = []
    async def send(message): sent.append(message)
    async def receive(): return {"type": "http.request"}
    await Edge(broken, lambda scope: "somebody", ManualClock())(scope, receive, send)
    sys.stdout.write(repr(sent))

asyncio.run(main())
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_has_no_secret(form: str) -> None:
    """In either form of the log: the line of the code, never the values of its variables."""
    told = subprocess.run(
        [sys.executable, "-c", TRACED, form, SECRET],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert "RuntimeError: it broke" in told.stderr
    assert "in broken" in told.stderr, "the traceback is there"
    assert SECRET not in told.stderr + told.stdout
    assert "it broke" not in told.stdout, "nor does the client read it"


def test_no_object_shows_its_secret(tmp_path: Path) -> None:
    """Of the config, of accounts, of the server, of the client; each as a log might print it."""
    url = f"postgresql://qdwell:{SECRET}@db.lab/qdwell"
    storage = Storage(database_url=url, blobs="s3://b", blob_options={"secret_access_key": SECRET})
    config = Config(store=storage)
    clock = ManualClock(1_800_000_000_000)
    store = open_store(tmp_path)
    made = accounts.first_start(store, clock.now())
    assert made is not None
    known = dataclasses.replace(made, token=SECRET)
    transport = Transport("http://127.0.0.1:1", SECRET)
    transport._token.text = SECRET
    things = [
        config, storage, Place.of(config, tmp_path), ServerFacts("http://x", (), storage),
        known, Account("http://x", SECRET), transport, transport._token,
        Auth(store, clock), SignIn(store, clock, secure=True), store,
    ]  # fmt: skip
    for it in things:
        assert SECRET not in repr(it), type(it)
        assert SECRET not in f"{it}", type(it)
    key = accounts.signing_key(store)
    assert all(key.hex() not in repr(it) and repr(key) not in repr(it) for it in things)
    store.close()


def test_errors_of_the_client_have_no_token(tmp_path: Path) -> None:
    """Neither when nobody answers, nor when the token is refused."""
    with pytest.raises(RequestsApiError) as caught:
        Transport("http://127.0.0.1:1", SECRET, patience_s=0.0).send(_wrong())
    assert SECRET not in str(caught.value) + repr(caught.value)
    with served(tmp_path) as server, pytest.raises(IBMNotAuthorizedError) as refused:
        Transport(server.url, SECRET).send(_wrong())
    assert SECRET not in str(refused.value) + repr(refused.value)
    assert SECRET not in server.log.read_text()
