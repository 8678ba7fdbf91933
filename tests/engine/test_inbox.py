"""What waits to be decided: what is deferred is taken along, and makes a turn only if it must."""

from __future__ import annotations

from qdwell.core.events import JobPrepared
from qdwell.engine.inbox import Inbox, Item


def item(at: int) -> Item:
    return Item(at, JobPrepared(f"job-{at}", 1))


async def test_what_is_deferred_is_taken_along_in_order() -> None:
    inbox = Inbox()
    inbox.defer(item(1))
    assert not inbox.wake.is_set()
    inbox.post(item(2))
    assert [each.at for each in inbox.take()] == [1, 2]
    assert len(inbox) == 0
    assert not inbox.wake.is_set()


async def test_a_flush_makes_a_turn_of_what_is_deferred() -> None:
    inbox = Inbox()
    inbox.flush()
    assert not inbox.wake.is_set()
    inbox.defer(item(1))
    inbox.flush()
    assert inbox.wake.is_set()
    assert [each.at for each in inbox.take()] == [1]


async def test_the_time_of_one_job_does_not_strike_in_the_next() -> None:
    """Each would cost a commit of its own, in the middle of the next job."""
    for flushed in (False, True):
        inbox = Inbox()
        inbox.defer(item(1))
        timer = inbox._timer
        assert timer is not None
        if flushed:
            inbox.flush()
        inbox.take()
        assert timer.cancelled()
        inbox.defer(item(2))
        assert inbox._timer is not None
        assert not inbox._timer.cancelled()
        inbox.take()
