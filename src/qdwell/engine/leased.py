"""A device as one job holds it, in the device's own process: stoppable, and with a journal."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import Any

from qdwell.clock import stopwatch_ns
from qdwell.engine.frames import Channel
from qdwell.errors import ProgramError
from qdwell.executors import Executor, RunStatus
from qdwell.wire.device import Batch, Outcome

FAILED_CODE = 5203  # E28


class RunLost(Exception):
    """The device does not know a run that an earlier process has begun."""


class Leased:
    """The device as a program sees it, with the token of the present run, so it can be stopped.

    On a device whose runs outlive this process it keeps the journal of them (`engine.adoption`):
    the first runs may have been begun by an earlier process, and are asked for by their handles.
    Of these the last may still have been under way, and counts from here on; `spent_ns` is the
    device's time before that.
    """

    def __init__(
        self,
        executor: Executor,
        channel: Channel | None = None,
        begun: Sequence[str] = (),
        spent_ns: int = 0,
    ) -> None:
        self._executor = executor
        self._channel = channel if executor.outlives else None
        self._begun = begun
        self._n = 0
        self._may: queue.SimpleQueue[bool] = queue.SimpleQueue()  # begin the next run
        self._run: str | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self._since = stopwatch_ns()  # when the run that is adopted is under way
        self.ns = spent_ns  #: time of the runs so far: what a job is charged (U1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def run(self, batch: Batch) -> Outcome:
        """Run a batch, unless the job was told to stop.

        Raises:
            RunLost: the run was begun by an earlier process, and the device does not know it.
            ProgramError: it failed or was stopped.
        """
        n, self._n = self._n, self._n + 1
        if self._channel is not None and 0 < n >= len(self._begun):
            self._channel.send({"op": "starting", "run": n})
            self._may.get()
        with self._lock:
            if self._stopped:
                raise ProgramError(FAILED_CODE, "The run was stopped.")
            began = self._since if n < len(self._begun) else stopwatch_ns()
            self._run = self._started(n, batch, began)
        try:
            return self._executor.result(self._run)
        finally:
            if n >= len(self._begun) - 1:  # the others had ended before
                self.ns += stopwatch_ns() - began
            with self._lock:
                self._run = None

    def _started(self, n: int, batch: Batch, began: int) -> str:
        if self._channel is None:
            return self._executor.start(batch)
        if n >= len(self._begun):
            handle = self._executor.start(batch)
            spent = self.ns + stopwatch_ns() - began
            self._channel.send({"op": "started", "run": n, "handle": handle, "spent_ns": spent})
            return handle
        if self._executor.adopt(self._begun[n], batch) is RunStatus.UNKNOWN:
            raise RunLost(self._begun[n])
        if n == 0:
            self._channel.send({"op": "adopted"})
        return self._begun[n]

    def go(self) -> None:
        """The beginning of the next run is stored."""
        self._may.put(True)

    def stop(self) -> None:
        """Stop the present run, and begin no further one of this job."""
        with self._lock:
            self._stopped = True
            run = self._run
        self._may.put(False)
        if run is not None:
            self._executor.stop(run)
