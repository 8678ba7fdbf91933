"""Whose turn comes when, as things stand: the queue of one backend, simulated (Q7, Q30).

A copy of what concerns the backend is run forward; nothing of the live scheduler changes. Once with
expected times: that gives the place in the queue and the likely start. Then `FUTURES` times with
times drawn from experience (how long runs took against their estimates, how long sessions stayed)
and with arrivals like those of the last hour: from the earliest to the second latest start among
those, and a tenth of the wait more on both sides, is the range. It is meant to hold four times in
five at least; the page `docs/reference/forecasts.md` says how often it did.

Classical stages are taken as instant, and work of the same users on other backends as standing
still.

The cost is bounded however long the queue is: `STARTS_MAX` starts are simulated with the front of
each instance's line, and `RANGED_MAX` in each of the futures; behind those, a range is stretched in
proportion. Jobs behind `STARTS_MAX` get a rank in order of acceptance, and no times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice

from qdwell.core.decisions import PutJob
from qdwell.core.events import Event, PutBackend, PutInstance, ServiceResumed
from qdwell.core.experience import Experience, median
from qdwell.core.futures import Future
from qdwell.core.job import FINAL, Job, JobState
from qdwell.core.reasons import Reason, why_waiting
from qdwell.core.replay import Phases, Replay
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Machine, Snapshot, State

STARTS_MAX = 250  # simulated starts; estimates of what comes behind them are worth little
RANGED_MAX = 40  # of these, starts that each future simulates
RANKED_MAX = 10_000  # jobs that get a rank
FUTURES = 12
_TENTH = 10  # the part of a wait by which the range goes beyond what the futures see
_SPARE = 4  # jobs looked at for each start that is simulated: lines do not move equally fast
_HORIZON_MS = 7 * 86_400_000  # how far ahead old usage is seen to leave the window


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a Queued job can expect (J34). Ranks begin at 1; times are milliseconds since epoch."""

    position: int  #: among all queued jobs of the backend
    instance_position: int  #: among those of the same instance
    start_at: int | None = None  #: entry to RUNNING; None if it is too far ahead to tell
    end_at: int | None = None  #: end of its time in the QPU
    earliest_at: int | None = None  #: start of the range in which `start_at` is expected
    latest_at: int | None = None  #: its end; None if it is too far ahead to tell
    reason: str | None = None  #: why it waits, in words, where that was asked for
    reason_code: Reason | None = None  #: the same for programs


def forecast(
    scheduler: Scheduler,
    backend: str,
    now: int,
    experience: Experience | None = None,
    *,
    starts_max: int = STARTS_MAX,
) -> dict[str, Forecast]:
    """Return the forecast of each Queued job of a backend, by job id, in order of rank.

    Without `experience` runs are expected to take what they are estimated to. Jobs ranked beyond
    `RANKED_MAX` are left out. Raises `KeyError` for an unknown backend.
    """
    known = experience or Experience()
    copier = _Copier(scheduler.state, scheduler.state.machines[backend], now, starts_max)
    starts, ends = _likely(copier, known)
    ranges = _ranges(copier, known, starts)
    found: dict[str, Forecast] = {}
    ranks: dict[str, int] = {}
    for position, job_id in enumerate(copier.ranked(starts), 1):
        instance = scheduler.state.jobs[job_id].instance
        ranks[instance] = ranks.get(instance, 0) + 1
        found[job_id] = Forecast(
            position,
            ranks[instance],
            starts.get(job_id),
            ends.get(job_id),
            *ranges.get(job_id, (None, None)),
        )
    return found


def with_reason(state: State, job_id: str, found: Forecast | None, now: int) -> Forecast | None:
    """Return the forecast of a job, with why it waits; only whoever asks pays for that."""
    job = state.jobs.get(job_id)
    if found is None or job is None:
        return found
    ahead = (found.position - 1, found.instance_position - 1)
    why = why_waiting(state, job, now, ahead)
    if why is None:
        return found
    return replace(found, reason=why.words, reason_code=why.code)


def _likely(copier: _Copier, experience: Experience) -> tuple[dict[str, int], dict[str, int]]:
    """Run a copy with expected times; return starts in order, and ends."""

    def expected(job: Job) -> Phases:
        return Phases(0, median(experience.runs(job)), 0)

    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    waiting: set[str] = set()  # started, and not yet on the QPU
    replay = Replay(copier.copy(), expected, copier.now)
    replay.resume()
    starts_max = min(copier.starts_max, copier.queued)
    while (len(starts) < starts_max or waiting) and replay.next_at() is not None:
        for decision in replay.step():
            if not isinstance(decision, PutJob):
                continue
            job = decision.job
            if decision.was is JobState.QUEUED and job.running and len(starts) < starts_max:
                starts[job.id] = decision.at
                waiting.add(job.id)
            elif job.id in waiting and job.state in (JobState.EXECUTING, *FINAL):
                ends[job.id] = decision.at
                if job.state is JobState.EXECUTING:
                    ends[job.id] += expected(job).qpu_ms
                waiting.remove(job.id)
    return starts, ends


