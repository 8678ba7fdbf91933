"""Which new jobs' ids were handed over to those who submitted them.

A client that lost the answer to a submission may send it again, and only what is here tells that
from a second job. It is a file beside the database, written without a sync: a line is there for
whoever looks after our process was killed, and costs microseconds. After a power cut it may lack
lines. So it names the boot of the machine on top, and what an earlier boot wrote tells nothing.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdwell.store import Store
    from qdwell.store.heard import SharedAnswers

ANSWERED = "answered"  # the file
RECENT = 1_000  # of so many newest jobs one can say whether they were answered
_LINES_MAX = 8 * RECENT  # then the file is written anew, with the newest half
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def answers_of(store: Store, now: Callable[[], int]) -> Answers | SharedAnswers:
    """The notes of this server: in its folder, or in the database that it shares with others.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    if store.database.epoch is None:
        return Answers(store.folders[0] / ANSWERED)
    from qdwell.store.heard import SharedAnswers
    from qdwell.store.postgres import PostgresDatabase

    assert isinstance(store.database, PostgresDatabase)
    return SharedAnswers(store.database, now)


class Answers:
    """The file. What cannot be written is left out: it is then not known, and said so.

    Args:
        path: of the file; it need not be there.
    """

    since: int | None = None  #: it says something of all jobs

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot = _boot()
        lines = self._read()
        self.known = bool(lines) and lines[0] == self._boot and self._boot != ""
        self._ids: deque[str] = deque(lines[1:] if self.known else (), maxlen=_LINES_MAX // 2)
        self._count = 0
        self._file: int | None = None
        self._write_anew()

    def note(self, job_id: str) -> None:
        """This job's id was handed over."""
        self._ids.append(job_id)
        if self._count >= _LINES_MAX:
            self._write_anew()
        elif self._file is not None:
            with suppress(OSError):
                os.write(self._file, f"{job_id}\n".encode())
            self._count += 1

    def missing(self, job_ids: Iterable[str]) -> set[str]:
        """Those of the newest jobs whose ids nobody was seen to get; none if that is not known."""
        return set(job_ids).difference(self._ids) if self.known else set()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _read(self) -> list[str]:
        try:
            return self._path.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return []

    def _write_anew(self) -> None:
        fresh = self._path.with_suffix(".new")
        self.close()
        try:
            fresh.write_text("\n".join([self._boot, *self._ids, ""]), encoding="ascii")
            fresh.replace(self._path)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError:  # a full disk; without the file nothing is claimed after a death
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        self._count = len(self._ids)


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""
