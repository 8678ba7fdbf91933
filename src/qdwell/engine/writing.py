"""What one turn writes: which findings are kept, and how they go into the one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qdwell.core.decisions import Decision, PutJob
from qdwell.core.events import SubmitJob
from qdwell.core.job import Job, JobState
from qdwell.engine.inbox import Item
from qdwell.engine.inputs import InputShelf
from qdwell.engine.runs import Findings
from qdwell.store import Extras, JobRow, Store


def wanted(decisions: Iterable[Decision], found: Findings, live: Mapping[str, Job]) -> Findings:
    """Findings of reports that the core took; a late one leaves nothing behind."""
    states: dict[str, set[JobState]] = {}
    for put in decisions:
        if isinstance(put, PutJob):
            states.setdefault(put.job.id, set()).add(put.job.state)

    def known(job: str) -> bool:
        return job in states or job in live

    def reached(job: str, state: JobState) -> bool:
        return state in states.get(job, ())

    return Findings(
        facts={job: it for job, it in found.facts.items() if known(job)},
        results={job: it for job, it in found.results.items() if reached(job, JobState.COMPLETED)},
        raw={job: it for job, it in found.raw.items() if reached(job, JobState.EXECUTED)},
        interim=[it for it in found.interim if known(it[0])],
        logs={job: it for job, it in found.logs.items() if known(job)},
        runs=[it for it in found.runs if known(it.job)],
    )


def ended(shelf: InputShelf, stored: Extras, job: Job) -> JobRow | None:
    """The row of a job that ended with this commit, as a reader would find it.

    None: not all of it is known here, or its end has erased something (J29).
    """
    work, facts = shelf.known(job.id), stored.facts.get(job.id)
    if work is None or facts is None or work.details.private:
        return None
    return JobRow(job, work.details, facts, stored.results.get(job.id))


def write(
    store: Store, decisions: Sequence[Decision], now: int, found: Findings, items: Sequence[Item]
) -> Extras:
    """In the writer's thread: content first, then the one transaction that refers to it.

    Returns what was written beside the decisions, with the names that it has in the store.
    """
    stage = store.blobs.stage
    details = [
        item.new.details(item.event.job.id, stage(item.new.params))
        for item in items
        if isinstance(item.event, SubmitJob) and item.new is not None
    ]
    extras = Extras(
        details=tuple(details),
        facts=found.facts,
        results={job: stage(content) for job, content in found.results.items()},
        raw={job: stage(content) for job, content in found.raw.items()},
        interim=tuple((job, n, stage(content)) for job, n, content in found.interim),
        logs=found.logs,
        group_users=dict(item.group_user for item in items if item.group_user is not None),
        runs=tuple(found.runs),
    )
    store.commit(decisions, now, extras)
    return extras
