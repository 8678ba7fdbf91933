"""The one door: events and the time in, decisions out.

Theory. `decide` takes the events of one instant. First every timer that was due before it strikes
at its own
deadline, each such instant closed like any other (C8). Then, at the instant itself: reports of
stages by job
sequence, requests in arrival order, timers, and at last whatever may start now does (C6). Work that
takes no time
reports at the same instant through another call.

`decide` changes the scheduler's own memory and nothing else. The caller commits the changes in one
transaction and
then performs the actions; if the commit fails, it throws this object away and makes a new one from
the store.

The first events of a scheduler are `PutBackend` and `PutInstance` for all that the configuration
and the store know,
then, if there is a snapshot, `ServiceResumed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import cast, get_args

from qdwell.core import resume
from qdwell.core.decisions import Decision, PutBackendState, Refuse
from qdwell.core.events import Event, Report, Request, ServiceResumed
from qdwell.core.job import Job
from qdwell.core.moves import Turn
from qdwell.core.queue import fill
from qdwell.core.reports import report
from qdwell.core.requests import refusal, request
from qdwell.core.state import Settings, Snapshot, State
from qdwell.core.timers import Timers, strike

_REPORTS = get_args(Report)
_LAST = inf  # sorts reports about unknown jobs behind all others


class Scheduler:
    """Decides for all backends. Not thread-safe; one caller."""

    def __init__(self, settings: Settings, snapshot: Snapshot | None = None) -> None:
        self.state = State(settings)
        self._snapshot = snapshot or Snapshot()
        self._waking = snapshot is not None  #: memory is not loaded yet: nothing true to write down
        self._timers = Timers()
        self._now = 0
        self._written: dict[str, PutBackendState] = {}

    def next_deadline(self) -> int | None:
        """When to call `decide` at the latest, even without an event; None: only an event changes
        anything.
        """
        return self._timers.next()

    def decide(self, events: Sequence[Event], now: int) -> list[Decision]:
        """Return what follows from `events` at the instant `now`, in order.

        `now` is milliseconds since the epoch; a value before the last one is taken as the last one
        (C8). Users'
        mistakes come back as `Refuse`.
        """
        now = max(now, self._now)
        out: list[Decision] = []
        resumed = [event for event in events if isinstance(event, ServiceResumed)]
        for event in resumed:
            self._resume(event, now, out)
        while (at := self._timers.next()) is not None and at < now:
            self._instant((), max(at, self._now), (), out)
        self._instant(events, now, self.state.machines if resumed else (), out)
        return out

    def refusal(self, job: Job) -> Refuse | None:
        """What a submission would be told now, before anything is done for it; None: taken."""
        if job.instance not in self.state.instances:
            return None  # it has just been made, and will be known in its turn
        return refusal(Turn(self.state, self._now), job)

    def _instant(
        self, events: Sequence[Event], now: int, machines: Iterable[str], out: list[Decision]
    ) -> None:
        """Settle one instant; `machines` are looked at even if nothing of them changes."""
        turn = self._begin(now)
        turn.dirty.update(dict.fromkeys(machines))
        reports = [event for event in events if isinstance(event, _REPORTS)]
        for each in sorted(reports, key=self._sequence):
            report(turn, each)
        for event in events:
            if not isinstance(event, _REPORTS):
                request(turn, cast("Request", event))
        self._timers.retime(turn)
        for timer, subject in self._timers.due(now):
            strike(turn, timer, subject)
            self._timers.retime(turn)
        for name in list(turn.dirty):
            fill(turn, self.state.machines[name])
        self._end(turn, out)

    def _begin(self, now: int) -> Turn:
        self._now = now
        self.state.books.advance(now)
        return Turn(self.state, now)

    def _end(self, turn: Turn, out: list[Decision]) -> None:
        self._timers.retime(turn)
        for name in () if self._waking else turn.dirty:
            machine, written = self.state.machines[name], self._written.get(name)
            if written is None or machine.record(written.at) != written:
                record = self._written[name] = machine.record(turn.now)
                turn.out.append(record)
        out.extend(turn.out)

    def _sequence(self, event: Report) -> float:
        job = self.state.jobs.get(event.job)
        return job.seq if job is not None else _LAST

    def _resume(self, event: ServiceResumed, now: int, out: list[Decision]) -> None:
        """Load the snapshot, apply what fell due while the service was down, take up lost work (C8,
        J5).
        """
        down_since = min(event.down_since, now)
        turn = self._begin(down_since)
        resume.load(turn, self._snapshot)
        self._snapshot = Snapshot()
        self._waking = False
        self._timers.retime(turn)
        while (at := self._timers.next()) is not None and at < down_since:
            late = self._begin(at)  # due while the service was still up, and not applied any more
            resume.oversleep(late, self._timers, at)
            self._end(late, out)
        turn = self._begin(down_since)
        asleep = resume.sleep(turn, turn.now)
        self._end(turn, out)
        while (at := self._timers.next()) is not None and at < now:
            turn = self._begin(at)
            before = {each: self.state.groups[each] for each in asleep}
            resume.oversleep(turn, self._timers, at)
            for group_id, group in before.items():
                left = self.state.groups.get(group_id)
                if left is None or not left.live:
                    resume.note_downtime(turn, group, asleep.pop(group_id), at)
            self._end(turn, out)
        turn = self._begin(now)
        turn.retimed.update(dict.fromkeys(self.state.jobs))
        resume.wake(turn, asleep, event)
        self._end(turn, out)
