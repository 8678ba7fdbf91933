"""Short words for what tests of a store do: accounts, jobs, groups, and their ways."""

from __future__ import annotations

from typing import Any

from qdwell.core.decisions import PutGroup, PutJob
from qdwell.core.group import Group, GroupState, Mode, group_moved
from qdwell.core.job import Job, JobState, moved
from qdwell.store import Extras, JobDetails, Store, accounts

NOW = 1_767_225_600_000
DAY_MS = 86_400_000
WINDOW_MS = 28 * DAY_MS
S = JobState

# The way of a job that nothing happens to, with the time that each step sets.
WAY: tuple[tuple[JobState, dict[str, int]], ...] = (
    (S.PREPARING, {"running_at": NOW + 1, "attempt": 1, "prepare_tries": 1}),
    (S.READY, {"ready_at": NOW + 2}),
    (S.EXECUTING, {"executing_at": NOW + 3, "attempt": 2, "execute_tries": 1}),
    (S.EXECUTED, {"executed_at": NOW + 5, "quantum_ms": 2}),
    (S.POSTPROCESSING, {"attempt": 3, "postprocess_tries": 1}),
    (S.COMPLETED, {"finished_at": NOW + 6}),
)


def steps(job: Job, until: JobState = S.COMPLETED) -> list[PutJob]:
    """The decisions that bring a job from where it is to `until`."""
    puts = []
    names = [state for state, _ in WAY]
    start = 0 if job.state is S.QUEUED else names.index(job.state) + 1
    for state, changes in WAY[start:]:
        was, job = job.state, moved(job, state, **changes)
        puts.append(PutJob(job, was, f"to {state}", NOW + len(puts)))
        if state is until:
            break
    return puts


class World:
    """A store, two accounts in it, and a counter."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.alice = accounts.create_account(store, "alice", "default", NOW)
        self.bob = accounts.create_account(store, "bob", "default", NOW)
        self.a = self.alice.instance_crn
        self.b = self.bob.instance_crn
        self.seq = 0

    def new_job(self, **fields: Any) -> Job:
        """A job that nobody has submitted yet."""
        self.seq += 1
        return Job(
            **{
                "id": f"job{self.seq}",
                "seq": self.seq,
                "instance": self.a,
                "backend": "qpu",
                "created": NOW,
                **fields,
            }
        )

    def new_group(self, **fields: Any) -> Group:
        """A session that nobody has opened yet."""
        self.seq += 1
        return Group(
            **{
                "id": f"group{self.seq}",
                "seq": self.seq,
                "mode": Mode.SESSION,
                "instance": self.a,
                "backend": "qpu",
                "created": NOW,
                "interactive_ttl_ms": 60_000,
                "max_ttl_ms": 28_800_000,
                **fields,
            }
        )

    def details(self, job: Job, params: bytes = b"{}", **fields: Any) -> JobDetails:
        """What the user of a job said."""
        owner = self.alice if job.instance == self.a else self.bob
        return JobDetails(
            **{
                "job_id": job.id,
                "program_id": "sampler",
                "params": self.store.blobs.stage(params),
                "params_bytes": len(params),
                "user_id": owner.user_id,
                **fields,
            }
        )

    def submit(self, job: Job | None = None, params: bytes = b"{}", **fields: Any) -> Job:
        """Commit a new job; `fields` are those of its details."""
        job = job or self.new_job()
        extras = Extras(details=(self.details(job, params, **fields),))
        self.store.commit([PutJob(job, None, "accepted", job.created)], job.created, extras)
        return job

    def advance(self, job: Job, until: JobState = S.COMPLETED, **extras: Any) -> Job:
        """Commit all steps of a job up to `until`, in one transaction."""
        puts = steps(job, until)
        self.store.commit(puts, NOW + 6, Extras(**extras))
        return puts[-1].job

    def finished(self, params: bytes = b"{}", result: bytes = b"[]", **fields: Any) -> Job:
        """Commit a whole job, with a result."""
        job = self.submit(params=params, **fields)
        return self.advance(job, results={job.id: self.store.blobs.stage(result)})

    def open(self, group: Group | None = None) -> Group:
        """Commit a new group."""
        group = group or self.new_group()
        owner = self.alice if group.instance == self.a else self.bob
        self.store.commit(
            [PutGroup(group, None, "created", group.created)],
            group.created,
            Extras(group_users={group.id: owner.user_id}),
        )
        return group

    def change(self, group: Group, to: GroupState, at: int = NOW + 10, **changes: Any) -> Group:
        """Commit one move of a group."""
        after = group_moved(group, to, **changes)
        self.store.commit([PutGroup(after, group.state, f"to {to}", at)], at)
        return after

    def pending(self) -> list[str]:
        """Ids of the jobs that a start would find."""
        return [job.id for job in self.store.load(NOW, WINDOW_MS).snapshot.jobs]
