"""Whose turn it was, found again by the definitions alone: Q8, Q10, and Q20 with plain scans.

Not a test. An `Oracle` is an auditor that also asks, at each start and each grant, if that was the
right job. It knows nothing of the scheduler's queues, sums, and sorted lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from qdwell.core.audit import Auditor
from qdwell.core.decisions import Decision, PutBackendState, PutGroup, PutJob
from qdwell.core.events import BackendMode, Event, PutInstance, SetBackendMode
from qdwell.core.group import Group, GroupState
from qdwell.core.invariants import require
from qdwell.core.job import Job, JobState
from qdwell.core.state import Settings, Snapshot

IN_FLIGHT = (JobState.PREPARING, JobState.READY)


class Oracle(Auditor):
    """An auditor that knows whose turn it is."""

    def __init__(self, settings: Settings, snapshot: Snapshot | None = None) -> None:
        super().__init__(settings, snapshot)
        self.plans: dict[str, PutInstance] = {}
        self._modes: dict[str, BackendMode] = {}
        self._opened: Group | None = None  # the group whose first job of a window starts next
        self.starts = 0
        self.grants = 0

    def observe(self, events: Sequence[Event], decisions: Sequence[Decision], now: int) -> None:
        for event in events:
            if isinstance(event, PutInstance):
                self.plans[event.instance] = event
            elif isinstance(event, SetBackendMode):
                self._modes[event.backend] = event.mode
        super().observe(events, decisions, now)

    def _hear_group(self, put: PutGroup) -> None:
        if put.group.state is GroupState.ACTIVE and put.was in ("open", "inactive"):
            self._opened = put.group
        super()._hear_group(put)

    def _hear_job(self, put: PutJob) -> None:
        old = self.jobs.get(put.job.id)
        machine = self.machines.get(put.job.backend)
        if machine is not None and not machine.simulator and old is not None:
            if old.state is JobState.QUEUED and put.job.state is JobState.PREPARING:
                self._judge_start(put.job, put.at)
                self._opened = None
            if old.state is JobState.READY and put.job.state is JobState.EXECUTING:
                self._judge_grant(old, put.at)
        super()._hear_job(put)

    # ---- lanes -----------------------------------------------------------------------------------

    def _judge_start(self, job: Job, at: int) -> None:
        self.starts += 1
        queued = [
            each
            for each in self._live.values()
            if each.backend == job.backend and each.state is JobState.QUEUED
        ]
        live = self._live_before(job)
        mode = self._modes.get(job.backend, BackendMode.ONLINE)
        require(mode is not BackendMode.OFFLINE, "Q10", job, "started offline")
        own = [each for each in queued if live is not None and each.group == live.id]
        if live is not None and (live.session or own) and live.state is GroupState.ACTIVE:
            require(mode is BackendMode.ONLINE or live.session, "I11", job, mode)
            first = min(own, key=_age, default=None)
            require(first is not None and first.id == job.id, "S17", job, "before", first)
            return
        require(mode is BackendMode.ONLINE, "I11", job, mode)
        require(live is None or not live.session, "S18", job, live)
        eligible = [each for each in queued if not self._held(each.instance, at)]
        if live is not None:
            eligible = [each for each in eligible if each.group is None]
        if self._opened is not None and self._opened.session:
            running = [each for each in self._live.values() if each.running]
            running = [each for each in running if each.backend == job.backend]
            require(not running, "S19", job, "and", running)
            if self._reserved(job.backend, at) is not None:
                require(self._reserved(job.backend, at) == job.group, "S19", job)
                mine = [each for each in queued if each.group == job.group]
                require(min(mine, key=_age).id == job.id, "S19", job, mine)
                return
        require(bool(eligible), "Q10", job, "was not eligible")
        chosen = self.choice(eligible, at)
        if chosen.id != job.id and self._opened is not None and self._opened.session:
            # Reserved and started within one instant, then overtaken by nobody: S19 does not ask
            # again, and the oldest job of the session goes.
            same = chosen.group == job.group
            require(same, "Q8", job, "started before", chosen)
            return
        require(chosen.id == job.id, "Q8", job, "started before", chosen)

    def _live_before(self, job: Job) -> Group | None:
        for group in self.groups.values():
            opened = self._opened is not None and group.id == self._opened.id
            if group.backend == job.backend and group.live and not opened:
                return group
        return None

    def _reserved(self, backend: str, at: int) -> str | None:
        """The reservation as it was recorded last, if its session can still use it."""
        record: PutBackendState | None = self.backends.get(backend)
        if record is None or record.reservation is None:
            return None
        group = self.groups[record.reservation]
        queued = any(
            each.group == group.id and each.state is JobState.QUEUED for each in self._live.values()
        )
        ended = group.state is GroupState.CLOSED
        if ended or not queued or self._held(group.instance, at):
            return None
        return group.id

    def choice(self, eligible: Sequence[Job], at: int) -> Job:
        """Q8: account, then instance, then the oldest job."""
        accounts: dict[str, list[Job]] = {}
        for job in eligible:
            accounts.setdefault(self.plans[job.instance].account, []).append(job)
        account = min(
            accounts,
            key=lambda each: (self._account_share(each, at), _age(_oldest(accounts[each]))),
        )
        instances: dict[str, list[Job]] = {}
        for job in accounts[account]:
            instances.setdefault(job.instance, []).append(job)
        instance = min(
            instances,
            key=lambda each: (
                Fraction(self.demand(each, at), self.plans[each].allocation_ms),
                _age(_oldest(instances[each])),
            ),
        )
        return _oldest(instances[instance])

    def _account_share(self, account: str, at: int) -> Fraction:
        plans = [plan for plan in self.plans.values() if plan.account == account]
        fixed = [plan.account_allocation_ms for plan in plans if plan.account_allocation_ms]
        allocation = fixed[-1] if fixed else sum(plan.allocation_ms for plan in plans)
        return Fraction(sum(self.demand(plan.instance, at) for plan in plans), allocation)

    def demand(self, instance: str, at: int) -> int:
        """D of Q8."""
        demand = self.usage_ms(instance, at)
        for job in self._live.values():
            if job.instance != instance or self._uncharged(job):
                continue
            if job.state in IN_FLIGHT:
                demand += job.estimate_ms
            elif job.state is JobState.EXECUTING and job.executing_at is not None:
                demand += max(0, job.estimate_ms - (at - job.executing_at))
        return demand

    def _uncharged(self, job: Job) -> bool:
        session = job.group is not None and self.groups[job.group].session
        return session or self.machines[job.backend].simulator

    def _held(self, instance: str, at: int) -> bool:
        plan = self.plans[instance]
        limits = [plan.limit_ms, plan.spend_limit_ms]
        used = self.usage_ms(instance, at)
        return any(limit is not None and used >= limit for limit in limits)

    # ---- the QPU ---------------------------------------------------------------------------------

    def _judge_grant(self, job: Job, at: int) -> None:
        """Q20 with B5 and B6; the lock as it follows from the records, not as it was recorded."""
        self.grants += 1
        machine = self.machines[job.backend]
        ready = [
            each
            for each in self._live.values()
            if each.backend == job.backend and each.state is JobState.READY
        ]
        mine = [group for group in self.groups.values() if group.backend == job.backend]
        batch = next((each for each in mine if each.live and not each.session), None)
        if batch is not None and not machine.lock_window:
            ready = [each for each in ready if each.group == batch.id] or ready
        first = min(ready, key=lambda each: (each.ready_at or 0, each.created, each.seq))
        record = self.backends.get(job.backend)
        lock = record.lock if record is not None else None
        if lock is not None and lock == job.group:
            first = min(
                (each for each in ready if each.group == lock),
                key=lambda each: (each.ready_at or 0, each.created, each.seq),
            )
        require(first.id == job.id, "Q20", job, "was granted at", at, "before", first)


def _age(job: Job) -> tuple[int, int]:
    return job.created, job.seq


def _oldest(jobs: Sequence[Job]) -> Job:
    return min(jobs, key=_age)
