"""`/metrics` for Prometheus: queues, waits, lanes, the QPU, turnaround, commits, errors.

Two sources. What is now (queue lengths, lanes taken) is read when it is asked for. What happened
(waits, runs, ends) is counted as the engine stores it, in `watched`, which is called for every
change and so looks only at the few that count. No label names a user or an instance: a label that
grows with users would grow without end, and would tell everybody who works.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.documents import STATUS_RAN_TOO_LONG, ran_too_long
from qdwell.api.parts import Parts
from qdwell.core.decisions import PutGroup, PutJob
from qdwell.core.group import Group, GroupState
from qdwell.core.job import SERVER_WORDS, Job, JobState
from qdwell.engine.meter import COMMIT_BOUNDS_S
from qdwell.errors import UnknownRoute

# Without a gauge beside each count that says when it began: nobody asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]
TEXT = "text/plain; version=0.0.4; charset=utf-8"
WAIT_BOUNDS_S = (0.01, 0.05, 0.2, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400)
TURNAROUND_BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 30, 120, 600)
REQUEST_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 30)


class Metrics:
    """All numbers of one server."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.registry = CollectorRegistry()
        self.registry.register(_Now(parts))
        to = self.registry
        self._wait = Histogram(
            "qdwell_job_wait_seconds", "From acceptance to a lane.", ["backend", "mode"],
            buckets=WAIT_BOUNDS_S, registry=to,
        )  # fmt: skip
        self._turnaround = Histogram(
            "qdwell_session_turnaround_seconds",
            "From acceptance to the result, of jobs in an active session.", ["backend"],
            buckets=TURNAROUND_BOUNDS_S, registry=to,
        )  # fmt: skip
        self._ended = Counter(
            "qdwell_jobs_ended",
            "Jobs that ended, by how.",
            ["backend", "status", "code"],
            registry=to,
        )
        self._qpu = Counter(
            "qdwell_qpu_seconds", "Time in which a QPU ran; its rate is the occupancy.",
            ["backend", "mode"], registry=to,
        )  # fmt: skip
        self._windows = Counter(
            "qdwell_windows_opened", "Active windows of sessions and batches.",
            ["backend", "mode"], registry=to,
        )  # fmt: skip
        self._requests = Histogram(
            "qdwell_http_request_seconds", "Requests over HTTP; a held one counts in full.",
            ["status"], buckets=REQUEST_BOUNDS_S, registry=to,
        )  # fmt: skip
        self._errors = Counter(
            "qdwell_http_errors", "Error answers, by their code.", ["code"], registry=to
        )
        self._children: dict[str, Histogram] = {}
        parts.engine.watch(self.watched)

    async def answer(self, _: Request) -> Response:
        """Show all numbers, in the text format of Prometheus."""
        if not self._parts.config.server.metrics:
            raise UnknownRoute("/metrics")
        return Response(generate_latest(self.registry), media_type=TEXT)

    def request(self, status: int, code: int | str | None, took_ns: int) -> None:
        """Count a request that was answered."""
        word = f"{status // 100}xx"
        child = self._children.get(word)
        if child is None:
            child = self._children[word] = self._requests.labels(word)
        child.observe(took_ns / 1e9)
        if code is not None:
            self._errors.labels(str(code)).inc()

    def watched(self, change: PutJob | PutGroup) -> None:
        """Count what is worth it of a change that is stored."""
        if isinstance(change, PutGroup):
            group = change.group
            if group.state is GroupState.ACTIVE and change.was is not GroupState.ACTIVE:
                self._windows.labels(group.backend, _word(group)).inc()
            return
        job = change.job
        if change.was is JobState.QUEUED and job.running_at is not None:
            wait = (job.running_at - job.created) / 1000
            self._wait.labels(job.backend, self._mode(job)).observe(wait)
        if job.state is JobState.EXECUTED or job.final:
            self._left(job, change.was)

    def _left(self, job: Job, was: JobState | None) -> None:
        """A job has left the QPU, or has ended."""
        on_qpu = was is JobState.EXECUTING and job.executing_at is not None
        if on_qpu and job.executed_at is not None and job.executing_at is not None:
            took = (job.executed_at - job.executing_at) / 1000
            self._qpu.labels(job.backend, self._mode(job)).inc(max(0.0, took))
        if not job.final:
            return
        status = STATUS_RAN_TOO_LONG if ran_too_long(job) else SERVER_WORDS[job.state]
        self._ended.labels(job.backend, status, "" if job.code is None else job.code).inc()
        if job.state is JobState.COMPLETED and job.finished_at is not None:
            group = self._group(job)
            started_at_once = job.running_at == job.created or _inside(group, job)
            if group is not None and group.session and started_at_once:
                took = (job.finished_at - job.created) / 1000
                self._turnaround.labels(job.backend).observe(took)

    def _group(self, job: Job) -> Group | None:
        return None if job.group is None else self._parts.engine.live_group(job.group)

    def _mode(self, job: Job) -> str:
        group = self._group(job)
        return "job" if job.group is None else _word(group)


def _word(group: Group | None) -> str:
    """session or batch; a group that has closed meanwhile is called neither."""
    if group is None:
        return "closed"
    return "session" if group.session else "batch"


def _inside(group: Group | None, job: Job) -> bool:
    """Whether the job was submitted while its session's present window was open."""
    return (
        group is not None and group.activated_at is not None and job.created >= group.activated_at
    )


class _Now(Collector):
    """What is read when it is asked for."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily]:
        """All gauges of the backends, and the loop's counts."""
        yield from self._backends()
        meter = self._parts.engine.meter
        for name, text, value in (
            ("qdwell_decisions", "Decisions of the scheduler that were stored.", meter.decisions),
            ("qdwell_failed_turns", "Turns that were not stored at once.", meter.failed_turns),
        ):
            yield CounterMetricFamily(name, text, value=value)
        buckets, total = [], 0
        bounds = (*(str(it) for it in COMMIT_BOUNDS_S), "+Inf")
        for bound, count in zip(bounds, meter.commit_counts, strict=True):
            total += count
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            "qdwell_commit_seconds", "Time to make a turn durable.", buckets, meter.commit_s
        )

    def _backends(self) -> Iterator[GaugeMetricFamily]:
        named = ["backend"]
        online = GaugeMetricFamily("qdwell_backend_online", "1: ready and online.", labels=named)
        queue = GaugeMetricFamily("qdwell_queue_length", "Queued jobs.", labels=named)
        lanes = GaugeMetricFamily("qdwell_lanes", "Classical lanes there are.", labels=named)
        used = GaugeMetricFamily("qdwell_lanes_used", "Lanes that jobs hold.", labels=named)
        busy = GaugeMetricFamily("qdwell_qpu_busy", "1: a job is in the QPU.", labels=named)
        held = GaugeMetricFamily(
            "qdwell_backend_held", "1: a session or batch is active.", labels=["backend", "mode"]
        )
        for view in self._parts.engine.backends():
            key = [view.name]
            online.add_metric(key, float(view.ready and view.mode.value == "online"))
            queue.add_metric(key, view.queue_length)
            now = self._parts.engine.machine_now(view.name)
            if now is None or view.simulator:
                continue
            lanes.add_metric(key, now.lanes)
            used.add_metric(key, now.lanes_used)
            busy.add_metric(key, float(now.lease_job is not None))
            for mode in ("session", "batch"):
                taken = now.group is not None and _word(now.group) == mode
                held.add_metric([view.name, mode], float(taken))
        yield from (online, queue, lanes, used, busy, held)
