"""A real server process for tests of the client; it can be restarted on its port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from qdwell import QiskitRuntimeService

START_S = 90
STOP_S = 30

CONFIG = """
[[backends]]
name = "aer_simulator"
kind = "aer"
aliases = ["ibmq_qasm_simulator"]

[[backends]]
name = "ideal_machine"
kind = "ideal"

[[backends]]
name = "fake_manila"
kind = "fake"

[[backends]]
name = "slow_machine"
kind = "scripted"
options = { run_ms = 60000 }

[[backends]]
name = "quick_machine"
kind = "scripted"

[[backends]]
name = "failing_machine"
kind = "scripted"
options = { fail_rate = 1.0 }

[plans.default]
session_interactive_ttl_seconds = 2

[plans.tight]
modes = ["job", "batch"]
pending_jobs_max = 2
"""


#: For servers that are started again and again: without Qiskit's devices it takes half the time.
QUICK = """
[[backends]]
name = "quick_machine"
kind = "scripted"
"""


class Running:
    """A server with its data in `folder`."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.folder = folder
        self.port = _free_port()
        (folder / "qdwell.toml").write_text(config)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> str:
        """Path of the first account's credentials."""
        return str(self.folder / "data" / "credentials.env")

    def start(self) -> None:
        """Start it, and wait until it says where it is."""
        command = [sys.executable, "-m", "qdwell", "serve", "--port", str(self.port)]
        command += ["--data-dir", str(self.folder / "data")]
        command += ["--config", str(self.folder / "qdwell.toml")]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        said = threading.Event()
        threading.Thread(target=self._read, args=(self._process, said), daemon=True).start()
        assert said.wait(START_S), (self.folder / "server.log").read_text()[-4000:]
        assert self._process.poll() is None, (self.folder / "server.log").read_text()[-4000:]

    def _read(self, process: subprocess.Popen[bytes], said: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if b"serves http" in line:
                    said.set()
        said.set()

    def stop(self) -> int:
        """Stop it as an operator does; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_S)

    def kill(self) -> None:
        """End it without a word, with its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)

    def service(self) -> QiskitRuntimeService:
        """A new service of the first account."""
        return QiskitRuntimeService(filename=self.credentials)

    def account(self, name: str, plan: str = "default") -> QiskitRuntimeService:
        """A new service of a new account."""
        path = self.folder / f"{name}.env"
        command = [sys.executable, "-m", "qdwell", "account", "create", name, "--plan", plan]
        command += ["--data-dir", str(self.folder / "data")]
        made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        path.write_text(made.stdout)
        return QiskitRuntimeService(filename=str(path))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
