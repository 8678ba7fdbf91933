"""Which files of a shelf are wanted, and the removal of those that are not.

Removing from a bucket takes a request, and a bucket may hang. So what is to go from there goes in a
thread of its own, after the transaction that found it unused; from a folder it goes at once. Who
writes a file says so first: then it is not removed any more, or it has been before they write.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from qdwell.errors import StoreUnavailable
from qdwell.store.shelves import Shelf


@dataclass(slots=True)
class _Hold:
    count: int = 0
    written: bool = False
    doomed: bool = False  #: nobody has asked for it since it was to be removed


class Wanted:
    """Holds on the files of one shelf. Safe to use from several threads."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._changed = threading.Condition()
        self._held: dict[str, _Hold] = {}
        self._doomed: dict[str, None] = {}  #: in order
        self._going: set[str] = set()
        self._thread: threading.Thread | None = None

    def hold(self, key: str) -> None:
        """Nobody removes this file until `let_go`, as often as it was held."""
        with self._changed:
            self._held.setdefault(key, _Hold()).count += 1

    def held(self) -> frozenset[str]:
        """The files that are held now."""
        with self._changed:
            return frozenset(self._held)

    def written(self, key: str) -> None:
        """A file that is held is there."""
        with self._changed:
            if key in self._held:
                self._held[key].written = True

    def is_there(self, key: str) -> bool:
        """Whether it is held, and written: then who refers to it need not ask the shelf."""
        with self._changed:
            hold = self._held.get(key)
            if hold is None or not hold.written:
                return False
            hold.doomed = False
            return True

    def let_go(self, key: str) -> None:
        """One hold less. With the last one it goes, if it was to be removed meanwhile."""
        with self._changed:
            hold = self._held.get(key)
            if hold is None:
                return
            hold.count -= 1
            if not hold.count:
                del self._held[key]
        if not hold.count and hold.doomed:
            self.doom([key])

    def save(self, key: str) -> None:
        """It will be written: its removal is called off, or is over when this returns."""
        with self._changed:
            self._doomed.pop(key, None)
            self._changed.wait_for(lambda: key not in self._going)

    def doom(self, keys: Iterable[str]) -> None:
        """Have these removed; one that is held, when it is let go and nobody refers to it."""
        if not self._shelf.remote:
            for key in keys:
                with self._changed:
                    free = self._claim(key)
                if free:
                    self._remove(key)
            return
        with self._changed:
            self._doomed.update(dict.fromkeys(keys))
            if self._doomed and self._thread is None:
                self._thread = threading.Thread(
                    target=self._remove_all, name="blob-removal", daemon=True
                )
                self._thread.start()

    def settle(self) -> None:
        """Return when nothing is left to be removed."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._doomed or self._going))

    def _remove_all(self) -> None:
        while (key := self._next()) is not None:
            try:
                self._remove(key)
            except StoreUnavailable as error:  # it is in the way until the next sweep
                import structlog  # brings rich: commands that log nothing shall not wait for it

                structlog.get_logger().error("blob not removed", key=key, error=str(error))

    def _next(self) -> str | None:
        """The next one that is free to go; None: none is left, and the thread ends."""
        with self._changed:
            while self._doomed:
                key = next(iter(self._doomed))
                del self._doomed[key]
                if self._claim(key):
                    return key
            self._thread = None
            self._changed.notify_all()
            return None

    def _claim(self, key: str) -> bool:
        """Whether it is free to go, under the lock: whoever writes it waits from now on."""
        if key in self._held:
            self._held[key].doomed = True
            return False
        self._going.add(key)
        return True

    def _remove(self, key: str) -> None:
        try:
            self._shelf.remove(key)
        finally:
            with self._changed:
                self._going.discard(key)
                self._changed.notify_all()
