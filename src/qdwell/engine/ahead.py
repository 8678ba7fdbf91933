"""Large contents are written before the turn that refers to them.

A turn is one transaction, and everybody waits for it. A file or an object of a bucket may take its
time, and may fail while the database is well. So a large input is written before its submission is
decided, and what a run brings is written before its report is: a submission is told that it cannot
be stored, and a report waits until it can be, as long as the job has time. Nobody else waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from qdwell.clock import Clock, pause_ms
from qdwell.errors import StoreError, StoreUnavailable
from qdwell.store import Store
from qdwell.store.blobs import INLINE_BYTES_MAX

log = structlog.get_logger()

T = TypeVar("T")

THREADS = 4
AGAIN_MS = 1_000  # between tries to store what a run has brought


class Ahead:
    """Writes ahead, in threads of its own: if all of them wait, no read does.

    Args:
        store: whose blobs they are.
        clock: tells when to try again.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store-ahead")
        self._held: dict[str, list[str]] = {}  # keys by job

    async def submitted(self, content: bytes, submit: Callable[[], Awaitable[T]]) -> T:
        """Submit a job whose input is on disk by then; if it is refused, nothing is left of that.

        Raises:
            StoreUnavailable: it cannot be written now.
        """
        key = await self._in_thread(self._store.blobs.ahead, content)
        try:
            job = await submit()
        except BaseException:
            await self._in_thread(self._drop, key)
            raise
        self._store.blobs.let_go(key)
        return job

    async def of_job(self, job_id: str, parts: Iterable[bytes], wanted: Callable[[], bool]) -> None:
        """What a run has brought is on disk when this returns, or is not wanted any more."""
        for part in parts:
            while large(part) and wanted():
                try:
                    key = await self._in_thread(self._store.blobs.ahead, part)
                except Exception as error:  # whatever it is: the run has been paid for
                    log.error("result not stored yet", job=job_id, error=str(error))
                    await pause_ms(self._clock, AGAIN_MS)
                    continue
                if wanted():
                    self._held.setdefault(job_id, []).append(key)
                else:  # its job has ended meanwhile, and will not let go of it
                    await self._in_thread(self._drop, key)
                break

    def ended(self, job_id: str) -> None:
        """The job is final: its commit refers to what it keeps."""
        for key in self._held.pop(job_id, ()):
            self._store.blobs.let_go(key)

    def close(self) -> None:
        """Begin nothing new, and wait for nothing: a bucket may hang."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _drop(self, key: str) -> None:
        try:
            self._store.drop_ahead(key)
        except StoreError as error:  # the next sweep will find it
            log.error("blob written for nothing is not removed", key=key, error=str(error))

    async def _in_thread(self, work: Callable[..., Any], *args: object) -> Any:
        loop = asyncio.get_running_loop()
        try:
            running = loop.run_in_executor(self._threads, work, *args)
        except RuntimeError as error:  # they are closed
            raise StoreUnavailable("the server stops; nothing was stored") from error
        return await running


def large(content: bytes) -> bool:
    """Whether it is kept in a file."""
    return len(content) > INLINE_BYTES_MAX
