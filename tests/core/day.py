"""A day of a shared machine, generated from a seed, and how good its forecasts were (Q30).

Not a test. Six instances of different sizes send single jobs, batches, and sessions, most of them
in working hours, so that the queue grows over the day and is worked off in the evening. Jobs take
other times than their estimates say: each instance is off by a factor of its own, each job by
chance. Sessions are people and optimizers: the next job comes after the last result and a pause,
and nobody knows how many there will be.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from qdwell.core.decisions import Decision, PutJob
from qdwell.core.events import CloseGroup, CreateGroup, PutBackend, PutInstance, SubmitJob
from qdwell.core.experience import Experience
from qdwell.core.forecast import Forecast, forecast
from qdwell.core.group import Group, Mode
from qdwell.core.job import Job, JobState
from qdwell.core.replay import Phases, Replay
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings

BACKEND = "machine"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LEAD_MS = 600_000  # forecasts are judged by what they said so long before the start
# Workloads per hour of the day, of all instances together.
HOURLY = (1, 1, 1, 1, 1, 2, 3, 5, 9, 12, 13, 12, 9, 12, 13, 12, 10, 7, 5, 4, 3, 2, 2, 1)
# Instance: share of the workloads, allocation in hours, what its jobs take of their estimates.
INSTANCES = {
    "course": (0.30, 4, 0.6),
    "chemistry": (0.25, 20, 1.1),
    "optimization": (0.15, 10, 0.9),
    "hardware": (0.15, 20, 1.0),
    "guests": (0.10, 2, 1.5),
    "ci": (0.05, 4, 0.8),
}


@dataclass
class Plan:
    """What one session still intends: how many jobs, how long each, and the pauses."""

    left: int
    qpu_s: float
    pause_s: float


class Day:
    """The day of one seed, played by the real scheduler."""

    def __init__(self, seed: int) -> None:
        self.scheduler = Scheduler(Settings())
        self.experience = Experience()
        self.starts: dict[str, int] = {}
        self.waits: dict[str, int] = {}
        self._dice = random.Random(seed)
        self._factor = {
            name: factor * self._dice.lognormvariate(0, 0.2)
            for name, (_, _, factor) in INSTANCES.items()
        }
        self._truth: dict[str, Phases] = {}
        self._sessions: dict[str, Plan] = {}
        self._seq = 0
        self.replay = Replay(self.scheduler, lambda job: self._truth[job.id])
        announced = [
            PutInstance(name, name, hours * HOUR_MS) for name, (_, hours, _) in INSTANCES.items()
        ]
        self.scheduler.decide([PutBackend(BACKEND, False, 5, True), *announced], 0)
        for hour, number in enumerate(HOURLY):
            for _ in range(self._poisson(number)):
                self._workload(hour * HOUR_MS + self._dice.randrange(HOUR_MS))

    def _poisson(self, mean: float) -> int:
        number, passed = 0, self._dice.expovariate(1)
        while passed < mean:
            number, passed = number + 1, passed + self._dice.expovariate(1)
        return number

    def _workload(self, at: int) -> None:
        names = list(INSTANCES)
        [instance] = self._dice.choices(names, [share for share, _, _ in INSTANCES.values()])
        kind = self._dice.random()
        if kind < 0.55:
            for number in range(self._dice.randint(1, 4)):
                self._submit(instance, at + number * 2000, self._dice.lognormvariate(3.9, 0.8))
        elif kind < 0.8:
            group = self._group(Mode.BATCH, instance, at, 60_000)
            qpu_s = self._dice.lognormvariate(3.0, 0.6)
            for number in range(self._dice.randint(4, 25)):
                self._submit(instance, at + number * 500, qpu_s, group)
            self.replay.request(at + 20_000, CloseGroup(group))
        else:
            group = self._group(Mode.SESSION, instance, at, 60_000)
            qpu_s = self._dice.lognormvariate(1.8, 0.5)
            jobs, pause_s = self._dice.randint(8, 60), self._dice.lognormvariate(1.0, 0.9)
            self._sessions[group] = Plan(jobs, qpu_s, pause_s)
            self._submit(instance, at, qpu_s, group)

    def _group(self, mode: Mode, instance: str, at: int, interactive_ms: int) -> str:
        self._seq += 1
        name = f"{mode}-{self._seq}"
        group = Group(name, self._seq, mode, instance, BACKEND, at, interactive_ms, 8 * HOUR_MS)
        self.replay.request(at, CreateGroup(group))
        return name

    def _submit(self, instance: str, at: int, estimate_s: float, group: str | None = None) -> None:
        self._seq += 1
        name = f"job-{self._seq}"
        estimate = round(estimate_s * 1000)
        true = estimate * self._factor[instance] * self._dice.lognormvariate(0, 0.25)
        prep, post = self._dice.randint(300, 6000), self._dice.randint(50, 1500)
        self._truth[name] = Phases(prep, round(true), post)
        job = Job(name, self._seq, instance, BACKEND, at, group=group, estimate_ms=estimate)
        self.replay.request(at, SubmitJob(job))

    # ---- playing ---------------------------------------------------------------------------------

    def run(self, until: int | None = None) -> None:
        """Let the day happen, and everybody learn from it."""
        while (at := self.replay.next_at()) is not None and (until is None or at <= until):
            self._hear(self.replay.step())

    def _hear(self, decisions: Sequence[Decision]) -> None:
        self.experience.observe(decisions)
        for each in decisions:
            if not isinstance(each, PutJob):
                continue
            job = each.job
            if each.was is JobState.QUEUED and job.running:
                self.starts[job.id], self.waits[job.id] = each.at, each.at - job.created
            plan = self._sessions.get(job.group or "")
            if job.state is JobState.COMPLETED and plan is not None and job.group is not None:
                plan.left -= 1
                if plan.left:
                    pause = round(self._dice.lognormvariate(0, 0.7) * plan.pause_s * 1000)
                    self._submit(job.instance, each.at + pause, plan.qpu_s, job.group)
                else:
                    self.replay.request(each.at, CloseGroup(job.group))


@dataclass(frozen=True)
class Told:
    """What was forecast for one job `LEAD_MS` before it started."""

    job: str
    start_at: int
    wait_ms: int
    told: Forecast

    @property
    def inside(self) -> bool:
        """Whether it started within its range."""
        earliest, latest = self.told.earliest_at, self.told.latest_at
        return earliest is not None and earliest <= self.start_at <= (latest or 1 << 62)

    @property
    def open(self) -> bool:
        """Whether its range had no end."""
        return self.told.latest_at is None

    @property
    def width(self) -> int:
        """Milliseconds from the earliest to the latest start."""
        assert self.told.earliest_at is not None
        assert self.told.latest_at is not None
        return self.told.latest_at - self.told.earliest_at


def judged(seed: int, most: int | None = None) -> list[Told]:
    """Return what was told of each job of a day that waited long enough, or of `most` of them.

    The day is played twice: to know when jobs start, and to ask at the right instants.
    """
    first = Day(seed)
    first.run()
    asked = sorted(
        (start - LEAD_MS, job) for job, start in first.starts.items() if first.waits[job] > LEAD_MS
    )
    if most is not None and len(asked) > most:
        asked = [asked[number * len(asked) // most] for number in range(most)]
    day, told = Day(seed), []
    for at, job in asked:
        day.run(until=at)
        known = forecast(day.scheduler, BACKEND, at, day.experience)
        told.append(Told(job, first.starts[job], first.waits[job], known[job]))
    return told


@dataclass(frozen=True)
class Score:
    """How good forecasts were; seconds."""

    jobs: int
    inside: float  #: share of starts within their ranges
    open: float  #: share of ranges without an end
    width_s: float  #: the median range
    wait_s: float  #: the median wait, from acceptance to start
    off_s: float  #: the median of how far the point estimate was off


def score(told: Iterable[Told]) -> Score:
    """Sum up."""
    every = list(told)
    ends = [each for each in every if not each.open]
    off = [abs(each.told.start_at - each.start_at) for each in every if each.told.start_at]
    return Score(
        jobs=len(every),
        inside=sum(each.inside for each in every) / len(every),
        open=1 - len(ends) / len(every),
        width_s=median(each.width for each in ends) / 1000,
        wait_s=median(each.wait_ms for each in every) / 1000,
        off_s=median(off) / 1000,
    )
