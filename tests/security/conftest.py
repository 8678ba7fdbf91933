"""A real server process, attacked from outside; after each attack it must still be well.

The process is started once for a worker of the test run, with a scripted machine and a simulator.
A test fails, whatever it asserts itself, if the server has died, has logged an error of its own, or
does not answer at once when it is over.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from qdwell.clock import stopwatch_ns

SECOND = 1_000_000_000  # in ns
BASE = "/experimental/api/v1"
CONFIG = """
[server]
body_bytes_max = 6_000_000
header_seconds_max = 2
idle_seconds_max = 2
connections_max = 400

[plans.default]
simulator_job_limit_seconds = 3

[workers]
stage_seconds_max = 20

[[backends]]
name = "aer_simulator"
kind = "aer"

[[backends]]
name = "machine"
kind = "scripted"
"""
FINAL = ("Completed", "Failed", "Cancelled", "Cancelled - Ran too long")


@dataclass
class Person:
    """Somebody with a token."""

    target: Target
    token: str
    crn: str
    bearer: str

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.bearer}",
            "Service-CRN": self.crn,
            "IBM-API-Version": "2026-04-15",
        }

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return self.target.http.request(method, path, headers=headers, **more)

    def submit(self, params: Any, backend: str = "aer_simulator", **more: Any) -> httpx.Response:
        body = {"program_id": "sampler", "backend": backend, "params": params, **more}
        return self.ask("POST", f"{BASE}/jobs", content=json.dumps(body).encode())

    def outcome(self, answer: httpx.Response) -> dict[str, Any]:
        """The job that was accepted, once it is final."""
        assert answer.status_code == 200, answer.text
        path = f"{BASE}/jobs/{answer.json()['id']}"
        for _ in range(5_000):  # the server holds each question
            document: dict[str, Any] = self.ask("GET", path).json()
            if document["state"]["status"] in FINAL:
                return document
        raise AssertionError(f"the job hangs: {document}")


@dataclass
class Target:
    """The server under attack."""

    process: subprocess.Popen[bytes]
    url: str
    http: httpx.Client
    folder: Path
    log: Path
    seen: int = 0  #: of the log, by the last look

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def person(self, name: str, plan: str = "default") -> Person:
        """A new account's user, signed in."""
        command = [sys.executable, "-m", "qdwell", "account", "create", name, "--plan", plan]
        made = subprocess.run(
            [*command, "--data-dir", str(self.folder)], capture_output=True, text=True, check=True
        ).stdout
        token, crn = (
            re.search(rf"{it}=(\S+)", made)[1].strip("'")  # type: ignore[index]
            for it in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_INSTANCE")
        )
        answer = self.http.post("/identity/token", data={"apikey": token})
        return Person(self, token, crn, answer.json()["access_token"])

    def connect(self, within_s: float = 10) -> socket.socket:
        return socket.create_connection(self.address, within_s)

    def raw(self, data: bytes, within_s: float = 10) -> bytes:
        """Send bytes, and return what comes until the server closes or says no more."""
        with self.connect(within_s) as sock:
            with suppress(OSError):  # it has refused already; its answer may be there
                sock.sendall(data)
            return heard(sock)

    def well(self) -> None:
        """Fail unless it lives, answers at once, and has not met an error of its own."""
        assert self.process.poll() is None, "the server is dead"
        began = stopwatch_ns()
        assert httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        assert stopwatch_ns() - began < 5 * SECOND, "the server was held up"
        log = self.log.read_text(errors="replace")
        log, self.seen = log[self.seen :], len(log)
        assert "request failed" not in log, log[-3000:]
        assert "server error" not in log, log[-3000:]
        assert "Traceback" not in log.replace("in a worker: Traceback", ""), log[-3000:]


def heard(sock: socket.socket) -> bytes:
    found = b""
    try:
        while piece := sock.recv(65_536):
            found += piece
            if whole(found):
                break
    except (TimeoutError, ConnectionError):
        pass
    return found


def whole(answer: bytes) -> bool:
    """Whether this is one answer with its whole body."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return bool(end) and length is not None and len(body) >= int(length[1])


def status(answer: bytes) -> int:
    """The status of a raw answer; 0 if there was none."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("target")
    config, log = folder / "config.toml", folder / "log"
    config.write_text(CONFIG)
    data = folder / "data"
    command = [sys.executable, "-m", "qdwell", "serve", "--port", "0", "--data-dir", str(data)]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    assert process.stdout is not None
    url = ""
    for line in process.stdout:
        found = re.search(rb"serves (http\S+)", line)
        if found:
            url = found[1].decode()
            break
    assert url, log.read_text()
    with httpx.Client(base_url=url, timeout=30) as http:
        # A slow computer's devices may start later than the server has waited for them.
        end = stopwatch_ns() + 120 * SECOND
        while http.get("/healthz").status_code != 200 and stopwatch_ns() < end:
            threading.Event().wait(0.1)
        yield Target(process, url, http, data, log)
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.fixture(scope="session")
def mallory(target: Target) -> Person:
    """Who attacks."""
    return target.person("mallory")


@pytest.fixture(scope="session")
def ada(target: Target) -> Person:
    """Who is attacked."""
    return target.person("ada")


@pytest.fixture(autouse=True)
def _still_well(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "target" in request.fixturenames:
        request.getfixturevalue("target").well()
