"""Counts of the loop, for metrics: how much it decided, and how long its commits took.

Plain numbers, added to on the way of every job: what shows them is the API's part.
"""

from __future__ import annotations

from bisect import bisect_left

#: Upper bounds of commit times in seconds; the last bucket, without a bound, is everything.
COMMIT_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)


class Meter:
    """What the loop has done since the start."""

    def __init__(self) -> None:
        self.decisions = 0  #: of the core that were stored
        self.commits = 0
        self.failed_turns = 0  #: turns that could not be stored, and were decided again
        self.commit_s = 0.0  #: sum of all commit times
        self.commit_counts = [0] * (len(COMMIT_BOUNDS_S) + 1)  #: by bucket

    def committed(self, decisions: int, took_ns: int) -> None:
        """A turn is stored."""
        seconds = took_ns / 1e9
        self.decisions += decisions
        self.commits += 1
        self.commit_s += seconds
        self.commit_counts[bisect_left(COMMIT_BOUNDS_S, seconds)] += 1
