"""Interim results, given to a callback as they come (R4, R5).

The watcher's thread says that something is new; the thread for callbacks fetches it and calls. So
the calls for a job come one after the other, in order, each result once, and a slow callback keeps
nobody waiting but other callbacks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qdwell.client import driving
from qdwell.client.errors import IBMError, RuntimeInvalidStateError, RuntimeJobFailureError
from qdwell.client.forks import watch

if TYPE_CHECKING:
    from qdwell.client.job import RuntimeJob
    from qdwell.client.link import Link

log = logging.getLogger("qdwell.client")


class Stream:
    """The stream of one job's results to one callback.

    Args:
        job: whose results.
        link: how to ask.
        callback: called with the job's id and a result.
    """

    def __init__(self, job: RuntimeJob, link: Link, callback: Callable[[str, Any], None]) -> None:
        self._job = job
        self._link = link
        self._callback = callback
        self._lock = threading.Lock()
        self._given = 0
        self._asked = False  #: a round is queued and has not begun
        self._ended = False  #: the job has ended, as far as the watcher knows
        self._stopped = False
        self._caller: int | None = None  #: the thread that is in the callback
        self._over = threading.Event()
        watch(self)
        link.watcher.listen(job.job_id(), self._heard)
        link.callbacks.submit(link.watcher.catch_up)

    def stop(self) -> None:
        """Call back no more; a call under way is not broken off."""
        self._stopped = True
        self._link.watcher.forget(self._job.job_id(), self._heard)
        self._over.set()

    def after_fork(self) -> None:
        """See `forks`: the parent is called back, the child is not."""
        self._lock, self._over = threading.Lock(), threading.Event()
        self._stopped = True
        self._over.set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the last call has returned; False if it has not within `timeout` seconds.

        A callback that waits for its own end is not kept waiting for itself.
        """
        return self._caller == threading.get_ident() or self._over.wait(timeout)

    def _heard(self, _: str, what: str) -> None:
        with self._lock:
            self._ended = self._ended or what != "interim"
            if self._asked or self._stopped:
                return
            self._asked = True
        if what == "closed":
            self.stop()
            return
        self._link.callbacks.submit(self._round)

    def _round(self) -> None:
        """Fetch what is new, and call."""
        with self._lock:
            self._asked = False
            ended = self._ended
        try:
            for part in driving.run(self._job.interim_operation(), self._link)[self._given :]:
                self._given += 1
                self._call(part)
            if ended and not self._stopped:
                self._finish()
        except IBMError:
            log.exception("results of job %s cannot be streamed", self._job.job_id())
            self.stop()

    def _finish(self) -> None:
        driving.run(self._job.outcome_operation(), self._link)
        if not self._job.in_final_state():
            self._ended = False  # it was a false alarm
            return
        try:
            self._call(driving.run(self._job.result_operation(), self._link))
        except (RuntimeJobFailureError, RuntimeInvalidStateError):
            log.info("job %s ended without a result", self._job.job_id())
        self.stop()

    def _call(self, result: Any) -> None:
        if self._stopped:
            return
        self._caller = threading.get_ident()
        try:
            self._callback(self._job.job_id(), result)
        except Exception:  # it is the user's code; the next result must reach it all the same
            log.exception("the callback of job %s failed", self._job.job_id())
        finally:
            self._caller = None
