"""One thread beside the event loop, for calls that block: the store's writer.

What `ThreadPoolExecutor` does for many threads and for callers of all kinds costs as much as a
small commit itself (0.1 ms of locks and copied futures). Here are one thread, one queue, and one
caller's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class OneThread:
    """Works calls off one after the other, in the order in which they came.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def call(self, work: Callable[..., T], *args: Any) -> T:
        """Call it in the thread. A caller that is cancelled does not stop it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._jobs.put((work, args, answer, loop))
        return await answer

    def close(self) -> None:
        """Wait until all that came before is done, and end."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, args, answer, loop = job
            value, error = None, None
            try:
                value = work(*args)
            except BaseException as raised:  # the caller's, whatever it is
                error = raised
            with contextlib.suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(_tell, answer, value, error)
            del job, work, args, answer, value, error


def _tell(answer: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
