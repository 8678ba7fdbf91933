"""Would a scheduler that wakes up on this store be sound? Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator

from qdwell.config import Config
from qdwell.core.events import ServiceResumed
from qdwell.core.invariants import check
from qdwell.core.scheduler import Scheduler
from qdwell.core.state import Settings
from qdwell.engine.engine import settings_of
from qdwell.engine.instances import InstanceBook
from qdwell.engine.stations import announced, stations_of
from qdwell.engine.workers import ForkServer
from qdwell.errors import AccountError, QdwellError
from qdwell.store import Store
from qdwell.store.records import Finding


def examine(config: Config, store: Store) -> Iterator[Finding]:
    """Wake a scheduler up as a start would, and check P1-P14 in what it remembers then."""
    settings: Settings = settings_of(config)
    alive_at = store.load(0, settings.window_ms).alive_at or 0
    loaded = store.load(alive_at, settings.window_ms)
    rows = [station.row for station in stations_of(config, ForkServer(())).values()]
    known = {row.name for row in rows}
    strange = {it.backend for it in loaded.snapshot.jobs} - known
    strange |= {it.backend for it in loaded.snapshot.groups} - known
    for name in sorted(strange):
        yield Finding(f"backend {name}", "has jobs or sessions waiting, and the config has it not")
    book = InstanceBook(config, store)
    try:
        book.load()
    except AccountError as error:
        yield Finding("accounts", str(error))
        return
    if strange:
        return
    scheduler = Scheduler(settings, loaded.snapshot)
    try:
        events = [*(announced(config, row) for row in rows), *book.events()]
        scheduler.decide(events, alive_at)
        scheduler.decide([ServiceResumed(alive_at, work_lost=False)], alive_at)
        check(scheduler.state, alive_at)
    except QdwellError as error:
        yield Finding("scheduler", str(error))
