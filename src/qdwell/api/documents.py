"""Turns records into the documents of the wire: jobs (J33), metrics (J34), sessions (S36).

Fields without a value are left out, except where the tables of the semantics say null.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from qdwell.api.auth import FIRST_VERSION
from qdwell.clock import iso
from qdwell.config import is_mock
from qdwell.core.forecast import Forecast
from qdwell.core.group import REPORTED, Group, Mode
from qdwell.core.job import (
    CODE_CANCELLED,
    CODE_RAN_TOO_LONG,
    CODE_SESSION_CLOSED,
    SERVER_WORDS,
    Job,
    JobState,
)
from qdwell.core.timers import USAGE_REASON
from qdwell.store import JobRow

_SPENT = "Ask the operator for a larger spend limit, or submit again when usage left the window."
STATUS_RAN_TOO_LONG = "Cancelled - Ran too long"
#: What to do about an end that the scheduler decided; a worker's failures bring their own.
_SOLUTIONS: Mapping[int, str] = {
    CODE_CANCELLED: "Submit the job again if its result is still wanted.",
    CODE_RAN_TOO_LONG: "Split it up, or raise max_execution_time as far as the plan allows.",
    CODE_SESSION_CLOSED: "Submit the job again, in a session with a larger max_time.",
}
_CLIENT = re.compile(r"qiskit_ibm_runtime-(\d+)\.(\d+)")
CODE_FROM = (0, 26)  # clients before it want no `reason_code` beside "Ran too long" (J16)


def seconds(ms: int) -> int | float:
    """Milliseconds as seconds, exactly: a whole number where it is one."""
    whole, rest = divmod(ms, 1000)
    return whole if rest == 0 else ms / 1000


def seconds_up(ms: int) -> int:
    """Milliseconds as billed seconds: whole, rounded up."""
    return -(-ms // 1000)


def optional_iso(at: int | None) -> str | None:
    """An instant as the wire shows it, or None."""
    return None if at is None else iso(at)


def knows_codes(headers: Mapping[str, str]) -> bool:
    """Whether the client reads `reason_code` as 0.26 and later do (J16)."""
    if headers.get("ibm-api-version", "") >= FIRST_VERSION:
        return True
    version = client_version(headers)
    return version is not None and version >= CODE_FROM


def client_version(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Release of the stock client, if the request says so; the newer ones may keep it back."""
    match = _CLIENT.search(headers.get("x-qx-client-application", ""))
    return None if match is None else (int(match[1]), int(match[2]))


def ran_too_long(job: Job) -> bool:
    """Whether it was cancelled because its time was over (J14)."""
    return job.state is JobState.CANCELLED and job.code == CODE_RAN_TOO_LONG


def _advice(job: Job) -> str | None:
    """What its user may do about the end of a job: no session is long enough for a spent limit."""
    if job.reason == USAGE_REASON:
        return _SPENT
    return job.solution or _SOLUTIONS.get(job.code or 0)


def shown_ms(row: JobRow) -> int:
    """Quantum time to show: of a dry run, which took none, what the machine would take."""
    if is_mock(row.job.backend) and row.job.state is JobState.COMPLETED and row.facts is not None:
        return row.facts.estimate_ms or 0
    return row.job.quantum_ms


def job_document(row: JobRow, *, with_codes: bool, params: bytes | None) -> dict[str, Any]:
    """A job (J33). `params` are the raw bytes to show, None for none."""
    job, details = row.job, row.details
    word = SERVER_WORDS[job.state]
    quantum_ms = shown_ms(row)
    state: dict[str, Any] = {"status": word}
    if job.reason is not None:
        state["reason"] = job.reason
    if job.code is not None:
        state["reasonCode"] = job.code
        if with_codes:
            state["reason_code"] = job.code
    solution = _advice(job)
    if solution is not None:
        state["reason_solution"] = solution
    document: dict[str, Any] = {
        "id": job.id,
        "backend": job.backend,
        "state": state,
        "status": STATUS_RAN_TOO_LONG if ran_too_long(job) else word,
        "program": {"id": details.program_id},
        "created": iso(job.created),
        "tags": list(details.tags),
        "user_id": details.user_id,
        "usage": {
            "seconds": seconds_up(quantum_ms),
            "quantum_seconds": seconds(quantum_ms),
        },
    }
    if params is not None:
        document["params"] = orjson.Fragment(params)
    if job.limit_asked:
        document["cost"] = job.limit_ms // 1000
    if job.group is not None:
        document["session_id"] = job.group
    if details.private:
        document["private"] = True
    for name in ("runtime", "calibration_id", "log_level"):
        value = getattr(details, name)
        if value is not None:
            document[name] = value
    estimate = row.facts.estimate_ms if row.facts else job.estimate_ms
    if estimate:
        document["estimated_running_time_seconds"] = seconds(estimate)
    return document


