"""`/metrics` before Debian's Prometheus: its linter, its query language, and a real scrape.

Where Prometheus is not installed (apt install prometheus) the numbers are parsed by its Python
client alone, and the rest is skipped, loudly.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from qdwell import SamplerV2, Session
from watch.jobs import bad, bell
from watch.served import serving

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docs" / "operate" / "grafana-dashboard.json"
FETCHED = ROOT / ".tools" / "usr" / "bin"  # by `make prometheus`
pytestmark = pytest.mark.timeout(400)

#: What there must be: queue lengths, waits, lane and QPU occupancy, in-session turnaround,
#: decisions, commit times, errors by code.
WANTED = {
    "qdwell_queue_length", "qdwell_job_wait_seconds", "qdwell_lanes", "qdwell_lanes_used",
    "qdwell_qpu_busy", "qdwell_qpu_seconds", "qdwell_session_turnaround_seconds",
    "qdwell_decisions", "qdwell_commit_seconds", "qdwell_http_errors", "qdwell_jobs_ended",
    "qdwell_windows_opened", "qdwell_backend_held", "qdwell_backend_online",
    "qdwell_failed_turns", "qdwell_http_request_seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has something to count: a session's jobs, a failed job, an error answer."""
    with serving(tmp_path_factory.mktemp("metrics")) as service:
        backend = service.backend("lab")
        with Session(backend=backend) as session:
            for _ in range(3):
                SamplerV2(mode=session).run([bell()], shots=10).result()
        with pytest.raises(Exception, match="not supported"):
            SamplerV2(mode=backend).run([bad()], shots=10).result()
        with pytest.raises(Exception, match="not found"):
            service.job("nothing")
        yield service.active_account()["url"]


def scraped(origin: str) -> str:
    with urllib.request.urlopen(origin + "/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def tool(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=str(FETCHED))
    if path is None:
        told = pytest.fail if os.environ.get("QDWELL_PROMETHEUS") == "required" else pytest.skip
        told(f"NO {name}: the metrics were not shown to it; run `make prometheus`")
    return path


def queries() -> list[str]:
    """The dashboard's queries, its variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(found) > 15
    return [it.replace("$__rate_interval", "1m").replace('"$backend"', '".*"') for it in found]


def test_every_metric_that_is_promised_is_there(origin: str) -> None:
    families = {it.name: it for it in parse(scraped(origin))}
    assert set(families) >= WANTED
    assert all(it.documentation for it in families.values())
    codes = {it.labels["code"] for it in families["qdwell_http_errors"].samples}
    assert codes


def test_the_linter_of_prometheus_has_nothing_to_say(origin: str) -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=scraped(origin), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_queries_of_the_dashboard_are_queries(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": it} for n, it in enumerate(queries())]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [tool("promtool"), "check", "rules", path],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_real_prometheus_scrapes_and_answers_every_panel(origin: str, tmp_path: Path) -> None:
    """Two scrapes are enough for a rate; every query of the dashboard then has an answer."""
    prometheus = tool("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = origin.split("//")[1]
    job = {"job_name": "qdwell", "static_configs": [{"targets": [target]}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    command = [prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until_scraped(port, 3)
        for query in queries():
            answer = asked(port, query)
            assert answer, query
        (up,) = asked(port, "up")
        assert up["value"][1] == "1"
        (ended,) = asked(port, 'sum(qdwell_jobs_ended_total{status="Completed"})')
        assert ended["value"][1] == "3"
    finally:
        server.terminate()
        server.wait(30)


def asked(port: int, query: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def until_scraped(port: int, times: int) -> None:
    """Wait until Prometheus has asked that often."""
    for _ in range(600):
        try:
            found = asked(port, "count_over_time(up[5m])")
        except OSError:
            found = []
        if found and float(found[0]["value"][1]) >= times:
            return
        threading.Event().wait(0.1)
    pytest.fail("Prometheus has not asked the server within a minute")


def test_the_guide_names_every_metric(origin: str) -> None:
    page = (DASHBOARD.parent / "watch.md").read_text()
    named = set(re.findall(r"`(qdwell_\w+)`", page))
    for family in parse(scraped(origin)):
        if family.name.startswith("qdwell_"):
            assert {family.name, f"{family.name}_total"} & named, family.name
