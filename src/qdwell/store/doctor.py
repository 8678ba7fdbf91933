"""What must hold in a store, whoever wrote it, asked of the rows and the files themselves.

The schema refuses impossible rows, and the guards of a commit refuse impossible changes; this finds
what neither can see: a file that rotted, a table that was edited by hand, a bug of an earlier
release. It reads one consistent view, changes nothing, and may run beside a server.

The rules of the scheduler's memory (P1-P14) are checked by `engine.checkup`, which needs the
config; here are those of the records: legal moves (P6), bills that add up (P8), one holder of
a machine at a time over the whole past (P1, P9, P10).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, and_, case, func, literal, or_, select

from qdwell.core.decisions import Held
from qdwell.core.group import TRANSITIONS as GROUP_MOVES
from qdwell.core.job import FINAL, JobState
from qdwell.core.job import TRANSITIONS as JOB_MOVES
from qdwell.store import Store
from qdwell.store.deletion import ERASED
from qdwell.store.records import Finding
from qdwell.store.statements import file_key
from qdwell.store.tables import (
    backends,
    blobs,
    charges,
    events,
    groups,
    job_blobs,
    jobs,
    server,
)


def examine(store: Store, *, read_files: bool = True) -> Iterator[Finding]:
    """Look at everything; without `read_files` the content of large blobs is not compared.

    Raises:
        StoreUnavailable: the store cannot be read to the end.
    """
    yield from store.database.ailments()
    files = set(store.blobs.shelf.keys())
    with store.database.reading() as connection:
        yield from _blobs(store, connection, files, read_files=read_files)
        yield from _jobs(connection)
        yield from _stories(connection)
        yield from _bills(connection)
        yield from _windows(connection)
        yield from _leases(connection)
        yield from _numbers(connection)


def _blobs(
    store: Store, connection: Connection, files: set[str], *, read_files: bool
) -> Iterator[Finding]:
    rows = connection.execution_options(yield_per=200).execute(
        select(blobs.c.hash, blobs.c.size, blobs.c.content, file_key())
    )
    known: set[str] = set()
    for name, size, content, key in rows:
        if key is None:
            if hashlib.sha256(content).hexdigest() != name:
                yield Finding(f"blob {name}", "its content is not what its name says")
            continue
        known.add(key)
        there = store.blobs.shelf.size(key)
        if there is None:
            # It may have been deleted since our view of the database began.
            if _still(store, name):
                yield Finding(f"blob {key}", f"its file is not in {store.blobs.shelf.name}")
        elif there != size:
            yield Finding(f"blob {key}", f"its file has {there} bytes and not {size}")
        elif read_files:
            found = store.blobs.shelf.read(key)
            if found is not None and hashlib.sha256(found).hexdigest() != name:
                yield Finding(f"blob {key}", "its file's content is not what its name says")
    if strays := files - known:
        what = f"{len(strays)} files that no row names; the server's next start removes them"
        yield Finding(store.blobs.shelf.name, what, harmless=True)


def _still(store: Store, name: str) -> bool:
    with store.database.reading() as connection:
        query = select(blobs.c.hash).where(blobs.c.hash == name)
        return connection.execute(query).first() is not None


def _jobs(connection: Connection) -> Iterator[Finding]:
    """What each job must have: its input, its raw data in between, its result at the end."""

    def has(role: str) -> Any:
        mine = and_(job_blobs.c.job == jobs.c.id, job_blobs.c.role == role)
        return select(literal(1)).where(mine).exists()

    late = (JobState.EXECUTED.value, JobState.POSTPROCESSING.value)
    final = jobs.c.state.in_([state.value for state in FINAL])
    gone = and_(events.c.subject == jobs.c.id, events.c.what == "note", events.c.cause == ERASED)
    kept = ~select(literal(1)).where(gone).exists()
    result = and_(jobs.c.state == JobState.COMPLETED.value, ~jobs.c.private, kept, ~has("result"))
    closed = and_(~final, groups.c.closed_at.is_not(None))
    strange = or_(groups.c.instance != jobs.c.instance, groups.c.backend != jobs.c.backend)
    rules: list[tuple[str, Any]] = [
        ("is completed and has no result", result),
        ("waits or runs and has no input", and_(~final, ~has("params"))),
        ("was executed and has no raw data", and_(jobs.c.state.in_(late), ~has("raw"))),
        ("is not final in a session or batch that is closed", closed),
        ("is of another instance or backend than its session or batch", strange),
    ]
    together = select(jobs.c.id).join(groups, groups.c.id == jobs.c.group, isouter=True)
    for what, broken in rules:
        for (job,) in connection.execute(together.where(broken)):
            yield Finding(f"job {job}", what)


def _stories(connection: Connection) -> Iterator[Finding]:
    """P6: every move is in the story, is legal, and the last one led to where the record is."""
    for kind, table, moves in (("job", jobs, JOB_MOVES), ("group", groups, GROUP_MOVES)):
        now = {it.id: it.state for it in connection.execute(select(table.c.id, table.c.state))}
        legal = {(str(old), str(new)) for old, after in moves.items() for new in after}
        query = (
            select(events.c.subject, events.c.before, events.c.after)
            .where(events.c.what == kind)
            .order_by(events.c.subject, events.c.id)
        )
        rows = connection.execution_options(yield_per=1_000).execute(query)
        told = set()
        for subject, lines in groupby(rows, key=lambda it: it[0]):
            told.add(subject)
            state = None
            for _, before, after in lines:
                if before == after:  # no move: such a line may stand before its commit's moves
                    continue
                if before != state or (state is not None and (before, after) not in legal):
                    yield Finding(f"{kind} {subject}", f"went from {state} to {after} (P6)")
                state = after
            if subject in now and state != now[subject]:
                what = f"is {now[subject]}, and its story ends with {state} (P6)"
                yield Finding(f"{kind} {subject}", what)
        for subject in now.keys() - told:
            yield Finding(f"{kind} {subject}", "has no story (P6)")


def _bills(connection: Connection) -> Iterator[Finding]:
    """P8: what a record says was used is the sum of its charges that have ended."""
    owed = and_(charges.c.charged, charges.c.end.is_not(None))
    length = func.coalesce(func.sum(case((owed, charges.c.end - charges.c.start), else_=0)), 0)
    by_group = select(groups.c.id, groups.c.usage_ms, length).join(
        charges, charges.c.group == groups.c.id, isouter=True
    )
    by_job = (
        select(jobs.c.id, jobs.c.quantum_ms, length)
        .join(groups, groups.c.id == jobs.c.group, isouter=True)
        .join(charges, charges.c.job == jobs.c.id)
        .where(or_(groups.c.id.is_(None), groups.c.mode != "session"))
    )
    for kind, query, table in (("group", by_group, groups), ("job", by_job, jobs)):
        used = table.c.usage_ms if table is groups else table.c.quantum_ms
        grouped = query.group_by(table.c.id, used).having(used != length)
        for name, said, sum_ms in connection.execute(grouped):
            what = f"used {said} ms by its record, and {sum_ms} ms by its charges (P8)"
            yield Finding(f"{kind} {name}", what)


def _windows(connection: Connection) -> Iterator[Finding]:
    """P1, P9, P10: no two ever held one machine at the same time, over the whole past."""
    owner = case((charges.c.kind == Held.SESSION.value, charges.c.group), else_=charges.c.job)
    # Who held it for no time at all (lost in the instant of its grant) was there before who held it
    # from that instant on.
    ended = (charges.c.end.is_(None), charges.c.end)
    query = select(
        charges.c.backend, charges.c.kind, owner, charges.c.start, charges.c.end
    ).order_by(charges.c.backend, charges.c.start, *ended, charges.c.id)
    rows = connection.execution_options(yield_per=1_000).execute(query)
    for backend, intervals in groupby(rows, key=lambda it: it[0]):
        last: Any = None
        for interval in intervals:
            _, kind, whose, start, end = interval
            if last is not None and last[2] != whose and (last[4] is None or start < last[4]):
                what = f"{_held(kind, whose)} held it before {_held(last[1], last[2])} let it go"
                yield Finding(f"backend {backend}", f"{what} (P1, P9, P10)")
            if last is None or (last[4] is not None and (end is None or end > last[4])):
                last = interval


def _held(kind: str, whose: str) -> str:
    return f"session {whose}" if kind == Held.SESSION.value else f"job {whose}"


def _leases(connection: Connection) -> Iterator[Finding]:
    """P1: who has a machine's lease is in its QPU, or is being stopped there (J20)."""
    wrong = (
        backends.c.lease_job.is_not(None),
        ~backends.c.lease_stopping,
        or_(jobs.c.id.is_(None), jobs.c.state != JobState.EXECUTING.value),
    )
    query = select(backends.c.backend, backends.c.lease_job).join(
        jobs, jobs.c.id == backends.c.lease_job, isouter=True
    )
    for backend, job in connection.execute(query.where(*wrong)):
        yield Finding(f"backend {backend}", f"is leased to job {job}, which is not in it (P1)")


def _numbers(connection: Connection) -> Iterator[Finding]:
    """What comes next gets a number that nothing has."""
    last = connection.execute(select(server.c.last_seq)).scalar_one()
    for table in (jobs, groups):
        highest = connection.execute(select(func.max(table.c.seq))).scalar()
        if highest is not None and highest > last:
            what = f"says that {last} is the last number, and {table.name} has {highest}"
            yield Finding("server", what)
