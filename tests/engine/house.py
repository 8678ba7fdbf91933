"""A whole engine for tests: real store on disk, real worker processes, scripted devices."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
from pathlib import Path
from typing import Any

from qiskit import QuantumCircuit
from qiskit_ibm_runtime import RuntimeEncoder

from qdwell.clock import Clock, ManualClock, SystemClock, settle
from qdwell.config import Backend, Config, Plan, Retention
from qdwell.core.group import Group, Mode
from qdwell.core.job import Job
from qdwell.engine.engine import Engine
from qdwell.engine.requests import NewGroup, NewJob
from qdwell.engine.workers import ForkServer
from qdwell.store import JobRow, Store, accounts, open_store

FAR = 1_000_000_000_000_000  # later than any clock of a test
SESSION_TTL_MS = 60_000


def bell() -> QuantumCircuit:
    """A two-qubit circuit in the basis of the scripted device."""
    circuit = QuantumCircuit(2, 2)
    circuit.sx(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


def sampler(pubs: int = 1, shots: int = 10, circuit: QuantumCircuit | None = None) -> bytes:
    """The params of a sampler job as the stock client encodes them."""
    each = [circuit or bell(), None, shots]
    params = {"pubs": [each] * pubs, "version": 2, "options": {}, "support_qiskit": True}
    return json.dumps(params, cls=RuntimeEncoder).encode()


def scripted(name: str = "machine", lanes: int | None = None, **options: Any) -> Backend:
    """A scripted backend's row."""
    return Backend(name, "scripted", options=options, lanes=lanes)


class House:
    """An engine on a data folder. `with_engine` makes a new one on the same folder."""

    def __init__(
        self,
        folder: Path,
        server: ForkServer,
        *backends: Backend,
        clock: Clock | None = None,
        store: Store | None = None,
        plans: dict[str, Plan] | None = None,
        retention: Retention | None = None,
    ) -> None:
        rows = backends or (scripted(),)
        self.config = Config(
            backends=rows,
            plans={**Config().plans, **(plans or {})},
            retention=retention or Retention(),
        )
        self.clock = clock or SystemClock()
        self.store = store or open_store(folder)
        made = accounts.first_start(self.store, self.clock.now())
        if made is None:
            first = accounts.all_instances(self.store)[0]
            self.crn, self.user = first.crn, "user"
        else:
            self.crn, self.user = made.instance_crn, made.user_id
        self.engine = Engine(self.config, self.store, self.clock, server)
        self.backend = rows[0].name

    async def __aenter__(self) -> House:
        await self.engine.start()
        await self.engine.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.abandon()
        self.store.close()

    def new_job(self, **changes: Any) -> NewJob:
        """A sampler job of the house's user on its first backend."""
        asked: dict[str, Any] = {
            "instance": self.crn,
            "backend": self.backend,
            "program_id": "sampler",
            "params": sampler(),
            "user_id": self.user,
        }
        return NewJob(**{**asked, **changes})

    async def submit(self, **changes: Any) -> Job:
        """Submit one."""
        return await self.engine.submit(self.new_job(**changes))

    async def session(self, mode: Mode = Mode.SESSION, **changes: Any) -> Group:
        """Open a session."""
        asked: dict[str, Any] = {
            "instance": self.crn,
            "backend": self.backend,
            "mode": mode,
            "user_id": self.user,
            "interactive_ttl_ms": SESSION_TTL_MS,
            "max_ttl_ms": 3_600_000,
        }
        return await self.engine.create_group(NewGroup(**{**asked, **changes}))

    async def final(self, job: Job, within_s: float = 30) -> JobRow:
        """The stored row of a job once it is final."""
        async with asyncio.timeout(within_s):
            await self.engine.wait_final(job.id, FAR)
        return self.row(job)

    def row(self, job: Job) -> JobRow:
        """The stored row of a job."""
        row = self.store.job(self.crn, job.id)
        assert row is not None
        return row

    def result(self, job: Job) -> dict[str, Any]:
        """The stored result of a job."""
        content = self.store.read_result(self.crn, job.id)
        assert content is not None
        found: dict[str, Any] = json.loads(content)
        return found

    def story(self, subject: str) -> list[str]:
        """The causes in a story."""
        return [line.cause for line in self.store.story(subject)]

    async def reaches(self, job: Job, state: str, within_s: float = 30) -> Job:
        """The job once it is stored in this state."""
        async with asyncio.timeout(within_s):
            live = self.engine.live_job(job.id)
            if live is not None and live.state == state:
                return live
            async for change in self.engine.changes():
                moved = getattr(change, "job", None)
                if moved is not None and moved.id == job.id and moved.state == state:
                    return moved
        raise AssertionError(f"the stream of changes ended before {job.id} was {state}")

    async def begun(self, job: Job, within_s: float = 30) -> None:
        """Return when a stage of the job has begun, which is after its submission is answered."""
        async with asyncio.timeout(within_s):
            while job.id not in self.engine._actions.runs:
                await self.engine._loop.turned.wait()

    async def machine_pid(self) -> int:
        """The process that holds the first backend's device; waits for one that is being made."""
        pool = self.engine._stations[self.backend].pool
        if not pool.pids():
            there = asyncio.Event()
            describe = pool.on_ready
            pool.on_ready = lambda frame: (describe(frame), there.set())[0]
            await asyncio.wait_for(there.wait(), 30)
        (pid,) = pool.pids()
        return pid

    def kill_machine(self) -> None:
        """Kill -9 the process that holds the first backend's device."""
        for pid in self.engine.worker_pids(self.backend):
            os.kill(pid, signal.SIGKILL)


async def pass_time(clock: ManualClock, ms: int = 500) -> None:
    """Let a moment pass, by the clock, for the loop, and for the threads."""
    clock.advance(ms)
    await settle()
    await asyncio.to_thread(lambda: None)


def wait_gone(pid: int, within_s: float = 10) -> bool:
    """Whether a process has ended, or ends in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)
