"""The inputs of live jobs: in memory while they are small and new, else read from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor as Threads
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qdwell.core.events import SubmitJob
from qdwell.core.job import Job
from qdwell.errors import StoreError
from qdwell.store import DeviceRun, JobDetails, Store

if TYPE_CHECKING:
    from qdwell.engine.inbox import Item

KEPT_BYTES_MAX = 67_108_864  # of all inputs together; the rest is read when it is needed
KEPT_INPUT_BYTES_MAX = 1_048_576


@dataclass(frozen=True, slots=True)
class Input:
    """What a worker needs to know of a job."""

    details: JobDetails
    group: str | None
    executions_max: int
    params: bytes = b""
    params_known: bool = False


class InputShelf:
    """Inputs by job.

    Args:
        store: where they are.
        threads: reads happen there, not in the event loop.
        job: the live job of an id, None if there is none.
        executions_max: of an instance's plan (L14).
    """

    def __init__(
        self,
        store: Store,
        threads: Threads,
        job: Callable[[str], Job | None],
        executions_max: Callable[[str], int],
    ) -> None:
        self._store = store
        self._threads = threads
        self.live_job = job
        self._executions_max = executions_max
        self._inputs: dict[str, Input] = {}
        self._bytes = 0

    def take(self, items: Iterable[Item], stored: Iterable[JobDetails]) -> None:
        """The submissions among `items` were stored; `stored` has the names of their inputs."""
        names = {it.job_id: it.params for it in stored}
        for item in items:
            if isinstance(item.event, SubmitJob) and item.new is not None:
                job, new = item.event.job, item.new
                small = len(new.params) <= KEPT_INPUT_BYTES_MAX
                keep = small and self._bytes + len(new.params) <= KEPT_BYTES_MAX
                # The name alone: that of a new blob has its content with it.
                details = new.details(job.id, str(names[job.id]))
                kept = new.params if keep else b""
                self._keep(Input(details, job.group, new.executions_max, kept, keep))

    def retag(self, job_id: str, tags: tuple[str, ...]) -> None:
        """The tags of a job were changed."""
        known = self._inputs.get(job_id)
        if known is not None:
            self._inputs[job_id] = replace(known, details=replace(known.details, tags=tags))

    def forget(self, job_id: str) -> None:
        """The job is final."""
        gone = self._inputs.pop(job_id, None)
        self._bytes -= len(gone.params) if gone is not None else 0

    def known(self, job_id: str) -> Input | None:
        """The input as far as it is in memory."""
        return self._inputs.get(job_id)

    async def load(self, job_id: str) -> Input:
        """The input, whole.

        Raises:
            StoreError: it is not in the store, or cannot be read.
        """
        known = self._inputs.get(job_id)
        if known is not None and known.params_known:
            return known
        loop = asyncio.get_running_loop()
        job = self.live_job(job_id)
        if known is None:
            if job is None:
                raise StoreError(f"job {job_id} is not live")
            row = await loop.run_in_executor(self._threads, self._store.job, job.instance, job_id)
            if row is None:
                raise StoreError(f"job {job_id} is not in the store")
            known = Input(row.details, job.group, self._executions_max(job.instance))
            self._keep(known)
        name = known.details.params
        params = await loop.run_in_executor(self._threads, self._store.blobs.get, name)
        return replace(known, params=params, params_known=True)

    async def device_runs(self, job_id: str, attempt: int) -> list[DeviceRun]:
        """The runs that an attempt has begun on a device that keeps them (J5)."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._store.device_runs, job_id, attempt)

    async def raw(self, job_id: str) -> bytes:
        """The raw data of a job that was executed (J5).

        Raises:
            StoreError: it is not in the store, or cannot be read.
        """
        job = self.live_job(job_id)
        if job is None:
            raise StoreError(f"job {job_id} is not live")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._read_raw, job.instance, job_id)

    def _read_raw(self, instance: str, job_id: str) -> bytes:
        raw = self._store.raw(instance, job_id)
        if raw is None:
            raise StoreError(f"raw data of job {job_id} is not in the store")
        return raw

    def _keep(self, one: Input) -> None:
        self.forget(one.details.job_id)
        self._inputs[one.details.job_id] = one
        self._bytes += len(one.params)
