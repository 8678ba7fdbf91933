"""A long queue, written into the store of a server that is not running."""

from __future__ import annotations

import json
from pathlib import Path

from qdwell.clock import SystemClock
from qdwell.core.decisions import PutJob
from qdwell.core.job import Job
from qdwell.store import Extras, JobDetails, accounts, new_id, open_store

INSTANCES = 1_000
_PART = 1_000


def fill(data: Path, backend: str, count: int) -> None:
    """Add so many queued jobs of a thousand instances to a machine's queue."""
    store = open_store(data)
    now = SystemClock().now()
    known = [it.crn for it in accounts.all_instances(store)]
    while len(known) < INSTANCES:
        made = accounts.create_account(store, f"crowd-{len(known)}", "default", now)
        known.append(made.instance_crn)
    params = json.dumps({"pubs": [], "version": 2}).encode()
    name = store.blobs.stage(params)
    seq = store.load(now, 1).next_seq
    for start in range(0, count, _PART):
        decisions, details = [], []
        for at in range(start, min(start + _PART, count)):
            job_id = new_id(now)
            # Not the first instance: it is the one that works.
            owner = known[1 + at % (len(known) - 1)]
            job = Job(job_id, seq + at, owner, backend, now, estimate_ms=2_000)
            decisions.append(PutJob(job, None, now, "queued for a benchmark"))
            details.append(JobDetails(job_id, "sampler", name, len(params), "nobody"))
        store.commit(decisions, now, Extras(details=tuple(details)))
    store.close()
