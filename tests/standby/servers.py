"""Servers of one database, as processes that can be killed and stopped."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import psycopg

from crash.served import ARMED

TAKEOVER_S = 10
START_S = 90

CONFIG = """
[store]
database_url = "{url}"
blobs = "{blobs}"

[[backends]]
name = "machine"
kind = "scripted"

[[backends]]
name = "slow_machine"
kind = "scripted"
options = {{ run_ms = 4000 }}

[plans.default]
session_interactive_ttl_seconds = 60
"""


def written_config(folder: Path, database_url: str) -> Path:
    """The config of all servers of a test."""
    config = folder / "qdwell.toml"
    config.write_text(CONFIG.format(url=database_url, blobs=folder / "blobs"))
    return config


_SESSIONS = """
SELECT pid, state, wait_event_type, wait_event, clock_timestamp() - xact_start, left(query, 80)
FROM pg_stat_activity WHERE application_name = 'qdwell' ORDER BY pid
"""
_LOCKS = """
SELECT pid, locktype, relation::regclass, transactionid, objid, mode, granted,
    pg_blocking_pids(pid)
FROM pg_locks WHERE pid <> pg_backend_pid() AND locktype <> 'virtualxid' ORDER BY pid
"""
_IN_MID_STATEMENT = """
SELECT 1 FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE application_name = 'qdwell' AND state = 'active' AND wait_event = 'ClientRead'
AND relation = 'leader'::regclass
"""


class Standby:
    """One `qdwell serve`."""

    def __init__(
        self,
        folder: Path,
        config: Path,
        armed: Sequence[str] = (),
        arguments: Sequence[str] = (),
        **env: str,
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self._log = (folder / "log").open("wb")
        entry = [str(ARMED), *armed] if armed else ["-m", "qdwell"]
        command = [sys.executable, *entry, "serve", "--port", "0"]
        command += ["--data-dir", str(folder), "--config", str(config), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, **env},
        )
        self.url = self._announced()

    def _announced(self) -> str:
        found: list[str] = []
        said = threading.Event()

        def read() -> None:
            for line in self.process.stdout or ():
                words = line.decode(errors="replace").split()
                if not found and "serves" in words:
                    found.append(words[-1])
                    said.set()
            said.set()

        threading.Thread(target=read, daemon=True).start()
        said.wait(START_S)
        assert found, self.log()
        return found[0]

    def log(self) -> str:
        """The end of what it has said."""
        return self.whole_log()[-6000:]

    def whole_log(self) -> str:
        """All of it."""
        return (self.folder / "log").read_text()

    def health(self) -> dict[str, Any]:
        """What it says of itself; empty if it says nothing."""
        try:
            answer = httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False)
            return dict(answer.json())
        except httpx.HTTPError:
            return {}

    def signal(self, number: int) -> None:
        """Send a signal to the server, not to its workers."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Be sure that it, and what it started, is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


@contextmanager
def pair(
    folder: Path, database_url: str, armed: Sequence[str] = ()
) -> Iterator[tuple[Standby, Standby]]:
    """Two servers, the leader first; `armed`: where that kills itself, see `crash/armed.py`."""
    config = written_config(folder, database_url)
    made: list[Standby] = []
    try:
        made += [Standby(folder / "one", config, armed), Standby(folder / "two", config)]
        assert made[1].health()["status"] == "standby", made[1].log()
        yield made[0], made[1]
    finally:
        for each in made:
            each.end()


def until(
    condition: Callable[[], bool], what: str, seconds: float, why: Callable[[], str] = str
) -> float:
    """Wait for something that a server does by itself; return the seconds it took.

    Args:
        why: what else to say if it never comes.
    """
    start = monotonic()
    while not condition():
        assert monotonic() < start + seconds, f"never came: {what}\n{why()}"
        threading.Event().wait(0.05)
    return monotonic() - start


def told_by(database_url: str) -> str:
    """Who does what in a database, and has or waits for which lock."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(_SESSIONS).fetchall() + connection.execute(_LOCKS).fetchall()
    return "\n".join(" | ".join(map(str, row)) for row in rows)


def pause_in_mid_statement(server: Standby, database_url: str, seconds: float) -> bool:
    """SIGSTOP a leader with work just as it sends a statement; whether that moment was met.

    Its transaction then has locks, and PostgreSQL waits for the rest, not knowing of a pause.
    Whether met or not, it is stopped at the end.
    """
    until_then = monotonic() + seconds
    with psycopg.connect(database_url, autocommit=True) as connection:
        while True:
            server.signal(signal.SIGSTOP)
            threading.Event().wait(0.02)  # what was sent before is done by then
            met = connection.execute(_IN_MID_STATEMENT).fetchone() is not None
            if met or monotonic() > until_then:
                return met
            server.signal(signal.SIGCONT)
            threading.Event().wait(random.uniform(0, 0.02))
