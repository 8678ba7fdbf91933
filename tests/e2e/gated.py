"""A machine whose runs end when a test says so, and what tests ask of it over HTTP.

The device (a `BackendV2` of its own, named by the config) runs each job until a file with the job's
number of shots as its name appears in its folder: so a test holds any job on the QPU for as long
as it likes, and no timeline depends on the speed of the computer.
"""

from __future__ import annotations

import shlex
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from qiskit import QuantumCircuit
from qiskit.providers import JobStatus
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2
from qiskit_ibm_runtime.options import SamplerOptions

from machines.lab import Lab, LabJob

LOOK_S = 0.01
LONG_S = 60


class GatedJob(LabJob):
    """Ends when its file is there, or when it is cancelled."""

    def _work(self) -> None:
        self._status = JobStatus.RUNNING
        gate = self._backend.folder / str(self._shots)
        while not gate.exists():
            if self._cancelled.wait(LOOK_S):
                self._status = JobStatus.CANCELLED
                break
        else:
            self._results = [self._sample(circuit) for circuit in self._circuits]
            self._status = JobStatus.DONE
        self._ended.set()


class Gated(Lab):
    """The device; `folder` is where the files appear."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)

    @property
    def max_circuits(self) -> int | None:
        """Any number."""
        return None

    def run(self, run_input: Any, **options: Any) -> GatedJob:
        """Start a job; returns at once."""
        circuits = [run_input] if isinstance(run_input, QuantumCircuit) else list(run_input)
        job = GatedJob(self, f"gated-{next(self._serial)}", circuits, options["shots"])
        self._jobs[job.job_id()] = job
        job.submit()
        return job


def gated(folder: str) -> Gated:
    """The factory that a config names."""
    return Gated(folder)


# ---- the user's side -----------------------------------------------------------------------------


class Job:
    """A submitted job, with its number: it leaves the QPU when `go` is called."""

    def __init__(self, job: Any, gate: Path) -> None:
        self.job = job
        self._gate = gate

    def go(self) -> None:
        """Let it leave the QPU as soon as it is there."""
        self._gate.touch()

    def finish(self) -> Job:
        """Let it go, and wait for its result."""
        self.go()
        assert self.job.result(timeout=LONG_S)[0].data.meas.num_shots == int(self._gate.name)
        return self

    @property
    def status(self) -> str:
        """The client's word."""
        return str(self.job.status())

    @property
    def metrics(self) -> Mapping[str, Any]:
        """As the server tells them."""
        found: Mapping[str, Any] = self.job.metrics()
        return found

    def _stamp(self, name: str) -> datetime | None:
        metrics = self.metrics
        text = metrics["phases"].get(name) or metrics["timestamps"].get(name)
        return None if text is None else datetime.fromisoformat(text)

    def at(self, name: str) -> datetime:
        """When it was running, ready, qpu_start, qpu_end, finished."""
        found = self._stamp(name)
        assert found is not None, f"{name} has not come"
        return found

    def wait(self, name: str) -> Job:
        """Wait until it is there."""
        until(lambda: self._stamp(name) is not None, f"{name} of a job")
        return self

    @property
    def quantum_s(self) -> float:
        """Its own quantum time."""
        return float(self.metrics["usage"]["quantum_seconds"])


class Machine:
    """A gated machine, as one server of a test module has it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._shots = 0

    def submit(self, mode: Any, **options: Any) -> Job:
        """Submit a job; `mode` is a service (job mode), a session, or a batch of it."""
        self._shots += 1
        gate = self._folder / str(self._shots)
        if isinstance(mode, QiskitRuntimeService):
            mode = mode.backend(self.name)
        sampler = SamplerV2(mode=mode, options=SamplerOptions(**options))
        return Job(sampler.run([flip()], shots=self._shots), gate)

    def let_all_go(self) -> None:
        """Let every job go that was submitted so far."""
        for number in range(1, self._shots + 1):
            (self._folder / str(number)).touch()


def flip() -> QuantumCircuit:
    """One bit that is 1."""
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    return circuit


def class_of(folder: Path, data: Path, plans: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Make a class of users, each with an instance of this plan; their settings by name.

    Args:
        folder: for the list of the class and its credentials, which only their owner can read.
        data: the server's.
        plans: by user's name.
    """
    rows = [f"{name},{plan}" for name, plan in plans.items()]
    (folder / "class.csv").write_text("\n".join(["name,plan", *rows]))
    command = [sys.executable, "-m", "qdwell", "instance", "import", str(folder / "class.csv")]
    command += ["--out", str(folder / "class"), "--data-dir", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    files = {path.stem: path for path in (folder / "class").iterdir()}
    assert set(files) == set(plans)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    return {name: _settings(files[name]) for name in plans}


def _settings(path: Path) -> dict[str, str]:
    lines = [it.removeprefix("export ") for it in path.read_text().splitlines() if "=" in it]
    pairs = (it.split("=", 1) for it in lines if not it.startswith("#"))
    return {name: "".join(shlex.split(value)) for name, value in pairs}


def until(condition: Callable[[], bool], what: str, seconds: float = LONG_S) -> None:
    """Wait for something that the server does by itself."""
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, f"never came: {what}"
        threading.Event().wait(0.02)


def windows(group: Any) -> list[tuple[datetime, datetime]]:
    """When a session or batch was active (S11)."""
    found, since = [], None
    for change in group.details()["timestamps"]:
        at = datetime.fromisoformat(change["timestamp"])
        if change["status"] == "active":
            since = at
        elif since is not None:
            found.append((since, at))
            since = None
    return found


def seconds(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """How long these are together, to the millisecond."""
    return round(sum((end - start).total_seconds() for start, end in spans), 3)


def used(service: QiskitRuntimeService) -> float:
    """What an instance has used (U7)."""
    return float(service.usage()["usage_consumed_seconds"])
