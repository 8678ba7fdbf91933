"""A store with room for little things and none for a report: no job pays for that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.house import House
from engine.test_failed_commits import Unreliable, moves_to
from qdwell.engine import inbox, loop
from qdwell.errors import StoreUnavailable

Make = Callable[..., House]


@pytest.mark.parametrize("state", ["executed", "completed"])
async def test_a_report_waits_until_there_is_room(
    house: Make, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """What a disk that fills up, or a time limit of the database's, refuses again and again."""
    monkeypatch.setattr(loop, "RELOAD_PAUSE_MS", 1)
    async with house() as it:
        bad = Unreliable(it, StoreUnavailable("database or disk is full"))
        reports = moves_to(state)
        bad.when = lambda decisions: bad.failed < 10 and reports(decisions)
        row = await it.final(await it.submit())
        assert (row.job.state, row.job.reason) == ("completed", None)
        assert (bad.failed, row.job.attempt) == (10, 1)
        assert it.engine.usage_ms(it.crn) == row.job.quantum_ms


async def test_nobody_waits_behind_a_report_without_room(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission is told so; and the report is given up in the end, as it may be to blame."""
    monkeypatch.setattr(loop, "RELOAD_PAUSE_MS", 1)
    async with house() as it:
        bad = Unreliable(it, StoreUnavailable("database or disk is full"))
        bad.when = moves_to("completed")
        first = await it.submit()
        with pytest.raises(StoreUnavailable, match="is full"):
            while True:
                await it.submit()
        assert not it.row(first).job.final
        monkeypatch.setattr(inbox, "AWAY_MOST", 1)
        row = await it.final(first)
        assert (row.job.state, row.job.code) == ("failed", 5203)
