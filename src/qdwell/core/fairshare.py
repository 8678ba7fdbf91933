"""Fair share (Q8): whose turn it is, among the instances that wait for one machine.

The account with the least D_k/A_k goes first, then its instance with the least D_i/A_i, then that
instance's oldest
job. D is usage in the window plus the reservation of what is in flight. Ratios are compared by
cross-multiplication,
exactly (Q9).

Theory. Most instances stand still: their D changes only when they are charged, and then they are
*re-keyed* in a
sorted list. A few *move* by themselves (an open charge, or the window's edge passes through an old
one: at most two
per backend), and those are compared one by one at each decision. So a decision costs a handful of
comparisons,
whatever the number of accounts or of queued jobs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from qdwell.core.job import Job
from qdwell.core.usage import Ledger


@dataclass(frozen=True, slots=True)
class Share:
    """A ratio used/allocation, compared exactly."""

    used: int
    allocation: int

    def __lt__(self, other: Share) -> bool:
        return self.used * other.allocation < other.used * self.allocation

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Share)
        return self.used * other.allocation == other.used * self.allocation

    def __hash__(self) -> int:
        raise TypeError("equal shares can have different parts, so a share has no hash")


Key = tuple[Share, int, int, str]  # share; created and sequence of the oldest job; whose it is


@dataclass(slots=True)
class Instance:
    """One instance: its plan's numbers, and what it has in flight."""

    id: str
    account: str
    allocation_ms: int
    limit_ms: int | None = None
    spend_limit_ms: int | None = None
    pending_max: int | None = None
    pending: int = 0  #: Queued plus Running jobs (L11)
    reserved_ms: int = (
        0  #: estimates of its jobs in PREPARING and READY, sessions' not counted (Q8)
    )
    executing: dict[str, tuple[int, int]] = field(default_factory=dict)  #: job to (estimate, since)
    still_ms: int = 0  #: its part of the account's constant sum; 0 while it moves
    groups: dict[str, None] = field(default_factory=dict)  #: its groups that are not closed

    @property
    def hold_ms(self) -> int | None:
        """Usage at which its queued jobs wait: the smaller of both limits, None without one."""
        limits = [x for x in (self.limit_ms, self.spend_limit_ms) if x is not None]
        return min(limits, default=None)


@dataclass(slots=True)
class Account:
    """One account: its instances, and the part of its demand that stands still."""

    id: str
    fixed_allocation_ms: int | None = None
    instances: dict[str, None] = field(default_factory=dict)
    moving: dict[str, None] = field(default_factory=dict)
    still_ms: int = 0
    allocation_ms: int = field(init=False)  #: `Books.put` sets it
    lines: dict[FairQueue, None] = field(default_factory=dict)  #: queues in which it waits


class Books:
    """Demand of every instance and account (D of Q8), and who is held (I8)."""

    def __init__(self, window_ms: int) -> None:
        self.ledger = Ledger(window_ms)
        self.instances: dict[str, Instance] = {}
        self.accounts: dict[str, Account] = {}
        self.moving_accounts: dict[str, None] = {}

    def put(self, new: Instance, account_allocation_ms: int | None, now: int) -> Instance:
        """Add an instance or change its numbers; what it has in flight stays."""
        instance = self.instances.setdefault(new.id, new)
        if instance is not new:
            instance.allocation_ms = new.allocation_ms
            instance.limit_ms = new.limit_ms
            instance.spend_limit_ms = new.spend_limit_ms
            instance.pending_max = new.pending_max
        account = self.accounts.setdefault(instance.account, Account(instance.account))
        account.instances[instance.id] = None
        account.fixed_allocation_ms = account_allocation_ms
        account.allocation_ms = account_allocation_ms or sum(
            self.instances[each].allocation_ms for each in account.instances
        )
        self.touch(instance.id, now)
        return instance

    def demand(self, instance: Instance, now: int) -> int:
        """D_i: usage in the window plus what is reserved in flight."""
        demand = self.ledger.used(instance.id, now) + instance.reserved_ms
        for estimate, since in instance.executing.values():
            demand += max(0, estimate - (now - since))
        return demand

    def account_demand(self, account: Account, now: int) -> int:
        """D_k: the sum over the account's instances."""
        moving = (self.demand(self.instances[each], now) for each in account.moving)
        return account.still_ms + sum(moving)

    def held(self, instance: Instance, now: int) -> bool:
        """Whether its usage has reached its limit, so that its queued jobs wait (I8, I9)."""
        limit = instance.hold_ms
        return limit is not None and self.ledger.used(instance.id, now) >= limit

    def touch(self, instance_id: str, now: int) -> None:
        """Bring sums and keys up to date after anything in D_i or A_i has changed."""
        instance = self.instances[instance_id]
        account = self.accounts[instance.account]
        account.still_ms -= instance.still_ms
        if self.ledger.of(instance_id).moving:
            instance.still_ms = 0
            account.moving[instance_id] = None
            self.moving_accounts[account.id] = None
        else:
            instance.still_ms = self.demand(instance, now)
            account.moving.pop(instance_id, None)
            if not account.moving:
                self.moving_accounts.pop(account.id, None)
        account.still_ms += instance.still_ms
        for line in account.lines:
            line.rekey(account, instance, now)

    def advance(self, now: int) -> None:
        """Let the window's edge pass and re-key whom it met."""
        for instance in self.ledger.advance(now):
            if instance in self.instances:
                self.touch(instance, now)


