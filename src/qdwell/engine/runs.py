"""What the engine knows of work in progress, beside what the core knows.

A `Run` is one attempt at a job. Small work is done *inline*: one message makes a device's process
prepare, execute, and post-process, because a hop between processes would cost more than the work.
The core must not notice. It is told the same reports in the same order, at the instants at which
they were true; where the process was ahead of the core's grants, its milestones wait here until the
core has granted what they need. So an inline run is invisible in states, charges, and stories, but
costs one commit instead of three.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qdwell.core.events import JobExecuted, JobFailed, JobLost, JobPostprocessed, Report
from qdwell.engine.frames import Frame
from qdwell.engine.inputs import Input
from qdwell.engine.pools import Pool, Task, TaskState
from qdwell.store.records import DeviceRun, JobFacts

PREPARE, EXECUTE, POSTPROCESS = "prepare", "execute", "postprocess"
STAGES = (PREPARE, EXECUTE, POSTPROCESS)
DEVICE = "device"  # beside the stages' times: that of the device's runs, a part of EXECUTE
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_TEXT_MOST = 10_000  # of a reason that a worker gives
LOST_CODE = 5203  # E28
CORES = os.cpu_count() or 1


@dataclass(slots=True)
class Findings:
    """What one report brings to be stored, by job; stored in the same commit as the report."""

    facts: dict[str, JobFacts] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    interim: list[tuple[str, int, bytes]] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    runs: list[DeviceRun] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.facts or self.results or self.raw or self.interim or self.logs or self.runs
        )

    def add(self, other: Findings) -> None:
        """Take in another's; the later word wins, logs grow."""
        self.facts.update(other.facts)
        self.results.update(other.results)
        self.raw.update(other.raw)
        self.interim.extend(other.interim)
        self.runs.extend(other.runs)
        for job, text in other.logs.items():
            self.logs[job] = self.logs.get(job, "") + text


@dataclass(slots=True)
class Milestone:
    """A report that is true since `at`, and what it brings."""

    at: int
    report: Report
    findings: Findings = field(default_factory=Findings)


@dataclass(eq=False, slots=True)
class Run:
    """One attempt at a job. `over`: nothing it still says counts."""

    job: str
    attempt: int
    backend: str
    inline: bool = False
    task: Task | None = None
    via: Pool | None = None  #: where its task is
    started: set[str] = field(default_factory=set)  #: stages for which work was begun
    granted: set[str] = field(default_factory=set)  #: stages that the core has asked for
    milestones: dict[str, Milestone] = field(default_factory=dict)  #: by stage, not yet reported
    prepared: bytes | None = None
    raw: bytes | None = None
    preparing: bool = True
    released: bool = False  #: preparations of others need not wait for this one any more
    report: Any = None  #: the inbox's item that says it is prepared
    interim: int = 0  #: interim results so far
    facts: JobFacts = field(default_factory=JobFacts)
    log: list[tuple[str, str]] = field(default_factory=list)
    #: Frames that wait until what the first of them brings is stored, with what takes each.
    behind: deque[tuple[Callable[[Run, Frame], None], Frame]] = field(default_factory=deque)
    over: bool = False
    handles: dict[int, str | None] = field(default_factory=dict)  #: what the device calls its runs
    adopted: bool = False  #: begun by a process that has died
    idle_ms: int | None = None  #: as in `DeviceRun`, of the last run that was begun
    spent_ms: int | None = None  #: of an adopted one: the device's time for it, until it was lost

    @property
    def begun(self) -> list[str]:
        """The handles of what the device has begun, in their order."""
        return [it for _, it in sorted(self.handles.items()) if it is not None]

    def let_go(self) -> None:
        """Forget what it brought, and its task if that is over.

        Both may be large, and the two refer to each other: what is not cut here stays in memory
        until Python looks for such circles, which a server rarely does.
        """
        self.milestones.clear()
        self.prepared = self.raw = None
        if self.task is not None and self.task.state is TaskState.OVER:
            self.task = None

    def take_facts(self, head: Mapping[str, Any]) -> None:
        """Keep what a frame says about the job's size, as far as it is well formed."""
        self.facts = facts_of(head, self.facts)
        self.log += log_of(head)

    def text(self, level: str | None, stamp: str) -> str:
        """The lines of its log at `level` or above, and forget them."""
        least = _rank(level or "WARNING")
        lines = [f"{stamp} {lvl} {text}\n" for lvl, text in self.log if _rank(lvl) >= least]
        self.log.clear()
        return "".join(lines)


def to_store(frame: Frame) -> tuple[bytes, ...]:
    """What a frame brings for the store: interim results, raw data, a result."""
    if frame.op == "interim" or (frame.op == "done" and frame.head.get("last") != PREPARE):
        return frame.parts
    return ()


def order(
    run: Run, stages: list[str], work: Input, spec: Mapping[str, Any], stage_s: int
) -> dict[str, Any]:
    """What a worker is told to do. `stage_s`: time of one classical stage, on each core."""
    return {
        "op": "run",
        "stages": stages,
        "job": run.job,
        "backend": spec,
        "program": work.details.program_id,
        "executions_max": work.executions_max,
        "group": work.group,
        "runs": run.begun,
        "spent_ms": run.spent_ms or 0,
        "cpu_s": None if EXECUTE in stages else stage_s * CORES,
    }


