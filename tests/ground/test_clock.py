"""The clock: integer milliseconds, never backwards, and asleep until told."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdwell.clock import ManualClock, SystemClock, iso, parse_iso, settle, stopwatch_ns


def test_the_system_clock_is_held_when_it_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([5_000_000_000, 3_000_000_000, 6_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(readings))
    clock = SystemClock()
    assert [clock.now(), clock.now(), clock.now()] == [5_000, 5_000, 6_000]


async def test_the_system_clock_wakes_a_sleeper_at_its_instant_and_not_before() -> None:
    clock = SystemClock()
    at = clock.now() + 20
    await clock.sleep_until(at)
    assert clock.now() >= at
    await asyncio.wait_for(clock.sleep_until(at - 1_000_000), 1)


async def test_a_manual_clock_wakes_sleepers_in_order_of_their_instants() -> None:
    clock, woken = ManualClock(100), []

    async def sleeper(name: str, at: int) -> None:
        await clock.sleep_until(at)
        woken.append((name, clock.now()))

    tasks = [asyncio.create_task(sleeper(*it)) for it in [("b", 300), ("a", 200), ("c", 300)]]
    await settle()
    assert (woken, clock.next_wake()) == ([], 200)
    clock.advance(99)
    await settle()
    assert woken == []
    assert await clock.jump()
    assert woken == [("a", 200)]
    assert await clock.jump()
    assert woken == [("a", 200), ("b", 300), ("c", 300)]
    assert not await clock.jump()
    await asyncio.gather(*tasks)


async def test_a_pause_is_by_the_stopwatch() -> None:
    """Which is no instant: nobody holds it, and a wall clock set back does not stop it (C8)."""
    clock = SystemClock()
    clock.hold(clock.now() + 3_600_000)
    began = clock.stopwatch_ns()
    await clock.pause_ns(3_000_000)
    assert clock.stopwatch_ns() - began >= 3_000_000
    await asyncio.wait_for(clock.pause_ns(-5), 1)


async def test_a_manual_stopwatch_stands_until_it_is_moved() -> None:
    clock = ManualClock(100)
    task = asyncio.create_task(clock.pause_ns(2_000_001))
    await settle()
    assert (clock.stopwatch_ns(), clock.next_wake()) == (100_000_000, 103)
    clock.advance(3)
    await task


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep_until(50))
    await settle()
    task.cancel()
    await settle()
    assert clock.next_wake() is None
    clock.advance(100)
    assert task.cancelled()


def test_a_manual_clock_does_not_run_backwards() -> None:
    clock = ManualClock(10)
    clock.advance(-5)
    assert clock.now() == 10


def test_a_stopwatch_does_not_run_backwards() -> None:
    assert stopwatch_ns() <= stopwatch_ns()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2026-11-21T07:00:00.123Z", 1_795_244_400_123),
        ("2026-11-21T07:00:00.123999Z", 1_795_244_400_123),
        ("2026-11-21T08:00:00+01:00", 1_795_244_400_000),
        ("2026-11-21 07:00", 1_795_244_400_000),
        ("1969-12-31T23:59:59.9Z", -100),
    ],
)
def test_the_forms_of_an_instant(text: str, at: int) -> None:
    assert parse_iso(text) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-21", "2026-13-01T00:00:00Z", "5"])
def test_what_is_not_an_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"ISO-8601|month"):
        parse_iso(text)


@given(st.integers(min_value=-(10**12), max_value=10**14))
def test_an_instant_survives_its_text(at: int) -> None:
    assert parse_iso(iso(at)) == at


def test_a_clock_holds_what_an_earlier_process_has_seen() -> None:
    """C8: after a restart, too, time never runs backwards."""
    later = SystemClock().now() + 60_000
    for clock in (SystemClock(), ManualClock(5)):
        clock.hold(later)
        clock.hold(1)
        assert clock.now() == later
