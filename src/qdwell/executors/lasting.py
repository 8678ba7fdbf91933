"""A scripted device whose runs outlive the process that began them, as those of a real QPU do.

Each run is a small file in the folder of the option `runs`: when it began, when it ends, and what
its outcomes follow from. The "device" is the folder and the clock, so a run goes on whoever dies.
The files stay: they are the device's own record of what it was asked to do, for tests to count.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from qdwell.clock import stopwatch_ns
from qdwell.executors import base
from qdwell.executors.scripted import ScriptedExecutor
from qdwell.wire.device import Batch, Outcome


class LastingExecutor(ScriptedExecutor):
    """A scripted device with a memory of its own."""

    outlives = True

    def __init__(self, name: str, folder: Path, **script: Any) -> None:
        super().__init__(name, **script)
        self._folder = folder
        self._adopted: dict[str, Batch] = {}
        self._numbers = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, batch: Batch) -> str:
        """Begin a run; from here on it is the device's."""
        self._ended.clear()
        run = f"run-{os.getpid()}-{stopwatch_ns()}-{next(self._numbers)}"
        now = self._clock.now()
        fails = self._script.random() < self._fail_rate
        end = now + self._script.randint(*self._run_ms)
        seed = batch.seed if batch.seed is not None else self._script.getrandbits(63)
        self._write(run, {"start": now, "end": end, "seed": seed, "fails": fails, "stopped": False})
        self._adopted[run] = batch
        return run

    def status(self, run: str) -> base.RunStatus:
        """How a run stands, whoever began it."""
        kept = self._read(run)
        if kept is None:
            return base.RunStatus.UNKNOWN
        if kept["stopped"]:
            return base.RunStatus.STOPPED
        if self._clock.now() < kept["end"]:
            return base.RunStatus.RUNNING
        return base.RunStatus.FAILED if kept["fails"] else base.RunStatus.DONE

    def adopt(self, run: str, batch: Batch) -> base.RunStatus:
        """Take up a run of an earlier process."""
        status = self.status(run)
        if status is not base.RunStatus.UNKNOWN:
            self._ended.clear()
            self._adopted[run] = batch
        return status

    def result(self, run: str) -> Outcome:
        """Wait until the device is done, and take the outcomes."""
        batch, kept = self._adopted.pop(run, None), self._read(run)
        if batch is None or kept is None:
            raise base.execution_failed(f"no run {run} here")
        self._ended.wait(max(0, kept["end"] - self._clock.now()) / 1000)
        kept = self._read(run) or kept
        if kept["stopped"]:
            raise base.execution_failed("the run was stopped")
        if kept["fails"]:
            raise base.execution_failed("the script says so")
        batch = replace(batch, seed=kept["seed"])
        samples = [
            self._outcomes(fit.circuit.num_clbits, batch, batch.first + place)
            for place, fit in enumerate(batch.circuits)
        ]
        return Outcome(samples, kept["start"], kept["end"])

    def stop(self, run: str) -> None:
        """End a run early, whoever began it."""
        kept = self._read(run)
        if kept is not None and self._clock.now() < kept["end"]:
            self._write(run, {**kept, "stopped": True, "end": self._clock.now()})
        self._ended.set()

    def run(self, batch: Batch) -> Outcome:
        """`start` and `result` in one."""
        return self.result(self.start(batch))

    def _write(self, run: str, kept: dict[str, Any]) -> None:
        half = self._folder / f".{run}"
        half.write_bytes(orjson.dumps(kept))
        half.rename(self._folder / f"{run}.json")

    def _read(self, run: str) -> dict[str, Any] | None:
        path = self._folder / f"{run}.json"
        if "/" in run or not path.exists():
            return None
        kept: dict[str, Any] = orjson.loads(path.read_bytes())
        return kept
