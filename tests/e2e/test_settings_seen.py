"""Settings whose work is seen only from outside: one server that has them all turned.

Those of the scheduler and of plans are tested on the core and in the API; here it is shown that the
file's keys reach them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from e2e.conftest import Served, serving
from e2e.gated import until
from qdwell import Batch, IBMRuntimeError, QiskitRuntimeService, RequestsApiError, Session

CONFIG = """
[server]
body_depth_max = 8
header_bytes_max = 4096
log_format = "json"
log_jobs = true
stop_grace_seconds = 0

[scheduler]
session_default_ttl = "first_job"
unused_group_close_seconds = 1
default_allocation_seconds = 7200
window_days = 2

[[backends]]
name = "machine"
kind = "scripted"

[[backends]]
name = "endless"
kind = "scripted"
options = { run_ms = 3600000 }

[plans.default]
session_keep_alive_max_seconds = 7
max_ttl_seconds = 3600
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """At its end it must stop with status 0, though a job runs that would take an hour."""
    with serving(tmp_path_factory.mktemp("settings"), CONFIG) as server:
        yield server


@pytest.fixture
def service(served: Served) -> Iterator[QiskitRuntimeService]:
    with QiskitRuntimeService(filename=str(served.folder / "credentials.env")) as made:
        yield made


def run(session: Session, **options: int) -> None:
    """Submit a job without circuits' cost: it fails or ends at once, and counts as submitted."""
    session.run("sampler", {"pubs": [], "version": 2}, options)


def test_a_body_may_not_be_nested_deeper(service: QiskitRuntimeService) -> None:
    """`server.body_depth_max`"""
    deep: object = 1
    for _ in range(9):
        deep = [deep]
    with pytest.raises(IBMRuntimeError, match="8"):
        service.run("sampler", {"pubs": deep}, {"backend": "machine"})


def test_headers_may_not_be_longer(served: Served) -> None:
    """`server.header_bytes_max`"""
    where = urlsplit(served.url)
    for length, expected in ((3_000, 200), (5_000, 431)):
        connection = HTTPConnection(str(where.hostname), where.port, timeout=60)
        connection.request("GET", "/healthz", headers={"X-Long": "x" * length})
        assert connection.getresponse().status == expected
        connection.close()


def test_a_session_lives_as_long_as_its_first_job_may(service: QiskitRuntimeService) -> None:
    """`scheduler.session_default_ttl` (S5)"""
    with Session(service=service, backend="machine") as session:
        run(session, max_execution_time=100)
        details = session.details()
    assert details is not None
    assert details["max_time"] == 100


def test_a_life_that_is_named_is_not_the_first_jobs(service: QiskitRuntimeService) -> None:
    """S4-S6, B10: nor is a batch's, and no first job makes one longer than the plan allows."""
    with Session(service=service, backend="machine", max_time=300) as session:
        run(session, max_execution_time=100)
        details = session.details()
    assert details is not None
    assert details["max_time"] == 300
    with Session(service=service, backend="machine") as session:
        run(session)
        details = session.details()
    assert details is not None
    assert details["max_time"] == 3600
    with Batch(service=service, backend="machine") as batch:
        details = batch.details()
    assert details is not None
    assert details["max_time"] == 28_800


def test_a_session_that_nobody_uses_is_closed(service: QiskitRuntimeService) -> None:
    """`scheduler.unused_group_close_seconds` (S31)"""
    session = Session(service=service, backend="machine")
    until(lambda: session.status() == "Closed", "the end of an unused session")
    assert session.usage() is None


def test_the_plan_bounds_keep_alive(service: QiskitRuntimeService) -> None:
    """`plans.default.session_keep_alive_max_seconds`"""
    with Session(service=service, backend="machine") as session:
        run(session)
        with pytest.raises(RequestsApiError, match="7"):
            session.keep_alive(8)


def test_usage_is_told_for_the_window(service: QiskitRuntimeService) -> None:
    """`scheduler.window_days` (Q3)"""
    from datetime import datetime

    period = service.usage()["usage_period"]
    start, end = (datetime.fromisoformat(period[name]) for name in ("start_time", "end_time"))
    assert (end - start).total_seconds() == 2 * 86_400


def test_the_log_is_json_and_follows_jobs(served: Served, service: QiskitRuntimeService) -> None:
    """`server.log_format`, `server.log_jobs`; and what is left running ends with the server."""
    job = service.run("sampler", {"pubs": [], "version": 2}, {"backend": "endless"})

    def told() -> bool:
        lines = (served.folder / "server.log").read_text().splitlines()
        entries = [json.loads(line) for line in lines if line.strip()]
        return any(job.job_id() in entry.values() for entry in entries)

    until(told, "a line about the job")
    assert job.status() in ("QUEUED", "RUNNING", "DONE", "ERROR")
