"""Content-addressed caches of prepared things, one for each session or batch (S37).

A hit only shortens preparation; it never changes a result. Groups never share: what one user's
session has cached says nothing to another's. A job outside a group gets a cache of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import Any, TypeVar

T = TypeVar("T")


def _one(_: object) -> int:
    return 1


#: What the caches of one worker may hold together, in instructions: about 100 MB. A hostile session
#: cannot grow beyond it, and the groups used longest ago go first.
_WEIGHT_MAX = 1_000_000


def content_key(text: str) -> bytes:
    """The address of an encoded value: a hash of its text."""
    return blake2b(text.encode(), digest_size=16).digest()


class Cache:
    """Prepared things of one group, by content. `hits` and `misses` count the calls of `get`.

    Each thing has a weight; the things used longest ago go when the sum passes `weight_max`.
    """

    def __init__(self, weight_max: int = _WEIGHT_MAX) -> None:
        self.hits = 0
        self.misses = 0
        self.weight = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._weight_max = weight_max

    def get(self, key: Hashable, make: Callable[[], T], weigh: Callable[[T], int] = _one) -> T:
        """The thing under `key`; `make` makes it if it is not there. Its errors are not kept."""
        if key in self._entries:
            self.hits += 1
            self._entries.move_to_end(key)
            found: T = self._entries[key][0]
            return found
        self.misses += 1
        made = make()
        weight = weigh(made)
        self._entries[key] = made, weight
        self.weight += weight
        while self.weight > self._weight_max:
            _, (_, gone) = self._entries.popitem(last=False)
            self.weight -= gone
        return made


class Caches:
    """The caches of all groups that a worker serves, of `weight_max` together."""

    def __init__(self, weight_max: int = _WEIGHT_MAX) -> None:
        self._groups: OrderedDict[str, Cache] = OrderedDict()
        self._weight_max = weight_max

    def of(self, group_id: str | None) -> Cache:
        """The group's cache; a new and unshared one for a job without a group."""
        if group_id is None:
            return Cache(self._weight_max)
        cache = self._groups.setdefault(group_id, Cache(self._weight_max))
        self._groups.move_to_end(group_id)
        # What the last job added is counted now; the group at hand stays, whatever it weighs.
        total = sum(it.weight for it in self._groups.values())
        while total > self._weight_max and len(self._groups) > 1:
            total -= self._groups.popitem(last=False)[1].weight
        return cache

    def drop(self, group_id: str) -> None:
        """Empty the cache of a group that has closed."""
        self._groups.pop(group_id, None)
