"""What all objects of one service share: the transport, the watcher, and the helper threads."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from qdwell.client.driving import Hold
from qdwell.client.errors import RequestsApiError
from qdwell.client.forks import watch
from qdwell.client.tail import Tail
from qdwell.client.transport import Request, Response, Sends, loads, path_of
from qdwell.client.watching import Watcher
from qdwell.clock import stopwatch_ns

HELD_MS = 20_000  # of one request; then it is asked anew
MARGIN_S = 30.0
SHORT_MARGIN_S = 5.0  # of a caller whose own time is limited
LONE_HOLDS = 4  # waiting callers with a request of their own; further ones share the watcher's


class _Habits(threading.local):
    """What one thread has done last."""

    asked = 0  #: requests so far
    submitted = -1  #: number of the last one that was a submission
    waits = False  #: it waits right after submitting
    tail: weakref.ref[Tail] | None = None  #: of the last submission


class Link:
    """The way to one server.

    Args:
        transport: carries the requests.
    """

    def __init__(self, transport: Sends) -> None:
        self.transport = transport
        self.watcher = Watcher(transport)
        self._helper: ThreadPoolExecutor | None = None
        self._callbacks: ThreadPoolExecutor | None = None
        self._mine = _Habits()
        self._lone = threading.BoundedSemaphore(LONE_HOLDS)
        self._lock = threading.Lock()
        self._has_outcomes = True
        watch(self)

    def after_fork(self) -> None:
        """See `forks`: the helper threads are the parent's."""
        self._helper = self._callbacks = None
        self._mine = _Habits()
        self._lone = threading.BoundedSemaphore(LONE_HOLDS)
        self._lock = threading.Lock()

    @property
    def helper(self) -> ThreadPoolExecutor:
        """The thread that sends for coroutines."""
        with self._lock:
            if self._helper is None:
                self._helper = ThreadPoolExecutor(1, "qdwell-requests")
            return self._helper

    @property
    def callbacks(self) -> ThreadPoolExecutor:
        """The thread that runs users' callbacks, one after the other (R5)."""
        with self._lock:
            if self._callbacks is None:
                self._callbacks = ThreadPoolExecutor(1, "qdwell-callbacks")
            return self._callbacks

    def send(self, request: Request) -> Response:
        """Send a request in this thread."""
        return self.transport.send(replace(request, tail_s=0) if request.tail_s else request)

    def ask(self, request: Request) -> Response:
        """The same for a caller that blocks. If it waits right after each submission, the outcome
        is asked for with the submission itself.

        One who submits again without having waited does not get the next outcome so, because it
        would keep a connection busy for each job.
        """
        mine = self._mine
        mine.asked += 1
        if not request.tail_s:
            return self.transport.send(request)
        old = mine.tail() if mine.tail is not None else None
        if old is not None and not old.over:
            old.drop()
            mine.waits = False
        response = self.transport.send(request) if mine.waits else self.send(request)
        mine.tail = None if response.tail is None else weakref.ref(response.tail)
        mine.submitted = mine.asked
        return response

    def hold(self, hold: Hold) -> Any:
        """Wait in this thread: on the answer of the submission, or with a request of our own if few
        do so, else with the watcher.
        """
        mine = self._mine
        mine.waits = mine.submitted == mine.asked
        mine.asked += 1
        if hold.tail is not None:
            began = stopwatch_ns()
            line = hold.tail.line(hold.ms / 1000)
            if line is not None:
                return loads(line)
            left = hold.ms - (stopwatch_ns() - began) // 1_000_000
            if left <= 0:
                return frozenset()
            hold = replace(hold, ms=left)
        if len(hold.jobs) == 1 and self._has_outcomes and self._lone.acquire(blocking=False):
            try:
                asked = outcome_request(hold.jobs[0], hold.ms, hold.patience_s)
                return outcome_of(self.transport.send(asked))
            except RequestsApiError as error:
                if error.status_code != 404 or error.code == "not_found":
                    raise
                self._has_outcomes = False
            finally:
                self._lone.release()
        return self.watcher.wait(hold)

    def close(self) -> None:
        """End the helper threads; waiting callers are woken."""
        self.watcher.close()
        for pool in (self._helper, self._callbacks):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)


def outcome_request(job_id: str, ms: int, patience_s: float | None = None) -> Request:
    """Ask for a job and, if it has completed, its result; held for at most `ms`.

    With `patience_s` a server that is away, or that hangs, is waited for no longer than that.
    """
    held = min(ms, HELD_MS)
    margin_s = MARGIN_S if patience_s is None else SHORT_MARGIN_S
    return Request(
        "GET",
        path_of("jobs", job_id, "outcome"),
        query=(("wait_ms", str(held)),) if held else (),
        read_s=held / 1000 + margin_s,
        patience_s=patience_s,
    )


def outcome_of(response: Response) -> dict[str, Any]:
    """The answer to `outcome_request`: `job`, and `result` if there is one."""
    outcome: dict[str, Any] = response.json()
    return outcome
