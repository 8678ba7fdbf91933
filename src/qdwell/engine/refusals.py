"""From the core's refusals to the errors that users are answered (semantics section 11)."""

from __future__ import annotations

from qdwell.core.decisions import Refusal, Refuse
from qdwell.core.job import Job
from qdwell.errors import (
    BackendOffline,
    LimitAboveMaxTtl,
    NoGroupOnSimulator,
    PendingLimit,
    RepeatedJob,
    RequestError,
    SessionClosed,
    SpendLimitReached,
    UnknownBackend,
    UnknownSession,
    WrongBackend,
)
from qdwell.store import Store


def of_job(store: Store, refuse: Refuse, job: Job, used_ms: int) -> RequestError:
    """Why a submission was refused. Reads the store: a group may be closed rather than unknown."""
    group = job.group or ""
    if refuse.refusal is Refusal.REPEATED_JOB:
        return RepeatedJob(job.id)
    match refuse.refusal:
        case Refusal.UNKNOWN_GROUP:
            # The core forgets a closed group; only its own instance may learn that it was one.
            known = store.group(job.instance, group) is not None
            return SessionClosed(group) if known else UnknownSession(group)
        case Refusal.GROUP_CLOSED:
            return SessionClosed(group)
        case Refusal.WRONG_BACKEND:
            row = store.group(job.instance, group)
            return WrongBackend(job.backend, row.group.backend if row is not None else "another")
        case Refusal.LIMIT_ABOVE_MAX_TTL:
            return LimitAboveMaxTtl((refuse.asked or 0) // 1000, (refuse.limit or 0) // 1000)
        case Refusal.PENDING_LIMIT:
            return PendingLimit(refuse.limit or 0)
    return of_group(refuse, job.backend, used_ms)


def of_group(refuse: Refuse, backend: str, used_ms: int) -> RequestError:
    """Why a session or batch was not opened; a submission may be refused for the same reasons."""
    if refuse.refusal is Refusal.SPEND_LIMIT:
        return SpendLimitReached(used_ms // 1000, (refuse.limit or 0) // 1000)
    if refuse.refusal is Refusal.BACKEND_OFFLINE:
        return BackendOffline(backend)
    if refuse.refusal is Refusal.NO_GROUP_ON_SIMULATOR:
        return NoGroupOnSimulator(backend)
    return UnknownBackend(backend)
