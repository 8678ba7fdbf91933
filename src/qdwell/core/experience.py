"""What past work teaches about coming work (Q7, Q30): how long runs take against their estimates,
how long sessions stay, and what arrives.

It hears the scheduler's decisions and remembers the latest few of each kind, so it is small however
long the service is up; after a restart it begins anew. Draws are not chance: a draw is a function
of the name of what is asked for, so the same question has the same answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from qdwell.core.decisions import Decision, PutGroup, PutJob
from qdwell.core.group import LIVE, Group
from qdwell.core.job import Job, JobState

REMEMBERED = 64  # runs of an instance, and windows of a backend
ENOUGH = 5  # with fewer of its own, an instance is judged by all runs of the backend
ARRIVALS_MAX = 256
SPAN_MS = 3_600_000  # arrivals of the last hour are what the next hour is expected to bring
UNTAUGHT = (600, 800, 1000, 1250, 1600)  # thousandths of an estimate, before anything is known
_UNTAUGHT_STAYS = (100, 250, 500, 1000)  # thousandths of the time a session has stayed


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job that was submitted, or the first one of a session that was not active."""

    at: int
    instance: str
    estimate_ms: int
    limit_ms: int
    burst: str  #: what it came with: its batch, or its name
    session: Group | None = None


class Experience:
    """The latest runs, windows, and arrivals. Feed `observe` with what was decided, in order."""

    def __init__(self) -> None:
        self._ratios: dict[str, deque[int]] = {}  # instance, or backend: thousandths of estimates
        self._lengths: dict[str, deque[int]] = {}  # the same: quantum milliseconds
        self._stays: dict[str, deque[int]] = {}  # backend: lengths of session windows
        self._arrivals: dict[str, deque[Arrival]] = {}  # backend
        self._groups: dict[str, Group] = {}

    def observe(self, decisions: Iterable[Decision]) -> None:
        """Learn from decisions that came true."""
        for each in decisions:
            if isinstance(each, PutJob):
                self._hear_job(each)
            elif isinstance(each, PutGroup):
                self._hear_group(each)

    def _hear_job(self, put: PutJob) -> None:
        job = put.job
        if put.was is None:
            group = self._groups.get(job.group) if job.group is not None else None
            session = group if group is not None and group.session else None
            if session is None or not session.live:
                numbers = (job.estimate_ms, job.limit_ms)
                heard = Arrival(put.at, job.instance, *numbers, job.group or job.id, session)
                kept = self._arrivals.setdefault(job.backend, deque(maxlen=ARRIVALS_MAX))
                kept.append(heard)
        elif put.was is JobState.EXECUTING and job.state is JobState.EXECUTED:
            for whose in (job.instance, job.backend):
                _keep(self._lengths, whose, job.quantum_ms)
                if job.estimate_ms:
                    _keep(self._ratios, whose, job.quantum_ms * 1000 // job.estimate_ms)

    def _hear_group(self, put: PutGroup) -> None:
        group = put.group
        if group.session and put.was in LIVE and not group.live:
            assert group.activated_at is not None
            _keep(self._stays, group.backend, put.at - group.activated_at)
        self._groups[group.id] = group
        if group.closed_at is not None:
            del self._groups[group.id]

    # ---- asking ----------------------------------------------------------------------------------

    def runs(self, job: Job) -> list[int]:
        """How long a job may run, in milliseconds, one for each run that it is compared with.

        A job without an estimate is compared with the lengths of past runs; before there are any,
        it is expected to use its whole limit (Q7).
        """
        if job.estimate_ms:
            ratios = self._of(self._ratios, job) or UNTAUGHT
            found = [job.estimate_ms * ratio // 1000 for ratio in ratios]
        else:
            found = [*self._of(self._lengths, job)] or [job.limit_ms]
        return [min(each, job.limit_ms) for each in found]

    def _of(self, kept: dict[str, deque[int]], job: Job) -> Sequence[int]:
        own = kept.get(job.instance, ())
        return own if len(own) >= ENOUGH else kept.get(job.backend, ())

    def stays(self, group: Group, now: int) -> list[int]:
        """How long from `now` on a session may stay active, in milliseconds.

        What windows that were longer than this one had left; if there are few of them, also shares
        of how long it has stayed, at least of its interactive TTL.
        """
        since = now if group.activated_at is None or not group.live else group.activated_at
        known = [each - (now - since) for each in self._stays.get(group.backend, ())]
        left = [each for each in known if each > 0]
        if len(left) < ENOUGH:
            stayed = max(now - since, group.interactive_ttl_ms)
            left += [stayed * share // 1000 for share in _UNTAUGHT_STAYS]
        return left

    def arrivals(self, backend: str, now: int) -> list[Arrival]:
        """What arrived at a backend in the last hour, the oldest first."""
        return [each for each in self._arrivals.get(backend, ()) if each.at > now - SPAN_MS]


def _keep(where: dict[str, deque[int]], whose: str, value: int) -> None:
    where.setdefault(whose, deque(maxlen=REMEMBERED)).append(value)


def draw(sample: Sequence[int], *name: object) -> int:
    """Return one of a sample, the same for the same name."""
    return sample[crc32(repr(name).encode()) % len(sample)]


def median(sample: Sequence[int]) -> int:
    """Return the middle of a sample."""
    return sorted(sample)[len(sample) // 2]
