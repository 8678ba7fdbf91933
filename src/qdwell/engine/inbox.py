"""What waits to be decided: events with their instants, and what each brings.

A report may be *deferred*: it is taken along by the next turn, and makes one of its own only after
`DEFER_S`. So what a small job reports on its way shares the commit of its end, and what a long one
reports is not kept back for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from qdwell.core.decisions import Refuse
from qdwell.core.events import (
    CancelGroup,
    CancelJob,
    CloseGroup,
    CreateGroup,
    Event,
    JobFailed,
    KeepAlive,
    SetBackendMode,
    SubmitJob,
)
from qdwell.engine.requests import NewJob
from qdwell.engine.runs import Findings
from qdwell.errors import QdwellError, StoreUnavailable

log = structlog.get_logger()

DEFER_S = 0.05
FAILURES_MOST = 3  # commits that one report may spoil; then its job fails instead
AWAY_MOST = 1_200  # that a store refused which cannot be used now; half a second each, at least


@dataclass(eq=False, slots=True)
class Item:
    """One thing to decide. `at` is when it happened; `answer` is set after its commit."""

    at: int
    event: Event | None
    findings: Findings | None = None
    new: NewJob | None = None  #: of a submission
    group_user: tuple[str, str] | None = None  #: of a new group: its id and its user
    answer: asyncio.Future[Refuse | None] | None = None
    failures: int = 0  #: commits that it was part of and that failed

    def settle(self, refuse: Refuse | None) -> None:
        """Tell who waits that it is decided and stored."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(refuse)

    def fail(self, error: QdwellError) -> None:
        """Tell who waits that nothing was stored."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)


class Inbox:
    """Items in the order in which they came. `wake` is set while something is to be decided."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self._items: list[Item] = []
        self._deferred: list[Item] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._items) + len(self._deferred)

    def post(self, item: Item) -> None:
        """To be decided in the next turn."""
        self._items.append(item)
        self.wake.set()

    def defer(self, item: Item) -> None:
        """To be decided with the next turn, or soon."""
        self._deferred.append(item)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DEFER_S, self.flush)

    def waits(self, item: Item) -> bool:
        """Whether it is still to be decided."""
        return item in self._deferred or item in self._items

    def flush(self) -> None:
        """What is deferred makes a turn now."""
        self._end_timer()
        if self._deferred:
            self.wake.set()

    def take(self) -> list[Item]:
        """All that is there, oldest first.

        After a failed commit, one at a time for as long as there is an item that was part of it: so
        one that cannot be stored takes no other down with it.
        """
        waiting = self._deferred + self._items
        waiting.sort(key=lambda item: item.at)
        if any(item.failures for item in waiting):
            taken, self._items = waiting[:1], waiting[1:]
        else:
            taken, self._items = waiting, []
        self._deferred = []
        self._end_timer()
        if self._items:
            self.wake.set()
        else:
            self.wake.clear()
        return taken

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # or it would strike in the middle of a later job
            self._timer = None

    def take_requests(self) -> list[Item]:
        """Only those whose answer somebody waits for."""
        requests = [item for item in self._items if item.answer is not None]
        self._items = [item for item in self._items if item.answer is None]
        return requests

    def put_back(self, items: list[Item]) -> None:
        """Items whose commit failed, to be decided again before all others."""
        for item in items:
            item.failures += 1
        self._items = items + self._items
        if self._items:
            self.wake.set()


def subject_of(event: Event | None) -> str | None:
    """Of what a request speaks, as its refusal names it."""
    match event:
        case SubmitJob():
            return event.job.id
        case CreateGroup():
            return event.group.id
        case CancelJob():
            return event.job
        case CloseGroup() | CancelGroup() | KeepAlive():
            return event.group
        case SetBackendMode():
            return event.backend
    return None


def retried(items: Iterable[Item], error: Exception) -> list[Item]:
    """The reports among them once more; of one that keeps spoiling commits, its job's failure.

    A store that cannot be used now, as `error` may say, is hardly the fault of a report.
    """
    most = AWAY_MOST if isinstance(error, StoreUnavailable) else FAILURES_MOST
    still_true = (it for it in items if it.answer is None and (it.event or it.findings))
    again = (it if it.failures < most else _given_up(it) for it in still_true)
    return [item for item in again if item is not None]


def _given_up(item: Item) -> Item | None:
    job, attempt = getattr(item.event, "job", None), getattr(item.event, "attempt", None)
    if job is None or attempt is None or isinstance(item.event, JobFailed):
        log.error("report given up", report=repr(item.event)[:200])
        return None
    failed = JobFailed(
        job,
        attempt,
        code=5203,
        reason="The result of this job could not be stored.",
        solution="Submit the job again. It was not charged.",
        system=True,
    )
    return Item(item.at, failed)
