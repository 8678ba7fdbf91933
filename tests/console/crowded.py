"""A store after a busy month: 100,000 jobs of two instances, some hundred sessions and batches.

Rows are written as they are: through the engine it would take minutes.
"""

from __future__ import annotations

from typing import Any

from qdwell.store import Store, accounts
from qdwell.store.tables import charges, events, groups, job_tags, jobs

BACKEND = "qpu"
JOBS = 100_000
GROUPS = 400
JOBS_OF_GROUP = 20
MONTH_MS = 28 * 86_400_000
END = 1_795_262_400_000  # 2026-11-21T12:00:00Z
STEP = MONTH_MS // JOBS
_RARE = 9_999  # every so many jobs, one with a rare tag, or one that failed


def fill(store: Store, first: accounts.Credentials, other: accounts.Credentials) -> None:
    """Write it all in one transaction."""
    begin = END - MONTH_MS
    with store.database.writing() as connection:
        connection.execute(groups.insert(), [_group(n, first, begin) for n in range(GROUPS)])
        connection.execute(
            events.insert(), [row for n in range(GROUPS) for row in _story(n, begin)]
        )
        for at in range(0, JOBS, 10_000):
            some = range(at, at + 10_000)
            rows = [_job(n, first if n % 3 else other, begin) for n in some]
            connection.execute(jobs.insert(), rows)
            connection.execute(charges.insert(), [_charge(row) for row in rows])
            connection.execute(job_tags.insert(), [_tag(n) for n in some if n % 5 == 0])


def _group_at(n: int, begin: int) -> int:
    """Groups are spread evenly over the month, each as long as its jobs."""
    return begin + n * (JOBS // GROUPS) * STEP


def _group(n: int, owner: accounts.Credentials, begin: int) -> dict[str, Any]:
    at = _group_at(n, begin)
    row: dict[str, Any] = dict.fromkeys(column.key for column in groups.c)
    return row | {
        "id": f"group{n}",
        "seq": JOBS * 2 + n,
        "mode": "dedicated" if n % 2 else "batch",
        "instance": owner.instance_crn,
        "backend": BACKEND,
        "user_id": owner.user_id,
        "created": at,
        "interactive_ttl_ms": 60_000,
        "max_ttl_ms": 28_800_000,
        "max_ttl_cap_ms": 28_800_000,
        "state": "closed",
        "accepting": False,
        "ending": "close",
        "started_at": at,
        "activated_at": at,
        "closed_at": at + JOBS_OF_GROUP * STEP,
        "usage_ms": JOBS_OF_GROUP * STEP,
    }


def _story(n: int, begin: int) -> list[dict[str, Any]]:
    at = _group_at(n, begin)
    ways = (("open", "active", at), ("active", "closed", at + JOBS_OF_GROUP * STEP))
    return [
        {"subject": f"group{n}", "at": when, "what": "group", "before": was, "after": to,
         "cause": "told", "attempt": None}
        for was, to, when in ways
    ]  # fmt: skip


def _job(n: int, owner: accounts.Credentials, begin: int) -> dict[str, Any]:
    at = begin + n * STEP
    number, place = divmod(n, JOBS // GROUPS)
    grouped = place < JOBS_OF_GROUP and owner.account_id and n % 3
    failed = n % _RARE == 1
    row: dict[str, Any] = dict.fromkeys(column.key for column in jobs.c)
    return row | {
        "id": f"job{n}",
        "seq": n + 1,
        "instance": owner.instance_crn,
        "backend": BACKEND,
        "created": at,
        "group": f"group{number}" if grouped else None,
        "limit_ms": 10_800_000,
        "limit_asked": False,
        "estimate_ms": 2_000,
        "state": "failed" if failed else "completed",
        "attempt": 3,
        "prepare_tries": 1,
        "execute_tries": 1,
        "postprocess_tries": 1,
        "running_at": at + 10,
        "ready_at": at + 50,
        "executing_at": at + 60,
        "executed_at": at + STEP // 2,
        "finished_at": at + STEP // 2 + 20,
        "quantum_ms": STEP // 2 - 60,
        "downtime_ms": 0,
        "code": 5203 if failed else None,
        "reason": "The run failed." if failed else None,
        "program_id": "sampler",
        "params_bytes": 100,
        "user_id": owner.user_id,
        "private": False,
    }


def _charge(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{row['id']}:{row['executing_at']}",
        "instance": row["instance"],
        "backend": BACKEND,
        "kind": "job",
        "job": row["id"],
        "group": None,
        "start": row["executing_at"],
        "end": row["executed_at"],
        "charged": True,
    }


def _tag(n: int) -> dict[str, Any]:
    return {"job": f"job{n}", "n": 0, "tag": "rare" if n % (_RARE + 1) == 0 else f"run {n % 50}"}
