"""One commit: a list of decisions and what goes with them, as rows, in one transaction.

A job that moves several times in one list is written once, as it stands at the end, while its
story gets every step. The order of writing keeps each guard honest: first what frees (jobs that
end make room under the pending limit), then what is new, then what closes (a group that closes in
this list took the jobs that came before).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection

from qdwell.core.decisions import Decision, Note, PutBackendState, PutCharge, PutGroup, PutJob
from qdwell.errors import StaleWrite, StoreError
from qdwell.store.blobs import INLINE_BYTES_MAX, Blobs, StagedHash
from qdwell.store.records import Extras
from qdwell.store.rows import (
    Values,
    backend_values,
    charge_values,
    detail_values,
    facts_json,
    group_values,
    job_values,
)
from qdwell.store.statements import Statement, Statements

Put = TypeVar("Put")
Dropped = dict[str, str | None]  # hashes of deleted blobs, with the keys of their files


@dataclass(slots=True)
class Steps(Generic[Put]):
    """The first and the last of one record's steps in a list."""

    first: Put
    last: Put


@dataclass(slots=True)
class Batch:
    """A list of decisions, sorted out."""

    jobs: dict[str, Steps[PutJob]] = field(default_factory=dict)
    groups: dict[str, Steps[PutGroup]] = field(default_factory=dict)
    backends: dict[str, PutBackendState] = field(default_factory=dict)
    charges: dict[str, PutCharge] = field(default_factory=dict)
    story: list[Values] = field(default_factory=list)
    endings: list[Values] = field(default_factory=list)
    last_seq: int = 0


def gather(decisions: Sequence[Decision]) -> Batch:
    """Sort out a list of decisions; actions and refusals are the engine's.

    Raises:
        StaleWrite: the list contradicts itself.
    """
    batch = Batch()
    for decision in decisions:
        match decision:
            case PutJob():
                _gather_job(batch, decision)
            case PutGroup():
                _gather_group(batch, decision)
            case PutBackendState():
                batch.backends[decision.backend] = decision
            case PutCharge():
                batch.charges[decision.id] = decision
            case Note():
                batch.story.append(_line(decision.subject, decision.at, "note", decision.text))
    return batch


def _gather_job(batch: Batch, put: PutJob) -> None:
    job = put.job
    steps = batch.jobs.get(job.id)
    if steps is None:
        batch.jobs[job.id] = Steps(put, put)
    elif put.was != steps.last.job.state:
        raise StaleWrite(
            f"job {job.id} was decided to be {steps.last.job.state}, then taken for {put.was}"
        )
    else:
        steps.last = put
    if put.was is None:
        group = batch.groups.get(job.group) if job.group is not None else None
        if group is not None and not group.last.group.accepting:
            raise StaleWrite(f"job {job.id} was decided after its group {job.group} was closed")
        batch.last_seq = max(batch.last_seq, job.seq)
    batch.story.append(_line(job.id, put.at, "job", put.cause, put.was, job.state, job.attempt))


def _gather_group(batch: Batch, put: PutGroup) -> None:
    group = put.group
    steps = batch.groups.get(group.id)
    if steps is None:
        batch.groups[group.id] = Steps(put, put)
    elif put.was != steps.last.group.state:
        raise StaleWrite(
            f"group {group.id} was decided to be {steps.last.group.state}, then taken for {put.was}"
        )
    accepted = steps is None or steps.last.group.accepting
    if steps is not None:
        steps.last = put
    if put.was is None:
        batch.last_seq = max(batch.last_seq, group.seq)
    line = _line(group.id, put.at, "group", put.cause, put.was, group.state)
    if put.was != group.state:
        batch.story.append(line)
    elif accepted and not group.accepting:
        # Only the row knows whether this is news.
        batch.endings.append(line)


def _line(
    subject: str,
    at: int,
    what: str,
    cause: str,
    before: str | None = None,
    after: str | None = None,
    attempt: int | None = None,
) -> Values:
    return {
        "subject": subject,
        "at": at,
        "what": what,
        "before": before,
        "after": after,
        "cause": cause,
        "attempt": attempt,
    }


