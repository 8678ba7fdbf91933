"""One method for each action that the core decides. It is performed after its decision is stored.

Which way a preparation goes:

    simulator                      inline, in the simulator's own pool
    machine, small job, alone      inline, in the device's process
    else                           a classical worker; then the device's process; then a worker

*Alone* means that no other job of the machine is RUNNING, so an inline run cannot overtake one.
While it prepares, preparations of other jobs on the machine are held back (a few milliseconds): so
none becomes READY before it, and it may go on to the device before the core has said so. If its
preparation takes longer it is handed back, and goes the long way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from qdwell.clock import Clock
from qdwell.core.decisions import (
    Action,
    AskDevice,
    Execute,
    ForgetGroup,
    Postprocess,
    Prepare,
    Stop,
)
from qdwell.core.events import DevicePresent, RunAdopted, RunStopped
from qdwell.core.state import Machine
from qdwell.engine import runs
from qdwell.engine.adoption import Adoption
from qdwell.engine.ahead import Ahead
from qdwell.engine.dispatch import Dispatch
from qdwell.engine.frames import Frame
from qdwell.engine.inbox import Inbox
from qdwell.engine.inputs import Input, InputShelf
from qdwell.engine.pools import Pool, TaskState
from qdwell.engine.runs import EXECUTE, POSTPROCESS, PREPARE, STAGES, Run
from qdwell.engine.stations import Station

INLINE_BYTES_MAX = 262_144  # larger inputs take longer to prepare than a hop between processes
HAND_BACK_MS = 40  # a preparation that took longer leaves the device's process
HOLD_S = 0.25  # other preparations wait at most this for an inline one
DEVICE_STOP_S = 30.0  # a real device may take this long to stop a run

ACTIONS = (Prepare, Execute, Postprocess, Stop, AskDevice, ForgetGroup)


class Actions:
    """Performs actions. `machine` gives the core's view of a backend as it is now."""

    def __init__(
        self,
        stations: Mapping[str, Station],
        classical: Pool,
        shelf: InputShelf,
        ahead: Ahead,
        inbox: Inbox,
        clock: Clock,
        machine: Callable[[str], Machine | None],
        stage_s: int,
    ) -> None:
        self._stations = stations
        self._classical = classical
        self._machine = machine
        self._ahead = ahead
        self.dispatch = Dispatch(
            stations, classical, shelf, ahead, inbox, clock, stage_s, self._start
        )
        self.reports = self.dispatch.reports
        self.adoption = Adoption(
            stations, self.reports, inbox, shelf, clock, self._resume, self.dispatch.spawn
        )
        self.stopping: set[str] = set()  #: jobs whose run on a machine is told to stop (J20)
        self.draining = False  #: the service stops: begin nothing new
        for station in stations.values():
            if not station.simulator:
                station.pool.on_present = partial(self._present, station.name)

    @property
    def runs(self) -> dict[str, Run]:
        """Work in progress, by job."""
        return self.reports.runs

    # ---- the six actions ------------------------------------------------------------------------

    def perform(self, action: Action) -> None:
        """Do what was decided and stored."""
        if isinstance(action, ForgetGroup):
            self._forget(action)
        elif isinstance(action, Stop):
            self._stop(action)
        elif self.draining and not isinstance(action, Postprocess):
            return  # recorded as begun; the next start takes it up as lost (J5)
        elif action.backend not in self._stations:
            self.reports.post(runs.gone(action.job, action.attempt, action.backend))
        elif isinstance(action, Prepare):
            self._prepare(action)
        elif isinstance(action, Execute):
            self._execute(action)
        elif isinstance(action, Postprocess):
            self._postprocess(action)
        else:
            self._ask(action)

    def _prepare(self, action: Prepare) -> None:
        station = self._stations[action.backend]
        old = self.runs.pop(action.job, None)
        if old is not None:
            self.dispatch.drop(old)
        run = self.runs[action.job] = Run(action.job, action.attempt, action.backend)
        run.started.add(PREPARE)
        if station.must_wait:
            station.held.append(action)
        elif station.guarded and station.known is None:
            self.dispatch.spawn(self._start_when_known(run, station))
        else:
            self.dispatch.load(run, partial(self._start, run, station))

    async def _start_when_known(self, run: Run, station: Station) -> None:
        # Only the device's own process may ask it what it is.
        await station.ready.wait()
        if not run.over:
            self.dispatch.load(run, partial(self._start, run, station))

    def _start(self, run: Run, station: Station, work: Input) -> None:
        run.inline = station.simulator or self._may_inline(run, station, work)
        if not run.inline:
            run.via = self._classical
            self.dispatch.submit(run, [PREPARE], work, work.params, self.reports.prepared)
            return
        run.via = station.pool
        if not station.simulator:
            station.inline = run
            asyncio.get_running_loop().call_later(HOLD_S, self.dispatch.release, station, run)
        hand_back_ms = None if station.simulator else HAND_BACK_MS
        done = partial(self.reports.inline_done, station)
        self.dispatch.submit(run, list(STAGES), work, work.params, done, hand_back_ms=hand_back_ms)

    def _may_inline(self, run: Run, station: Station, work: Input) -> bool:
        machine = self._machine(run.backend)
        return (
            machine is not None
            and list(machine.running) == [run.job]
            and machine.lease is None
            and station.repeatable
            and not station.outlives
            and station.inline is None
            and not station.guarded
            and station.pool.idle()
            and len(work.params) <= INLINE_BYTES_MAX
        )

    def _execute(self, action: Execute) -> None:
        run = self.dispatch.continuing(action)
        if run.inline:
            return  # it is ahead, or on its way
        run.started.add(EXECUTE)
        run.via = self._stations[action.backend].pool

        def go(work: Input) -> None:
            if run.prepared is not None:
                self.dispatch.submit(run, [EXECUTE], work, run.prepared, self.reports.executed)
            else:  # it died with the process that had it
                self._prepare_anew(run, work)

        self.dispatch.load(run, go)

    def _prepare_anew(self, run: Run, work: Input) -> None:
        """Prepare and execute: the device is the job's already."""
        if not self._stations[run.backend].guarded:
            stages = [PREPARE, EXECUTE]
            self.dispatch.submit(run, stages, work, work.params, self.reports.executed)
        else:  # its process opens nothing that users send
            run.via = self._classical
            self.dispatch.submit(
                run, [PREPARE], work, work.params, partial(self._prepared_anew, work)
            )

    def _prepared_anew(self, work: Input, run: Run, frame: Frame) -> None:
        if frame.op == "done" and frame.parts:
            run.via = self._stations[run.backend].pool
            self.dispatch.submit(run, [EXECUTE], work, frame.parts[0], self.reports.executed)
        else:
            self.reports.prepared(run, frame)

    def _postprocess(self, action: Postprocess) -> None:
        run = self.dispatch.continuing(action)
        if run.inline:
            return
        run.started.add(POSTPROCESS)
        run.via = self._classical

        def go(work: Input) -> None:
            self.dispatch.submit(
                run, [POSTPROCESS], work, run.raw or b"", self.reports.postprocessed
            )

        self.dispatch.load(run, go, need_raw=True)

    def _present(self, backend: str, present: bool) -> None:
        self.reports.post(DevicePresent(backend, present))

    def _stop(self, action: Stop) -> None:
        run = self.runs.get(action.job)
        station = self._stations.get(action.backend)
        if run is None or run.attempt != action.attempt or station is None:
            if action.executing and station is not None:
                self.adoption.stop(station, action.job, action.attempt, None)
            elif action.executing:
                self.reports.post(RunStopped(action.backend, action.job, action.attempt))
            return
        del self.runs[action.job]
        if station.simulator or not action.executing:
            self.dispatch.drop(run, at_once=station.simulator)
            return
        self.dispatch.over(run)
        if run.task is None or run.task.state is TaskState.OVER:
            self._gone(run, station)
            return
        self.stopping.add(run.job)
        run.task.on_stopped = partial(self._stopped, run, station)
        via = run.via or station.pool
        own = via is station.pool and (station.outlives or not station.repeatable)
        via.stop(run.task, DEVICE_STOP_S if own else None)

    def _stopped(self, run: Run, station: Station) -> None:
        self.stopping.discard(run.job)
        self.reports.inline_over(run, station)
        self._gone(run, station)

    def _gone(self, run: Run, station: Station) -> None:
        """No worker of ours has it any more; a device that keeps its runs may still do it."""
        if station.outlives:
            self.adoption.stop(station, run.job, run.attempt, run)
        else:
            self.reports.post(RunStopped(station.name, run.job, run.attempt))

    def _ask(self, action: AskDevice) -> None:
        run = self.runs.get(action.job)
        if run is not None and run.attempt == action.attempt and run.task is not None:
            self.reports.post(RunAdopted(action.job, action.attempt))
        else:
            self.adoption.ask(action)

    def _resume(self, run: Run) -> None:
        """Execute again what an earlier process has begun, without beginning it again."""
        run.started.add(EXECUTE)
        run.via = self._stations[run.backend].pool
        self.runs[run.job] = run
        self.dispatch.load(run, partial(self._prepare_anew, run))

    def _forget(self, action: ForgetGroup) -> None:
        head = {"op": "forget", "group": action.group}
        station = self._stations.get(action.backend)
        if station is not None:
            station.pool.tell(head)
        self._classical.tell(head)

    # ---- what the loop tells and asks -----------------------------------------------------------

    def ended(self, job_id: str) -> None:
        """The job is final, and stored so."""
        run = self.runs.pop(job_id, None)
        if run is not None:
            self.dispatch.drop(run)
            run.let_go()
        self._ahead.ended(job_id)

    def started(self, action: Prepare | Execute | Postprocess) -> bool:
        """Whether this very action was performed already (after a reload)."""
        run = self.runs.get(action.job)
        if run is None or run.attempt != action.attempt:
            return False
        stage = {Prepare: PREPARE, Execute: EXECUTE, Postprocess: POSTPROCESS}[type(action)]
        return run.inline or stage in run.started

    def working(self) -> bool:
        """Whether any worker has work."""
        return bool(self.stopping) or self.dispatch.working()

    async def close(self) -> None:
        """Give up what is being loaded."""
        await self.dispatch.close()
