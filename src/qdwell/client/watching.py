"""One connection on which all jobs of a process are waited for.

While anybody waits, one thread asks `GET /events` again and again, each time with the cursor of the
last answer; the server holds the request until something has changed. Nothing is lost between two
requests, because the cursor says where the last one ended. If the server cannot say what happened
since (it was restarted, or we were away for too long), it says so, and then every job that is
waited for is looked at once; so is each job when its wait begins. A wake-up can therefore come too
often, but never too seldom: whoever is woken asks for the job itself.

A server without that route is asked for its pending jobs at intervals instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from qdwell.client.errors import IBMError, RequestsApiError
from qdwell.client.forks import watch
from qdwell.client.transport import Request, Sends, path_of
from qdwell.clock import stopwatch_ns

if TYPE_CHECKING:
    from qdwell.client.driving import Hold

HELD_MS = 20_000
MARGIN_S = 30.0
POLL_S = 0.25  # without events
LINGER_S = 5.0  # the thread outlives its last waiter by this much: the next one is often near
PAGE = 200
FEW = 8  # jobs that are asked for one by one; more are compared with the list of pending ones
FINAL = ("completed", "failed", "cancelled")

Listener = Callable[[str, str], None]  #: of a job's id and what happened: a state's word, `interim`


class Watcher:
    """Wakes those who wait for jobs.

    Args:
        transport: carries the requests; the watcher's is one connection of it.
    """

    def __init__(self, transport: Sends) -> None:
        self._transport = transport
        self._closed = False
        self._pushed = True
        self.after_fork()
        watch(self)

    def after_fork(self) -> None:
        """See `forks`: nobody waits yet."""
        self._lock = threading.Condition()
        self._listeners: dict[str, list[Listener]] = {}
        self._unseen: set[str] = set()  #: waited for, and not looked at since the wait began
        self._thread: threading.Thread | None = None
        self._cursor: str | None = None

    # ---- waiting --------------------------------------------------------------------------------

    def listen(self, job_id: str, listener: Listener) -> None:
        """Call `listener` at each change of a job, from the watcher's thread or from `catch_up`."""
        with self._lock:
            self._listeners.setdefault(job_id, []).append(listener)
            self._unseen.add(job_id)
            closed = self._closed
            if self._thread is None and not closed:
                self._thread = threading.Thread(
                    target=self._run, name="qdwell-watcher", daemon=True
                )
                self._thread.start()
            self._lock.notify_all()
        if closed:
            listener(job_id, "closed")

    def catch_up(self, patience_s: float | None = None) -> None:
        """Look once at the jobs whose wait has begun while a request for events was under way.

        They may have ended before anybody listened. Those that wait since before the first request
        are looked at after it.
        """
        with self._lock:
            if self._cursor is None or not self._unseen:
                return
            unseen, self._unseen = self._unseen, set()
        self._look(unseen, patience_s)

    def forget(self, job_id: str, listener: Listener) -> None:
        """Call it no more."""
        with self._lock:
            listeners = self._listeners.get(job_id, [])
            if listener in listeners:
                listeners.remove(listener)
            if not listeners:
                self._listeners.pop(job_id, None)
                self._unseen.discard(job_id)

    def wait(self, hold: Hold) -> frozenset[str]:
        """Block until one of the jobs has ended or the time is over; those that have ended."""
        ended: set[str] = set()
        woken = threading.Event()

        def listener(job_id: str, what: str) -> None:
            if what != "interim":
                ended.add(job_id)
                woken.set()

        self._listen_all(hold.jobs, listener)
        try:
            self.catch_up(hold.patience_s)
            woken.wait(hold.ms / 1000)
        finally:
            self._forget_all(hold.jobs, listener)
        return frozenset(ended)

    async def wait_async(self, hold: Hold, helper: Executor) -> frozenset[str]:
        """The same for coroutines; `helper` sends what must be asked."""
        import asyncio  # here, because who only blocks never needs it

        loop = asyncio.get_running_loop()
        ended: set[str] = set()
        woken = asyncio.Event()

        def note(job_id: str) -> None:
            ended.add(job_id)
            woken.set()

        def listener(job_id: str, what: str) -> None:
            if what != "interim" and not loop.is_closed():
                loop.call_soon_threadsafe(note, job_id)

        self._listen_all(hold.jobs, listener)
        try:
            if self._unseen:
                await loop.run_in_executor(helper, self.catch_up, hold.patience_s)
            await asyncio.wait_for(woken.wait(), hold.ms / 1000)
        except TimeoutError:
            pass
        finally:
            self._forget_all(hold.jobs, listener)
        return frozenset(ended)

    def _listen_all(self, jobs: Iterable[str], listener: Listener) -> None:
        for job_id in jobs:
            self.listen(job_id, listener)

    def _forget_all(self, jobs: Iterable[str], listener: Listener) -> None:
        for job_id in jobs:
            self.forget(job_id, listener)

    def close(self) -> None:
        """Wake everybody, and end."""
        with self._lock:
            self._closed = True
            waiting = list(self._listeners)
            self._lock.notify_all()
        for job_id in waiting:
            self._tell(job_id, "closed")

    # ---- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wanted():
            try:
                if self._pushed:
                    self._ask()
                else:
                    self._poll()
            except IBMError:
                # Whoever waits asks for the job, and meets the error itself.
                self._tell_all("unknown")
                with self._lock:
                    self._lock.wait(POLL_S)

    def _wanted(self) -> bool:
        """Whether to go on; waits a moment for the next waiter before it says no."""
        with self._lock:
            if not self._listeners and not self._closed:
                self._lock.wait_for(lambda: self._listeners or self._closed, LINGER_S)
            if self._closed or not self._listeners:
                self._thread = None
                self._cursor = None  # what happens unwatched is not missed: each wait looks once
                return False
            return True

    def _ask(self) -> None:
        """One request for events; what it says is told."""
        query: tuple[tuple[str, str], ...] = (("wait_ms", "0"),)
        if self._cursor is not None:
            query = (("wait_ms", str(HELD_MS)), ("after", self._cursor))
        try:
            answer = self._transport.send(
                Request("GET", "/events", query=query, read_s=HELD_MS / 1000 + MARGIN_S)
            ).json()
        except RequestsApiError as error:
            if error.status_code not in (404, 405):
                raise
            self._pushed = False
            return
        self._take(answer)

    def _take(self, answer: dict[str, Any]) -> None:
        lost = self._cursor is None or bool(answer.get("reset"))
        with self._lock:
            self._cursor = str(answer["cursor"])
            waited = set(self._listeners)
            if lost:
                self._unseen.clear()
        if lost:
            self._look(waited)
        for change in answer["changes"]:
            what = str(change.get("status", "")).lower()
            if change["kind"] == "interim":
                self._tell(str(change["id"]), "interim")
            elif change["kind"] == "job" and what in FINAL:
                self._tell(str(change["id"]), what)

    def _look(self, jobs: set[str], patience_s: float | None = None) -> None:
        """Tell of each of these jobs that has ended."""
        if len(jobs) > FEW:
            ended = jobs - self._pending(patience_s)
        else:
            ended = {job_id for job_id in jobs if not self._is_pending(job_id, patience_s)}
        for job_id in ended:
            self._tell(job_id, "ended")

    def _is_pending(self, job_id: str, patience_s: float | None) -> bool:
        """Whether a job is queued or running; one that cannot be asked for is not."""
        query = (("result", "false"),)
        path = path_of("jobs", job_id, "outcome")
        asked = Request("GET", path, query=query, patience_s=patience_s)
        try:
            answer = self._transport.send(asked).json()
        except RequestsApiError:
            return False  # whoever waits for it asks, and meets the same error
        return str(answer["job"]["state"]["status"]).lower() not in FINAL

    def _pending(self, patience_s: float | None = None) -> set[str]:
        """The ids of all jobs of the instance that are queued or running."""
        found: set[str] = set()
        while True:
            query = (
                ("pending", "true"),
                ("exclude_params", "true"),
                ("limit", str(PAGE)),
                ("offset", str(len(found))),
                ("sort", "ASC"),
            )
            asked = Request("GET", "/jobs", query=query, patience_s=patience_s)
            page = self._transport.send(asked).json()
            found.update(str(job["id"]) for job in page["jobs"])
            if not page["jobs"] or len(found) >= page["count"]:
                return found

    def _poll(self) -> None:
        began = stopwatch_ns()
        with self._lock:
            waited = set(self._listeners)
            self._unseen.clear()
        for job_id in waited - self._pending():
            self._tell(job_id, "ended")
        with self._lock:
            self._lock.wait(max(0.0, POLL_S - (stopwatch_ns() - began) / 1e9))

    def _tell_all(self, what: str) -> None:
        with self._lock:
            waited = list(self._listeners)
        for job_id in waited:
            self._tell(job_id, what)

    def _tell(self, job_id: str, what: str) -> None:
        with self._lock:
            listeners = list(self._listeners.get(job_id, ()))
        for listener in listeners:
            listener(job_id, what)
