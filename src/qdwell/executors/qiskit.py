"""Any Qiskit `BackendV2`, named by the import path of a factory: `package.module:factory`.

The backend must give ordered shots when run with `memory=True`, as the primitives of Qiskit expect.
Options of the config row go to the factory, but for two of ours: `simulator` (default false) says
that the backend takes any circuit, and `repeatable` (default false) that a lost run may be run
again.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, JobStatus, JobV1
from qiskit.transpiler import Target

from qdwell.clock import SystemClock
from qdwell.errors import ConfigError
from qdwell.executors import base, configuration
from qdwell.wire.device import Batch, Fitted, Outcome, Samples, Timing
from qdwell.wire.noise import JobNoise

LOOK_S = 0.1  # between two looks at a run that is stopped
_AND = "+"  # between the ids of several jobs of one run
_STATUS = {
    JobStatus.DONE: base.RunStatus.DONE,
    JobStatus.ERROR: base.RunStatus.FAILED,
    JobStatus.CANCELLED: base.RunStatus.STOPPED,
}


def backend_executor(spec: base.Spec) -> BackendExecutor:
    """The executor of a config row of kind `qiskit`.

    Raises:
        ConfigError: the factory cannot be imported, fails, or gives no `BackendV2`.
    """
    key = f"backends.{spec.name}.target"
    module, _, factory = (spec.target or "").partition(":")
    options = dict(spec.options)
    simulator = bool(options.pop("simulator", False))
    repeatable = bool(options.pop("repeatable", False))
    try:
        backend = getattr(importlib.import_module(module), factory)(**options)
    except Exception as error:  # The factory is the operator's own code and may raise anything.
        raise ConfigError(key, f"{spec.target!r} cannot be called: {error!r}") from error
    if not isinstance(backend, BackendV2):
        raise ConfigError(key, f"{spec.target!r} gave a {type(backend).__name__}, not a BackendV2")
    return BackendExecutor(spec.name, backend, simulator=simulator, repeatable=repeatable)


class BackendExecutor:
    """Holds one `BackendV2`. A run's token is the backend's own job id where it has one."""

    noiseless = False

    def __init__(
        self, name: str, backend: BackendV2, *, simulator: bool = False, repeatable: bool = False
    ) -> None:
        self.name = name
        self.simulator = simulator
        self.repeatable = repeatable
        self.version = str(backend.backend_version or "1")
        self._backend = backend
        self._retrieve = _way_to_jobs(backend)
        self.outlives = self._retrieve is not None
        self._target: Target = backend.target
        self._clock = SystemClock()
        self._runs: dict[str, tuple[Batch, list[QuantumCircuit], list[Any], int]] = {}
        # Backends differ in what their run takes; one without a seed option gets none.
        self._seeded = hasattr(backend.options, "seed_simulator")
        paused = hasattr(backend.options, "rep_delay")
        self.timing = Timing(rep_delay_range_us=(0.0, math.inf) if paused else None)

    @property
    def target(self) -> Target:
        """Instructions and qubits of the device."""
        return self._target

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Configuration and properties as the stock client reads them."""
        if self.simulator:
            return configuration.simulator(self.name, self.version, self._target)
        return configuration.machine(self.name, self.version, self._target)

    @property
    def backend(self) -> BackendV2:
        """The backend itself."""
        return self._backend

    def jobs_of(self, run: str) -> list[Any]:
        """The backend's jobs of a run that was not asked for its result yet."""
        return self._runs[run][2]

    def acquire(self) -> str:
        """A `BackendV2` has nothing to open."""
        return f"lease-{self.name}"

    def release(self, lease: str) -> None:
        """A `BackendV2` has nothing to close."""

    def under(self, noise: JobNoise) -> BackendExecutor:
        """A backend's noise is its own.

        Raises:
            ProgramError: 1208, always.
        """
        raise base.no_noise_taken(self.name)

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """The circuit as it is."""
        return base.fitted(circuit)

    def start(self, batch: Batch) -> str:
        """Hand the circuits to the backend, in as many jobs as its `max_circuits` asks for."""
        circuits = _bound(batch)
        options: dict[str, Any] = {"shots": batch.shots, "memory": True}
        if batch.seed is not None and self._seeded:
            options["seed_simulator"] = batch.seed + base.SEED_STEP * batch.first
        if batch.rep_delay_us is not None:
            options["rep_delay"] = batch.rep_delay_us / 1e6
        step = self._backend.max_circuits or max(1, len(circuits))
        start = self._clock.now()
        try:
            jobs = [
                self._backend.run(circuits[at : at + step], **options)
                for at in range(0, len(circuits), step)
            ]
        except Exception as error:  # A provider raises classes of its own.
            raise base.execution_failed(str(error)) from error
        token = _AND.join(str(job.job_id()) for job in jobs) or "nothing"
        self._runs[token] = (batch, circuits, jobs, start)
        return token

    def status(self, run: str) -> base.RunStatus:
        """How the backend's jobs stand; the least advanced of them counts."""
        if run not in self._runs:
            return base.RunStatus.UNKNOWN
        found = {_STATUS.get(job.status(), base.RunStatus.RUNNING) for job in self._runs[run][2]}
        order = (base.RunStatus.FAILED, base.RunStatus.STOPPED, base.RunStatus.RUNNING)
        return next((status for status in order if status in found), base.RunStatus.DONE)

    def adopt(self, run: str, batch: Batch) -> base.RunStatus:
        """Ask the provider for the jobs of an earlier process, by their ids."""
        try:
            jobs = self._found(run)
        except Exception:  # A provider raises classes of its own for what it does not know.
            return base.RunStatus.UNKNOWN
        self._runs[run] = (batch, _bound(batch), jobs, self._clock.now())
        return self.status(run)

    def _found(self, run: str) -> list[Any]:
        assert self._retrieve is not None
        return [self._retrieve(each) for each in run.split(_AND)]

    def result(self, run: str) -> Outcome:
        """Wait for the backend's jobs.

        Raises:
            ProgramError: one of them failed or was cancelled, or the token is not known.
        """
        if run not in self._runs:
            raise base.execution_failed(f"no run {run} here")
        batch, circuits, jobs, start = self._runs[run]
        samples: list[Samples] = []
        try:
            for job in jobs:
                for entry in job.result().results:
                    samples.append(_samples(entry, circuits[len(samples)], batch.shots))
        except Exception as error:  # A provider raises classes of its own.
            raise base.execution_failed(str(error)) from error
        finally:
            # Only now: until here another thread may ask for the run to be stopped.
            self._runs.pop(run, None)
        if len(samples) != len(circuits):
            raise base.execution_failed("the backend gave fewer results than circuits")
        return Outcome(samples, start, self._clock.now())

    def stop(self, run: str) -> None:
        """Cancel the backend's jobs and wait until they are final."""
        entry = self._runs.pop(run, None)
        if entry is not None:
            jobs = entry[2]
        else:
            jobs = self._found(run) if self.outlives else []
        for job in jobs:
            # Some providers cannot cancel: their run is waited for.
            with contextlib.suppress(NotImplementedError):
                job.cancel()
            if getattr(type(job), "wait_for_final_state", None) is JobV1.wait_for_final_state:
                job.wait_for_final_state(wait=LOOK_S)  # else it looks every 5 s, and the QPU waits
            elif hasattr(job, "wait_for_final_state"):
                job.wait_for_final_state()
            else:
                job.result()

    def run(self, batch: Batch) -> Outcome:
        """`start` and `result` in one."""
        return self.result(self.start(batch))


