"""`/metrics`, and what the dashboard asks of it; log lines; traces."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families as parse

from qdwell.api import observe
from qdwell.api.app import build
from qdwell.clock import ManualClock
from qdwell.config import Config, Server
from qdwell.core.decisions import PutJob
from qdwell.core.job import Job, JobState
from qdwell.engine.engine import Engine
from qdwell.store import open_store

DASHBOARD = Path(__file__).parents[2] / "docs" / "operate" / "grafana-dashboard.json"


async def numbers(user: Any) -> dict[str, float]:
    """Every sample by its name and labels."""
    answer = await user.ask("GET", "//metrics")
    assert answer.status_code == 200
    assert user.crn not in answer.text
    return {
        f"{it.name}{sorted(it.labels.items())}": it.value
        for family in parse(answer.text)
        for it in family.samples
    }


def grown(before: dict[str, float], after: dict[str, float], name: str, **labels: str) -> float:
    key = f"{name}{sorted(labels.items())}"
    return after.get(key, 0) - before.get(key, 0)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_job_in_a_session_is_counted(user: Any) -> None:
    before = await numbers(user)
    session = await user.session("spare")
    job_id = await user.submit("spare", session_id=session["id"])
    await user.finished(job_id)
    second = await user.submit("spare", session_id=session["id"])
    await user.finished(second)
    after = await numbers(user)
    ended = {"backend": "spare", "status": "Completed", "code": ""}
    assert grown(before, after, "qdwell_jobs_ended_total", **ended) == 2
    wait = {"backend": "spare", "mode": "session"}
    assert grown(before, after, "qdwell_job_wait_seconds_count", **wait) == 2
    assert grown(before, after, "qdwell_windows_opened_total", **wait) == 1
    count = grown(before, after, "qdwell_session_turnaround_seconds_count", backend="spare")
    assert count >= 1
    assert grown(before, after, "qdwell_decisions_total") > 8
    assert grown(before, after, "qdwell_commit_seconds_count") >= 4
    assert after["qdwell_lanes[('backend', 'spare')]"] == 5
    assert after["qdwell_backend_online[('backend', 'spare')]"] == 1
    assert grown(before, after, "qdwell_http_request_seconds_count", status="2xx") > 3
    await user.ask("DELETE", f"/sessions/{session['id']}/close")


@pytest.mark.asyncio(loop_scope="session")
async def test_errors_are_counted_by_their_code(user: Any) -> None:
    before = await numbers(user)
    assert (await user.get("/jobs/nothing")).status_code == 404
    assert (await user.ask("GET", "//nowhere")).status_code == 404
    after = await numbers(user)
    assert grown(before, after, "qdwell_http_errors_total", code="not_found") == 2
    assert grown(before, after, "qdwell_http_request_seconds_count", status="4xx") == 2


@pytest.mark.asyncio(loop_scope="session")
async def test_the_dashboard_asks_only_for_what_there_is(user: Any) -> None:
    text = (await user.ask("GET", "//metrics")).text
    there = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    asked = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"qdwell_\w+", target["expr"])
    }
    assert len(asked) > 10
    assert asked <= there


def test_every_move_is_logged_with_ids_when_that_is_asked_for() -> None:
    job = Job("j1", 1, "crn", "qpu", 0, group="g1", state=JobState.PREPARING, attempt=1)
    with structlog.testing.capture_logs() as lines:
        observe.log_change(PutJob(job, JobState.QUEUED, "lane granted", 5))
    (line,) = lines
    assert (line["job"], line["group"], line["state"]) == ("j1", "g1", "preparing")


def test_a_job_that_ended_is_one_trace_of_its_parts() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    watched = observe.trace_jobs(provider.get_tracer("t"))
    job = Job(
        "j1", 1, "crn", "qpu", 1_000, group="g1", state=JobState.COMPLETED, running_at=2_000,
        ready_at=2_500, executing_at=3_000, executed_at=5_000, finished_at=5_100, quantum_ms=2_000,
    )  # fmt: skip
    watched(PutJob(job, JobState.POSTPROCESSING, "result stored", 5_100))
    spans = {it.name: it for it in kept.get_finished_spans()}
    assert list(spans) == ["queued", "prepare", "wait for the QPU", "QPU", "post-process", "job"]
    assert len({it.context.trace_id for it in spans.values()}) == 1
    whole = spans["job"]
    assert all(it.parent.span_id == whole.context.span_id for it in spans.values() if it.parent)
    assert (spans["QPU"].end_time - spans["QPU"].start_time) == 2_000 * 1_000_000
    assert whole.attributes["qdwell.group"] == "g1"


def test_a_failed_job_is_a_trace_that_ends_where_it_did() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    job = Job(
        "j1", 1, "crn", "qpu", 1_000, state=JobState.FAILED, running_at=2_000, finished_at=2_300,
        code=1517, reason="no such gate",
    )  # fmt: skip
    observe.trace(provider.get_tracer("t"), job)
    spans = {it.name: it for it in kept.get_finished_spans()}
    assert list(spans) == ["queued", "prepare", "job"]
    assert spans["job"].status.description == "no such gate"
    assert spans["prepare"].end_time == 2_300 * 1_000_000


async def test_metrics_can_be_switched_off(tmp_path: Path) -> None:
    config = replace(Config(), server=Server(metrics=False))
    clock = ManualClock(1)
    with contextlib.closing(open_store(tmp_path)) as store:
        app = build(config, store, Engine(config, store, clock), clock)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://qdwell"
        ) as http:
            assert (await http.get("/metrics")).status_code == 404
