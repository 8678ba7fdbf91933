"""Workers that act by the script of each job, and the devices that they hold.

A job's script is the text in place of its circuit: how long each stage takes, and what goes wrong
in it. The workers speak the frames of `qdwell.engine.child`, at the times of the script. A device
remembers every run that it did, and breaks the simulation if two are in it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdwell.engine.frames import Frame
from simulation.loop import pause

BOOT_S = 0.02  # from the fork of a worker to its first word
GONE_S = 0.003  # from a kill to the news of it
DESCRIPTION = (b"{}", b"{}")
MS = 1_000_000  # nanoseconds


@dataclass
class RunOnDevice:
    """One run, as the device saw it. Times in seconds of the world."""

    job: str
    start: float
    end: float | None = None
    whole: bool = False  #: it came to its natural end


@dataclass
class Device:
    """What is behind a machine."""

    name: str
    repeatable: bool
    simulator: bool
    outlives: bool = False  #: its runs go on when the worker dies
    kept: dict[str, RunOnDevice] = field(default_factory=dict)  #: by handle
    runs: list[RunOnDevice] = field(default_factory=list)
    present: RunOnDevice | None = None

    def begin(self, job: str, now: float) -> RunOnDevice:
        """A run begins; nothing else may be in the device (C4)."""
        run = RunOnDevice(job, now)
        self.runs.append(run)
        if not self.simulator:
            assert self.present is None, f"C4: {self.name} runs {self.present}, and now {job}"
            self.present = run
        return run

    def keep(self, job: str, now: float, ms: int) -> str:
        """A run begins that goes on whoever dies; a hung one has no end."""
        end = now + ms / 1000 if ms >= 0 else float("inf")
        run = RunOnDevice(job, now, end, whole=ms >= 0)
        self.runs.append(run)
        handle = f"{self.name}-{len(self.runs)}"
        self.kept[handle] = run
        return handle

    def cancel(self, handle: str, now: float) -> None:
        """A kept run is told to stop."""
        run = self.kept[handle]
        if run.end is not None and run.end > now:
            run.end, run.whole = now, False

    def end(self, run: RunOnDevice, now: float, *, whole: bool) -> None:
        """A run ends."""
        run.end, run.whole = now, whole
        if self.present is run:
            self.present = None


class SimServer:
    """Stands for the fork server: gives workers, and lets faults reach them."""

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self.devices = devices
        self.workers: list[SimWorker] = []
        self.crashed: Counter[str] = Counter()  #: crashes of workers by the script, by job
        self._pids = itertools.count(1)

    async def worker(
        self,
        role: Mapping[str, Any],
        on_frame: Callable[[Any, Frame], None],
        on_lost: Callable[[Any], None],
    ) -> SimWorker:
        await pause(BOOT_S)
        worker = SimWorker(next(self._pids), self, role, on_frame, on_lost)
        self.workers.append(worker)
        return worker

    def kill(self, name: str) -> None:
        """Kill -9 the workers of a backend, or the classical ones."""
        for worker in list(self.workers):
            if worker.role["name"] == name:
                worker.kill()

    def server_died(self, now: float) -> None:
        """All workers die with their server."""
        for worker in self.workers:
            worker.leave_device(now)
        self.workers.clear()

    def close(self) -> None:
        pass


class SimWorker:
    """One worker process."""

    def __init__(
        self,
        pid: int,
        server: SimServer,
        role: Mapping[str, Any],
        on_frame: Callable[[Any, Frame], None],
        on_lost: Callable[[Any], None],
    ) -> None:
        self.pid = pid
        self.role = role
        self.ended = asyncio.Event()
        self._server = server
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._device = server.devices.get(role["name"])
        self._dead = False
        self._work: asyncio.Task[None] | None = None
        self._run: RunOnDevice | None = None
        self._stop = asyncio.Event()
        self._go = asyncio.Event()
        self._spent: float | None = None  # seconds of the present job's kept runs
        self._since = 0.0
        head: dict[str, Any] = {"op": "ready"}
        parts: tuple[bytes, ...] = ()
        if self._device is not None:
            head |= {"repeatable": self._device.repeatable, "outlives": self._device.outlives}
            if role.get("describe", True):
                head |= {"qubits": 2, "version": "1", "entry": {}}
                parts = DESCRIPTION
        self._loop.call_soon(self._say, head, parts)

    # ---- what a pool does with a worker ------------------------------------------------------

    def send(self, head: Mapping[str, Any], parts: Sequence[bytes] = ()) -> None:
        if self._dead:
            return
        if head["op"] == "run":
            self._stop.clear()
            self._spent, self._since = None, self._loop.time()
            self._work = self._loop.create_task(self._stages(dict(head), parts[0]))
        elif head["op"] == "stop":
            self._stop.set()
            self._go.set()
        elif head["op"] == "go":
            self._go.set()
        elif head["op"] == "cancel":
            for handle in head["runs"]:
                self._device.cancel(handle, self._loop.time())  # type: ignore[union-attr]
            self._loop.call_later(0.01, self._say, {"op": "done"})

    def kill(self) -> None:
        if self._dead:
            return
        self._dead = True
        if self._work is not None:
            self._work.cancel()
        self.leave_device(self._loop.time())
        self._loop.call_later(GONE_S, self._gone)

    def _gone(self) -> None:
        if self in self._server.workers:
            self._server.workers.remove(self)
        self.ended.set()
        self._on_lost(self)

    def leave_device(self, now: float) -> None:
        """A run ends with its process."""
        if self._run is not None and self._device is not None:
            self._device.end(self._run, now, whole=False)
            self._run = None

    # ---- work --------------------------------------------------------------------------------

    def _say(self, head: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
        if not self._dead:
            self._on_frame(self, Frame(head, tuple(parts)))

    async def _stages(self, head: dict[str, Any], content: bytes) -> None:
        stages: list[str] = head["stages"]
        if stages[0] == "prepare":
            script = json.loads(json.loads(content)["pubs"][0][0])
        else:
            script = json.loads(content)
        timings: dict[str, int] = {}
        facts = {"executions": 1, "num_circuits": 1, "num_qubits": [2], "circuit_depths": [1]}
        value = json.dumps(script).encode()
        stage = ""
        for stage in stages:
            ms = script[stage]
            crashed = self._server.crashed
            if script.get("crash") == stage and crashed[head["job"]] < script["crashes"]:
                crashed[head["job"]] += 1
                self._loop.call_later(max(ms, 0) / 2000, self.kill)
            if stage == "execute" and self._device is not None and self._device.outlives:
                said = await self._kept_runs(self._device, head, script)
            else:
                said = await self._stage(stage, head["job"], ms)
            timings[stage] = ms * MS
            if stage == "execute" and self._spent is not None:
                timings["device"] = round(self._spent * 1e9)
            if said == "lost":
                self._say({"op": "failed", "stage": "execute", "lost": True})
                return
            fault = "the run was stopped" if said is None else script.get("fails")
            if said is None or script.get("fails") == stage:
                code = 5203 if stage == "execute" else 1517
                failed = {"op": "failed", "stage": stage, "code": code, "reason": str(fault)}
                self._say({**failed, "timings": timings, "facts": facts})
                return
            if stage == "prepare" and len(stages) > 1:
                bound = head.get("hand_back_ms")
                if bound is not None and ms > bound:
                    break
                self._say({"op": "prepared", "timings": timings, "facts": facts})
            if stage == "execute" and script.get("interim"):
                self._say({"op": "interim"}, [b"{}"])
        if stage == "postprocess":
            value = json.dumps({"of": script["name"], "pad": "x" * script.get("pad", 0)}).encode()
        done = {"op": "done", "last": stage, "timings": timings, "facts": facts, "cache": [0, 1]}
        self._say(done, [value])

    async def _kept_runs(
        self, device: Device, head: dict[str, Any], script: dict[str, Any]
    ) -> bool | str | None:
        """Begin the runs of a job one after the other, or take up those that were begun."""
        begun: list[str] = head["runs"]
        self._spent = head["spent_ms"] / 1000
        for n in range(script.get("runs", 1)):
            if n < len(begun):
                handle, since = begun[n], self._since
                if handle not in device.kept:
                    return "lost"
                if n == 0:
                    self._say({"op": "adopted"})
            else:
                if n:
                    self._go.clear()
                    self._say({"op": "starting", "run": n})
                    await self._go.wait()
                if self._stop.is_set():
                    return None
                since = self._loop.time()
                handle = device.keep(head["job"], since, script["execute"])
                spent = round(self._spent * 1e9)
                self._say({"op": "started", "run": n, "handle": handle, "spent_ns": spent})
            end = device.kept[handle].end
            assert end is not None
            left = max(0.0, end - self._loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), left if left < 1e9 else None)
            if n >= len(begun) - 1:
                self._spent += self._loop.time() - since
            if self._stop.is_set() or not device.kept[handle].whole:
                device.cancel(handle, self._loop.time())
                return None
        return True

    async def _stage(self, stage: str, job: str, ms: int) -> bool | str | None:
        """Take the time of a stage; None if the device was told to stop."""
        if stage != "execute" or self._device is None:
            await pause(ms / 1000)
            return True
        self._run = run = self._device.begin(job, self._loop.time())
        try:
            await asyncio.wait_for(self._stop.wait(), ms / 1000 if ms >= 0 else None)
        except TimeoutError:
            whole = True
        else:
            whole = False
        self._device.end(run, self._loop.time(), whole=whole)
        self._run = None
        return True if whole else None
