"""Measuring, side by side: every benchmark prints ratios between figures of one interleaved run.

Absolute times of a small shared machine tell little. So two or more ways are timed in turns (a, b,
a, b, ...), their medians are divided, and the load average stands beside the ratio so that a reader
can tell a noisy run from a slow one.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Samples:
    """Times of one way of doing it, in milliseconds, sorted."""

    name: str
    times_ms: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Return the time that `share` of the samples did not exceed."""
        return self.times_ms[min(len(self.times_ms) - 1, int(share * len(self.times_ms)))]

    @property
    def p50(self) -> float:
        """Median in milliseconds."""
        return self.quantile(0.5)

    @property
    def p90(self) -> float:
        """Time that nine of ten samples stayed below, in milliseconds."""
        return self.quantile(0.9)


def interleaved(
    ways: Mapping[str, Callable[[], object]],
    *,
    samples: int = 20,
    warm: int = 2,
    inner: int = 1,
    block: int = 1,
) -> dict[str, Samples]:
    """Time each way `samples` times, in turns, after `warm` unmeasured rounds.

    `inner` calls make one sample (its time is divided by it): for things too quick to time alone.
    `block` samples of a way follow each other before it is the next one's turn: for loops of a
    user, whose steps follow each other, and which a pause of the other way would cool down.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    gc.collect()  # once: a collection in each round would empty the processor's caches for all
    for round_number in range(warm + -(-samples // block)):
        for name, way in ways.items():
            for _ in range(block):
                took = _time(way, inner)
                if round_number >= warm:
                    times[name].append(took)
    return {name: Samples(name, tuple(sorted(each))) for name, each in times.items()}


def _time(way: Callable[[], object], inner: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(inner):
        way()
    return (time.perf_counter_ns() - began) / 1e6 / inner


def print_samples(samples: Samples) -> None:
    """Print one line: name, median, and ninetieth percentile."""
    print(
        f"  {samples.name:<44} p50 {samples.p50:10.4f} ms   p90 {samples.p90:10.4f} ms"
        f"   n={len(samples.times_ms)}"
    )


def print_ratio(
    target: str, over: Samples, under: Samples, limit: float, *, at_least: bool = False
) -> bool:
    """Print both samples, and the ratio of their medians beside the target; return if it is met.

    `target` is its id and words (performance section 5); `at_least` turns "<=" into ">=".
    """
    ratio = over.p50 / under.p50
    met = ratio >= limit if at_least else ratio <= limit
    print(target)
    print_samples(over)
    print_samples(under)
    sign = ">=" if at_least else "<="
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    verdict = "met" if met else "MISSED"
    print(f"  ratio {ratio:.4f}   target {sign} {limit}   {verdict}   load {load}")
    return met
