"""When a status request is held, and for how long.

The stock client asks for the state of a job at fixed intervals, 0.1 s in a session and 0.5 s
outside. A job that takes milliseconds would cost its user the whole interval. So the answer to
such a request waits until the job is final, within a bound. But `job.status()` is the same request,
and it must not hang when nothing is about to change. The rule:

* a job that is final, or waits behind others for its turn, is answered at once;
* a *young* job, accepted a moment ago and already at work, is held until it is no longer young: a
  small job ends within that time, so the very first question is answered with the end;
* a job at work whose state is asked for *in a loop*, at the pace of the stock client's own loop, is
  held up to the operator's bound: whoever asks at that pace asks again anyway, so nothing is lost
  by answering at the moment of the change;
* whoever asks for the same job faster than any loop needs is answered at `PACE_MS`: a few scripts
  that ask without a pause would otherwise take the processor from those who work;
* everything else is answered at once, also a question soon after the last answer: that is a user's
  `job.status()` and not the loop.
"""

from __future__ import annotations

from collections import OrderedDict
from zlib import crc32

from qdwell.core.job import Job, JobState

YOUNG_MS = 1_000  # most small problems end within; the bound holds for it as well
PACE_MS = 70  # between two answers about one job; a person or a plotted line needs no more
PACE_SPREAD_MS = 25
LOOP_GAP_MS = (PACE_MS + PACE_SPREAD_MS, 700)  # the stock client asks again after 100 or 500 ms
REMEMBERED = 10_000  # jobs whose last answer is remembered


def hold_ms(job: Job, now: int, answered_at: int | None, bound_ms: int) -> int:
    """How many milliseconds to hold a request for the state of this job; 0 is at once.

    Args:
        job: the job as it is now.
        now: the present instant.
        answered_at: when the last such request for this job was answered, if that is known.
        bound_ms: the longest hold that the operator allows; 0 switches holding off.
    """
    if job.final:
        return 0
    pace = 0 if answered_at is None else answered_at + pace_ms(job.id) - now
    pace = min(bound_ms, max(0, pace))
    if job.state is JobState.QUEUED:
        return pace
    young = max(0, job.created + YOUNG_MS - now)
    looped = answered_at is not None and LOOP_GAP_MS[0] <= now - answered_at <= LOOP_GAP_MS[1]
    return max(pace, min(bound_ms, bound_ms if looped else young))


def pace_ms(job_id: str) -> int:
    """The pace of one job: a little more than `PACE_MS`, so that not all are answered at once."""
    return PACE_MS + crc32(job_id.encode()) % PACE_SPREAD_MS


class LastAnswers:
    """When the state of a job was last told; the newest few thousand are remembered."""

    def __init__(self) -> None:
        self._at: OrderedDict[str, int] = OrderedDict()

    def get(self, job_id: str) -> int | None:
        """When it was last told, or None."""
        return self._at.get(job_id)

    def told(self, job_id: str, now: int, *, final: bool) -> None:
        """Note an answer; of a final job nothing needs to be remembered."""
        if final:
            self._at.pop(job_id, None)
            return
        self._at[job_id] = now
        self._at.move_to_end(job_id)
        if len(self._at) > REMEMBERED:
            self._at.popitem(last=False)
