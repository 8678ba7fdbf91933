"""Results as pictures: counts as bars, expectation values with their error bars, days of usage."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from qdwell.clock import iso
from qdwell.console import svg

HEIGHT = 220
_SCALE, _LEFT, _TOP, _BOTTOM = 46.0, 8.0, 14.0, 40.0
_KINDS = (("session", "sessions"), ("batch", "batches"), ("job", "jobs"))


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from below `low` to above `high`."""
    span = high - low or 1.0
    step = 10 ** math.floor(math.log10(span / count))
    step = next(step * it for it in (1, 2, 2.5, 5, 10) if span / (step * it) <= count)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [at * step for at in range(first, last + 1)]


def _placing(ticks: Sequence[float]) -> Callable[[float], float]:
    """The function that places a value, from the first tick to the last."""
    low, high = ticks[0], ticks[-1]
    return lambda value: _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)


def _plot(
    width: float, height: float, title: str, ticks: Sequence[float], parts: Sequence[Markup]
) -> Markup:
    """What is plotted on its grid, beside its scale.

    The scale is a picture of its own, which stays where it is while the plot is moved: a phone is
    narrower than most plots.
    """
    place, scale, grid = _placing(ticks), [], []
    for value in ticks:
        grid.append(svg.line(0, place(value), width, place(value), "grid"))
        scale.append(svg.label(_SCALE - 6, place(value) + 4, f"{value:,g}", "ink small", "end"))
    return svg.tag(
        "div",
        svg.picture(
            _SCALE, height, f"From {ticks[0]:,g} to {ticks[-1]:,g}", *scale, class_="scale"
        ),
        svg.picture(width, height, title, *grid, *parts, class_="plot"),
        class_="scaled",
    )


def counts(register: dict[str, Any]) -> Markup:
    """A histogram of outcomes. Bars carry their numbers where all of them have room; long bit
    strings are written upright.
    """
    pairs = register["counts"]
    bars = [*pairs, *([["others", register["others"]]] if register["others"] else [])]
    if not bars:
        return Markup("")
    longest = max(len(str(name)) for name, _ in bars)
    step = min(72.0, max(17.0, 660.0 / len(bars)))
    upright = longest * 7.4 > step
    bottom = min(150.0, 12 + 7.3 * min(longest, 18)) if upright else _BOTTOM
    height = HEIGHT + bottom - _BOTTOM
    width = _LEFT + step * len(bars) + 8
    ticks = _ticks(min(0.0, *(n for _, n in bars)), max(n for _, n in bars))
    place, parts = _placing(ticks), list[Markup]()
    base = place(0)
    numbers = [f"{it:,}" if isinstance(it, int) else f"{it:.2g}" for _, it in bars]
    told = 6.2 * max(map(len, numbers)) <= step
    for at, (name, number) in enumerate(bars):
        x = _LEFT + step * at + step * 0.14
        y = min(place(number), base)
        shown = numbers[at]
        kind = "bar other" if name == "others" else "bar"
        parts.append(
            svg.rect(x, y, step * 0.72, abs(base - place(number)), kind, f"{name}: {shown}")
        )
        if told:
            parts.append(svg.label(x + step * 0.36, y - 3, shown, "ink small", "middle"))
        middle = x + step * 0.36
        text = name if len(name) <= 18 else name[:8] + "…" + name[-8:]
        if upright:
            turned = f"rotate(-90 {middle + 4:.1f} {HEIGHT - 32})"
            parts.append(
                svg.tag(
                    "text", text, x=middle + 4, y=HEIGHT - 32.0, class_="ink small mono",
                    text_anchor="end", transform=turned,
                )
            )  # fmt: skip
        else:
            parts.append(svg.label(middle, HEIGHT - 22, text, "ink small mono", "middle"))
    title = f"Counts of {register['register']}: {register['distinct']} different outcomes"
    if "rates" in register:
        title = f"Rates of {register['distinct']} Pauli errors"
    return _plot(width, height, title, ticks, parts)


