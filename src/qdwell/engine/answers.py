"""The half of the engine that only tells: questions about jobs, groups, backends, and queues.

Answers come from memory, in microseconds, and show only what is stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from qdwell.clock import Clock, stopwatch_ns
from qdwell.core.forecast import RANKED_MAX, Forecast, forecast, with_reason
from qdwell.core.group import Group
from qdwell.core.job import Job
from qdwell.core.state import Machine
from qdwell.engine.actions import Actions
from qdwell.engine.loop import Loop
from qdwell.engine.memory import Change, Ended, Memory, Watcher
from qdwell.engine.meter import Meter
from qdwell.engine.pools import LocalPool
from qdwell.engine.requests import BackendView, MachineNow
from qdwell.engine.stations import Station
from qdwell.programs.options import check_submission
from qdwell.store import JobRow

REST = 10  # a forecast stands for so many times as long as it took: users who ask cannot stop work


@dataclass(frozen=True, slots=True)
class Told:
    """The forecast of a backend, the turn after which it was made, and until when it will do."""

    turn: int
    good_until: int
    known: Mapping[str, Forecast]

    def does(self, job_id: str, now: int) -> bool:
        """Whether it will do for a job though there was a turn since: not if the job is new."""
        return now < self.good_until and (job_id in self.known or len(self.known) >= RANKED_MAX)


class Answers:
    """What the API may ask without changing anything. `Engine` makes the parts and is one."""

    _clock: Clock
    _names: Mapping[str, str]  #: a backend's name, by its name and each alias
    _stations: Mapping[str, Station]
    _classical: LocalPool
    _memory: Memory
    _loop: Loop
    _actions: Actions
    _forecasts: dict[str, Told]  #: by backend

    def check_submission(self, program_id: str, params: Mapping[str, Any]) -> None:
        """Check shape and options of a job's input, without opening what is packed in it.

        Raises:
            UnknownProgram, BadInput: as `options.check_submission`.
        """
        check_submission(program_id, params)

    def backend(self, name: str) -> BackendView | None:
        """The backend of this name or alias."""
        station = self._stations.get(self._names.get(name, ""))
        return None if station is None else station.view(self._machine(station.name))

    def backends(self) -> list[BackendView]:
        """All backends, in the order of the config."""
        return [it.view(self._machine(it.name)) for it in self._stations.values()]

    def machine_now(self, name: str) -> MachineNow | None:
        """How taken a backend is, and by whom; None if there is none of this name."""
        machine = self._machine(self._names.get(name, ""))
        if machine is None:
            return None
        state, lease = self._loop.scheduler.state, machine.lease
        return MachineNow(
            lanes=machine.lanes,
            lanes_used=machine.lanes_used,
            queued=machine.queued_count,
            lease_job=lease.job if lease else None,
            lease_at=lease.at if lease else None,
            group=state.live_group(machine),
            reservation=machine.reservation,
            locked=machine.lock is not None,
        )

    def usage_ms(self, instance: str) -> int:
        """What the instance was charged in the window, open charges up to now (Q8)."""
        return self._loop.scheduler.state.usage_ms(instance, self._clock.now())

    def pending(self, instance: str) -> int:
        """Queued and running jobs of an instance."""
        return self._memory.pending[instance]

    def open_groups(self, instance: str) -> int:
        """Sessions and batches of an instance that are not closed."""
        known = self._loop.scheduler.state.instances.get(instance)
        return 0 if known is None else len(known.groups)

    def live_job(self, job_id: str) -> Job | None:
        """The job as it is stored, None if it is final or unknown."""
        return self._memory.jobs.get(job_id)

    def live_jobs(self, backend: str) -> list[Job]:
        """The jobs of a backend that have not ended, as they are stored, oldest first."""
        mine = [job for job in self._memory.jobs.values() if job.backend == backend]
        return sorted(mine, key=lambda job: job.seq)

    def live_group(self, group_id: str) -> Group | None:
        """The session or batch as it is stored, None if it is closed or unknown."""
        return self._memory.groups.get(group_id)

    def forecast(self, job_id: str) -> Forecast | None:
        """Where a live job stands in its queue, and when it may start and end (Q30)."""
        job = self._memory.jobs.get(job_id)
        if job is None:
            return None
        now, told = self._clock.now(), self._forecasts.get(job.backend)
        if told is None or (told.turn != self._loop.turns and not told.does(job_id, now)):
            began = stopwatch_ns()
            known = forecast(self._loop.scheduler, job.backend, now, self._loop.experience)
            took_ms = (stopwatch_ns() - began) // 1_000_000
            told = Told(self._loop.turns, now + REST * took_ms, known)
            self._forecasts[job.backend] = told
        return with_reason(self._loop.scheduler.state, job_id, told.known.get(job_id), now)

    def final(self, job_id: str) -> Ended | None:
        """What is done when a live job is stored as final; None if it is not live.

        It gives the job's row where that is known without reading it. Who stops waiting earlier
        says so by `forget_final`.
        """
        return self._memory.final(job_id)

    def forget_final(self, job_id: str, waiter: Ended) -> None:
        """Nobody waits for this any more."""
        self._memory.forget_final(job_id, waiter)

    async def wait_final(self, job_id: str, until_ms: int) -> JobRow | None:
        """Return when the job is stored as final, or at `until_ms`; see `final` for what."""
        return await self._memory.wait_final(job_id, until_ms, self._clock)

    def changes(self) -> AsyncIterator[Change]:
        """Every stored change of a job or group from now on."""
        return self._memory.changes()

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` at every stored change of a job or group; it must be quick, and quiet."""
        self._memory.watch(watcher)

    @property
    def meter(self) -> Meter:
        """What the loop has done since the start."""
        return self._loop.meter

    def worker_pids(self, name: str | None = None) -> list[int]:
        """Process ids of a backend's workers, or of the classical ones."""
        pool = self._classical if name is None else self._stations[name].pool
        return pool.pids()

    def _machine(self, name: str) -> Machine | None:
        return self._loop.scheduler.state.machines.get(name)
