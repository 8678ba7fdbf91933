"""The tasks before a pool's workers: users take turns, each one's own keep their order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdwell.engine.pools import Task


class Line:
    """Waiting tasks, by owner. Without a `share` all are one owner's, and go in order.

    Args:
        share: how many workers one owner may have at work while others may need one.
    """

    def __init__(self, share: int | None = None) -> None:
        self.share = share
        self._of: dict[str, deque[Task]] = {}  # the owner whose turn is next is first

    def __bool__(self) -> bool:
        return bool(self._of)

    def __iter__(self) -> Iterator[Task]:
        return (task for tasks in self._of.values() for task in tasks)

    def add(self, task: Task) -> None:
        """Put it at its owner's end."""
        self._of.setdefault(self._owner(task), deque()).append(task)

    def remove(self, task: Task) -> None:
        """Take it out, wherever it stands."""
        owner = self._owner(task)
        self._of[owner].remove(task)
        if not self._of[owner]:
            del self._of[owner]

    def take(self, at_work: list[Task]) -> Task | None:
        """The next one, given those at work; None if every owner that waits has its share."""
        busy = Counter(self._owner(task) for task in at_work)
        for owner, tasks in self._of.items():
            if self.share is None or busy[owner] < self.share:
                task = tasks.popleft()
                del self._of[owner]
                if tasks:
                    self._of[owner] = tasks  # behind the others
                return task
        return None

    def room(self, at_work: list[Task], free: int) -> int:
        """How many tasks of anybody would be taken up now, with so many free workers."""
        if self._of:
            return 0
        if self.share is None or not at_work:
            return free
        return min(free, self.share - max(Counter(map(self._owner, at_work)).values()))

    def _owner(self, task: Task) -> str:
        return "" if self.share is None else task.owner
