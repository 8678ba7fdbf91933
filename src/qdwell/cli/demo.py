"""`qdwell demo`: the main job, shown, and checked.

A server is started on a free loopback port with an embedded database in a temporary folder. Two
users work against it through the stock, unmodified client. At the end: the jobs, a timeline of the
machine, the energies beside the exact one, and each user's bill. The exit status is 0 only if every
check holds, and nothing is left running.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from qdwell.cli import demo_work as work
from qdwell.cli.demo_report import MACHINE, Facts, report
from qdwell.clock import stopwatch_ns
from qdwell.errors import QdwellError

STEPS = 60
CONTENDING_JOBS = 3
_START_S = 300  # a busy machine may need minutes; one that gives up ends the wait itself


class DemoFailed(QdwellError):
    """The demo could not be run to its end."""


def run(console: Console | None = None) -> int:
    """Run everything; return the exit status."""
    console = console or Console()
    signal.signal(signal.SIGTERM, _leave)
    began = stopwatch_ns()
    with tempfile.TemporaryDirectory(prefix="qdwell-demo-") as folder, _server(Path(folder)) as env:
        console.print(f"Server ready at [bold]{env.url}[/bold], data in {folder}")
        ada, bob = _services(env)
        show = Progress(console)
        with show:
            facts = _work(ada, bob, show)
        checks = report(console, ada, bob, facts)
    for check in checks:
        mark = "[green]ok[/green]  " if check.ok else "[red]FAIL[/red]"
        console.print(f"  {mark} {check.what}: {check.detail}")
    console.print(f"{(stopwatch_ns() - began) / 1e9:.0f} s in all; nothing is left running.")
    return 0 if all(check.ok for check in checks) else 1


def _leave(number: int, _: object) -> None:
    """Told to stop: unwind, so that the server is stopped too."""
    raise SystemExit(128 + number)


# -- the server


@dataclass
class Env:
    """Where the server is, and the settings of its two users."""

    url: str
    ada: dict[str, str]
    bob: dict[str, str]


@contextmanager
def _server(folder: Path) -> Iterator[Env]:
    """Start `qdwell serve` in a process group of its own, and end the whole group afterwards."""
    command = [sys.executable, "-m", "qdwell", "serve", "--port", "0", "--data-dir", str(folder)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        try:
            url = _Announcement(process).wait(folder / "server.log")
            yield Env(url, _settings(folder, "env"), _settings(folder, "account", "create", "bob"))
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class _Announcement:
    """Reads what the server says on its standard output, and waits for the line with its URL."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._output = process.stdout
        self._url = ""
        self._said = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._output or ():
            words = line.decode(errors="replace").split()
            if not self._url and "serves" in words:
                self._url = words[-1]
                self._said.set()
        self._said.set()

    def wait(self, log: Path) -> str:
        """Return the URL; raise `DemoFailed` with the end of the log if the server gave up."""
        said = self._said.wait(_START_S)
        if self._url:
            return self._url
        what = "the server gave up" if said else f"the server was not ready within {_START_S} s"
        tail = log.read_text(errors="replace")[-2000:].strip() or "(nothing)"
        raise DemoFailed(f"{what}; its log ends:\n{tail}")


def _settings(folder: Path, *command: str) -> dict[str, str]:
    """Run one of our commands and read the `export NAME=value` lines that it prints."""
    full = [sys.executable, "-m", "qdwell", *command, "--data-dir", str(folder)]
    done = subprocess.run(full, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f"`qdwell {' '.join(command)}` failed: {done.stderr.strip()}")
    lines = [x.removeprefix("export ") for x in done.stdout.splitlines() if x.startswith("export ")]
    return {name: value.strip("'\"") for name, value in (line.split("=", 1) for line in lines)}


def _services(env: Env) -> tuple[Any, Any]:
    """Make one stock client per user. The three endpoint settings are the same for both."""
    for name in ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"):
        os.environ[name] = env.ada[name]
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)  # it tells of each login
    from qiskit_ibm_runtime import QiskitRuntimeService

    def service(user: dict[str, str]) -> Any:
        return QiskitRuntimeService(
            token=user["QISKIT_IBM_TOKEN"],
            url=user["QISKIT_IBM_URL"],
            instance=user["QISKIT_IBM_INSTANCE"],
        )

    return service(env.ada), service(env.bob)


# -- the work, with live progress


class Progress:
    """Three lines that say what each part is doing."""

    def __init__(self, console: Console) -> None:
        self._lines: dict[str, str] = {}
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._render)

    def __enter__(self) -> Progress:
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)
        self._live.console.print()

    def say(self, who: str, what: str) -> None:
        """Replace the line of `who`."""
        self._lines[who] = what

    def _render(self) -> Text:
        return Text("\n".join(f"{who:<34} {what}" for who, what in self._lines.items()))


def _work(ada: Any, bob: Any, show: Progress) -> Facts:
    """Ada's two VQEs and her batch; Bob submits as soon as her session on the machine is active."""
    ideal = work.run_vqe(
        ada, "ideal_machine", STEPS, lambda line: show.say("ada  VQE on ideal_machine", line)
    )
    active = threading.Event()

    def said(line: str) -> None:
        show.say(f"ada  VQE on {MACHINE}", line)
        active.set()

    def bobs_work() -> list[Any]:
        active.wait()
        jobs = work.submit_contender(bob, MACHINE, CONTENDING_JOBS)
        show.say("bob  3 sampler jobs", "submitted; ada's session holds the machine")
        for number, job in enumerate(jobs, start=1):
            job.result()
            show.say("bob  3 sampler jobs", f"job {number} done")
        return jobs

    with ThreadPoolExecutor(1) as people:
        waiting = people.submit(bobs_work)
        try:
            noisy = work.run_vqe(ada, MACHINE, STEPS, said)
        finally:
            active.set()
        batch_id, batch_jobs, shares = work.run_batch(
            ada, MACHINE, lambda line: show.say("ada  batch of 8 sampler jobs", line)
        )
        bobs = waiting.result()
    return Facts(ideal, noisy, batch_id, batch_jobs, shares, bobs)
