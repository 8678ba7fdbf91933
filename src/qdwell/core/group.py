"""The group machine: sessions and batches (S8, S10, B1), one table, one record.

*Accepting jobs* is a flag and not a state. The two `pending_*` states are shown to users as
`active` (S9). A group
is *live* (holds the backend in its way) in ACTIVE and both pending states; at most one group per
backend is (P4).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qdwell.core.records import changed
from qdwell.errors import IllegalMove


class Mode(StrEnum):
    """The execution mode of a group, in the words of the wire."""

    SESSION = "dedicated"  # exclusive: nobody else runs on the backend while it is live (S18)
    BATCH = "batch"  # scheduled as a unit; others may use free lanes (B2, B3)


class GroupState(StrEnum):
    """Where a group is (S8)."""

    OPEN = "open"  # created, no job of it has started
    ACTIVE = "active"  # jobs run, or the next one is awaited
    INACTIVE = "inactive"  # no priority, nothing runs; its next job may start a new window
    PENDING_INACTIVE = "pending_inactive"  # active TTL used up while jobs still run (S26)
    PENDING_CLOSED = (
        "pending_closed"  # ended while jobs are still in the QPU or behind it (S27, S29)
    )
    CLOSED = "closed"  # final


class Ending(StrEnum):
    """Why a group was closed; the workload list needs it (I14)."""

    CLOSE = "close"  # the user closed it, or left its `with` block (S28, S30)
    CANCEL = "cancel"  # the user cancelled it (S29)
    MAX_TTL = "max_ttl"  # S27
    UNUSED = "unused"  # S31
    USAGE_LIMIT = "usage_limit"  # I9


_G = GroupState

TRANSITIONS: dict[GroupState, frozenset[GroupState]] = {
    _G.OPEN: frozenset({_G.ACTIVE, _G.CLOSED}),
    _G.ACTIVE: frozenset({_G.INACTIVE, _G.PENDING_INACTIVE, _G.PENDING_CLOSED, _G.CLOSED}),
    _G.INACTIVE: frozenset({_G.ACTIVE, _G.CLOSED}),
    _G.PENDING_INACTIVE: frozenset({_G.INACTIVE, _G.PENDING_CLOSED, _G.CLOSED}),
    _G.PENDING_CLOSED: frozenset({_G.CLOSED}),
    _G.CLOSED: frozenset(),
}

LIVE = frozenset({_G.ACTIVE, _G.PENDING_INACTIVE, _G.PENDING_CLOSED})

REPORTED: dict[GroupState, str] = {  # S8, S9: the REST enumeration has four values
    _G.OPEN: "open",
    _G.ACTIVE: "active",
    _G.INACTIVE: "inactive",
    _G.PENDING_INACTIVE: "active",
    _G.PENDING_CLOSED: "active",
    _G.CLOSED: "closed",
}


@dataclass(frozen=True, slots=True)
class Group:
    """What the scheduler knows of one session or batch. Times in milliseconds since the epoch, None
    until reached.
    """

    id: str
    seq: int  #: order of creation over the whole server
    mode: Mode
    instance: str
    backend: str
    created: int
    interactive_ttl_ms: int
    max_ttl_ms: int | None  #: None until the first job fixes it (S5)
    max_ttl_cap_ms: int = 28_800_000  #: the plan's maximum; bounds what the first job fixes (S5)
    active_ttl_ms: int | None = None  #: bound of one window; None means max_ttl_ms (S26)
    state: GroupState = GroupState.OPEN
    accepting: bool = True
    ending: Ending | None = None  #: set when it is told to end; how it ended once CLOSED
    idle_since: int | None = (
        None  #: since when it has had no unfinished job; starts S22 and S31 timers
    )
    keep_alive_until: int | None = (
        None  #: until when a session stays ACTIVE without work, beyond its interactive TTL
    )
    started_at: int | None = None  #: first activation; starts the max-TTL clock, once (S16)
    activated_at: int | None = None  #: latest activation
    charging_since: int | None = (
        None  #: start of the open charge of a session's window, None if not charged now
    )
    closed_at: int | None = None
    last_job_started: int | None = None
    last_job_completed: int | None = None
    usage_ms: int = (
        0  #: closed charges so far: windows of a session (U4), quantum time of a batch (U3)
    )

    @property
    def live(self) -> bool:
        """Whether it is active in the sense of P4: ACTIVE or a pending state."""
        return self.state in LIVE

    @property
    def session(self) -> bool:
        """Whether it is a dedicated session."""
        return self.mode is Mode.SESSION

    @property
    def window_end(self) -> int | None:
        """The latest end of its present window by its TTLs (S26, S27), None if it is not active.

        What runs then may still finish.
        """
        if self.state is not GroupState.ACTIVE:
            return None
        assert self.started_at is not None
        assert self.activated_at is not None
        assert self.max_ttl_ms is not None
        end = self.started_at + self.max_ttl_ms
        if self.active_ttl_ms is not None:
            end = min(end, self.activated_at + self.active_ttl_ms)
        return end

    def evolve(self, **changes: Any) -> Group:
        """Return the group with other fields changed, in the same state."""
        return changed(self, **changes)

    def usage_at(self, now: int) -> int | None:
        """Usage so far in milliseconds, None before the first activation (U5)."""
        if self.started_at is None:
            return None
        if self.charging_since is None:
            return self.usage_ms
        return self.usage_ms + max(0, now - self.charging_since)


def group_moved(group: Group, to: GroupState, **changes: Any) -> Group:
    """Return the group in state `to`; raise `IllegalMove` if the table has no such move."""
    if to not in TRANSITIONS[group.state]:
        raise IllegalMove(f"{group.mode} {group.id} cannot go from {group.state} to {to}")
    return changed(group, state=to, **changes)
