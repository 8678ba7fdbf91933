"""Pools of workers. A task goes in; frames about it come back, or the news that its worker died.

One class serves three uses. A machine has a pool of exactly one worker, which holds the device. A
simulator has one of a few, since it has no queue but the computer has only so many cores (C5).
Classical stages have one that grows as it is needed. The `Pool` protocol is all that the engine
knows of them, so that classical work can move to other hosts later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

import structlog

from qdwell.engine.frames import Frame
from qdwell.engine.line import Line
from qdwell.engine.workers import ForkServer, Worker
from qdwell.errors import WorkerLost

log = structlog.get_logger()

FINAL_OPS = frozenset({"done", "failed"})  # after one of these a worker is free again
LATE = Frame({"op": "late"})  # in place of a final frame: the task was not done in time
BACKOFF_FIRST_S = 0.25  # after a worker that died before it was ready; doubles
BACKOFF_MOST_S = 30.0


class TaskState(Enum):
    """Where a task is in its pool."""

    WAITING = auto()
    WORKING = auto()
    STOPPING = auto()  # its worker is being killed
    OVER = auto()


@dataclass(eq=False, slots=True)
class Task:
    """One piece of work for one worker.

    `head` and `parts` go to the worker as they are. Of the three calls `on_begun` comes first, once
    for each time that a worker takes it up; then frames, the last of them in `FINAL_OPS`; or else
    `on_lost`, if the worker died, or `on_stopped`, if it was told to stop.

    `limit_s` bounds the time until it is prepared or final; then its worker is killed, and its last
    frame is `LATE`.
    """

    head: Mapping[str, Any]
    parts: Sequence[bytes]
    on_frame: Callable[[Frame], None]
    on_lost: Callable[[], None]
    on_begun: Callable[[], None] = lambda: None
    on_stopped: Callable[[], None] = lambda: None
    limit_s: float | None = None
    owner: str = ""  #: the user that it works for
    device: tuple[Mapping[str, Any], bytes] | None = None  #: a worker is told this before, once
    timer: asyncio.TimerHandle | None = None
    late: bool = False
    state: TaskState = TaskState.WAITING
    worker: Worker | None = None


class Pool(Protocol):
    """Where tasks run."""

    def submit(self, task: Task) -> None:
        """Run it when there is a free worker; tasks start in the order they came."""
        ...

    def stop(self, task: Task, gentle_s: float | None = None) -> None:
        """Stop it wherever it is; `on_stopped` follows, and nothing else of it.

        `gentle_s`: ask the worker first, and kill it only if it goes on for longer than this.
        """
        ...

    def idle(self) -> bool:
        """Whether a task submitted now would be taken up now."""
        ...

    def tell(self, head: Mapping[str, Any]) -> None:
        """Say something to every worker that there is; needs no answer."""
        ...

    async def close(self) -> None:
        """End all workers."""
        ...


@dataclass(eq=False, slots=True)
class _Place:
    """One place for a worker, kept when its worker is replaced."""

    worker: Worker | None = None
    ready: bool = False
    doomed: bool = False  #: its worker was told to die
    task: Task | None = None
    starting: bool = False
    failures: int = 0
    told: set[str] = field(default_factory=set)  #: devices that its worker was told of
    why: str = ""  #: why its worker says that it cannot start


@dataclass(eq=False)
class LocalPool:
    """Worker processes of this computer, replaced as they die.

    Args:
        server: forks them.
        role: what a worker is told at its start.
        size: most workers.
        eager: workers that are there from the start and are replaced at once.
        share: how many workers one user may have at work; then they wait, whoever else does not.
        on_ready: called with the first frame of each worker, which describes what it holds.
        on_unready: called with the reason when one does not start.
        on_present: called with True when one is ready, and with False when it has gone, before its
            task hears of that.
    """

    server: ForkServer
    role: Mapping[str, Any]
    size: int = 1
    eager: int = 1
    share: int | None = None
    on_ready: Callable[[Frame], None] = lambda _frame: None
    on_unready: Callable[[str], None] = lambda _why: None
    on_present: Callable[[bool], None] = lambda _present: None
    _places: list[_Place] = field(default_factory=list)
    _waiting: Line = field(default_factory=Line)
    _jobs: set[asyncio.Task[None] | asyncio.TimerHandle] = field(default_factory=set)
    _closed: bool = False

    def start(self) -> None:
        """Fork the eager workers; returns before they are ready."""
        while len(self._places) < self.eager:
            self._add()

    def submit(self, task: Task) -> None:
        """See `Pool`."""
        task.state = TaskState.WAITING
        self._waiting.share = self.share
        self._waiting.add(task)
        self._feed()
        if self._waiting and len(self._places) < self.size:
            self._add()

    def stop(self, task: Task, gentle_s: float | None = None) -> None:
        """See `Pool`. A worker that is killed is replaced."""
        if task.state is TaskState.WAITING:
            self._waiting.remove(task)
            task.state = TaskState.OVER
            task.on_stopped()
        elif task.state is TaskState.WORKING and task.worker is not None:
            task.state = TaskState.STOPPING
            if gentle_s is None:
                self._kill(task)
            else:
                task.worker.send({"op": "stop"})
                loop = asyncio.get_running_loop()
                self._jobs.add(loop.call_later(gentle_s, self._kill, task))

    def idle(self) -> bool:
        """See `Pool`."""
        return self.free() > 0

    @property
    def present(self) -> bool:
        """Whether a worker is there, at work or not."""
        return any(place.ready for place in self._places)

    def free(self) -> int:
        """How many tasks submitted now would be taken up now."""
        free = sum(place.ready and place.task is None for place in self._places)
        return self._waiting.room(self._at_work(), free)

    def tell(self, head: Mapping[str, Any]) -> None:
        """See `Pool`."""
        for place in self._places:
            if place.worker is not None:
                place.worker.send(head)

    def pids(self) -> list[int]:
        """Process ids of the workers there are, for operators and tests."""
        return [place.worker.pid for place in self._places if place.worker is not None]

    async def close(self) -> None:
        """See `Pool`."""
        self._closed = True
        for job in self._jobs:
            if isinstance(job, asyncio.TimerHandle):
                job.cancel()
        # A fork that is under way is waited for: cancelled, it would leave its socket behind.
        forks = [job for job in self._jobs if isinstance(job, asyncio.Task)]
        await asyncio.gather(*forks, return_exceptions=True)
        workers = [place.worker for place in self._places if place.worker is not None]
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.ended.wait() for worker in workers))

    # ---- inside

    def _add(self) -> None:
        place = _Place()
        self._places.append(place)
        self._fork(place)

    def _fork(self, place: _Place) -> None:
        place.starting = True
        job = asyncio.get_running_loop().create_task(self._forked(place))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _forked(self, place: _Place) -> None:
        def heard(worker: Worker, frame: Frame) -> None:
            if frame.op == "ready":
                place.worker = worker  # its first word may be quicker than the end of its fork
            self._heard(place, frame)

        try:
            worker = await self.server.worker(
                self.role, heard, lambda worker: self._lost(place, worker)
            )
        except (WorkerLost, OSError) as error:
            place.starting = False
            self._retry(place, str(error))
            return
        place.starting = False
        if not worker.ended.is_set():
            place.worker = worker
        if self._closed:
            worker.kill()

    def _kill(self, task: Task) -> None:
        """Kill the worker of a task that is being stopped, unless it has stopped by itself."""
        for place in self._places:
            if place.task is task and place.worker is not None:
                place.doomed = True
                place.worker.kill()

    def _heard(self, place: _Place, frame: Frame) -> None:
        if frame.op == "ready":
            place.ready, place.failures = True, 0
            self.role = {**self.role, "describe": False}  # once is enough
            self.on_ready(frame)
            self.on_present(True)
        elif frame.op == "broken":
            place.why = str(frame.head.get("why", ""))  # it ends now, and is tried again
        elif place.task is not None:
            self._heard_of(place, place.task, frame)
        self._feed()

    def _heard_of(self, place: _Place, task: Task, frame: Frame) -> None:
        stopping = task.state is TaskState.STOPPING
        if place.doomed:
            return  # whatever it still says, its end is the news, and it gets no other task
        if task.timer is not None:  # prepared at least; from here on the core's limit counts
            task.timer.cancel()
            task.timer = None
        if frame.op in FINAL_OPS:
            place.task, task.worker, task.state = None, None, TaskState.OVER
            if stopping:
                task.on_stopped()
        if not stopping:
            task.on_frame(frame)

    def _lost(self, place: _Place, worker: Worker) -> None:
        was_ready, place.ready, place.worker = place.ready, False, None
        place.doomed = False
        place.told.clear()
        task, place.task = place.task, None
        if was_ready and not self._closed:
            self.on_present(False)
        if not self._closed:
            log.warning("worker ended", pid=worker.pid, role=self.role.get("name"))
            if was_ready:
                self._fork(place)
            else:
                why, place.why = place.why, ""
                self._retry(place, why or "its process ended before it was ready")
        if task is None:
            return
        stopping, task.state, task.worker = task.state is TaskState.STOPPING, TaskState.OVER, None
        if task.timer is not None:
            task.timer.cancel()
            task.timer = None
        if task.late:
            task.on_frame(LATE)
        elif stopping:
            task.on_stopped()
        elif not self._closed:
            task.on_lost()

    def _retry(self, place: _Place, why: str) -> None:
        """Fork again after a pause that doubles, so that a broken device costs no core."""
        if self._closed:
            return
        self.on_unready(why)
        pause = min(BACKOFF_FIRST_S * 2**place.failures, BACKOFF_MOST_S)
        place.failures += 1
        log.error("worker did not start", role=self.role.get("name"), why=why, pause_s=pause)
        self._jobs.add(asyncio.get_running_loop().call_later(pause, self._fork, place))

    def _feed(self) -> None:
        """Give waiting tasks to free workers."""
        for place in self._places:
            while self._waiting and place.ready and place.task is None:
                task = self._waiting.take(self._at_work())
                if task is None:
                    return
                self._hand(place, task)

    def _at_work(self) -> list[Task]:
        return [place.task for place in self._places if place.task is not None]

    def _hand(self, place: _Place, task: Task) -> None:
        worker = place.worker
        assert worker is not None
        place.task, task.worker, task.state = task, worker, TaskState.WORKING
        if task.device is not None and task.device[0]["name"] not in place.told:
            head, known = task.device
            worker.send(head, [known])
            place.told.add(head["name"])
        worker.send(task.head, task.parts)
        task.parts = ()  # they are on their way; a task that is lost is made anew
        if task.limit_s is not None:
            task.timer = asyncio.get_running_loop().call_later(task.limit_s, self._too_late, task)
        task.on_begun()

    def _too_late(self, task: Task) -> None:
        if task.state is TaskState.WORKING:
            task.state, task.late = TaskState.STOPPING, True
            self._kill(task)
