"""What is known to be stored: the records that the API reads, and those who wait for a change.

The scheduler's own memory is ahead of the disk while a commit is under way. Nobody outside may see
that: a job shown as Completed must still be so after a power cut. So the API reads this copy, which
is moved on after each commit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from qdwell.clock import Clock, pause_ms
from qdwell.core.decisions import Decision, PutGroup, PutJob
from qdwell.core.group import Group, GroupState
from qdwell.core.job import Job
from qdwell.store import JobRow

Ended = asyncio.Future[JobRow | None]  # of a job; its row, where it is known without reading it


@dataclass(frozen=True, slots=True)
class InterimStored:
    """A live job has one more interim result (R5)."""

    job: Job
    n: int  #: its number, from 0


Change = PutJob | PutGroup | InterimStored
Watcher = Callable[[PutJob | PutGroup], None]
Told = Callable[[Job], JobRow | None]  # what is known of a job that has just ended
_CHANGES_WAITING_MOST = 1_000  # of one reader; a slower one is cut off and must read anew


class Memory:
    """Live jobs and groups as they are stored."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.groups: dict[str, Group] = {}
        self.pending: Counter[str] = Counter()  #: Queued and RUNNING jobs by instance
        self._waiting: dict[str, set[Ended]] = {}
        self._readers: set[asyncio.Queue[Change | None]] = set()
        self._watching: list[Watcher] = []

    def load(self, jobs: Iterable[Job], groups: Iterable[Group]) -> None:
        """Start from what the store has."""
        self.jobs = {job.id: job for job in jobs}
        self.groups = {group.id: group for group in groups}
        self.pending = Counter(job.instance for job in self.jobs.values())
        for job_id in [each for each in self._waiting if each not in self.jobs]:
            self._wake(job_id)

    def publish(self, decisions: Sequence[Decision], told: Told) -> None:
        """A commit is on disk: show it, and wake those who waited for it.

        Who waited for the end of a job is given what `told` says of it.
        """
        for decision in decisions:
            if isinstance(decision, PutJob):
                self._put_job(decision, told)
            elif isinstance(decision, PutGroup):
                if decision.group.state is GroupState.CLOSED:
                    self.groups.pop(decision.group.id, None)
                else:
                    self.groups[decision.group.id] = decision.group
            else:
                continue
            for watcher in self._watching:
                watcher(decision)
            for reader in list(self._readers):
                self._tell(reader, decision)

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` at every change, at once: it must be quick, and must not raise."""
        self._watching.append(watcher)

    def publish_interim(self, interim: Iterable[tuple[str, int, bytes]]) -> None:
        """Interim results are on disk. Those of a job that has ended are told by its end."""
        for job_id, n, _ in interim:
            job = self.jobs.get(job_id)
            if job is not None:
                for reader in list(self._readers):
                    self._tell(reader, InterimStored(job, n))

    def _put_job(self, change: PutJob, told: Told) -> None:
        job = change.job
        known = self.jobs.get(job.id)
        if not job.final:
            self.jobs[job.id] = job
            self.pending[job.instance] += known is None
            return
        if known is not None:
            del self.jobs[job.id]
            self.pending[job.instance] -= 1
        if job.id in self._waiting:
            self._wake(job.id, told(job))

    def _wake(self, job_id: str, row: JobRow | None = None) -> None:
        for waiter in self._waiting.pop(job_id, ()):
            if not waiter.done():
                waiter.set_result(row)

    async def wait_final(self, job_id: str, until: int, clock: Clock) -> JobRow | None:
        """Return when the job is stored as final, or when the clock reaches `until`; see `final`
        for what.
        """
        waiter = self.final(job_id) if clock.now() < until else None
        if waiter is None:
            return None

        async def ring() -> None:
            await pause_ms(clock, until - clock.now())
            if not waiter.done():
                waiter.set_result(None)

        bound = asyncio.ensure_future(ring())
        try:
            return await waiter
        finally:
            bound.cancel()
            self.forget_final(job_id, waiter)

    def final(self, job_id: str) -> Ended | None:
        """What is done when a live job is stored as final; None if it is not live.

        It gives the job's row where that is known without reading it. Who stops waiting earlier
        says so by `forget_final`.
        """
        if job_id not in self.jobs:
            return None
        waiter: Ended = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(waiter)
        return waiter

    def forget_final(self, job_id: str, waiter: Ended) -> None:
        """Nobody waits for this any more."""
        waiters = self._waiting.get(job_id)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[job_id]

    async def changes(self) -> AsyncIterator[Change]:
        """Every stored change from now on. Ends for a reader that falls far behind."""
        reader: asyncio.Queue[Change | None] = asyncio.Queue(_CHANGES_WAITING_MOST)
        self._readers.add(reader)
        try:
            while (change := await reader.get()) is not None:
                yield change
        finally:
            self._readers.discard(reader)

    def _tell(self, reader: asyncio.Queue[Change | None], change: Change) -> None:
        try:
            reader.put_nowait(change)
        except asyncio.QueueFull:
            self._readers.discard(reader)
            with suppress(asyncio.QueueEmpty):
                reader.get_nowait()
            reader.put_nowait(None)

    def end_changes(self) -> None:
        """End every stream of changes: the service stops."""
        for reader in list(self._readers):
            with suppress(asyncio.QueueFull):
                reader.put_nowait(None)
