"""Runs that outlive us: a real QPU goes on when our process dies, and gives its result later (J5).

What we must know after any death is which runs an attempt has begun there. So a run's beginning is
stored before it, and the device's own name of it, its *handle*, right after:

    EXECUTING stored -> run 0 begins -> its handle is stored
    "run 1 is about to begin" stored -> run 1 begins -> its handle is stored ...

After a restart, or when the device's process has died, the last line tells what to do. With a
handle: the job is executed again with the runs that were begun, whose results are asked for instead
of running them; what comes after them is begun as usual. Without one: a run may have begun that
nobody can name, between two lines of ours. It is lost, and so is the attempt; a device whose runs
may not be repeated is not asked for it again, and nothing is charged (U8).

With the handle is stored how long the job has had the QPU by then without a run on the device: what
it waited for us, because the store did not answer, say. So whoever adopts the run knows what the
device did for the job until we died, and counts on from there; the job is charged neither for our
downtime nor for the time until the device is asked (U1, C8).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from qdwell.clock import Clock, pause_ms
from qdwell.core.decisions import AskDevice
from qdwell.core.events import RunAdopted, RunStopped
from qdwell.core.job import TRIES_MAX, JobState
from qdwell.engine import runs
from qdwell.engine.frames import Frame
from qdwell.engine.inbox import Inbox, Item
from qdwell.engine.inputs import InputShelf
from qdwell.engine.pools import Task
from qdwell.engine.reports import Reports
from qdwell.engine.runs import Findings, Run
from qdwell.engine.stations import Station
from qdwell.errors import QdwellError
from qdwell.store.records import DeviceRun

log = structlog.get_logger()

AGAIN_MS = 500  # between two tries to store that a run is about to begin

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Adoption:
    """Keeps the journal of runs, and takes up those that were begun.

    Args:
        resume: executes a run's job; the run has the handles of what it has begun.
        spawn: runs a coroutine beside the loop.
    """

    def __init__(
        self,
        stations: Mapping[str, Station],
        reports: Reports,
        inbox: Inbox,
        shelf: InputShelf,
        clock: Clock,
        resume: Callable[[Run], None],
        spawn: Spawn,
    ) -> None:
        self._stations = stations
        self._reports = reports
        self._inbox = inbox
        self._shelf = shelf
        self._clock = clock
        self._resume = resume
        self._spawn = spawn
        self._adoptions: Counter[tuple[str, int]] = Counter()
        reports.journal = self._heard

    # ---- the journal -----------------------------------------------------------------------------

    def _heard(self, run: Run, frame: Frame) -> bool:
        """Take a frame of the journal, or say that it is none."""
        n, handle = frame.head.get("run"), frame.head.get("handle")
        if frame.op == "adopted":
            self._reports.post(RunAdopted(run.job, run.attempt))
        elif frame.op == "started" and isinstance(n, int) and isinstance(handle, str):
            spent_ns = frame.head.get("spent_ns")
            spent_ms = spent_ns // 1_000_000 if isinstance(spent_ns, int) else 0
            run.handles[n] = handle
            run.idle_ms = self._idle_ms(run, spent_ms)
            self._note(run, n, handle)
        elif frame.op == "starting" and isinstance(n, int):
            run.handles[n] = None
            self._spawn(self._allow(run, n))
        elif frame.head.get("lost"):
            self._lose(run)
        elif frame.op == "lost" and self._kept(run):
            self._take_stock(run)
            self._spawn(self._look(run, run.handles))
        else:
            return False
        return True

    def _note(self, run: Run, n: int, handle: str | None) -> None:
        found = Findings(runs=[DeviceRun(run.job, run.attempt, n, handle, run.idle_ms)])
        self._inbox.post(Item(self._clock.now(), None, found))

    def _idle_ms(self, run: Run, spent_ms: int) -> int:
        """How long the job has had the QPU now, without what the device did for it."""
        return max(0, self._in_qpu_ms(run) - spent_ms)

    def _in_qpu_ms(self, run: Run) -> int:
        job = self._shelf.live_job(run.job)
        if job is None or job.executing_at is None:
            return 0  # it has ended meanwhile
        return job.in_qpu_ms(self._clock.now())

    def _kept(self, run: Run) -> bool:
        """Whether what it does goes on although its worker has died."""
        station = self._stations[run.backend]
        return station.outlives and run.via is station.pool

    async def _allow(self, run: Run, n: int) -> None:
        """Let the device begin a run when its beginning is stored."""
        while not run.over:
            found = Findings(runs=[DeviceRun(run.job, run.attempt, n, None)])
            item = Item(self._clock.now(), None, found)
            item.answer = asyncio.get_running_loop().create_future()
            self._inbox.post(item)
            try:
                await item.answer
            except QdwellError:
                await pause_ms(self._clock, AGAIN_MS)
            else:
                if run.task is not None and run.task.worker is not None:
                    run.task.worker.send({"op": "go", "run": n})
                return

    # ---- after a death ---------------------------------------------------------------------------

    def ask(self, action: AskDevice) -> None:
        """Find out whether the device still knows the run of an earlier process."""
        self._spawn(self._ask(action))

    async def _ask(self, action: AskDevice) -> None:
        run = Run(action.job, action.attempt, action.backend, preparing=False)
        in_qpu_ms = self._in_qpu_ms(run)  # when we died
        # Only the device's process knows whether its runs outlive it, and may be repeated.
        await self._stations[action.backend].ready.wait()
        found = await self._stored(run)
        if found and found[-1].idle_ms is not None:
            run.spent_ms = max(0, in_qpu_ms - found[-1].idle_ms)
        await self._look(run, {it.n: it.handle for it in found})

    def _take_stock(self, run: Run) -> None:
        if run.idle_ms is not None:
            run.spent_ms = max(0, self._in_qpu_ms(run) - run.idle_ms)

    async def _stored(self, run: Run) -> list[DeviceRun]:
        while True:
            try:
                found = await self._shelf.device_runs(run.job, run.attempt)
            except QdwellError as error:
                log.error("runs cannot be read", job=run.job, error=str(error))
                await pause_ms(self._clock, AGAIN_MS)
            else:
                return found

    async def _look(self, old: Run, known: Mapping[int, str | None]) -> None:
        job = self._shelf.live_job(old.job)
        if job is None or (job.attempt, job.state) != (old.attempt, JobState.EXECUTING):
            return  # cancelled, or out of time, while the device was made: `stop` sees to its runs
        key = (old.job, old.attempt)
        self._adoptions[key] += 1
        handles = [handle for _, handle in sorted(known.items()) if handle is not None]
        certain = bool(handles) and len(handles) == len(known)
        if not self._stations[old.backend].outlives or not certain:
            self._lose(old)
        elif self._adoptions[key] > TRIES_MAX:
            log.error("adopted too often", job=old.job, handles=handles)
            self._lose(old)
        else:
            run = Run(old.job, old.attempt, old.backend, preparing=False)
            run.handles, run.adopted = dict(known), True
            if old.spent_ms is not None:
                run.spent_ms, run.idle_ms = old.spent_ms, self._idle_ms(run, old.spent_ms)
                self._note(run, max(known), known[max(known)])  # should we die again
            self._resume(run)

    def _lose(self, run: Run) -> None:
        repeatable = self._stations[run.backend].repeatable
        self._reports.post(runs.lost(run, repeatable=repeatable))

    # ---- stopping --------------------------------------------------------------------------------

    def stop(self, station: Station, job: str, attempt: int, run: Run | None) -> None:
        """Stop what the device still does of an attempt, then say that it has stopped (J20)."""
        self._spawn(self._stop(station, Run(job, attempt, station.name), run))

    async def _stop(self, station: Station, gone: Run, run: Run | None) -> None:
        await station.ready.wait()
        if run is not None:
            known = list(run.handles.values())
        else:
            known = [it.handle for it in await self._stored(gone)]
        handles = [handle for handle in known if handle is not None]
        stopped = RunStopped(station.name, gone.job, gone.attempt)
        if not station.outlives or not handles:
            self._reports.post(stopped)
            return
        over: list[bool] = []

        def end() -> None:
            if not over:
                over.append(True)
                self._reports.post(stopped)

        def heard(_: Frame) -> None:
            end()

        station.pool.submit(Task({"op": "cancel", "runs": handles}, [], heard, end, on_stopped=end))
