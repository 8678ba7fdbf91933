"""After `os.fork`: the child starts anew.

A connection cannot be used by two processes, a lock that another thread held at the fork is never
released, and threads do not come along. So whatever has one of these is listed here, and forgets
it in the child. Jobs, sessions, and services made before the fork can be used in both processes;
callbacks stay with the parent.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgets(Protocol):
    """Something that a fork may not share."""

    def after_fork(self) -> None:
        """Begin anew, in the child; nobody else is running there."""
        ...


_known: weakref.WeakSet[Forgets] = weakref.WeakSet()


def watch(item: Forgets) -> None:
    """Tell an object, for as long as it lives, that it is in the child of a fork."""
    _known.add(item)


def _tell_all() -> None:
    for item in list(_known):
        item.after_fork()


os.register_at_fork(after_in_child=_tell_all)
