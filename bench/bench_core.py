"""B7, first half: what a decision costs with a thousand and with a million jobs in the queue.

The queue is that of one machine with five lanes, shared by a thousand accounts. What is timed is
the life of one job there, from its end of preparation to its result, while a new job is submitted:
four decisions, and the one lane that becomes free is granted by fair share. The queue keeps its
length.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable

from bench._lib import interleaved, print_ratio

from qdwell.core.decisions import Prepare
from qdwell.core.events import (
    Event,
    JobExecuted,
    JobPostprocessed,
    JobPrepared,
    PutBackend,
    PutInstance,
    SubmitJob,
)
from qdwell.core.job import Job
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings

ACCOUNTS = 1000
FEW, MANY = 1_000, 1_000_000
TARGET = "B7 scheduling decision at 1,000,000 queued / at 1,000 (1,000 accounts)"


def busy_machine(queued: int) -> Callable[[], None]:
    """Return a call that makes four decisions on a machine with so many jobs waiting."""
    scheduler = Scheduler(Settings())
    numbers = itertools.count()
    times = itertools.count(1000, 10)
    accounts = [f"account-{number}" for number in range(ACCOUNTS)]
    announce: list[Event] = [PutBackend("machine", False, 5, True)]
    announce += [PutInstance(each, each, 36_000_000) for each in accounts]
    scheduler.decide(announce, 0)

    def submission(now: int) -> SubmitJob:
        number = next(numbers)
        owner = accounts[number * 7919 % ACCOUNTS]
        job = Job(f"{number}", number, owner, "machine", now, estimate_ms=2000)
        return SubmitJob(job)

    running: list[tuple[str, int]] = []
    for _ in range(queued // 1000):
        started = scheduler.decide([submission(0) for _ in range(1000)], 0)
        running += [(each.job, each.attempt) for each in started if isinstance(each, Prepare)]

    def cycle() -> None:
        job, attempt = running.pop(0)
        now = next(times)
        scheduler.decide([submission(now)], now)
        scheduler.decide([JobPrepared(job, attempt)], now + 1)
        scheduler.decide([JobExecuted(job, attempt)], now + 2)
        for each in scheduler.decide([JobPostprocessed(job, attempt)], now + 3):
            if isinstance(each, Prepare):
                running.append((each.job, each.attempt))

    return cycle


def run() -> bool:
    """Measure and print; return whether the target is met."""
    ways = {f"{count:,} queued: four decisions": busy_machine(count) for count in (MANY, FEW)}
    gc.freeze()  # as the server does after it has loaded its queue
    taken = interleaved(ways, samples=200, warm=20, inner=10)
    many, few = taken.values()
    met = print_ratio(TARGET, many, few, 3)
    gc.unfreeze()
    return met
