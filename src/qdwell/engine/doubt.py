"""Requests whose commit failed half-way: are they stored or not?

A database may fail in the commit itself, as on a disk that is full or a connection that drops.
Then nobody knows whether the turn is stored until the database is read again. Its requests are not
answered before that, because an answer 5xx says "nothing happened", and the stock client repeats a
submission after it. Only if the database stays away for longer than `MOST_MS` they are answered
5xx; if it comes back with one of them stored after all, that one is cancelled before anything is
done for it. So after a 5xx no job runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qdwell.core.decisions import Refusal, Refuse
from qdwell.core.events import (
    CancelGroup,
    CancelJob,
    CloseGroup,
    CreateGroup,
    Event,
    KeepAlive,
    SetBackendMode,
    SubmitJob,
)
from qdwell.core.group import Group
from qdwell.core.job import CODE_CANCELLED, Job
from qdwell.core.state import State
from qdwell.engine.inbox import Item
from qdwell.store import Store

MOST_MS = 10_000  # a client that waits longer thinks that we are gone


class Doubt:
    """The requests of failed commits that nobody knows the outcome of, and those denied since."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._denied: list[Event] = []

    def take(self, items: Sequence[Item]) -> None:
        """A commit with these failed half-way."""
        self._items += [item for item in items if item.answer is not None]

    def deny(self) -> list[Item]:
        """The database stays away: return whom to tell so, and remember what was denied."""
        told, self._items = self._items, []
        self._denied += [
            item.event for item in told if isinstance(item.event, SubmitJob | CreateGroup)
        ]
        return told

    def undo(self, state: State) -> list[Event]:
        """The database is back: what takes back what was denied, and is stored after all."""
        back: list[Event] = []
        for event in self._denied:
            if isinstance(event, SubmitJob) and event.job.id in state.jobs:
                back.append(CancelJob(event.job.id))
            elif isinstance(event, CreateGroup) and event.group.id in state.groups:
                back.append(CancelGroup(event.group.id))
        return back

    def look(
        self, store: Store, live: Mapping[str, Job], state: State
    ) -> list[tuple[Item, bool, Refuse | None]]:
        """Each request, whether it is stored, and the refusal that it gets then. Blocks.

        `live`: the jobs before the commit; `state`: what is stored.
        """
        return [(item, *_outcome(item.event, store, live, state)) for item in self._items]

    def clear(self) -> None:
        """All of them are answered, and what was denied is taken back: it is stored so."""
        self._items.clear()
        self._denied.clear()


def _outcome(
    event: Event | None, store: Store, live: Mapping[str, Job], state: State
) -> tuple[bool, Refuse | None]:
    """Whether a request is stored, and the refusal that it gets then."""
    match event:
        case SubmitJob():
            return store.job(event.job.instance, event.job.id) is not None, None
        case CreateGroup():
            return store.group(event.group.instance, event.group.id) is not None, None
        case CancelJob():
            before = live.get(event.job)
            row = None if before is None else store.job(before.instance, event.job)
            if row is None or not row.job.final:
                return False, None
            if row.job.code == CODE_CANCELLED:
                return True, None
            return True, Refuse(Refusal.UNKNOWN_JOB, event.job)
        case CloseGroup() | CancelGroup():
            group: Group | None = state.groups.get(event.group)
            return group is None or not group.accepting, None
        case KeepAlive():
            group = state.groups.get(event.group)
            return group is not None and group.keep_alive_until == event.until, None
        case SetBackendMode():
            machine = state.machines.get(event.backend)
            return machine is not None and machine.mode is event.mode, None
    return False, None