def _rank(level: str) -> int:
    return _LEVELS.index(level) if level in _LEVELS else _LEVELS.index("WARNING")


# ---- frames are not trusted: each value is checked for its type ---------------------------------


def facts_of(head: Mapping[str, Any], known: JobFacts) -> JobFacts:
    """Facts in a frame's head, over those known."""
    said = head.get("facts")
    said = said if isinstance(said, dict) else {}
    timings = dict(known.timings)
    for stage, ns in _mapping(head.get("timings")).items():
        if stage in (*STAGES, DEVICE) and isinstance(ns, int):
            timings[stage] = ns / 1e6
    version = said.get("qiskit_version")
    hits, misses = _pair(head.get("cache"))
    return JobFacts(
        executions=_count(said.get("executions"), known.executions),
        num_circuits=_count(said.get("num_circuits"), known.num_circuits),
        num_qubits=_counts(said.get("num_qubits"), known.num_qubits),
        circuit_depths=_counts(said.get("circuit_depths"), known.circuit_depths),
        estimate_ms=_count(said.get("estimate_ms"), known.estimate_ms),
        qiskit_version=version[:40] if isinstance(version, str) else known.qiskit_version,
        cache_hits=known.cache_hits + hits,
        cache_misses=known.cache_misses + misses,
        timings=timings,
    )


def log_of(head: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Log lines in a frame's head: pairs of level and text."""
    lines = head.get("log")
    return [
        (str(line[0]), str(line[1])[:_TEXT_MOST])
        for line in (lines if isinstance(lines, list) else [])
        if isinstance(line, list) and len(line) == 2
    ]


def quantum_ms(head: Mapping[str, Any]) -> int:
    """Device time in a frame's head, rounded up to a whole millisecond, at least one."""
    timings = _mapping(head.get("timings"))
    ns = timings.get(DEVICE, timings.get(EXECUTE))
    return max(1, -(-ns // 1_000_000)) if isinstance(ns, int) else 1


def stage_ms(head: Mapping[str, Any], stage: str) -> int:
    """How long a stage took, rounded down to whole milliseconds."""
    ns = _mapping(head.get("timings")).get(stage)
    return max(0, ns // 1_000_000) if isinstance(ns, int) else 0


def failed_stage(frame: Frame) -> str:
    """In which stage a "failed" frame failed."""
    stage = frame.head.get("stage")
    return stage if stage in STAGES else PREPARE


def failure(run: Run, frame: Frame) -> JobFailed:
    """The report that a "failed" frame makes."""
    head = frame.head
    code = head.get("code")
    code = code if isinstance(code, int) else LOST_CODE
    solution = head.get("solution")
    return JobFailed(
        run.job,
        run.attempt,
        code=code,
        reason=str(head.get("reason", "The job failed."))[:_TEXT_MOST],
        solution=solution[:_TEXT_MOST] if isinstance(solution, str) else None,
        # A device that fails is no fault of the user's: nothing is charged for it (U8, E28).
        system=bool(head.get("system", False)) or code == LOST_CODE,
    )


def executed(run: Run, head: Mapping[str, Any]) -> JobExecuted:
    """The report of an execution that went well."""
    timed = not run.adopted or run.spent_ms is not None
    return JobExecuted(run.job, run.attempt, quantum_ms(head) if timed else None)


def postprocessed(run: Run) -> JobPostprocessed:
    """The report that the result is there."""
    return JobPostprocessed(run.job, run.attempt)


def lost(run: Run, *, repeatable: bool) -> JobLost:
    """The report that its worker died."""
    return JobLost(run.job, run.attempt, repeatable)


def gone(job: str, attempt: int, backend: str) -> JobFailed:
    """The report that its backend is no more."""
    return JobFailed(
        job,
        attempt,
        code=LOST_CODE,
        reason=f"Backend {backend!r} is not in the configuration any more.",
        solution="Submit the job to another backend.",
        system=True,
    )


def unreadable(run: Run) -> JobFailed:
    """The report that its data is gone from the store."""
    return JobFailed(
        run.job,
        run.attempt,
        code=LOST_CODE,
        reason="The data of this job cannot be read from the store.",
        solution="Submit the job again. It was not charged.",
        system=True,
    )


def late(run: Run) -> Frame:
    """The frame of a worker that was not done with a classical stage in time."""
    stage = PREPARE if run.preparing else POSTPROCESS
    return Frame(
        {
            "op": "failed",
            "stage": stage,
            "code": LOST_CODE,
            "reason": f"The {stage} stage took too long.",
            "solution": "Split the work into smaller jobs.",
        }
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, list) and [type(each) for each in value] == [int, int]:
        return max(0, value[0]), max(0, value[1])
    return 0, 0


def _count(value: object, known: int | None) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**53 else known


def _counts(value: object, known: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(value, list):
        return known
    return tuple(each for each in value if isinstance(each, int) and 0 <= each < 2**53)
