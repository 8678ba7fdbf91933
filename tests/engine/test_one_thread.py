"""The writer's thread: order, answers, errors, and callers that have gone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from qdwell.engine.one_thread import OneThread


async def test_calls_are_worked_off_in_order_in_one_other_thread() -> None:
    thread = OneThread("other")
    seen: list[tuple[int, str]] = []

    def note(n: int) -> int:
        seen.append((n, threading.current_thread().name))
        return n * n

    assert await asyncio.gather(*(thread.call(note, n) for n in range(50))) == [
        n * n for n in range(50)
    ]
    assert seen == [(n, "other") for n in range(50)]
    thread.close()


async def test_an_error_is_the_callers_and_the_thread_goes_on() -> None:
    thread = OneThread("other")
    with pytest.raises(ZeroDivisionError):
        await thread.call(lambda: 1 // 0)
    assert await thread.call(lambda: 2) == 2
    thread.close()


async def test_a_caller_that_is_cancelled_stops_nothing() -> None:
    thread = OneThread("other")
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(30)
        done.set()

    call = asyncio.ensure_future(thread.call(work))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    go.set()
    assert await thread.call(done.is_set)
    thread.close()


def test_a_loop_that_has_ended_is_no_error() -> None:
    thread = OneThread("other")
    go = threading.Event()

    async def leave() -> None:
        task = asyncio.ensure_future(thread.call(go.wait, 30))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    go.set()
    thread.close()
    assert not thread._thread.is_alive()
