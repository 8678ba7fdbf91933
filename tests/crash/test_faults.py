"""What the machine does to a real server: workers killed, disk full, database locked, stopped.

Each gives a clear error or none at all, then recovery, and never a wrong state. One server lives
through all of them, because a start takes seconds.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2, Session

from crash.served import Served, bell, submit, until

pytestmark = pytest.mark.timeout(600)  # seven faults on one server, on a machine that may be busy
FINAL = ("DONE", "ERROR", "CANCELLED")


def test_a_hard_day(served: Served) -> None:
    """J5, C8, E29: the faults, one after the other."""
    assert served.start(), served.log()
    service = served.client()
    workers_are_killed(served, service)
    disk_is_full(served, service)
    database_is_locked(served, service)
    stopped_for_longer_than_a_ttl(served, service)
    assert served.stop() == 0, served.log()


def done(service: QiskitRuntimeService, job_id: str) -> None:
    job = service.job(job_id)
    until(lambda: str(job.status()) in FINAL, f"the end of {job_id}")
    assert str(job.status()) == "DONE", job.error_message()


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def workers_are_killed(served: Served, service: QiskitRuntimeService) -> None:
    """Every process below the server dies: fork server, workers, devices. Nobody notices."""
    assert served.process is not None
    jobs = [submit(service, name, "killed") for name in ("model", "qpu", "quick")]
    for pid in children(served.process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    jobs.append(submit(service, "model", "killed"))
    for job_id in jobs:
        job = service.job(job_id)
        until(lambda job=job: str(job.status()) in FINAL, f"the end of {job_id}")
        # A real device's run that nobody could name yet is the one that may fail (J5).
        assert str(job.status()) == "DONE" or job.backend().name == "qpu", job.error_message()


def post(served: Served, service: QiskitRuntimeService) -> requests.Response:
    """One submission without the stock client's repetitions."""
    token = service._active_api_client._session.auth.get_headers()["Authorization"]
    return requests.post(
        f"http://127.0.0.1:{served.port}/api/v1/jobs",
        json={
            "program_id": "sampler",
            "backend": "quick",
            "params": {"pubs": [["OPENQASM 3; bit c;", None, 1]], "version": 2},
        },
        headers={
            "Authorization": token,
            "Service-CRN": served.settings["QISKIT_IBM_INSTANCE"],
            "IBM-API-Version": "2026-04-15",
        },
        timeout=60,
    )


def refused(answer: requests.Response) -> None:
    """A 503 in both shapes of an error, which says nothing of our inside."""
    body: dict[str, Any] = answer.json()
    assert answer.status_code == 503, answer.text
    assert body["errors"][0]["message"] in body["error"]["message"]
    assert body["errors"][0]["solution"]
    assert "cannot write to its store" in body["errors"][0]["message"]
    assert "Traceback" not in answer.text


def disk_is_full(served: Served, service: QiskitRuntimeService) -> None:
    """No byte can be written: submissions get 503, reading goes on; then all is well again."""
    assert served.process is not None
    before = submit(service, "model", "full")
    count = len(service.jobs(limit=None))
    limits = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
    for _ in range(3):
        refused(post(served, service))
    assert service.job(before).job_id() == before
    assert len(service.jobs(limit=None)) == count
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, limits)
    until(lambda: post(served, service).status_code == 200, "a submission after the disk was full")
    done(service, before)
    done(service, submit(service, "quick", "full"))


def database_is_locked(served: Served, service: QiskitRuntimeService) -> None:
    """Another process holds the database: 503 after the wait, and nothing is stored by it."""
    count = len(service.jobs(limit=None))
    path = served.folder / "data/qdwell.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(post(served, service))
        other.execute("ROLLBACK")
    until(lambda: post(served, service).status_code == 200, "a submission after the lock")
    assert len(service.jobs(limit=None)) == count + 1


def stopped_for_longer_than_a_ttl(served: Served, service: QiskitRuntimeService) -> None:
    """SIGSTOP past a session's interactive TTL: it was inactive since its deadline (C8)."""
    assert served.process is not None
    with Session(backend=service.backend("quick")) as session:
        job = SamplerV2(mode=session).run([bell()], shots=10)
        job.result()
        os.kill(served.process.pid, signal.SIGSTOP)
        threading.Event().wait(2.5)
        os.kill(served.process.pid, signal.SIGCONT)
        until(lambda: session.details()["state"] == "inactive", "the end of the window", 5)
        details = session.details()
        assert details["usage_time"] <= 2, "the window ended at its deadline, not when we woke"
        assert len(SamplerV2(mode=session).run([bell()], shots=10).result()) == 1
