"""What is known: the live jobs and groups, the machines, and their indexes.

Only work that is not final is here; the rest is in the store. Memory is a cache of the store:
`Snapshot` is what the
store gives at start, and the indexes are made from it. Nothing outside `moves` writes here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from qdwell.core.decisions import PutBackendState, PutCharge
from qdwell.core.events import BackendMode
from qdwell.core.fairshare import Books, FairQueue, Instance
from qdwell.core.group import Group
from qdwell.core.job import Job, JobState

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers that hold for the whole server."""

    window_ms: int = 28 * DAY_MS  #: of fair share and limits (Q3)
    unused_close_ms: int = 1_800_000  #: S31


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the store remembers of live work. Jobs and groups in order of `seq`."""

    jobs: Sequence[Job] = ()  #: those not final
    groups: Sequence[Group] = ()  #: those not closed
    backends: Sequence[PutBackendState] = ()
    charges: Sequence[PutCharge] = ()  #: charged ones, open or ended inside the window


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds the QPU. `stopping`: the job is final, and the device's confirmation is awaited
    (J20).
    """

    job: str
    attempt: int
    at: int
    stopping: bool = False


@dataclass(slots=True)
class GroupWork:
    """The unfinished jobs of a group."""

    queued: deque[str] = field(
        default_factory=deque
    )  #: may hold ids that have left; `queued_count` is exact
    queued_count: int = 0
    running: dict[str, None] = field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether it has a Queued or RUNNING job (S22)."""
        return bool(self.queued_count or self.running)


class Machine:
    """One backend: what survives a restart (`PutBackendState`), and the indexes over its jobs."""

    def __init__(
        self, name: str, simulator: bool, lanes: int, lock_window: bool, state: State
    ) -> None:
        self.name = name
        self.simulator = simulator
        self.lanes = lanes
        self.lock_window = lock_window
        self.mode = BackendMode.ONLINE
        self.mode_reason = ""
        self.present = False  #: whether its device's process is there; each start tells it anew
        self.lease: Lease | None = None
        self.reservation: str | None = None
        self.lock: str | None = None
        self.live_group: str | None = None  #: the one group that is ACTIVE or pending (P4)
        self.running: dict[str, None] = {}  #: jobs that hold a lane
        self.ready: dict[str, None] = {}
        self.queued_count = 0
        self.everyone = FairQueue(state.books, state.is_queued, holds=not simulator)
        self.job_mode = FairQueue(
            state.books, state.is_queued
        )  #: the same without groups' jobs (B4)

    @property
    def lanes_used(self) -> int:
        """Lanes held: by RUNNING jobs, and by a run that is being stopped (J20)."""
        return len(self.running) + (self.lease is not None and self.lease.stopping)

    def record(self, at: int) -> PutBackendState:
        """Return what must survive a restart."""
        lease = self.lease
        return PutBackendState(
            backend=self.name,
            mode=self.mode,
            mode_reason=self.mode_reason,
            lease_job=lease.job if lease else None,
            lease_attempt=lease.attempt if lease else None,
            lease_at=lease.at if lease else None,
            lease_stopping=bool(lease and lease.stopping),
            reservation=self.reservation,
            lock=self.lock,
            at=at,
        )


class State:
    """All live memory of the scheduler."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        self.groups: dict[str, Group] = {}
        self.work: dict[str, GroupWork] = {}
        self.machines: dict[str, Machine] = {}
        self.books = Books(settings.window_ms)

    @property
    def instances(self) -> dict[str, Instance]:
        """Instances by id."""
        return self.books.instances

    def is_queued(self, job_id: str) -> bool:
        """Whether the job is live and waits for a lane."""
        job = self.jobs.get(job_id)
        return job is not None and job.state is JobState.QUEUED

    def usage_ms(self, instance: str, now: int) -> int:
        """U_i of Q8: charged milliseconds in the window that ends now."""
        return self.books.ledger.used(instance, now)

    def queue_length(self, backend: str) -> int:
        """Number of Queued jobs (I10)."""
        return self.machines[backend].queued_count

    def group_of(self, job: Job) -> Group | None:
        """The job's session or batch, None in job mode."""
        return self.groups[job.group] if job.group is not None else None

    def live_group(self, machine: Machine) -> Group | None:
        """The group that is ACTIVE or pending on a machine."""
        return self.groups[machine.live_group] if machine.live_group is not None else None

    def reserves(self, job: Job) -> bool:
        """Whether the job counts in R_i of Q8: on a machine, and not in a session."""
        group = self.group_of(job)
        simulator = self.machines[job.backend].simulator
        return not simulator and not (group is not None and group.session)

    def oldest_queued(self, group_id: str) -> Job | None:
        """First Queued job of a group, in order of acceptance (S17)."""
        line = self.work[group_id].queued
        while line and not self.is_queued(line[0]):
            line.popleft()
        return self.jobs[line[0]] if line else None
