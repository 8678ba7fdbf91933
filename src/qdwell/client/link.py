"""What all objects of one service share: the transport, the watcher, and the helper threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qdwell.client.driving import Hold
from qdwell.client.errors import RequestsApiError
from qdwell.client.transport import Request, Response, Sends, path_of
from qdwell.client.watching import Watcher

HELD_MS = 20_000  # of one request; then it is asked anew
MARGIN_S = 30.0
LONE_HOLDS = 4  # waiting callers with a request of their own; further ones share the watcher's


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
        self._lone = threading.BoundedSemaphore(LONE_HOLDS)
        self._lock = threading.Lock()
        self._has_outcomes = True

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
        return self.transport.send(request)

    def hold(self, hold: Hold) -> Any:
        """Wait in this thread: with a request of our own if few do so, else with the watcher."""
        if len(hold.jobs) == 1 and self._has_outcomes and self._lone.acquire(blocking=False):
            try:
                return outcome_of(self.transport.send(outcome_request(hold.jobs[0], hold.ms)))
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


def outcome_request(job_id: str, ms: int) -> Request:
    """Ask for a job and, if it has completed, its result; held for at most `ms`."""
    held = min(ms, HELD_MS)
    return Request(
        "GET",
        path_of("jobs", job_id, "outcome"),
        query=(("wait_ms", str(held)),) if held else (),
        read_s=held / 1000 + MARGIN_S,
    )


def outcome_of(response: Response) -> dict[str, Any]:
    """The answer to `outcome_request`: `job`, and `result` if there is one."""
    outcome: dict[str, Any] = response.json()
    return outcome