def _way_to_jobs(backend: BackendV2) -> Callable[[str], Any] | None:
    """How to get a job of an earlier process by its id, if the provider has a way."""
    for owner in (backend, getattr(backend, "provider", None)):
        way = getattr(owner, "retrieve_job", None)
        if callable(way):
            return way  # type: ignore[no-any-return]
    return None


def _bound(batch: Batch) -> list[QuantumCircuit]:
    return [
        fit.circuit.assign_parameters(row) if len(row) else fit.circuit
        for fit, row in zip(batch.circuits, batch.values, strict=True)
    ]


def _samples(entry: Any, circuit: QuantumCircuit, shots: int) -> Samples:
    """The bits of each shot of a circuit, in order.

    Raises:
        ValueError: the backend gave another number of shots than it was asked for, or only counts.
    """
    width = (circuit.num_clbits + 7) // 8
    memory = getattr(entry.data, "memory", None) or []
    if not memory and "measure" not in circuit.count_ops():
        memory = ["0x0"] * shots
    if len(memory) != shots:
        raise ValueError(
            f"the backend was asked for {shots} shots with memory=True, and gave {len(memory)}"
        )
    joined = b"".join(int(text, 16).to_bytes(width, "big") for text in memory)
    return Samples(np.frombuffer(joined, np.uint8).reshape(len(memory), width))