class SortedKeys:
    """Keys in order, one per id."""

    def __init__(self) -> None:
        self._sorted: list[Key] = []
        self._key_of: dict[str, Key] = {}

    def put(self, key: Key) -> None:
        """Insert, or move what stands under the same id."""
        old = self._key_of.get(key[3])
        if old is not None:
            del self._sorted[bisect_left(self._sorted, old)]
        insort(self._sorted, key)
        self._key_of[key[3]] = key

    def discard(self, owner: str) -> None:
        """Remove if there."""
        old = self._key_of.pop(owner, None)
        if old is not None:
            del self._sorted[bisect_left(self._sorted, old)]

    def first(self) -> Key | None:
        """Return the least key, None if empty."""
        return self._sorted[0] if self._sorted else None


class FairQueue:
    """The jobs that wait for one machine, in fair-share order.

    `queued` tells if a job still waits: jobs leave a line from its middle (cancel), so lines are
    cleaned lazily.
    `holds` false: limits do not hold anybody here, since a simulator costs nothing (C5, T18).
    """

    def __init__(self, books: Books, queued: Callable[[str], bool], holds: bool = True) -> None:
        self._books = books
        self._queued = queued
        self._holds = holds
        self._lines: dict[str, deque[Job]] = {}
        self._accounts = SortedKeys()
        self._instances: dict[str, SortedKeys] = {}
        self._waiting: dict[str, dict[str, None]] = {}  # account to its instances with a line

    def push(self, job: Job, now: int) -> None:
        """Append a job to the line of its instance."""
        instance = self._books.instances[job.instance]
        line = self._lines.get(instance.id)
        if line is None:
            line = self._lines[instance.id] = deque()
        line.append(job)
        if len(line) == 1:
            account = self._books.accounts[instance.account]
            account.lines[self] = None
            self._waiting.setdefault(account.id, {})[instance.id] = None
            self.rekey(account, instance, now)

    def lines(self) -> Iterator[Iterator[Job]]:
        """Iterate over the line of each instance: its waiting jobs, the oldest first (Q30)."""
        for line in self._lines.values():
            yield (job for job in line if self._queued(job.id))

    def settle(self, instance_id: str, now: int) -> None:
        """A job of this instance has left its line: clean the front and re-key."""
        line = self._lines[instance_id]
        while line and not self._queued(line[0].id):
            line.popleft()
        instance = self._books.instances[instance_id]
        account = self._books.accounts[instance.account]
        if not line:
            del self._lines[instance_id]
            del self._waiting[account.id][instance_id]
            if not self._waiting[account.id]:
                del self._waiting[account.id]
        self.rekey(account, instance, now)
        if account.id not in self._waiting:
            account.lines.pop(self, None)

    def rekey(self, account: Account, instance: Instance, now: int) -> None:
        """Put instance and account where they belong in the order."""
        keys = self._instances.setdefault(account.id, SortedKeys())
        line = self._lines.get(instance.id)
        if line and instance.id not in account.moving and not self._held(instance, now):
            share = Share(self._books.demand(instance, now), instance.allocation_ms)
            keys.put((share, line[0].created, line[0].seq, instance.id))
        else:
            keys.discard(instance.id)
        best = keys.first()
        if account.moving or best is None:
            self._accounts.discard(account.id)
        else:
            self._accounts.put(self._account_key(account, now))
        if account.id not in self._waiting:
            del self._instances[account.id]

    def _held(self, instance: Instance, now: int) -> bool:
        return self._holds and self._books.held(instance, now)

    def _account_key(self, account: Account, now: int) -> Key:
        oldest = min(
            (self._lines[each][0] for each in self._eligible(account, now)),
            key=lambda job: (job.created, job.seq),
        )
        share = Share(self._books.account_demand(account, now), account.allocation_ms)
        return (share, oldest.created, oldest.seq, account.id)

    def _eligible(self, account: Account, now: int) -> Iterable[str]:
        for each in self._waiting.get(account.id, ()):
            if not self._held(self._books.instances[each], now):
                yield each

    def pick(self, now: int) -> Job | None:
        """Return the job whose turn it is, None if nobody eligible waits."""
        keys = [self._accounts.first()]
        for each in self._books.moving_accounts:
            account = self._books.accounts[each]
            if any(True for _ in self._eligible(account, now)):
                keys.append(self._account_key(account, now))
        best = min((key for key in keys if key is not None), default=None)
        if best is None:
            return None
        return self._pick_in(self._books.accounts[best[3]], now)

    def _pick_in(self, account: Account, now: int) -> Job:
        keys = [self._instances[account.id].first()]
        for each in account.moving:
            instance = self._books.instances[each]
            line = self._lines.get(each)
            if line and not self._held(instance, now):
                share = Share(self._books.demand(instance, now), instance.allocation_ms)
                keys.append((share, line[0].created, line[0].seq, each))
        best = min(key for key in keys if key is not None)
        return self._lines[best[3]][0]