class Writer:
    """Writes batches inside a transaction that somebody else began."""

    def __init__(self, statements: Statements, blobs: Blobs) -> None:
        self._do = statements
        self._blobs = blobs

    def write(self, connection: Connection, batch: Batch, now: int, extras: Extras) -> Dropped:
        """Write everything; return the blobs that were deleted.

        Raises:
            StaleWrite: a guard failed; the caller's transaction must be undone.
        """
        do = self._do
        new_groups = [it.first for it in batch.groups.values() if it.first.was is None]
        self._insert_groups(connection, new_groups, extras)
        moved = [it for it in batch.jobs.values() if it.first.was is not None]
        _guarded(connection, do.move_job, [_move(it) for it in moved], "job")
        self._insert_jobs(connection, batch, extras)
        do.note_ending.run_all(connection, batch.endings)
        changed = [it for it in batch.groups.values() if it.last.was is not None]
        _guarded(connection, do.move_group, [_change(it) for it in changed], "group")
        do.put_backend.run_all(connection, [backend_values(it) for it in batch.backends.values()])
        _guarded(
            connection,
            do.put_charge,
            [charge_values(it) for it in batch.charges.values()],
            "charge",
        )
        self._insert_extras(connection, extras)
        do.add_event.run_all(connection, batch.story)
        ended = [job_id for job_id, it in batch.jobs.items() if it.last.job.final]
        dropped = self.erase(
            connection, [row for job_id in ended for row in self._erasable(connection, job_id)]
        )
        do.mark_server.run(connection, {"alive": now, "seq": batch.last_seq})
        return dropped

    def erase(
        self, connection: Connection, references: Iterable[tuple[str, str, int, str]]
    ) -> Dropped:
        """Delete references (job, role, number, hash), and each blob that none is left of."""
        dropped: Dropped = {}
        for job, role, n, name in references:
            self._do.unrefer.run(connection, {"job": job, "role": role, "n": n})
            for length, key in self._do.drop_blob.fetch(connection, {"hash": name}):
                dropped[name] = key if length is None else None
        return dropped

    def tag(self, connection: Connection, job_id: str, tags: Iterable[str]) -> None:
        """Add tags to a job that has none, in order, each once."""
        self._do.add_tag.run_all(connection, _tag_rows(job_id, tags))

    def _erasable(self, connection: Connection, job_id: str) -> list[tuple[str, str, int, str]]:
        rows = self._do.find_erasable.fetch(connection, {"job": job_id})
        return [(job_id, *row) for row in rows]

    def _insert_groups(
        self, connection: Connection, puts: Sequence[PutGroup], extras: Extras
    ) -> None:
        rows = []
        for put in puts:
            user_id = extras.group_users.get(put.group.id)
            if user_id is None:
                raise StoreError(f"group {put.group.id} is new, but Extras.group_users lacks it")
            rows.append({**group_values(put.group), "user_id": user_id})
        _guarded(connection, self._do.insert_group, rows, "new group")

    def _insert_jobs(self, connection: Connection, batch: Batch, extras: Extras) -> None:
        details = {it.job_id: it for it in extras.details}
        rows = []
        for job_id, steps in batch.jobs.items():
            if steps.first.was is None:
                described = details.get(job_id)
                if described is None:
                    raise StoreError(f"job {job_id} is new, but Extras.details lacks it")
                rows.append({**job_values(steps.last.job), **detail_values(described)})
        _guarded(connection, self._do.insert_job, rows, "new job")
        self._do.add_tag.run_all(
            connection, [row for it in extras.details for row in _tag_rows(it.job_id, it.tags)]
        )

    def _insert_extras(self, connection: Connection, extras: Extras) -> None:
        do = self._do
        facts = [{"old_id": job, "facts": facts_json(it)} for job, it in extras.facts.items()]
        do.set_facts.run_all(connection, facts)
        logs = [{"job": job, "text": text} for job, text in extras.logs.items()]
        do.add_log.run_all(connection, logs)
        do.put_run.run_all(connection, [asdict(it) for it in extras.runs])
        references = [
            *((it.job_id, "params", 0, it.params) for it in extras.details),
            *((job, "raw", 0, name) for job, name in extras.raw.items()),
            *((job, "result", 0, name) for job, name in extras.results.items()),
            *((job, "interim", n, name) for job, n, name in extras.interim),
        ]
        do.add_blob.run_all(
            connection, [row for *_, name in references for row in self._blob_rows(name)]
        )
        do.refer.run_all(
            connection,
            [
                {"job": job, "role": role, "n": n, "hash": str(name)}
                for job, role, n, name in references
            ],
        )

    def _blob_rows(self, name: str) -> list[Values]:
        """The row of a blob, with its file made sure of; none, if it is not new."""
        if not isinstance(name, StagedHash):
            # A plain name refers to what is stored; only a file may still lack its row.
            size = self._blobs.file_size(name)
            key = self._blobs.key(name)
            row = {"hash": name, "size": size, "content": None, "file": key}
            return [] if size is None else [row]
        content = name.content
        if len(content) <= INLINE_BYTES_MAX:
            return [{"hash": str(name), "size": len(content), "content": content, "file": None}]
        # There since it was staged, unless its last other user was deleted meanwhile.
        key = self._blobs.write_file(name, content)
        return [{"hash": str(name), "size": len(content), "content": None, "file": key}]


def _tag_rows(job_id: str, tags: Iterable[str]) -> list[Values]:
    return [{"job": job_id, "n": n, "tag": tag} for n, tag in enumerate(dict.fromkeys(tags))]


def _guarded(
    connection: Connection, statement: Statement, rows: Sequence[Values], what: str
) -> None:
    if rows and statement.run_all(connection, rows) != len(rows):
        names = ", ".join(str(row["id"]) for row in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        one_of = "" if len(rows) == 1 else "one of "
        raise StaleWrite(
            f"{one_of}{what} {names}{more} is not as it was when this was decided: "
            "nothing was written; load again and decide again"
        )


def _move(steps: Steps[PutJob]) -> Values:
    job = steps.last.job
    return {
        **job_values(job),
        "old_id": job.id,
        "old_state": steps.first.was,
        "old_attempt": steps.first.job.attempt,
    }


def _change(steps: Steps[PutGroup]) -> Values:
    group = steps.last.group
    new = steps.first.was is None
    return {
        **group_values(group),
        "old_id": group.id,
        "old_state": steps.first.group.state if new else steps.first.was,
        "may_accept": steps.first.group.accepting if new else group.accepting,
    }
