"""Every statement that writes, each with a name and a line that says what it is for.

They are built with SQLAlchemy, compiled once, and run on the driver's own cursor: a commit is on
the path of each job, and SQLAlchemy's way to the driver costs as much as the work itself (0.1 ms
of 0.2). The guards are here: what a statement's WHERE does not find is refused, in the same
transaction (P5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Table,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import BindParameter, ClauseElement

from qdwell.store.rows import (
    BACKEND_FIELDS,
    CHARGE_FIELDS,
    DETAIL_FIELDS,
    GROUP_FIELDS,
    JOB_FIELDS,
)
from qdwell.store.tables import (
    backends,
    blobs,
    charges,
    device_runs,
    events,
    groups,
    instances,
    job_blobs,
    job_logs,
    job_tags,
    jobs,
    server,
)

# What never changes is not written again: SQLite would rewrite the indexes that it is in.
_FIXED = {"id", "seq", "instance", "backend", "created", "group", "mode"}


class Inserts(Protocol):
    """What differs between databases: how an INSERT with ON CONFLICT is begun."""

    dialect: Dialect

    def insert(self, table: Table) -> Any:
        """Return the database's own INSERT for `table`."""
        ...


class Cursors(Protocol):
    """A connection of SQLAlchemy, or what stands for one."""

    @property
    def connection(self) -> Any:
        """The driver's connection."""
        ...


@dataclass(frozen=True, slots=True)
class Glance:
    """A connection of the driver, as statements take it."""

    connection: Any


_T = TypeVar("_T")
_kept: dict[tuple[Any, str, str], Any] = {}


def kept(kind: Callable[[Inserts], _T], database: Inserts) -> _T:
    """The `kind` of statements for a database; made once for each dialect in a process.

    Compiling them takes longer than opening a database, and a takeover should not wait for it.
    """
    key = (kind, database.dialect.name, database.dialect.paramstyle)
    if key not in _kept:
        _kept[key] = kind(database)
    made: _T = _kept[key]
    return made


class Statement:
    """One statement, compiled once. `run` takes the values of its parameters by name."""

    def __init__(self, clause: ClauseElement, dialect: Dialect) -> None:
        compiled = clause.compile(dialect=dialect)
        self.text = str(compiled)
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)
        self._constants = {
            key: value for key, value in compiled.params.items() if value is not None
        }

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it once; return how many rows it changed."""
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self.text, self._arguments(values))
            return cursor.rowcount
        finally:
            cursor.close()

    def run_all(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Run it once for each of `rows`; return how many rows it changed together."""
        if len(rows) == 1:
            return self.run(connection, rows[0])
        if not rows:
            return 0
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(self.text, [self._arguments(row) for row in rows])
            return cursor.rowcount
        finally:
            cursor.close()

    def fetch(self, connection: Cursors, values: Mapping[str, Any]) -> list[Any]:
        """Run it as a query; return its rows."""
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self.text, self._arguments(values))
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def _arguments(self, values: Mapping[str, Any]) -> Any:
        constants = self._constants
        if self._order is None:
            return {**constants, **values}
        return [values[key] if key in values else constants[key] for key in self._order]


def _given(table: Table, key: str) -> BindParameter[Any]:
    """Stand for the value of a column."""
    return bindparam(key, type_=table.c[key].type)


def _where(table: Table, key: str) -> BindParameter[Any]:
    """Stand for a value that a row is found by; SQLAlchemy wants it named unlike the columns."""
    return bindparam(f"old_{key}", type_=table.c[key].type)


