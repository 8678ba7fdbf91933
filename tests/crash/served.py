"""A real server process that dies and comes back on the same port and folder, and its client."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import requests
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

ARMED = Path(__file__).with_name("armed.py")
START_S = 90
CONFIG = """
[server]
port = {port}
status_hold_ms = 0

[[backends]]
name = "quick"
kind = "scripted"
options = {{ run_ms = 5 }}

[[backends]]
name = "model"
kind = "scripted"
options = {{ run_ms = 300 }}

[[backends]]
name = "qpu"
kind = "scripted"
options = {{ run_ms = 200, repeatable = false, runs = "{runs}" }}

[[backends]]
name = "endless"
kind = "scripted"
options = {{ run_ms = 600000 }}

[plans.default]
session_interactive_ttl_seconds = 1
"""


SHOTS_OF_A_FILE = 500_000  # their outcomes are a blob in a file of its own


def bell() -> QuantumCircuit:
    """A circuit in the basis of the scripted device."""
    circuit = QuantumCircuit(2, 2)
    circuit.sx(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


class Served:
    """The folder, the port, and the process that serves them now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "device"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "qdwell.toml").write_text(CONFIG.format(port=self.port, runs=self.runs))
        self.process: subprocess.Popen[bytes] | None = None
        self.settings: dict[str, str] = {}
        self.starts = 0

    def start(self, *armed: str) -> bool:
        """Start; whether it came so far as to serve."""
        self.starts += 1
        entry = [str(ARMED), *armed] if armed else ["-m", "qdwell"]
        command = [sys.executable, *entry, "serve", "--data-dir", str(self.folder / "data")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--config", str(self.folder / "qdwell.toml")],
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        up = threading.Event()

        def read(process: subprocess.Popen[bytes]) -> None:
            for line in process.stdout or ():
                if b"serves" in line:
                    up.set()
            self.ended = True
            up.set()

        self.ended = False
        self.reader = threading.Thread(target=read, args=(self.process,), daemon=True)
        self.reader.start()
        assert up.wait(START_S), self.log()
        return not self.ended and until(self._ready, "ready", START_S) == 200

    def _ready(self) -> int:
        """200 when every backend is ready; 1 if the server has died."""
        try:
            status = requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=60).status_code
        except OSError:
            return int(self.ended)
        return status if status == 200 else 0

    def client(self) -> QiskitRuntimeService:
        """The stock client; its settings stay as they are over restarts."""
        if not self.settings:
            done = subprocess.run(
                [sys.executable, "-m", "qdwell", "env", "--data-dir", str(self.folder / "data")],
                capture_output=True,
                text=True,
                check=True,
            )
            lines = [it.removeprefix("export ") for it in done.stdout.splitlines() if "=" in it]
            pairs = [line.split("=", 1) for line in lines]
            self.settings = {name: value.strip("'\"") for name, value in pairs}
        for name in ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"):
            os.environ[name] = self.settings[name]
        return QiskitRuntimeService(
            token=self.settings["QISKIT_IBM_TOKEN"],
            url=self.settings["QISKIT_IBM_URL"],
            instance=self.settings["QISKIT_IBM_INSTANCE"],
        )

    def kill(self) -> None:
        """Kill -9, and wait until it is gone. It has not ended before in any other way."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
            status = self._reap()
            assert status == -signal.SIGKILL, self.log()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        """Its exit status, when it is gone."""
        assert self.process is not None
        assert self.process.stdout is not None
        status = self.process.wait(60)
        self.reader.join()
        self.process.stdout.close()
        self.process = None
        return status

    def log(self) -> str:
        """The end of its log."""
        return (self.folder / "server.log").read_text()[-3_000:]


def submit(service: QiskitRuntimeService, backend: str, tag: str, shots: int = 10) -> str:
    """Submit a Bell circuit as a user does; its id."""
    sampler = SamplerV2(mode=service.backend(backend))
    sampler.options.environment.job_tags = [tag]
    return str(sampler.run([bell()], shots=shots).job_id())


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait for something that the server does by itself."""
    end = monotonic() + seconds
    while not (found := condition()):
        assert monotonic() < end, f"never came: {what}"
        threading.Event().wait(0.1)
    return found