def metrics_document(row: JobRow, forecast: Forecast | None) -> dict[str, Any]:
    """Metrics of a job (J34). The forecast is that of a Queued job."""
    job, facts = row.job, row.facts
    queued = job.state is JobState.QUEUED
    live = forecast if queued else None
    quantum_ms = shown_ms(row)
    quantum = seconds(quantum_ms)
    billed = seconds_up(quantum_ms)
    document: dict[str, Any] = {
        "timestamps": {
            "created": iso(job.created),
            "running": optional_iso(job.running_at),
            "finished": optional_iso(job.finished_at),
        },
        "phases": _phases(job),
        "usage": {
            "quantum_seconds": quantum,
            "seconds": billed,
            "qpu_charge_time_seconds": billed,
            "status": "complete" if job.final else "pending",
        },
        "bss": {"seconds": billed},
        "circuits_execution_time_ns": quantum_ms * 1_000_000,
        # The last value of a forecast that has come true is what happened.
        "estimated_start_time": optional_iso(live.start_at if live else job.running_at),
        "estimated_start_earliest": optional_iso(live.earliest_at if live else None),
        "estimated_start_latest": optional_iso(live.latest_at if live else None),
        "estimated_completion_time": optional_iso(live.end_at if live else job.finished_at),
        "position_in_queue": live.position if live else None,
        "queue_reason": live.reason if live else None,
        "queue_reason_code": live.reason_code if live else None,
        "position_in_provider": live.instance_position if live else None,
        "caller": row.details.caller or "",
    }
    if facts is not None:
        document |= {
            "executions": facts.executions,
            "num_circuits": facts.num_circuits,
            "num_qubits": list(facts.num_qubits),
            "circuit_depths": list(facts.circuit_depths),
            "qiskit_version": facts.qiskit_version,
            "cache": {"hits": facts.cache_hits, "misses": facts.cache_misses},  # S37
        }
    return document


def _phases(job: Job) -> dict[str, str | None]:
    """Ours: when it was prepared, and when it entered and left the QPU.

    A simulator's job has its pool from before its preparation, and its run after it (J15). One that
    was cancelled, stopped, or failed in the QPU left it with its end.
    """
    started = None
    if job.executing_at is not None and job.ready_at is not None:
        started = max(job.executing_at, job.ready_at)
    left = job.finished_at if job.executed_at is None else job.executed_at
    return {
        "ready": optional_iso(job.ready_at),
        "qpu_start": optional_iso(started),
        "qpu_end": None if started is None else optional_iso(left),
    }


def session_document(group: Group, now: int, history: list[tuple[str, int]]) -> dict[str, Any]:
    """A session or batch (S36), with the history of its reported states (S11)."""
    usage = group.usage_at(now)
    most = group.max_ttl_ms
    active = group.active_ttl_ms if group.active_ttl_ms is not None else most
    return {
        "id": group.id,
        "backend_name": group.backend,
        "mode": group.mode.value,
        "instance": group.instance,
        "state": REPORTED[group.state],
        "accepting_jobs": group.accepting,
        "interactive_ttl": group.interactive_ttl_ms // 1000,
        "max_ttl": None if most is None else most // 1000,
        "active_ttl": None if active is None else active // 1000,
        "created": iso(group.created),
        "started_at": optional_iso(group.started_at),
        "activated_at": optional_iso(group.activated_at),
        "keep_alive_until": optional_iso(_kept_until(group)),
        "last_job_started": optional_iso(group.last_job_started),
        "last_job_completed": optional_iso(group.last_job_completed),
        "closed_at": optional_iso(group.closed_at),
        "elapsed_time": None if usage is None else seconds(usage),
        "timestamps": [{"status": word, "timestamp": iso(at)} for word, at in history],
    }


def _kept_until(group: Group) -> int | None:
    """Until when it is kept without work: no keeping lengthens a window (S26) or a life (S27)."""
    if group.keep_alive_until is None or group.window_end is None:
        return group.keep_alive_until
    return min(group.keep_alive_until, group.window_end)


def mode_word(mode: Mode) -> str:
    """The mode of a group as plans and workloads name it."""
    return "session" if mode is Mode.SESSION else "batch"
