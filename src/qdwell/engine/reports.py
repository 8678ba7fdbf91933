"""What is made of the workers' answers: reports for the core, and what they bring to be stored.

A report is posted to the inbox with its findings, and both are stored in one commit. Of an inline
run only its preparation is reported by itself; its further milestones are kept with the run, and
`follow` hands them over when the core has granted what they need.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from qdwell.clock import Clock, iso
from qdwell.core.decisions import Action, Execute, Postprocess, Prepare
from qdwell.core.events import Event, JobBegun, JobFailed, JobPostprocessed, JobPrepared
from qdwell.engine import runs
from qdwell.engine.ahead import Ahead, large
from qdwell.engine.frames import Frame
from qdwell.engine.inbox import Inbox, Item
from qdwell.engine.runs import EXECUTE, POSTPROCESS, PREPARE, Findings, Milestone, Run
from qdwell.engine.stations import Station

_LAST_OPS = frozenset({"done", "failed", "late", "lost"})


class Reports:
    """Turns frames into items of the inbox.

    Args:
        stations: by backend.
        ahead: stores what is large before its report is decided.
        inbox: where items go.
        clock: dates them.
        log_level: of a job, None for the default.
        release: lets go the preparations that were held back for an inline run.
        spawn: runs a coroutine beside the loop.
    """

    def __init__(
        self,
        stations: Mapping[str, Station],
        ahead: Ahead,
        inbox: Inbox,
        clock: Clock,
        log_level: Callable[[str], str | None],
        release: Callable[[Station, Run], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._stations = stations
        self._ahead = ahead
        self._spawn = spawn
        self._inbox = inbox
        self._clock = clock
        self._log_level = log_level
        self._release = release
        self.runs: dict[str, Run] = {}  #: by job
        #: takes the frames about a device's own runs, see `adoption`
        self.journal: Callable[[Run, Frame], bool] = lambda _run, _frame: False
        self.begun: set[tuple[str, int]] = set()  #: of simulators: already reported as begun

    def post(self, event: Event, findings: Findings | None = None, at: int | None = None) -> None:
        """Report something that is true now, or since `at`."""
        self._inbox.post(Item(at or self._clock.now(), event, findings or Findings()))

    def heard(self, run: Run, then: Callable[[Run, Frame], None], frame: Frame) -> None:
        """Take one frame of a run; `then` makes of it what its stages need.

        What is large in it is stored first, and later frames of the run wait behind it.
        """
        if not run.behind and not any(map(large, runs.to_store(frame))):
            self._take(run, then, frame)
            return
        run.behind.append((then, replace(frame, at=self._clock.now())))
        if len(run.behind) == 1:
            self._spawn(self._bring(run))

    async def _bring(self, run: Run) -> None:
        while run.behind:
            parts = runs.to_store(run.behind[0][1])
            await self._ahead.of_job(run.job, parts, lambda: not run.over)
            self._take(run, *run.behind.popleft())

    def _take(self, run: Run, then: Callable[[Run, Frame], None], frame: Frame) -> None:
        if run.over:
            if frame.op in _LAST_OPS:
                self.inline_over(run, self._stations[run.backend])
            return
        run.take_facts(frame.head)
        if frame.op == "late":
            frame = runs.late(run)
        if self.journal(run, frame):
            return
        if frame.op != "interim":
            then(run, frame)
        elif frame.parts:
            found = Findings(interim=[(run.job, run.interim, frame.parts[0])])
            run.interim += 1
            self._inbox.defer(Item(self._came(frame), None, found))

    def _came(self, frame: Frame) -> int:
        return frame.at or self._clock.now()

    # ---- within a turn: what an inline run has ready --------------------------------------------

    def follow(self, action: Action, at: int, idle: dict[str, int]) -> Item | None:
        """What is already true when the core grants this: decided in the same turn.

        `idle` counts a turn's claims on the idle workers of simulators, by backend.
        """
        if isinstance(action, Prepare):
            station = self._stations.get(action.backend)
            if station is None or not station.simulator:
                return None
            free = idle.setdefault(action.backend, station.pool.free())
            if not free:
                return None
            idle[action.backend] = free - 1
            self.begun.add((action.job, action.attempt))
            return Item(at, JobBegun(action.job, action.attempt))
        if not isinstance(action, Execute | Postprocess):
            return None
        run = self.runs.get(action.job)
        if run is None or run.over or not run.inline or run.attempt != action.attempt:
            return None
        stage = EXECUTE if isinstance(action, Execute) else POSTPROCESS
        run.granted.add(stage)
        milestone = run.milestones.get(stage)
        if milestone is None:
            return None
        return Item(max(at, milestone.at), milestone.report, milestone.findings)

    # ---- frames of an inline run ----------------------------------------------------------------

    def inline_done(self, station: Station, run: Run, frame: Frame) -> None:
        """An inline run has passed a stage, ended, failed, or died."""
        head, now = frame.head, self._came(frame)
        if frame.op == "prepared":
            run.preparing = False
            self._release(station, run)
            self._inbox.defer(self._prepared_item(run, now))
        elif frame.op == "done" and head.get("last") == PREPARE:
            run.inline = False
            self.inline_over(run, station)
            self.prepared(run, frame)
        elif frame.op == "done":
            self.inline_over(run, station)
            executed_at = now - runs.stage_ms(head, POSTPROCESS)
            self._date_back(run, executed_at - runs.quantum_ms(head))
            run.milestones[EXECUTE] = Milestone(executed_at, runs.executed(run, head))
            self._end(run, Milestone(now, runs.postprocessed(run), self._result(run, frame)))
        elif frame.op == "failed":
            self.inline_over(run, station)
            self._inline_failed(run, frame, now)
        elif frame.op == "lost":
            self.inline_over(run, station)
            report = runs.lost(run, repeatable=station.repeatable)
            if run.preparing:
                self.post(report, at=frame.at)
            else:
                run.milestones[EXECUTE] = Milestone(now, report)
                self._due(run)

    def _inline_failed(self, run: Run, frame: Frame, now: int) -> None:
        stage, report = runs.failed_stage(frame), runs.failure(run, frame)
        milestone = Milestone(now, report, self._failure_findings(run, report))
        if stage == PREPARE:
            self._inbox.post(Item(now, report, milestone.findings))
        elif stage == EXECUTE:
            run.milestones[EXECUTE] = milestone
            self._due(run)
        else:
            run.milestones[EXECUTE] = Milestone(now, runs.executed(run, frame.head))
            self._end(run, milestone)

    def _end(self, run: Run, milestone: Milestone) -> None:
        run.milestones[POSTPROCESS] = milestone
        self._due(run)

    def _due(self, run: Run) -> None:
        """Report what the core has granted already; the rest follows its grants."""
        for stage in (EXECUTE, POSTPROCESS):
            milestone = run.milestones.get(stage)
            if milestone is not None and stage in run.granted:
                self._inbox.post(Item(milestone.at, milestone.report, milestone.findings))
        self._inbox.flush()

    def _prepared_item(self, run: Run, now: int) -> Item:
        estimate = run.facts.estimate_ms
        found = Findings(facts={run.job: run.facts})
        run.report = item = Item(now, JobPrepared(run.job, run.attempt, estimate), found)
        return item

    def _date_back(self, run: Run, at: int) -> None:
        """Times are whole milliseconds: let the run start early enough to hold its quantum time."""
        if run.report is not None and self._inbox.waits(run.report):
            run.report.at = min(run.report.at, at)

    def inline_over(self, run: Run, station: Station) -> None:
        """The device's process is done with an inline run."""
        self._release(station, run)
        if station.inline is run:
            station.inline = None

    # ---- frames of single stages ----------------------------------------------------------------

    def prepared(self, run: Run, frame: Frame) -> None:
        """A worker has prepared it, or not."""
        if frame.op == "done" and frame.parts:
            run.prepared, run.preparing = frame.parts[0], False
            self._inbox.post(self._prepared_item(run, self._clock.now()))
        elif frame.op == "failed":
            self._failed(run, frame)
        elif frame.op == "lost":
            self.post(runs.lost(run, repeatable=True), at=frame.at)

    def executed(self, run: Run, frame: Frame) -> None:
        """The device's process has run it, or not."""
        if frame.op == "done" and frame.parts:
            run.raw = frame.parts[0]
            run.prepared = None
            findings = Findings(raw={run.job: run.raw}, facts={run.job: run.facts})
            self.post(runs.executed(run, frame.head), findings, frame.at)
        elif frame.op == "failed":
            self._failed(run, frame)
        elif frame.op == "lost":
            station = self._stations[run.backend]
            self.post(runs.lost(run, repeatable=station.repeatable), at=frame.at)

    def postprocessed(self, run: Run, frame: Frame) -> None:
        """A worker has made its result, or not."""
        if frame.op == "done" and frame.parts:
            report = JobPostprocessed(run.job, run.attempt)
            self.post(report, self._result(run, frame), frame.at)
        elif frame.op == "failed":
            self._failed(run, frame)
        elif frame.op == "lost":
            self.post(runs.lost(run, repeatable=True), at=frame.at)

    def _failed(self, run: Run, frame: Frame) -> None:
        report = runs.failure(run, frame)
        self.post(report, self._failure_findings(run, report), frame.at)

    def _result(self, run: Run, frame: Frame) -> Findings:
        found = Findings(facts={run.job: run.facts})
        found.results[run.job] = frame.parts[0] if frame.parts else b"{}"
        for part in frame.parts[1:]:  # interim results that only this stage could make
            found.interim.append((run.job, run.interim, part))
            run.interim += 1
        self._add_log(run, found)
        return found

    def _failure_findings(self, run: Run, report: JobFailed) -> Findings:
        found = Findings()
        if run.facts.executions is not None:
            found.facts[run.job] = run.facts
        run.log.append(("ERROR", f"{report.code}: {report.reason}"))
        self._add_log(run, found)
        return found

    def _add_log(self, run: Run, found: Findings) -> None:
        text = run.text(self._log_level(run.job), iso(self._clock.now()))
        if text:
            found.logs[run.job] = text
