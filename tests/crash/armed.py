"""`qdwell`, armed: the process kills itself (-9) when it passes a chosen point for the n-th time.

Run as `python armed.py POINT N serve ...`; not a test, and no part of the product.
"""

from __future__ import annotations

import itertools
import os
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdwell.core.decisions import Decision

POINTS = (
    "before the commit",
    "in the transaction",
    "after the commit",
    "before the answer",
    "half a blob",
    "after a blob",
    "before an id is handed over",
)


def arm(point: str, n: int) -> None:
    """Put the charge in place."""
    from qdwell.api.repeats import Repeats
    from qdwell.engine.loop import Loop
    from qdwell.store import blobs
    from qdwell.store.sqlite import SqliteDatabase

    passed = itertools.count(1)

    def pass_by(where: str) -> None:
        if where == point and next(passed) >= n:
            os.kill(os.getpid(), signal.SIGKILL)

    writing, show, write_file = SqliteDatabase.writing, Loop._show, blobs.Blobs.write_file

    @contextmanager
    def armed_writing(self: SqliteDatabase) -> Iterator[Any]:
        pass_by("before the commit")
        with writing(self) as connection:
            yield connection
            pass_by("in the transaction")
        pass_by("after the commit")

    def armed_show(self: Loop, decisions: Sequence[Decision], *rest: Any) -> None:
        if decisions:  # else there is nothing to tell anybody
            pass_by("before the answer")
        show(self, decisions, *rest)

    def armed_write(self: blobs.Blobs, name: str, content: bytes) -> str:
        if point == "half a blob" and next(passed) >= n:
            _die_half_way(content)
        key = write_file(self, name, content)
        pass_by("after a blob")
        return key

    answer = Repeats.answer

    def armed_answer(self: Repeats, *rest: Any) -> Any:
        pass_by("before an id is handed over")
        return answer(self, *rest)

    Repeats.answer = armed_answer  # type: ignore[method-assign]
    SqliteDatabase.writing = armed_writing  # type: ignore[method-assign]
    Loop._show = armed_show  # type: ignore[method-assign]
    blobs.Blobs.write_file = armed_write  # type: ignore[method-assign]


def _die_half_way(content: bytes) -> None:
    """Die in the next write of this content, when half of it is in the file."""
    fsync = os.fsync

    def dying(handle: int) -> None:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            fsync(handle)  # of the folder that the file will be in
            return
        os.ftruncate(handle, len(content) // 2)
        fsync(handle)
        os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = dying


def main() -> None:
    """Arm, then be `qdwell`."""
    point, n = sys.argv[1], int(sys.argv[2])
    sys.argv = ["qdwell", *sys.argv[3:]]
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
    arm(point, n)
    from qdwell.cli.main import main as qdwell

    qdwell()


if __name__ == "__main__":
    main()