class Statements:
    """The statements of a commit."""

    def __init__(self, database: Inserts) -> None:
        self._database = database
        self.insert_job = self._made(self._insert_job())
        self.move_job = self._made(_move_job())
        self.insert_group = self._made(self._insert_group())
        self.move_group = self._made(_move_group())
        self.note_ending = self._made(_note_ending())
        self.put_backend = self._made(self._put_backend())
        self.put_charge = self._made(self._put_charge())
        self.set_facts = self._made(
            update(jobs).where(jobs.c.id == _where(jobs, "id")).values(facts=_given(jobs, "facts"))
        )
        self.add_tag = self._made(
            self._database.insert(job_tags).values(
                {key: _given(job_tags, key) for key in ("job", "n", "tag")}
            )
        )
        self.add_log = self._made(self._add_log())
        self.put_run = self._made(self._put_run())
        self.add_blob = self._made(
            self._database.insert(blobs)
            .values({key: _given(blobs, key) for key in ("hash", "size", "content", "file")})
            .on_conflict_do_nothing()
        )
        self.refer = self._made(self._refer())
        self.find_erasable = self._made(_find_erasable())
        self.unrefer = self._made(_unrefer())
        self.drop_blob = self._made(_drop_blob())
        self.add_event = self._made(
            self._database.insert(events).values(
                {
                    key: _given(events, key)
                    for key in ("subject", "at", "what", "before", "after", "cause", "attempt")
                }
            )
        )
        self.mark_server = self._made(_mark_server())
        del self._database  # the statements serve others of its dialect, and must not keep it

    def _made(self, clause: ClauseElement) -> Statement:
        return Statement(clause, self._database.dialect)

    def _insert_job(self) -> ClauseElement:
        """Accept a job, if its instance may have one more and its group takes it (P5, L11)."""
        names = (*JOB_FIELDS, *DETAIL_FIELDS)
        pending = (
            select(func.count())
            .select_from(jobs)
            .where(jobs.c.instance == _given(jobs, "instance"), jobs.c.finished_at.is_(None))
            .scalar_subquery()
        )
        taken = exists().where(
            groups.c.id == _given(jobs, "group"),
            groups.c.instance == _given(jobs, "instance"),
            groups.c.backend == _given(jobs, "backend"),
            groups.c.accepting,
        )
        source = select(*(_given(jobs, name) for name in names)).where(
            instances.c.crn == _given(jobs, "instance"),
            or_(instances.c.pending_max.is_(None), pending < instances.c.pending_max),
            or_(_given(jobs, "group").is_(None), taken),
        )
        insert = self._database.insert(jobs).from_select(names, source)
        return insert.on_conflict_do_nothing()  # type: ignore[no-any-return]

    def _insert_group(self) -> ClauseElement:
        """Open a group."""
        insert = self._database.insert(groups).values(
            {name: _given(groups, name) for name in (*GROUP_FIELDS, "user_id")}
        )
        return insert.on_conflict_do_nothing()  # type: ignore[no-any-return]

    def _put_backend(self) -> ClauseElement:
        """Keep what must survive of one backend."""
        insert = self._database.insert(backends).values(
            {name: _given(backends, name) for name in BACKEND_FIELDS}
        )
        return insert.on_conflict_do_update(  # type: ignore[no-any-return]
            index_elements=["backend"],
            set_={name: insert.excluded[name] for name in BACKEND_FIELDS if name != "backend"},
        )

    def _put_charge(self) -> ClauseElement:
        """Open or end a charge; one that has ended stays, unless it was empty (U1) or is given back
        (U8).
        """
        insert = self._database.insert(charges).values(
            {name: _given(charges, name) for name in CHARGE_FIELDS}
        )
        new = insert.excluded
        return insert.on_conflict_do_update(  # type: ignore[no-any-return]
            index_elements=["id"],
            set_={"end": new["end"], "charged": new["charged"]},
            where=and_(
                charges.c.start == new["start"],
                charges.c.instance == new["instance"],
                or_(
                    charges.c.end.is_(None),
                    charges.c.end == charges.c.start,
                    and_(
                        charges.c.end == new["end"],
                        or_(charges.c.charged == new["charged"], charges.c.charged),
                    ),
                ),
            ),
        )

    def _add_log(self) -> ClauseElement:
        """Append to a job's log."""
        insert = self._database.insert(job_logs).values(
            {key: _given(job_logs, key) for key in ("job", "text")}
        )
        return insert.on_conflict_do_update(  # type: ignore[no-any-return]
            index_elements=["job"], set_={"text": job_logs.c.text + insert.excluded["text"]}
        )

    def _put_run(self) -> ClauseElement:
        """Note that a run is about to begin on a device, or what the device calls it."""
        insert = self._database.insert(device_runs).values(
            {key: _given(device_runs, key) for key in ("job", "attempt", "n", "handle", "idle_ms")}
        )
        new = insert.excluded
        return insert.on_conflict_do_update(  # type: ignore[no-any-return]
            index_elements=["job", "attempt", "n"],
            set_={
                "handle": func.coalesce(device_runs.c.handle, new["handle"]),
                "idle_ms": func.coalesce(new["idle_ms"], device_runs.c.idle_ms),
            },
        )

    def _refer(self) -> ClauseElement:
        """Make a job refer to a blob; a later attempt's result replaces an earlier one's."""
        insert = self._database.insert(job_blobs).values(
            {key: _given(job_blobs, key) for key in ("job", "role", "n", "hash")}
        )
        return insert.on_conflict_do_update(  # type: ignore[no-any-return]
            index_elements=["job", "role", "n"], set_={"hash": insert.excluded["hash"]}
        )


