"""One way in which things may go on from now: runs, sessions, and arrivals drawn from experience.

Each future is the one scheduler run forward, with other times. A session stays until an instant
that is drawn, without jobs of its own (kept alive), and is then closed; one that starts in the
future does the same. What arrived in the last hour arrives again, turned round by a part of the
hour that differs from future to future, so that no two see the same rush at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

from qdwell.core.decisions import PutGroup, PutJob
from qdwell.core.events import CloseGroup, CreateGroup, KeepAlive, SubmitJob
from qdwell.core.experience import SPAN_MS, Arrival, Experience, draw
from qdwell.core.group import Group, GroupState
from qdwell.core.job import Job, JobState
from qdwell.core.replay import Phases, Replay
from qdwell.core.scheduler import Scheduler

ARRIVALS_MOST = 200  # that one future sees
TIMES = (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3)  # as events without memory come again
_BEHIND = 1 << 60  # sequence numbers of arrivals: behind all jobs that are there


class Future:
    """Number `number` of `total` futures."""

    def __init__(
        self,
        number: int,
        total: int,
        experience: Experience,
        arrivals: Sequence[Arrival],
        now: int,
    ) -> None:
        self._number = number
        self._turned_ms = SPAN_MS * number // total
        self._experience = experience
        self._arrivals = arrivals
        self._now = now

    def starts(self, scheduler: Scheduler, wanted: Sequence[str]) -> dict[str, int]:
        """Run a scheduler forward; return when the wanted jobs start, those that do."""
        found: dict[str, int] = {}
        left = set(wanted)
        replay = Replay(scheduler, self._phases, self._now)
        replay.resume()
        for group in list(scheduler.state.groups.values()):
            if group.session and group.state is GroupState.ACTIVE:
                self._stay(replay, group, self._now)
        self._arrive(replay, scheduler)
        while left and replay.next_at() is not None:
            for decision in replay.step():
                if isinstance(decision, PutJob):
                    if decision.was is JobState.QUEUED and decision.job.id in left:
                        left.remove(decision.job.id)
                        found[decision.job.id] = decision.at
                elif isinstance(decision, PutGroup):
                    group = decision.group
                    opens = group.state is GroupState.ACTIVE is not decision.was
                    if opens and group.session:
                        self._stay(replay, group, decision.at)
        return found

    def _phases(self, job: Job) -> Phases:
        """Its time in the QPU; one that is there already takes longer than it has taken."""
        runs = self._experience.runs(job)
        if job.executing_at is not None:
            gone = self._now - job.executing_at
            runs = [each for each in runs if each > gone] or [gone + max(runs) // 4]
        return Phases(0, draw(runs, self._number, job.id), 0)

    def _stay(self, replay: Replay, group: Group, at: int) -> None:
        stays = self._experience.stays(group, at)
        until = at + draw(stays, self._number, group.id, group.activated_at)
        replay.request(at, KeepAlive(group.id, until))
        replay.request(until, CloseGroup(group.id))

    def _arrive(self, replay: Replay, scheduler: Scheduler) -> None:
        backend = next(iter(scheduler.state.machines))
        for number, (each, turned_ms) in enumerate(self._drawn()):
            at = self._now + (each.at - self._now + turned_ms) % SPAN_MS
            name = f"arrival {number}"
            group = None
            if each.session is not None:
                group = f"session of {name}"
                new = _fresh(each.session, group, _BEHIND + number, at)
                replay.request(at, CreateGroup(new))
            job = Job(
                id=name,
                seq=_BEHIND + number,
                instance=each.instance,
                backend=backend,
                created=at,
                group=group,
                limit_ms=each.limit_ms,
                estimate_ms=each.estimate_ms,
            )
            replay.request(at, SubmitJob(job))

    def _drawn(self) -> list[tuple[Arrival, int]]:
        """Each burst of the last hour so many times as it falls to it, at other times."""
        drawn = [
            (each, self._turned_ms + SPAN_MS * again // 4)
            for each in self._arrivals
            for again in range(draw(TIMES, self._number, each.burst))
        ]
        return drawn[:ARRIVALS_MOST]


def _fresh(group: Group, name: str, seq: int, at: int) -> Group:
    """A new session with the numbers of another one."""
    return Group(
        id=name,
        seq=seq,
        mode=group.mode,
        instance=group.instance,
        backend=group.backend,
        created=at,
        interactive_ttl_ms=group.interactive_ttl_ms,
        max_ttl_ms=group.max_ttl_ms,
        max_ttl_cap_ms=group.max_ttl_cap_ms,
        active_ttl_ms=group.active_ttl_ms,
    )
