"""Logs and traces of jobs, from the changes that the engine has stored.

A log line for each move of a job or group, by option; with their ids in fields of their own, so
that one job's path is one search. A trace for each job that has ended, by option: its spans are
made from the instants that are in the store anyway, so a running job pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from qdwell.core.decisions import PutGroup, PutJob
from qdwell.core.job import SERVER_WORDS, Job

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = structlog.get_logger("qdwell.jobs")

Change = PutJob | PutGroup
SPANS = (
    ("queued", "created", "running_at"),
    ("prepare", "running_at", "ready_at"),
    ("wait for the QPU", "ready_at", "executing_at"),
    ("QPU", "executing_at", "executed_at"),
    ("post-process", "executed_at", "finished_at"),
)


def log_change(change: Change) -> None:
    """Write one line about a stored change."""
    if isinstance(change, PutGroup):
        group = change.group
        if change.was is not group.state:
            log.info(
                "group moved",
                group=group.id,
                mode=group.mode.value,
                instance=group.instance,
                backend=group.backend,
                state=group.state.value,
                cause=change.cause,
            )
        return
    job = change.job
    log.info(
        "job moved",
        job=job.id,
        group=job.group,
        instance=job.instance,
        backend=job.backend,
        state=job.state.value,
        attempt=job.attempt,
        cause=change.cause,
    )


def trace_jobs(tracer: Tracer) -> Callable[[Change], None]:
    """Return what makes a trace of each job that ends."""

    def watched(change: Change) -> None:
        if isinstance(change, PutJob) and change.job.final:
            trace(tracer, change.job)

    return watched


def trace(tracer: Tracer, job: Job) -> None:
    """The path of one job: a span for the whole, and one in it for each part it came through."""
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    attributes: dict[str, str | int] = {
        "qdwell.job": job.id,
        "qdwell.instance": job.instance,
        "qdwell.backend": job.backend,
        "qdwell.status": SERVER_WORDS[job.state],
        "qdwell.quantum_ms": job.quantum_ms,
        "qdwell.attempt": job.attempt,
    }
    if job.group is not None:
        attributes["qdwell.group"] = job.group
    end = job.finished_at or job.created
    whole = tracer.start_span("job", start_time=_ns(job.created), attributes=attributes)
    if job.code is not None:
        whole.set_attribute("qdwell.code", job.code)
        whole.set_status(Status(StatusCode.ERROR, job.reason or ""))
    inside = set_span_in_context(whole)
    for name, begin, until in SPANS:
        start = getattr(job, begin)
        if start is None:
            break
        stop = getattr(job, until)
        part = tracer.start_span(name, context=inside, start_time=_ns(start))
        part.end(end_time=_ns(end if stop is None else stop))
    whole.end(end_time=_ns(end))


def _ns(at: int) -> int:
    return at * 1_000_000


def tracer_to(url: str) -> tuple[Tracer, Callable[[], None]]:
    """A tracer that sends to an OpenTelemetry collector (OTLP over HTTP), and what ends it.

    Spans leave in a thread of their own, by the batch; a collector that is away costs nothing but
    its spans.

    Raises:
        ConfigError: the packages for it are not installed.
    """
    from qdwell.errors import ConfigError

    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            "server.traces_url", f"needs `pip install qdwell[traces]` ({error.name} is missing)"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "qdwell"}))
    exporter = OTLPSpanExporter(endpoint=url.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider.get_tracer("qdwell"), provider.shutdown