def _move_job() -> ClauseElement:
    """Move a job on, if it is still where the decision believed it to be."""
    return (
        update(jobs)
        .where(
            jobs.c.id == _where(jobs, "id"),
            jobs.c.state == _where(jobs, "state"),
            jobs.c.attempt <= _where(jobs, "attempt"),
        )
        .values({name: _given(jobs, name) for name in JOB_FIELDS if name not in _FIXED})
    )


def _move_group() -> ClauseElement:
    """Change a group, if it is still where it was believed; it never accepts again (S32)."""
    return (
        update(groups)
        .where(
            groups.c.id == _where(groups, "id"),
            groups.c.state == _where(groups, "state"),
            or_(groups.c.accepting, ~bindparam("may_accept", type_=Boolean())),
        )
        .values({name: _given(groups, name) for name in GROUP_FIELDS if name not in _FIXED})
    )


def _note_ending() -> ClauseElement:
    """Write the line of a group that stops accepting jobs, if it did accept them."""
    names = ("subject", "at", "what", "before", "after", "cause")
    source = select(
        *(_given(events, name) for name in names),
    ).where(groups.c.id == _given(events, "subject"), groups.c.accepting)
    return events.insert().from_select(names, source)


def _find_erasable() -> ClauseElement:
    """Find what an ended job needs no more: raw data and, of a private one, inputs (J29)."""
    return (
        select(job_blobs.c.role, job_blobs.c.n, job_blobs.c.hash)
        .join(jobs, jobs.c.id == job_blobs.c.job)
        .where(
            job_blobs.c.job == bindparam("job"),
            or_(
                job_blobs.c.role == literal("raw"),
                and_(jobs.c.private, job_blobs.c.role != literal("result")),
            ),
        )
    )


def _unrefer() -> ClauseElement:
    """Let a job refer to a blob no longer."""
    return delete(job_blobs).where(
        *(job_blobs.c[key] == bindparam(key) for key in ("job", "role", "n"))
    )


def _drop_blob() -> ClauseElement:
    """Delete a blob, if no job refers to it; return the length of its content, and a file's key.

    The length is NULL if the content is in the file, as `file_key` has it for queries; but SQLite
    may take `content IS NULL` for false among what a deletion returns.
    """
    unused = ~exists().where(job_blobs.c.hash == blobs.c.hash)
    gone = delete(blobs).where(blobs.c.hash == bindparam("hash"), unused)
    return gone.returning(func.length(blobs.c.content), func.coalesce(blobs.c.file, blobs.c.hash))


def file_key() -> ColumnElement[str | None]:
    """The key of a blob's file; NULL of a small one, which has none."""
    return case((blobs.c.content.is_(None), func.coalesce(blobs.c.file, blobs.c.hash)))


def _mark_server() -> ClauseElement:
    """Say that the server runs, and how far `seq` has come."""
    seq = bindparam("seq", type_=server.c.last_seq.type)
    return update(server).values(
        alive_at=bindparam("alive", type_=server.c.alive_at.type),
        last_seq=case((server.c.last_seq < seq, seq), else_=server.c.last_seq),
    )
