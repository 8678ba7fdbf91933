"""An event loop whose time is a number, and whose process can die between any two steps.

Time moves only when nothing can run: then it jumps to the next timer. What the server hands to
threads runs here, in the loop's own thread, after a delay that the world chooses; so a run of the
simulation has exactly one order of events, and the next run has the same.

`die` is kill -9: no callback, no timer, and no work of a thread that was not yet done happens after
it. What it leaves are the files.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any


class Died(BaseException):
    """The process ends here; raised inside of work that a thread does."""


class Stuck(Exception):
    """Nothing can run, and nothing will: somebody waits for what never comes."""


class Time:
    """The time of one simulated world, in seconds from its start; it outlives every process."""

    def __init__(self) -> None:
        self.now = 0.0


class SimLoop(asyncio.BaseEventLoop):
    """The event loop of one process."""

    def __init__(self, time: Time, thread_delay: Callable[[], float]) -> None:
        super().__init__()
        self._clock_resolution = 1e-6
        self._selector = self  # `_run_once` asks it what is ready, and how long to wait
        self._time = time
        self._delay = thread_delay
        self._busy_until: dict[int, float] = {}
        self.dead = False
        self.steps = 0
        self.die_at_step: int | None = None
        self.failed: BaseException | None = None
        self.set_exception_handler(self._unhandled)

    # ---- what asyncio asks of a loop ---------------------------------------------------------

    def time(self) -> float:
        return self._time.now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck("no timer is set and nothing can run")
        if timeout > 0:
            self._time.now = max(self._time.now, self._scheduled[0]._when)
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        if self.dead:  # what is left of the process is being taken down; none of it runs
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon(self._step, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        if self.dead:
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, self._step, callback, *args, context=context)

    def _step(self, callback: Any, *args: Any) -> None:
        if self.dead:
            return
        self.steps += 1
        if self.steps == self.die_at_step:
            self.die()
            return
        callback(*args)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        """The work is done at one instant, after a delay; one thread does one thing at a time."""
        done = self.create_future()
        begin = self.time()
        if getattr(executor, "_max_workers", 0) == 1:
            begin = max(begin, self._busy_until.get(id(executor), 0.0))
        when = begin + self._delay()
        self._busy_until[id(executor)] = when
        self.call_at(when, self._work, done, func, args)
        return done

    def _work(self, done: asyncio.Future[Any], func: Any, args: tuple[Any, ...]) -> None:
        try:
            value = func(*args)
        except Died:
            self.die()
        except Exception as error:
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(value)

    # ---- life and death ----------------------------------------------------------------------

    def die(self) -> None:
        """Kill -9."""
        self.dead = True
        self.stop()

    def bury(self) -> None:
        """Drop what the dead process has left in memory, without letting any of it run."""
        self.dead = True
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(RuntimeError, ValueError):
                task.get_coro().close()  # type: ignore[union-attr]
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self.close()

    def _unhandled(self, _loop: Any, context: dict[str, Any]) -> None:
        if not self.dead and self.failed is None:
            self.failed = context.get("exception") or RuntimeError(str(context.get("message")))
            self.stop()


class SimThread:
    """Stands for the one thread that writes to the store: its work is the loop's."""

    _max_workers = 1

    def __init__(self, name: str) -> None:
        self.name = name

    async def call(self, work: Any, *args: Any) -> Any:
        threads: Any = self
        return await asyncio.get_running_loop().run_in_executor(threads, work, *args)

    def close(self) -> None:
        pass


async def pause(seconds: float) -> None:
    """Let the world's time pass; it costs none of ours."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    timer = loop.call_later(seconds, lambda: over.done() or over.set_result(None))
    try:
        await over
    finally:
        timer.cancel()
