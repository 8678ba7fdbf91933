"""The loop: gather what happened, decide, commit, answer, act; and again.

One turn is one transaction. What arrives while a commit is under way is decided together in the
next turn, so a crowd of submissions shares one sync to the disk. Within a turn every event is
decided at its own instant, in order, so lateness changes nothing but the time of the answer (C8).

If a turn cannot be stored, memory is wrong: it is thrown away and loaded again from the store. Who
waited for an answer is told that nothing happened, once that is certain (see `doubt`); reports of
workers are decided again, since they are still true; and no action of that turn was performed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import structlog

from qdwell.clock import Clock, passed_ms, pause_ms, stopwatch_ns
from qdwell.core.decisions import (
    Action,
    Decision,
    Execute,
    Postprocess,
    Prepare,
    PutJob,
    Refuse,
    Stop,
)
from qdwell.core.events import Event, ServiceResumed, ServiceStops
from qdwell.core.experience import Experience
from qdwell.core.job import JobState
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings
from qdwell.engine.actions import ACTIONS, Actions
from qdwell.engine.doubt import MOST_MS, Doubt
from qdwell.engine.inbox import FAILURES_MOST, Inbox, Item, retried, subject_of
from qdwell.engine.inputs import InputShelf
from qdwell.engine.memory import Memory
from qdwell.engine.meter import Meter
from qdwell.engine.one_thread import OneThread
from qdwell.engine.runs import Findings
from qdwell.engine.writing import ended, wanted, write
from qdwell.errors import OutcomeUnknown, QdwellError, StoreError
from qdwell.store import Extras, Loaded, Store

log = structlog.get_logger()

HEARTBEAT_MS = 5_000  # how exactly a restart knows since when we were down (C8)
CLOCK_SLACK_MS = 1_000  # a clock that was set back by less is not worth a warning
RELOAD_PAUSE_MS = 500  # between tries while the store does not answer

_WORK: dict[JobState, type[Prepare] | type[Execute] | type[Postprocess]] = {
    JobState.PREPARING: Prepare,
    JobState.EXECUTING: Execute,
    JobState.POSTPROCESSING: Postprocess,
}


class Loop:
    """Owns the scheduler, and is its one caller."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        writer: OneThread,
        settings: Settings,
        announce: Callable[[], Iterable[Event]],
        inbox: Inbox,
        memory: Memory,
    ) -> None:
        self._store = store
        self._clock = clock
        self._writer = writer
        self._settings = settings
        self._announce = announce
        self._inbox = inbox
        self._memory = memory
        self._order = itertools.count()
        self._now = 0
        self._written_at = 0
        self._stopping = False
        self._sound = True  #: memory is what the store has
        self._doubt = Doubt()
        self._owed: set[Action] = set()
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0
        self.scheduler = Scheduler(settings)
        self.experience = Experience()  #: of what was stored since the start; for forecasts
        self.actions: Actions | None = None
        self.shelf: InputShelf | None = None
        self.next_seq = 1
        self.turns = 0
        self.turning = False  #: a turn is under way
        self.meter = Meter()
        self.turned = asyncio.Event()  #: set after every turn

    # ---- start, run, stop -----------------------------------------------------------------------

    async def boot(self) -> None:
        """Load what the store has, and take up the work that was lost (J5, C8).

        Raises:
            StoreError: the store cannot be read or written.
        """
        decisions = await self._load(work_lost=True)
        await self._in_thread(self._store.commit, decisions, self._now)
        self._show(decisions, [], Extras())
        self._act(decisions)

    async def run(self) -> None:
        """Take turns until `stop`."""
        try:
            while not self._stopping:
                await self._wait()
                items = self._inbox.take()
                if items or self._due():
                    await self._turn(items)
                elif self._clock.now() - self._written_at >= HEARTBEAT_MS:
                    await self._touch()
        finally:
            self._end_alarm()

    def stop(self) -> None:
        """No further turn after the present one."""
        self._stopping = True
        self._inbox.wake.set()

    async def put_off(self) -> None:
        """After the last turn of a stop in good order: what is cut off is nobody's failure (J5).

        Raises:
            QdwellError: it could not be stored; the next start takes it for a death.
        """
        now = max(self._clock.now(), self._now)
        if not self._sound:  # a last turn was not stored, and memory was not loaded again
            await self._in_thread(self._store.touch, now)
            return
        granted = self.scheduler.decide([], now)  # is cut off as well
        put_off = self.scheduler.decide([ServiceStops()], now)
        await self._in_thread(self._store.commit, [*granted, *put_off], now)

    async def _wait(self) -> None:
        """Until something is to be decided, a timer of the core strikes, or a heartbeat is due."""
        if self._inbox.wake.is_set() or self._due():
            return
        until = self._written_at + HEARTBEAT_MS
        deadline = self.scheduler.next_deadline()
        if deadline is not None:
            until = min(until, deadline)
        if self._alarm is None or self._alarm.done() or self._alarm_at > until:
            self._end_alarm()
            self._alarm, self._alarm_at = asyncio.ensure_future(self._ring(until)), until
        await self._inbox.wake.wait()

    async def _ring(self, until: int) -> None:
        """Wake the loop then. It may come too early, which costs a look: a turn makes no task."""
        await self._clock.sleep_until(until)
        self._inbox.wake.set()

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _due(self) -> bool:
        deadline = self.scheduler.next_deadline()
        return deadline is not None and deadline <= self._clock.now()

    async def _touch(self) -> None:
        self._written_at = self._clock.now()
        try:
            await self._in_thread(self._store.touch, self._written_at)
        except Exception as error:  # the next commit will find out, and deal with it
            log.error("heartbeat not stored", error=str(error))

    # ---- a turn ---------------------------------------------------------------------------------

    async def _turn(self, items: list[Item]) -> None:
        refused: dict[Item, Refuse] = {}
        found = Findings()
        decisions: list[Decision] = []
        stored = Extras()
        self.turning = True
        try:
            decisions = self._decide(items, found, refused)
            accepted = [it for it in items if it not in refused]
            if decisions or found:
                stored = await self._commit(decisions, found, accepted)
        except Exception as error:  # whatever it is: memory may be wrong now, the store is not
            self._owe(decisions)
            await self._recover(error, items)
            if not any(item.event for item in items):  # a timer struck, and will strike again
                await pause_ms(self._clock, RELOAD_PAUSE_MS)
        else:
            self._show(decisions, accepted, stored)
            self._memory.publish_interim(found.interim)
            for item in items:
                item.settle(refused.get(item))
            # Who waits is answered first: a worker that is woken takes the core it is woken from.
            await asyncio.sleep(0)
            self._act(decisions)
        self.turning = False
        self.turns += 1
        self.turned.set()
        self.turned.clear()

    def _decide(
        self, items: Sequence[Item], found: Findings, refused: dict[Item, Refuse]
    ) -> list[Decision]:
        """Each event at its own instant, and what inline runs have ready after each grant."""
        waiting = [(max(item.at, self._now), next(self._order), item) for item in items]
        tick = max(self._clock.now(), self._now)
        waiting.append((tick, next(self._order), Item(tick, None)))
        heapq.heapify(waiting)
        out: list[Decision] = []
        idle: dict[str, int] = {}
        while waiting:
            at = waiting[0][0]
            same = []
            while waiting and waiting[0][0] == at:
                same.append(heapq.heappop(waiting)[2])
            made = self._instant(same, at, found, refused)
            out += made
            for decision in made:
                if isinstance(decision, ACTIONS) and self.actions is not None:
                    item = self.actions.reports.follow(decision, at, idle)
                    if item is not None:
                        heapq.heappush(waiting, (max(item.at, at), next(self._order), item))
        return out

    def _instant(
        self, items: list[Item], at: int, found: Findings, refused: dict[Item, Refuse]
    ) -> list[Decision]:
        for item in items:
            if item.findings is not None:
                found.add(item.findings)
        events = [item.event for item in items if item.event is not None]
        deadline = self.scheduler.next_deadline()
        if not events and (deadline is None or deadline > at):
            return []
        self._now = at
        made = self.scheduler.decide(events, at)
        refusals = [each for each in made if isinstance(each, Refuse)]
        # Of several requests about one thing in one instant the later ones are those refused.
        for refuse in reversed(refusals):
            for item in reversed(items):
                if item not in refused and subject_of(item.event) == refuse.subject:
                    refused[item] = refuse
                    break
        return made

    async def _commit(
        self, decisions: list[Decision], found: Findings, accepted: list[Item]
    ) -> Extras:
        kept = wanted(decisions, found, self._memory.jobs)
        self._written_at = now = self._now
        began = stopwatch_ns()
        stored: Extras = await self._in_thread(write, self._store, decisions, now, kept, accepted)
        self.meter.committed(len(decisions), stopwatch_ns() - began)
        return stored

    def _show(self, decisions: Sequence[Decision], accepted: list[Item], stored: Extras) -> None:
        """It is on disk: whoever asks is told so, and whoever waited for it is woken."""
        assert self.shelf is not None
        self.shelf.take(accepted, stored.details)
        self._memory.publish(decisions, partial(ended, self.shelf, stored))
        self.experience.observe(decisions)

    def _act(self, decisions: Sequence[Decision]) -> None:
        """It is on disk: have it done."""
        assert self.actions is not None
        assert self.shelf is not None
        for decision in decisions:
            if isinstance(decision, ACTIONS):
                self._perform(decision)
        for decision in decisions:
            if isinstance(decision, PutJob) and decision.job.final:
                self.actions.ended(decision.job.id)
                self.shelf.forget(decision.job.id)

    def _perform(self, action: Action) -> None:
        assert self.actions is not None
        try:
            self.actions.perform(action)
        except Exception:  # one action's fault must not take the others with it
            log.exception("action failed", action=repr(action))

    # ---- when a turn could not be stored --------------------------------------------------------

    async def _recover(self, error: Exception, items: list[Item]) -> None:
        """Tell who waits, load memory again, and decide again what is still true."""
        self.meter.failed_turns += 1
        self._sound = False
        log.error("turn not stored", error=f"{type(error).__name__}: {error}", items=len(items))
        if isinstance(error, OutcomeUnknown):
            self._doubt.take(items)
        else:
            self._reject(items, error)
        before, since = self._memory.jobs, passed_ms(self._clock)
        self._inbox.put_back(kept := retried(items, error))
        assert self.actions is not None
        self.actions.reports.begun.clear()
        while not self._stopping:
            try:
                decisions = await self._load(work_lost=False)
                self._owe(decisions)  # if this is stored and says otherwise, the next try knows
                # This settles a commit that failed half-way, too: it is below this one, or gone.
                await self._in_thread(self._store.commit, decisions, self._now)
                answers = await self._in_thread(
                    self._doubt.look, self._store, before, self.scheduler.state
                )
            except Exception as again:  # the disk may be full, or gone: keep asking
                log.error("store does not answer", error=f"{type(again).__name__}: {again}")
                await pause_ms(self._clock, RELOAD_PAUSE_MS)
                self._reject(self._inbox.take_requests(), again)
                if passed_ms(self._clock) - since > MOST_MS:
                    self._reject(self._doubt.deny(), again)
            else:
                self._sound = True
                self._show(decisions, [], Extras())
                self._act(decisions)
                self._perform_again()
                self._doubt.clear()
                for item, stored, refuse in answers:
                    if stored:
                        item.settle(refuse)
                    else:
                        self._reject([item], error)
                if any(it.failures >= FAILURES_MOST for it in kept):
                    # Small things can be stored and this report cannot: nobody waits behind it.
                    self._reject(self._inbox.take_requests(), error)
                    await pause_ms(self._clock, RELOAD_PAUSE_MS)
                return
        self._reject(self._doubt.deny(), error)

    def _reject(self, items: Iterable[Item], error: Exception) -> None:
        known = error if isinstance(error, QdwellError) else StoreError(f"not stored: {error}")
        for item in items:
            item.fail(known)

    def _owe(self, decisions: Iterable[Decision]) -> None:
        """These actions are due if their commit has happened after all."""
        self._owed.update(it for it in decisions if isinstance(it, Prepare | Execute | Postprocess))

    def _perform_again(self) -> None:
        """A commit may have happened although its answer was lost: its actions are still due.

        Only those that were decided with such a commit: the run of an earlier process, of which the
        device is still to be asked, is not begun a second time.
        """
        assert self.actions is not None
        owed, self._owed = self._owed, set()
        for job in list(self._memory.jobs.values()):
            kind = _WORK.get(job.state)
            if kind is not None:
                action = kind(job.id, job.attempt, job.backend)
                if action in owed and not self.actions.started(action):
                    self._perform(action)
        for machine in self.scheduler.state.machines.values():
            lease = machine.lease
            if lease is not None and lease.stopping and lease.job not in self.actions.stopping:
                self._perform(Stop(lease.job, lease.attempt, machine.name, executing=True))
        for run in list(self.actions.runs.values()):
            job_now = self._memory.jobs.get(run.job)
            if job_now is None or job_now.attempt != run.attempt:
                self.actions.ended(run.job)

    async def _load(self, *, work_lost: bool) -> list[Decision]:
        """A new scheduler from the store, and what follows from its waking up."""
        earliest = max(self._clock.now(), self._now)
        loaded: Loaded = await self._in_thread(self._store.load, earliest, self._settings.window_ms)
        if loaded.alive_at is not None:
            if loaded.alive_at > earliest + CLOCK_SLACK_MS:
                behind = loaded.alive_at - earliest
                log.warning("the clock is behind the store: time stands still", behind_ms=behind)
            self._clock.hold(loaded.alive_at)
        now = max(self._clock.now(), self._now)
        down_since = now
        if work_lost and loaded.alive_at is not None:
            down_since = min(loaded.alive_at, now)
        scheduler = Scheduler(self._settings, loaded.snapshot)
        decisions = scheduler.decide(list(self._announce()), down_since)
        decisions += scheduler.decide([ServiceResumed(down_since, work_lost)], now)
        taken_back = self._doubt.undo(scheduler.state)
        if taken_back:
            decisions += scheduler.decide(taken_back, now)
        self.scheduler = scheduler
        self.next_seq = max(self.next_seq, loaded.next_seq)
        self._now = self._written_at = now
        self._memory.load(loaded.snapshot.jobs, loaded.snapshot.groups)
        return decisions

    async def _in_thread(self, work: Callable[..., Any], *args: object) -> Any:
        return await self._writer.call(work, *args)
