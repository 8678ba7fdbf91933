"""One implementation for callers that block and for callers that await.

What the client does is written once, as generators: an *operation* yields a `Request` and is sent
its `Response`, or yields a `Hold` and is sent what ended the wait; what it returns is the result.
No operation touches a socket or a clock's sleep. Two drivers, twenty lines each, run any operation:

* `run` sends in the caller's thread. A lone hold keeps the caller's own request open at the
  server, so the answer is on its way the moment that the job ends.
* `run_async` sends on one helper thread of the service, one request after the other over one
  connection: requests are short, and what is long, the waiting, is done by the watcher for all
  jobs at once. So a thousand awaited jobs need no thread of their own.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from qdwell.client.errors import IBMError
from qdwell.client.transport import Request

if TYPE_CHECKING:
    from qdwell.client.link import Link
    from qdwell.client.tail import Tail

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until one of these jobs has ended, or until `ms` have passed.

    The answer is the set of those known to have ended; a hold of one job may answer with what the
    server said of it instead (its outcome, see `jobs`), which saves asking.
    """

    jobs: tuple[str, ...]
    ms: int
    patience_s: float | None = None  #: for a server that is away: the caller's own time, if limited
    tail: Tail | None = None  #: where the outcome of the one job may come by itself


Step = Request | Hold
Operation = Generator[Step, Any, T]


def run(operation: Operation[T], link: Link) -> T:
    """Run an operation in this thread, and return its result."""
    try:
        step = next(operation)
        while True:
            try:
                answer = link.ask(step) if isinstance(step, Request) else link.hold(step)
            except IBMError as error:
                step = operation.throw(error)
            else:
                step = operation.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        operation.close()


async def run_async(operation: Operation[T], link: Link) -> T:
    """Run an operation from a coroutine, and return its result."""
    import asyncio  # here, because who only blocks never needs it

    loop = asyncio.get_running_loop()
    try:
        step = next(operation)
        while True:
            try:
                answer: Any
                if isinstance(step, Request):
                    answer = await loop.run_in_executor(link.helper, link.send, step)
                else:
                    answer = await link.watcher.wait_async(step, link.helper)
            except IBMError as error:
                step = operation.throw(error)
            else:
                step = operation.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        operation.close()
