"""Getting work to the pools and back out of them: what every action of `actions` needs.

A run's stages are sent to the pool that it is at, as soon as its input is in memory; and what is
not wanted any more is taken from there. Which work, and when, is the actions' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from qdwell.clock import Clock, pause_ms
from qdwell.core.decisions import Execute, Postprocess
from qdwell.core.events import JobBegun
from qdwell.engine import runs
from qdwell.engine.ahead import AGAIN_MS, Ahead
from qdwell.engine.frames import Frame
from qdwell.engine.inbox import Inbox
from qdwell.engine.inputs import Input, InputShelf
from qdwell.engine.pools import Pool, Task, TaskState
from qdwell.engine.reports import Reports
from qdwell.engine.runs import EXECUTE, Run
from qdwell.engine.stations import MOCK, Station, spec_of
from qdwell.errors import QdwellError, StoreUnavailable
from qdwell.programs.work import QPY_VERSION_MIN

log = structlog.get_logger()

STOP_GRACE_S = 0.1  # unwanted classical work may end by itself; its worker's caches are worth it

Then = Callable[[Input], None]


class Dispatch:
    """Work in progress, on its way to a pool or in one.

    Args:
        stations: by backend.
        classical: the pool of stages that need no device.
        shelf: where inputs and raw data are.
        ahead: stores what is large before its report is decided.
        inbox: where reports go.
        clock: dates them.
        stage_s: time of one classical stage, in seconds; what takes longer is a fault or an attack.
        start: begins a preparation that was held back for another one.
    """

    def __init__(
        self,
        stations: Mapping[str, Station],
        classical: Pool,
        shelf: InputShelf,
        ahead: Ahead,
        inbox: Inbox,
        clock: Clock,
        stage_s: int,
        start: Callable[[Run, Station, Input], None],
    ) -> None:
        self._stations = stations
        self._classical = classical
        self._shelf = shelf
        self._start = start
        self._clock = clock
        self._loading: set[asyncio.Task[None]] = set()
        self._reading = 0  #: inputs that are read from the store now
        self.stage_s = stage_s
        self.qpy_version_min = QPY_VERSION_MIN
        self.reports = Reports(
            stations, ahead, inbox, clock, self._log_level, self.release, self.spawn
        )

    @property
    def runs(self) -> dict[str, Run]:
        """Work in progress, by job."""
        return self.reports.runs

    def working(self) -> bool:
        """Whether any worker has work, an input is read, or what a run has brought is stored."""
        return self._reading > 0 or any(
            run.behind or (run.task is not None and run.task.state is not TaskState.OVER)
            for run in self.runs.values()
        )

    async def close(self) -> None:
        """Give up what is being loaded."""
        for task in list(self._loading):
            task.cancel()
        await asyncio.gather(*self._loading, return_exceptions=True)

    # ---- on its way ------------------------------------------------------------------------------

    def submit(
        self,
        run: Run,
        stages: list[str],
        work: Input,
        content: bytes,
        then: Callable[[Run, Frame], None],
        *,
        hand_back_ms: int | None = None,
    ) -> None:
        """Send a run's next stages to the pool that it is at."""
        spec = spec_of(self._stations[run.backend].row)
        head = runs.order(run, stages, work, spec, self.stage_s)
        head |= {"qpy_version_min": self.qpy_version_min, "hand_back_ms": hand_back_ms}
        heard = partial(self.reports.heard, run, then)
        run.task = Task(
            head,
            [content],
            on_frame=heard,
            on_lost=partial(heard, Frame({"op": "lost"})),
            on_begun=partial(self._taken_up, run),
            owner=work.details.user_id,
            limit_s=None if stages == [EXECUTE] else self.stage_s,
        )
        station = self._stations[run.backend]
        assert run.via is not None
        if station.known is not None and (run.via is self._classical or station.row.kind == MOCK):
            told = {"op": "device", "name": station.name, "kind": station.row.kind}
            run.task.device = (told, station.known)
        run.via.submit(run.task)

    def load(self, run: Run, then: Then, *, need_raw: bool = False) -> None:
        """Go on when the input, and the raw data if needed, are in memory."""
        work = self._shelf.known(run.job)
        if work is not None and work.params_known and (run.raw is not None or not need_raw):
            then(work)
        else:
            self.spawn(self._load_then(run, then, need_raw))

    async def _load_then(self, run: Run, then: Then, need_raw: bool) -> None:
        self._reading += 1
        try:
            work = await self._read(run, need_raw)
        except QdwellError as error:
            log.error("input cannot be read", job=run.job, error=str(error))
            if not run.over:
                self.reports.post(runs.unreadable(run))
        else:
            if not run.over:
                then(work)
        finally:
            self._reading -= 1

    async def _read(self, run: Run, need_raw: bool) -> Input:
        """What a run needs; it waits while its store is away, as long as it is wanted."""
        while True:
            try:
                work = await self._shelf.load(run.job)
                if need_raw and run.raw is None:
                    run.raw = await self._shelf.raw(run.job)
            except StoreUnavailable as error:
                if run.over:
                    raise
                log.error("input not read yet", job=run.job, error=str(error))
                await pause_ms(self._clock, AGAIN_MS)
            else:
                return work

    def _taken_up(self, run: Run) -> None:
        """A simulator's pool begins with the job: its limit counts from now (J15)."""
        if not self._stations[run.backend].simulator or not run.inline or run.over:
            return
        if (run.job, run.attempt) in self.reports.begun:
            self.reports.begun.discard((run.job, run.attempt))
        else:
            self.reports.post(JobBegun(run.job, run.attempt))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the loop, until `close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    # ---- begun anew, or not wanted any more ------------------------------------------------------

    def continuing(self, action: Execute | Postprocess) -> Run:
        """The run that this continues; a new one if its attempt is new."""
        run = self.runs.get(action.job)
        if run is not None and run.attempt == action.attempt:
            return run
        new = Run(action.job, action.attempt, action.backend, preparing=False)
        if run is not None:
            new.prepared, new.raw, new.facts = run.prepared, run.raw, run.facts
            if isinstance(action, Postprocess):
                new.interim = run.interim  # a new execution gives its interim results again
            self.drop(run)
        self.runs[action.job] = new
        return new

    def drop(self, run: Run, *, at_once: bool = False) -> None:
        """Nothing more of this run is wanted."""
        task, via, station = run.task, run.via, self._stations.get(run.backend)
        self.over(run)
        if task is None or via is None or station is None or task.state is TaskState.OVER:
            return
        task.on_stopped = partial(self.reports.inline_over, run, station)
        if at_once or task.state is TaskState.WAITING:
            via.stop(task)
        else:
            asyncio.get_running_loop().call_later(STOP_GRACE_S, via.stop, task)

    def over(self, run: Run) -> None:
        """Nothing that it still says counts, and nobody waits for it."""
        run.over = True
        station = self._stations.get(run.backend)
        if station is not None:
            station.held = [it for it in station.held if it.job != run.job]
            self.release(station, run)

    def release(self, station: Station, run: Run) -> None:
        """Let the preparations go that were held back for this run."""
        run.released = True
        if station.inline is not run or not station.held:
            return
        held, station.held = station.held, []
        for action in held:
            waiting = self.runs.get(action.job)
            if waiting is not None and waiting.attempt == action.attempt:
                self.load(waiting, partial(self._start, waiting, station))

    def _log_level(self, job_id: str) -> str | None:
        known = self._shelf.known(job_id)
        return known.details.log_level if known is not None else None
