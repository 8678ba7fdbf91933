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

#: Entries of one group; a circuit makes about three. The oldest unused one goes first.
_ENTRIES_MAX = 1024

#: Groups with a warm cache in one worker.
_GROUPS_MAX = 64


def content_key(text: str) -> bytes:
    """The address of an encoded value: a hash of its text."""
    return blake2b(text.encode(), digest_size=16).digest()


class Cache:
    """Prepared things of one group, by content. `hits` and `misses` count the calls of `get`."""

    def __init__(self, entries_max: int = _ENTRIES_MAX) -> None:
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._entries_max = entries_max

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The thing under `key`; `make` makes it if it is not there. Its errors are not kept."""
        if key in self._entries:
            self.hits += 1
            self._entries.move_to_end(key)
            found: T = self._entries[key]
            return found
        self.misses += 1
        made = make()
        self._entries[key] = made
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
        return made


class Caches:
    """The caches of all groups that a worker serves."""

    def __init__(self, groups_max: int = _GROUPS_MAX) -> None:
        self._groups: OrderedDict[str, Cache] = OrderedDict()
        self._groups_max = groups_max

    def of(self, group_id: str | None) -> Cache:
        """The group's cache; a new and unshared one for a job without a group."""
        if group_id is None:
            return Cache()
        if group_id not in self._groups:
            self._groups[group_id] = Cache()
            if len(self._groups) > self._groups_max:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group_id)
        return self._groups[group_id]

    def drop(self, group_id: str) -> None:
        """Empty the cache of a group that has closed."""
        self._groups.pop(group_id, None)
