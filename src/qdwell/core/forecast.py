"""Whose turn comes when, as things stand: the queue of one backend, simulated (Q7, Q30).

A copy of what concerns the backend is run forward with expected times; nothing of the live
scheduler changes. A job without an estimate is expected to use its whole limit. Classical stages
are taken as instant, and work of the same users on other backends as standing still.

The cost is bounded however long the queue is: `STARTS_MAX` starts are simulated, with the front of
each instance's line. Jobs behind them get a rank in order of acceptance, and no times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice

from qdwell.core.decisions import PutJob
from qdwell.core.events import Event, PutBackend, PutInstance, ServiceResumed
from qdwell.core.job import FINAL, Job, JobState
from qdwell.core.reasons import why_waiting
from qdwell.core.replay import Phases, Replay
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Machine, Snapshot, State

STARTS_MAX = 250  # simulated starts; estimates of what comes behind them are worth little
RANKED_MAX = 10_000  # jobs that get a rank
_SPARE = 4  # jobs looked at for each start that is simulated: lines do not move equally fast
_HORIZON_MS = 7 * 86_400_000  # how far ahead old usage is seen to leave the window


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a Queued job can expect (J34). Ranks begin at 1; times are milliseconds since epoch."""

    position: int  #: among all queued jobs of the backend
    instance_position: int  #: among those of the same instance
    start_at: int | None = None  #: entry to RUNNING; None if it is too far ahead to tell
    end_at: int | None = None  #: end of its time in the QPU
    reason: str | None = None  #: why it waits, where that was asked for


def expected(job: Job) -> Phases:
    """Return how long a job is expected to take: its estimate, or its limit without one (Q7)."""
    quantum_ms = min(job.estimate_ms or job.limit_ms, job.limit_ms)
    return Phases(0, quantum_ms, 0)


def forecast(
    scheduler: Scheduler, backend: str, now: int, *, starts_max: int = STARTS_MAX
) -> dict[str, Forecast]:
    """Return the forecast of each Queued job of a backend, by job id, in order of rank.

    Jobs ranked beyond `RANKED_MAX` are left out. Raises `KeyError` for an unknown backend.
    """
    state = scheduler.state
    machine = state.machines[backend]
    jobs = _front(state, machine, starts_max)
    queued = sum(job.state is JobState.QUEUED for job in jobs)
    starts, ends = _simulate(state, machine, jobs, now, min(starts_max, queued))
    order = list(starts)
    everyone = merge(*machine.everyone.lines(), key=lambda job: job.seq)
    order += islice((job.id for job in everyone if job.id not in starts), RANKED_MAX)
    found: dict[str, Forecast] = {}
    ranks: dict[str, int] = {}
    for position, job_id in enumerate(order, 1):
        instance = state.jobs[job_id].instance
        ranks[instance] = ranks.get(instance, 0) + 1
        found[job_id] = Forecast(position, ranks[instance], starts.get(job_id), ends.get(job_id))
    return found


def with_reason(state: State, job_id: str, found: Forecast | None, now: int) -> Forecast | None:
    """Return the forecast of a job, with why it waits; only whoever asks pays for that."""
    job = state.jobs.get(job_id)
    if found is None or job is None:
        return found
    return replace(found, reason=why_waiting(state, job, now))


def _front(state: State, machine: Machine, starts_max: int) -> list[Job]:
    """Jobs that hold a lane, and those at the front of their line, in order of acceptance."""
    lines = list(machine.everyone.lines())
    longest = max(machine.lanes + 1, _SPARE * starts_max // max(1, len(lines)))
    chosen = {job.id: job for line in lines for job in islice(line, min(longest, starts_max + 1))}
    if machine.live_group is not None:
        own = state.work[machine.live_group].queued
        waiting = (job_id for job_id in own if state.is_queued(job_id))
        chosen.update((job_id, state.jobs[job_id]) for job_id in islice(waiting, starts_max))
    chosen.update((job_id, state.jobs[job_id]) for job_id in machine.running)
    return sorted(chosen.values(), key=lambda job: job.seq)


def _simulate(
    state: State, machine: Machine, jobs: list[Job], now: int, starts_max: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Run a copy until enough jobs have started; return starts in order, and ends."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    waiting: set[str] = set()  # started, and not yet on the QPU
    replay = Replay(_copy(state, machine, jobs, now), expected, now)
    replay.resume()
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


def _copy(state: State, machine: Machine, jobs: list[Job], now: int) -> Scheduler:
    """A scheduler that knows one backend, and of the others only what was charged."""
    groups = [group for group in state.groups.values() if group.backend == machine.name]
    instances = {job.instance for job in jobs} | {group.instance for group in groups}
    accounts = {state.instances[each].account for each in instances}
    snapshot = Snapshot(jobs=jobs, groups=groups, backends=[machine.record(now)])
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