def _ranges(
    copier: _Copier, experience: Experience, starts: dict[str, int]
) -> dict[str, tuple[int, int | None]]:
    """The range of each job that starts soon, and of those behind in proportion."""
    now, wanted = copier.now, list(starts)[:RANGED_MAX]
    arrivals = experience.arrivals(copier.machine.name, now)
    seen = [
        Future(number, FUTURES, experience, arrivals, now).starts(
            copier.copy(each.instance for each in arrivals), wanted
        )
        for number in range(FUTURES)
    ]
    ranges: dict[str, tuple[int, int | None]] = {}
    for job_id in wanted:
        times = [each[job_id] for each in seen if job_id in each]
        ranges[job_id] = range_of(now, starts[job_id], times)
    if wanted:
        _stretch(now, starts, ranges, wanted[-1])
    return ranges


def range_of(now: int, likely: int, times: list[int]) -> tuple[int, int | None]:
    """The range that follows from what the futures saw, those that saw the job start.

    It has no end if two of the futures did not.
    """
    early = min([likely, *times])
    latest = None
    if len(times) >= FUTURES - 1:
        late = max(likely, sorted(times)[FUTURES - 2])
        latest = late + (late - now) // _TENTH
    return early - (early - now) // _TENTH, latest


def _stretch(
    now: int, starts: dict[str, int], ranges: dict[str, tuple[int, int | None]], last: str
) -> None:
    """Jobs behind the last one that the futures saw have a range of its proportions."""
    earliest, latest = ranges[last]
    ahead = max(1, starts[last] - now)
    for job_id, start in starts.items():
        if job_id not in ranges:
            early = now + (start - now) * (earliest - now) // ahead
            late = None if latest is None else now + (start - now) * (latest - now) // ahead
            ranges[job_id] = (early, late)


class _Copier:
    """Makes schedulers that know one backend, and of the others only what was charged."""

    def __init__(self, state: State, machine: Machine, now: int, starts_max: int) -> None:
        self.state = state
        self.machine = machine
        self.now = now
        self.starts_max = starts_max
        self.jobs = self._front()
        self.queued = sum(job.state is JobState.QUEUED for job in self.jobs)

    def _front(self) -> list[Job]:
        """Jobs that hold a lane, and those at the front of their line, in order of acceptance."""
        state, machine, starts_max = self.state, self.machine, self.starts_max
        lines = list(machine.everyone.lines())
        longest = max(machine.lanes + 1, _SPARE * starts_max // max(1, len(lines)))
        chosen = {
            job.id: job for line in lines for job in islice(line, min(longest, starts_max + 1))
        }
        if machine.live_group is not None:
            own = state.work[machine.live_group].queued
            waiting = (job_id for job_id in own if state.is_queued(job_id))
            chosen.update((job_id, state.jobs[job_id]) for job_id in islice(waiting, starts_max))
        chosen.update((job_id, state.jobs[job_id]) for job_id in machine.running)
        return sorted(chosen.values(), key=lambda job: job.seq)

    def ranked(self, starts: dict[str, int]) -> Iterable[str]:
        """Job ids by rank: those that start in order, then the others in order of acceptance."""
        yield from starts
        everyone = merge(*self.machine.everyone.lines(), key=lambda job: job.seq)
        yield from islice((job.id for job in everyone if job.id not in starts), RANKED_MAX)

    def copy(self, others: Iterable[str] = ()) -> Scheduler:
        """Return a new copy; `others` are instances that it must know as well."""
        state, machine, now = self.state, self.machine, self.now
        groups = [group for group in state.groups.values() if group.backend == machine.name]
        instances = {job.instance for job in self.jobs} | {group.instance for group in groups}
        instances.update(others)
        accounts = {state.instances[each].account for each in instances}
        snapshot = Snapshot(jobs=self.jobs, groups=groups, backends=[machine.record(now)])
        copy = Scheduler(state.settings, snapshot)
        announce: list[Event] = [
            PutBackend(machine.name, machine.simulator, machine.lanes, machine.lock_window)
        ]
        for account_id in accounts:
            account = state.books.accounts[account_id]
            instances.update(account.instances)
            for each in account.instances:
                plan = state.instances[each]
                announce.append(
                    PutInstance(
                        instance=each,
                        account=account_id,
                        allocation_ms=plan.allocation_ms,
                        limit_ms=plan.limit_ms,
                        spend_limit_ms=plan.spend_limit_ms,
                        account_allocation_ms=account.fixed_allocation_ms,
                    )
                )
        copy.decide(announce, now)
        copy.state.books.ledger = state.books.ledger.part(instances, now + _HORIZON_MS)
        copy.decide([ServiceResumed(now, work_lost=False)], now)
        return copy
