"""The usage ledger: every held millisecond and what it was used for, as JSON or CSV.

It is read from the store in a thread, since it may be long.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.auth import Caller
from qdwell.api.body import Query
from qdwell.api.documents import mode_word
from qdwell.api.edge import reply
from qdwell.api.parts import Parts
from qdwell.api.turns import in_thread
from qdwell.clock import iso
from qdwell.core.decisions import Held
from qdwell.core.group import Mode
from qdwell.core.ledger import Use
from qdwell.errors import BadInput
from qdwell.store.ledger import LedgerRow, ledger

DAY_MS = 86_400_000
PERIOD_DAYS_MAX = 366
LEDGER_QUERY = ("start", "end", "by", "format")
FORMATS = ("json", "csv")
#: What `by` may say, and the columns by which it sums.
GROUPINGS = {
    "job": ("job_id", "session_id", "user_id", "instance_id"),
    "session": ("session_id", "user_id", "instance_id"),
    "user": ("user_id", "instance_id"),
    "instance": ("instance_id",),
}
COLUMNS = (
    "start",
    "end",
    "milliseconds",
    "use",
    "charged",
    "mode",
    "job_id",
    "session_id",
    "user_id",
    "instance_id",
    "backend",
)
_MODES = {
    Held.JOB: "job",
    Held.BATCH: mode_word(Mode.BATCH),
    Held.SESSION: mode_word(Mode.SESSION),
}


class LedgerRoute:
    """What was held, by whom, and for what."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def read(self, request: Request) -> Response:
        """Return the ledger of the caller's instance: each interval, or sums."""
        caller = await self._parts.caller(request)
        query = Query(request)
        start, end = self._period(query)
        by = query.choice("by", GROUPINGS)
        wanted = query.choice("format", FORMATS)
        accepts_csv = "text/csv" in request.headers.get("accept", "")
        as_csv = wanted == "csv" or (wanted is None and accepts_csv)
        return await in_thread(self._answer, caller, start, end, by, as_csv)

    def _period(self, query: Query) -> tuple[int, int]:
        """The period asked for; without one, the fair-share window up to now."""
        now = self._parts.clock.now()
        # What is held now is held until now: later than that nothing is known.
        end = min(query.instant("end") or now, now)
        window = self._parts.config.scheduler.window_days * DAY_MS
        start = query.instant("start")
        if start is None:
            start = max(0, end - window)
        if start > end:
            raise BadInput("start must not be after end, nor in the future.", field="start")
        if end - start > PERIOD_DAYS_MAX * DAY_MS:
            raise BadInput(
                f"The period is longer than {PERIOD_DAYS_MAX} days.",
                field="start",
                solution="Ask for it in parts; they add up exactly.",
            )
        return start, end

    def _answer(
        self, caller: Caller, start: int, end: int, by: str | None, as_csv: bool
    ) -> Response:
        rows = ledger(self._parts.store, caller.instance.crn, start, end)
        entries: Sequence[dict[str, Any]] = [_entry(row) for row in rows]
        totals = _sums(entries)
        columns: Sequence[str] = COLUMNS
        if by is not None:
            columns = (*GROUPINGS[by], *totals)
            entries = _grouped(entries, GROUPINGS[by])
        if as_csv:
            return _csv(columns, entries)
        period = {"start_time": iso(start), "end_time": iso(end)}
        return reply({"period": period, "entries": entries, "totals": totals})


def _entry(row: LedgerRow) -> dict[str, Any]:
    it = row.entry
    return {
        "start": iso(it.start),
        "end": iso(it.end),
        "milliseconds": it.ms,
        "use": it.use.value,
        "charged": it.charged,
        "mode": _MODES[it.kind],
        "job_id": it.job,
        "session_id": it.group,
        "user_id": row.user_id,  # of a deleted job nobody knows: any member may have been
        "instance_id": it.instance,
        "backend": it.backend,
    }


def _sums(entries: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Milliseconds of each use, and how many of all are charged."""
    sums = {f"{use.value}_milliseconds": 0 for use in Use} | {"charged_milliseconds": 0}
    for each in entries:
        sums[f"{each['use']}_milliseconds"] += each["milliseconds"]
        if each["charged"]:
            sums["charged_milliseconds"] += each["milliseconds"]
    return sums


def _grouped(entries: Iterable[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Sums for each combination of `keys`, in the order in which they first appear."""
    parts: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for each in entries:
        parts.setdefault(tuple(each[key] for key in keys), []).append(each)
    return [dict(zip(keys, whose, strict=True)) | _sums(part) for whose, part in parts.items()]


def _csv(columns: Sequence[str], entries: Iterable[dict[str, Any]]) -> Response:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(entries)
    headers = {"content-disposition": 'attachment; filename="usage-ledger.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)
