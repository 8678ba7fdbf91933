"""A real server process, started as a user would, for the tests of this folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.runtime_options import RuntimeOptions

MACHINE = "ideal_machine"
ENDPOINTS = ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL")
START_S = 90
STOP_S = 20

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
name = "failing_machine"
kind = "scripted"
options = { fail_rate = 1.0 }

[plans.default]
session_interactive_ttl_seconds = 2

[plans.tight]
modes = ["job", "batch"]
pending_jobs_max = 2
tags_max = 2
submissions_per_minute = 20
"""


@dataclass(frozen=True)
class Served:
    """A running server and its first user's settings of the stock client."""

    url: str
    folder: Path
    settings: dict[str, str]

    def account(self, name: str, plan: str = "default") -> dict[str, str]:
        """Make another account; return its user's settings."""
        return run_qdwell(self.folder, "account", "create", name, "--plan", plan)


def run_qdwell(folder: Path, *command: str) -> dict[str, str]:
    """Run one of our commands; return the settings that it prints as `export NAME=value`."""
    done = subprocess.run(
        [sys.executable, "-m", "qdwell", *command, "--data-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    pairs = (x[len("export ") :] for x in done.stdout.splitlines() if x.startswith("export "))
    return {name: value.strip("'\"") for name, value in (it.split("=", 1) for it in pairs)}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of a worker process; it must end with status 0."""
    with serving(tmp_path_factory.mktemp("served"), CONFIG) as server:
        yield server


@contextmanager
def serving(folder: Path, config: str) -> Iterator[Served]:
    """Start a server on a folder; stop it at the end, with status 0, and without Qiskit loaded."""
    (folder / "qdwell.toml").write_text(config)
    command = [sys.executable, "-m", "qdwell", "serve", "--port", "0", "--data-dir", str(folder)]
    command += ["--config", str(folder / "qdwell.toml")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        try:
            url = _announced(process)
            assert url, (folder / "server.log").read_text()[-4000:]
            yield Served(url, folder, run_qdwell(folder, "env"))
            loaded = Path(f"/proc/{process.pid}/maps").read_text()
            assert "qiskit" not in loaded, "what opens payloads belongs into workers"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=STOP_S) == 0, (folder / "server.log").read_text()[-4000:]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


GATED = """
[[backends]]
name = "{name}"
kind = "qiskit"
target = "e2e.gated:gated"
options = {{ folder = "{folder}" }}
lanes = {lanes}
"""


@contextmanager
def serving_gated(folder: Path, lanes: Mapping[str, int], more: str = "") -> Iterator[Served]:
    """A server with machines of `gated`: by name, with so many lanes; `more` of its config."""
    config = ""
    for name, count in lanes.items():
        (folder / name).mkdir()
        config += GATED.format(name=name, folder=folder / name, lanes=count)
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        with serving(folder, config + more) as server:
            yield server


def _announced(process: subprocess.Popen[bytes]) -> str:
    """Wait for the line with the URL; return it, or nothing if the server gave up."""
    url = ""
    said = threading.Event()

    def read() -> None:
        nonlocal url
        for line in process.stdout or ():
            words = line.decode(errors="replace").split()
            if not url and "serves" in words:
                url = words[-1]
                said.set()
        said.set()

    threading.Thread(target=read, daemon=True).start()
    said.wait(START_S)
    return url


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Set settings of the stock client in the environment of one test."""

    def put(settings: dict[str, str]) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    return put


def only(settings: dict[str, str], *names: str) -> dict[str, str]:
    return {name: settings[name] for name in names}


@pytest.fixture
def connect(
    served: Served, surroundings: Callable[[dict[str, str]], None]
) -> Callable[..., QiskitRuntimeService]:
    """Make a client for a user, the first one by default."""

    def make(settings: dict[str, str] | None = None) -> QiskitRuntimeService:
        settings = settings or served.settings
        surroundings(only(settings, *ENDPOINTS))
        return QiskitRuntimeService(
            token=settings["QISKIT_IBM_TOKEN"],
            url=settings["QISKIT_IBM_URL"],
            instance=settings["QISKIT_IBM_INSTANCE"],
        )

    return make


@pytest.fixture
def service(connect: Callable[..., QiskitRuntimeService]) -> QiskitRuntimeService:
    return connect()


def bell(backend: Any) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return generate_preset_pass_manager(optimization_level=1, backend=backend).run(circuit)


def until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for something that the server does by itself."""
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, f"never came: {what}"
        threading.Event().wait(0.05)


def options(backend: Any, **more: Any) -> RuntimeOptions:
    """Options of a job that is submitted without a primitive."""
    return RuntimeOptions(backend=backend, **more)
