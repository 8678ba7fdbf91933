"""The world's own books: what was stored, what users were told, and what the devices did.

They outlive every process. `Life` is an auditor that hears each event and decision whose commit
has happened, from the first start to the end, over all restarts; so it finds what a scheduler that
begins anew after a crash could not know to be wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.world import AuditedScheduler
from qdwell.core.audit import Auditor
from qdwell.core.decisions import Decision
from qdwell.core.events import Event, ServiceResumed
from qdwell.core.group import GroupState
from qdwell.core.state import Settings, Snapshot
from qdwell.store import Store

Told = tuple[Sequence[Event], list[Decision], int]
FINAL = ("Completed", "Cancelled", "Failed")
ORDER = {"Queued": 0, "Running": 1, **dict.fromkeys(FINAL, 2)}


class Life:
    """Hears what was decided, and believes it when it is stored."""

    def __init__(self, settings: Settings) -> None:
        self.auditor = Auditor(settings)
        self._waiting: list[Told] = []
        self.commits = 0
        self.decisions = 0

    def decided(self, events: Sequence[Event], decisions: list[Decision], now: int) -> None:
        """A scheduler has decided; it is not stored yet."""
        self.decisions += 1
        if self._waiting and any(isinstance(event, ServiceResumed) for event in events):
            # A start is decided in two steps and stored in one.
            before, made, _ = self._waiting.pop()
            self._waiting.append(([*before, *events], [*made, *decisions], now))
        else:
            self._waiting.append((events, decisions, now))

    def forget(self) -> None:
        """Memory was thrown away: what was decided and not stored has not happened."""
        self._waiting.clear()

    def stored(self, decisions: Sequence[Decision]) -> None:
        """A commit has happened, of these decisions."""
        self.commits += 1
        told, self._waiting = self._waiting, []
        assert [it for _, made, _ in told for it in made] == list(decisions), (
            "what was stored is not what was decided"
        )
        for events, made, now in told:
            self.auditor.observe(events, made, now)

    def compare(self, store: Store, now: int, window_ms: int) -> None:
        """The store gives back exactly what was stored."""
        found: Snapshot = store.load(now, window_ms).snapshot
        mine = self.auditor.snapshot(now)
        for kind in ("jobs", "groups"):
            here = {it.id: it for it in getattr(found, kind)}
            there = {it.id: it for it in getattr(mine, kind)}
            assert here == there, f"{kind} in the store differ: {_differences(here, there)}"
        assert {it.backend: _at_rest(it) for it in found.backends} == {
            it.backend: _at_rest(it) for it in mine.backends
        }
        assert {it.id: it for it in found.charges} == {it.id: it for it in mine.charges}

    def check_over(self) -> None:
        """At the end all work is done (P6)."""
        live = [job.id for job in self.auditor.jobs.values() if not job.final]
        assert not live, f"P6: not final at the end: {live}"
        groups = [it for it in self.auditor.groups.values() if it.state is not GroupState.CLOSED]
        assert not groups, f"P6: not closed at the end: {groups}"


def _at_rest(record: Any) -> Any:
    return dataclasses.replace(record, at=0)


def _differences(here: dict[str, Any], there: dict[str, Any]) -> list[Any]:
    return [(here.get(key), there.get(key)) for key in here.keys() | there.keys()
            if here.get(key) != there.get(key)][:3]  # fmt: skip


def listening(life: Life) -> type[AuditedScheduler]:
    """A class of schedulers that are held to P1-P18, and tell what they decide."""

    class Listening(AuditedScheduler):
        def __init__(self, settings: Settings, snapshot: Snapshot | None = None) -> None:
            super().__init__(settings, snapshot)
            life.forget()

        def decide(self, events: Sequence[Event], now: int) -> list[Decision]:
            decisions = super().decide(events, now)
            life.decided(events, decisions, now)
            return decisions

    return Listening


@dataclass
class Order:
    """One job that a user wants, and what became of it as far as the user knows."""

    name: str
    of: dict[str, Any]
    state: str = "new"  #: new, asking, acknowledged, refused, told no (5xx), unknown
    id: str | None = None
    key: str | None = None
    faults: int = 0  #: answers 5xx
    word: str = ""  #: the last state that was shown
    result_read: bool = False
    deleted: bool = False
    may_be_gone: bool = False  #: a request to delete it is under way, or died

    def shown(self, word: str, before: str) -> None:
        """The service shows a state: it never goes back, and a final one never changes.

        `before` is what had been shown when it was asked: answers of two requests that were under
        way at the same time may overtake each other.
        """
        if before:
            assert ORDER[word] >= ORDER[before], f"{self.name} was {before}, now {word}"
        if word in FINAL and self.word in FINAL:
            assert word == self.word, f"{self.name}: {self.word}, {word}"
        if not self.word or ORDER[word] > ORDER[self.word]:
            self.word = word


@dataclass
class Wish:
    """One session or batch that a user wants."""

    name: str
    of: dict[str, Any]
    state: str = "new"
    id: str | None = None
    faults: int = 0


@dataclass
class Count:
    """What a world has been through."""

    starts: int = 0
    deaths: int = 0
    commits: int = 0
    decisions: int = 0
    requests: int = 0
    acknowledged: int = 0
    faults: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