def sweep(found: dict[str, Any]) -> Markup:
    """Shares of outcomes from element to element, a line for each outcome."""
    count = len(found["lines"][0][1]) if found["lines"] else 0
    if not count:
        return Markup("")
    step = min(60.0, max(3.0, 560.0 / count))
    width = _LEFT + step * count + 12
    ticks = _ticks(0.0, 1.0)
    place, parts = _placing(ticks), list[Markup]()
    for number, (name, shares) in enumerate(found["lines"]):
        spots = [(_LEFT + step * (at + 0.5), place(share)) for at, share in enumerate(shares)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(svg.tag("polyline", points=path, class_=f"line series-{number}"))
        for at, (x, y) in enumerate(spots):
            text = f"{name}: {shares[at]:.4g} in element {at}"
            parts.append(
                svg.tag(
                    "circle", svg.tag("title", text), cx=x, cy=y, r=3.5 if step > 8 else 2.0,
                    class_=f"spot series-{number}",
                )
            )  # fmt: skip
    for at in range(0, count, max(1, math.ceil(28 / step))):
        x = _LEFT + step * (at + 0.5)
        parts.append(svg.label(x, HEIGHT - 22, str(at), "ink small", "middle"))
    parts.append(svg.label(width - 4, HEIGHT - 6, "element", "ink small", "end"))
    title = f"Share of each outcome of {found['sweep']} in {count} elements"
    return _plot(width, HEIGHT, title, ticks, parts)


def estimates(found: dict[str, Any]) -> Markup:
    """Expectation values as points, with bars of one standard error."""
    points = [
        (at, value, error or 0.0)
        for at, (value, error) in enumerate(zip(found["evs"], found["stds"], strict=False))
        if value is not None
    ]
    if not points:
        return Markup("")
    low = min(value - error for _, value, error in points)
    high = max(value + error for _, value, error in points)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 0.1
    step = min(90.0, max(7.0, 640.0 / len(found["evs"])))
    width = _LEFT + step * len(found["evs"]) + 12
    ticks = _ticks(low - margin, high + margin)
    place, parts = _placing(ticks), list[Markup]()
    spots = [(_LEFT + step * (at + 0.5), value, error) for at, value, error in points]
    if len(points) > 12:
        for (x1, v1, _), (x2, v2, _) in pairwise(spots):
            parts.append(svg.line(x1, place(v1), x2, place(v2), "thread"))
    for (at, _, _), (x, value, error) in zip(points, spots, strict=True):
        text = f"[{at}] {value:.6g} ± {error:.2g}"
        parts.append(svg.line(x, place(value - error), x, place(value + error), "whisker"))
        for end in (value - error, value + error):
            parts.append(svg.line(x - 4, place(end), x + 4, place(end), "whisker"))
        dot = svg.tag(
            "circle", svg.tag("title", text), cx=x, cy=place(value), r=4.0, class_="point"
        )
        parts.append(dot)
        if len(points) <= 12:
            parts.append(svg.label(x + 8, place(value) + 4, f"{value:.4g}", "ink small"))
        if step >= 24 or at % math.ceil(24 / step) == 0:
            parts.append(svg.label(x, HEIGHT - 22, str(at), "ink small", "middle"))
    parts.append(svg.label(width - 4, HEIGHT - 6, "element", "ink small", "end"))
    title = f"{len(points)} expectation values with one standard error"
    return _plot(width, HEIGHT, title, ticks, parts)


def days(rows: Sequence[tuple[int, dict[str, int]]]) -> Markup:
    """Charged seconds by day, stacked by what they were charged for."""
    most = max((sum(kinds.values()) for _, kinds in rows), default=0) / 1000
    step = 860.0 / max(1, len(rows))
    width = _LEFT + 860 + 8
    ticks = _ticks(0, most or 1)
    place, parts = _placing(ticks), list[Markup]()
    for at, (day, kinds) in enumerate(rows):
        x, top = _LEFT + step * at + step * 0.12, 0.0
        date = iso(day)[:10]
        for kind, word in _KINDS:
            value = kinds.get(kind, 0) / 1000
            if value:
                y, low = place(top + value), place(top)
                title = f"{date}: {value:,.3f} s of {word}"
                parts.append(svg.rect(x, y, step * 0.76, low - y, f"kind-{kind}", title))
                top += value
        if at % 7 == len(rows) % 7 or at == len(rows) - 1:
            parts.append(svg.label(x + step * 0.4, HEIGHT - 22, date[5:], "ink small", "middle"))
    return _plot(width, HEIGHT - 16, "Charged seconds by day", ticks, parts)
