"""What a machine did, summed up by columns of the timeline, and kept where it cannot change.

Columns stand on a grid that does not move with the time: column n is the nth of its width since the
epoch. So a live picture moves by whole columns, and those of the past are asked for once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from qdwell.store import Store, occupancy
from qdwell.store.occupancy import Occupied

COLUMNS = 300
_BLOCK = 60  # columns that are kept together
_KEPT = 400  # blocks
_KEPT_MS = 3_600_000  # a deleted job leaves the past (J30), which shows after this at the latest


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns `first` to `last` (not included) of `width` ms each."""

    width: int
    first: int
    last: int

    @property
    def start(self) -> int:
        """The first column's beginning, ms."""
        return self.first * self.width

    @property
    def end(self) -> int:
        """The last column's end, ms."""
        return self.last * self.width


def grid(start: int, end: int) -> Grid:
    """The columns of a picture of [start, end)."""
    width = max(1, -(-(end - start) // COLUMNS))
    return Grid(width, start // width, -(-end // width))


_Key = tuple[str, str, int, int]


class Sums:
    """Asks the store for columns, and keeps blocks of them that cannot change any more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()  # pages are made in threads
        self._kept: OrderedDict[_Key, tuple[int, list[Occupied]]] = OrderedDict()

    def occupied(self, backend: str, instance: str, columns: Grid, now: int) -> list[Occupied]:
        """One entry for each column, as an instance's member sees the machine."""
        settled = occupancy.settled_before(self._store, backend, now)
        blocks = range(columns.first // _BLOCK, -(-columns.last // _BLOCK))
        found: dict[int, list[Occupied]] = {}
        for block in blocks:
            when, kept = self._kept.get((backend, instance, columns.width, block), (0, None))
            if kept is not None and now - when < _KEPT_MS:
                found[block] = kept
        for first, last in _runs([it for it in blocks if it not in found]):
            start, end = (it * _BLOCK * columns.width for it in (first, last))
            steps = (last - first) * _BLOCK
            made = occupancy.occupied(self._store, backend, instance, start, end, steps, now)
            for block in range(first, last):
                at = (block - first) * _BLOCK
                found[block] = made[at : at + _BLOCK]
                if (block + 1) * _BLOCK * columns.width <= settled:
                    self._keep((backend, instance, columns.width, block), now, found[block])
        line = [it for block in blocks for it in found[block]]
        skip = columns.first - blocks[0] * _BLOCK
        return line[skip : skip + columns.last - columns.first]

    def _keep(self, key: _Key, now: int, block: list[Occupied]) -> None:
        with self._lock:
            self._kept[key] = (now, block)
            self._kept.move_to_end(key)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Stretches of neighbours, each as its first and the one behind its last."""
    begin = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield numbers[begin], numbers[at - 1] + 1
            begin = at
