"""What the console lists: jobs by more filters than the API has, and quick however many there are.

Counting every match of a filter would read the whole table for a number that nobody needs to the
last digit, so counting stops at `COUNT_MAX`. Every query names the instance (S13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select

from qdwell.core.job import FINAL, JobState
from qdwell.store import Store
from qdwell.store.reads import tags_of
from qdwell.store.records import JobRow
from qdwell.store.rows import job_row_of, select_job_rows
from qdwell.store.tables import job_tags, jobs

COUNT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs to show; what is not set lets everything through. Bounds are inclusive, in ms."""

    states: Sequence[JobState] = ()
    backend: str | None = None
    group: str | None = None  #: id of a session or batch
    tag: str | None = None
    text: str | None = None  #: beginning of an id, or letters in a tag or the program's name
    created_after: int | None = None
    created_before: int | None = None

    def conditions(self, instance: str) -> list[ColumnElement[bool]]:
        """Spell the filter as conditions on `jobs`."""
        found: list[ColumnElement[bool]] = [jobs.c.instance == instance]
        if self.states:
            found += _in_states(self.states)
        if self.backend is not None:
            found.append(jobs.c.backend == self.backend)
        if self.group is not None:
            # By the index of groups: SQLite would else look through the instance's jobs for them.
            mine = select(jobs.c.seq).where(jobs.c.group == self.group)
            found.append(jobs.c.seq.in_(mine))
        if self.tag is not None:
            found.append(jobs.c.id.in_(select(job_tags.c.job).where(job_tags.c.tag == self.tag)))
        if self.text is not None:
            alike = func.lower(job_tags.c.tag).contains(self.text.lower(), autoescape=True)
            found.append(
                or_(
                    jobs.c.id.startswith(self.text, autoescape=True),
                    jobs.c.program_id.contains(self.text.lower(), autoescape=True),
                    jobs.c.id.in_(select(job_tags.c.job).where(alike)),
                )
            )
        if self.created_after is not None:
            found.append(jobs.c.created >= self.created_after)
        if self.created_before is not None:
            found.append(jobs.c.created <= self.created_before)
        return found


def _in_states(states: Sequence[JobState]) -> list[ColumnElement[bool]]:
    """The condition; of jobs that have not ended also the words of the index that has them all."""
    found: list[ColumnElement[bool]] = [jobs.c.state.in_([state.value for state in states])]
    if FINAL.isdisjoint(states):
        found.append(jobs.c.finished_at.is_(None))
    return found


def browse(
    store: Store, instance: str, wanted: Wanted, *, limit: int, offset: int = 0
) -> tuple[list[JobRow], int]:
    """One page of jobs, newest first, and how many match; more than `COUNT_MAX` are not counted."""
    conditions = wanted.conditions(instance)
    page = select_job_rows().where(*conditions).order_by(jobs.c.seq.desc())
    matches = select(jobs.c.seq).where(*conditions).limit(COUNT_MAX + 1).subquery()
    with store.database.reading() as connection:
        rows = connection.execute(page.limit(limit).offset(offset)).all()
        tags = tags_of(connection, [row[0] for row in rows])
        if len(rows) < limit and (rows or not offset):
            count = offset + len(rows)  # the page has the last of them: they are counted
        else:
            count = connection.execute(select(func.count()).select_from(matches)).scalar_one()
    return [job_row_of(row, tags.get(row[0], ())) for row in rows], count


def in_order(store: Store, instance: str, group: str, *, limit: int) -> list[JobRow]:
    """The jobs of a session or batch in the order in which they were accepted, the last `limit`."""
    rows, _ = browse(store, instance, Wanted(group=group), limit=limit)
    return rows[::-1]
