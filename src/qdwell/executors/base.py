"""The executor protocol: one object holds one device. The verbs are those of QRMI.

    acquire -> start -> status ... result -> release
                  \\-> stop

`acquire` opens the device and gives a lease token; `start` begins one run under it and gives a run
token; `result` waits for the run; `stop` ends it early; `release` closes the lease. A program only
sees `fit` and `run` (`qdwell.wire.device.Device`); `run` is `start` and `result` in one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from qiskit import QuantumCircuit
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES
from qiskit.transpiler import Target

from qdwell.clock import stopwatch_ns
from qdwell.errors import ProgramError
from qdwell.wire.device import Batch, Fitted, Outcome, Timing
from qdwell.wire.noise import JobNoise

#: Aer seeds circuit `i` of a run with `seed + SEED_STEP * i`; so do we, also for a part of a run.
SEED_STEP = 2113


class RunStatus(StrEnum):
    """How a run stands, as far as the device knows."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    #: The device does not know the token: the run was lost (J5).
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Spec:
    """What to make an executor from: the row of the config that names a backend."""

    name: str
    #: aer, ideal, fake, qiskit, or scripted.
    kind: str
    #: qiskit: "package.module:factory"; fake: the model, if it is not the name.
    target: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Holds one device. Not thread-safe: one job at a time, as the QPU itself."""

    #: The backend's name.
    name: str
    #: True: a run that was lost may be run again without asking (J5).
    repeatable: bool
    #: True: a run goes on when our process dies, and `adopt` finds it by its token (J5).
    outlives: bool
    #: True: takes any circuit, has no queue, and no sessions (S34).
    simulator: bool
    #: True: its results have no errors that could be mitigated (O3, O33).
    noiseless: bool
    #: Changes when circuits fitted before must be fitted again.
    version: str
    #: How long work holds the device, for estimates (J35).
    timing: Timing

    @property
    def target(self) -> Target:
        """Instructions and qubits of the device."""
        ...

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Configuration and properties as the stock client reads them (wire-protocol 5.2, 5.3)."""
        ...

    def acquire(self) -> str:
        """Open the device for a lease; returns its token."""
        ...

    def release(self, lease: str) -> None:
        """End a lease; an unknown token is ignored."""
        ...

    def under(self, noise: JobNoise) -> Executor:
        """The device as it is with a job's own noise model (O18); most take none.

        Raises:
            ProgramError: 1208, it takes none, or cannot have this one.
        """
        ...

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """The circuit in the device's form; classical work, no device time."""
        ...

    def start(self, batch: Batch) -> str:
        """Begin a run; returns its token."""
        ...

    def status(self, run: str) -> RunStatus:
        """How a run stands."""
        ...

    def adopt(self, run: str, batch: Batch) -> RunStatus:
        """Take up a run that an earlier process has begun with this batch; UNKNOWN: it is lost."""
        ...

    def result(self, run: str) -> Outcome:
        """Wait for a run and take its samples; the run is forgotten.

        Raises:
            ProgramError: it failed or was stopped.
        """
        ...

    def stop(self, run: str) -> None:
        """End a run early; returns when the device has stopped. A finished run is left alone.

        If runs outlive us, the run may be one of an earlier process.
        """
        ...

    def run(self, batch: Batch) -> Outcome:
        """`start` and `result` in one."""
        ...


class InProcess:
    """The part that devices in our own process share: a run is worked off when its result is asked.

    A run in this process cannot outlive it, so there is nothing to adopt after a crash: a token of
    another process is `UNKNOWN`. A run that is under way ends early only with its process.
    """

    outlives = False
    noiseless = False

    timing = Timing()

    def __init__(self) -> None:
        self._runs: dict[str, Batch] = {}
        self._stopped: set[str] = set()
        self._serial = itertools.count()
        # Tokens of different processes must differ, or a restarted worker would adopt a stranger.
        self._origin = f"{os.getpid()}-{stopwatch_ns()}"

    def acquire(self) -> str:
        """Nothing to open; the token is for the record."""
        return f"lease-{self._origin}-{next(self._serial)}"

    def release(self, lease: str) -> None:
        """Nothing to close."""

    def under(self, noise: JobNoise) -> Executor:
        """No noise but its own, unless a kind of device knows better.

        Raises:
            ProgramError: 1208, always.
        """
        raise no_noise_taken(str(getattr(self, "name", "the backend")))

    def start(self, batch: Batch) -> str:
        """Note the batch; it is worked off by `result`."""
        run = f"run-{self._origin}-{next(self._serial)}"
        self._runs[run] = batch
        return run

    def status(self, run: str) -> RunStatus:
        """`RUNNING` until `result` has taken it, `UNKNOWN` afterwards."""
        if run in self._stopped:
            return RunStatus.STOPPED
        return RunStatus.RUNNING if run in self._runs else RunStatus.UNKNOWN

    def adopt(self, run: str, batch: Batch) -> RunStatus:
        """A run here dies with its process."""
        return RunStatus.UNKNOWN

    def result(self, run: str) -> Outcome:
        """Work the run off.

        Raises:
            ProgramError: it was stopped, is not known, or failed.
        """
        batch = self._runs.pop(run, None)
        if batch is None:
            stopped = run in self._stopped
            self._stopped.discard(run)
            raise execution_failed("the run was stopped" if stopped else f"no run {run} here")
        return self.execute(batch)

    def stop(self, run: str) -> None:
        """Forget a run that was not worked off yet."""
        if self._runs.pop(run, None) is not None:
            self._stopped.add(run)

    def run(self, batch: Batch) -> Outcome:
        """Work a batch off now."""
        return self.execute(batch)

    def execute(self, batch: Batch) -> Outcome:
        """What the device does with a batch; to be written by each kind of device."""
        raise NotImplementedError


def execution_failed(why: str) -> ProgramError:
    """The failure of a run (E28)."""
    return ProgramError(
        5203,
        f"The execution failed: {why}",
        "Try again; if it fails again, ask the operator with the job's id.",
    )


def no_noise_taken(name: str, why: str = "is none of them") -> ProgramError:
    """The failure of a job that brings a noise model to a device that takes none (O18)."""
    return ProgramError(
        1208,
        f"noise_model is for ideal simulators, and {name} {why}",
        "Remove noise_model from the options, or use a simulator without noise.",
    )


def fitted(circuit: QuantumCircuit) -> Fitted:
    """The circuit as it is, with the names and qubits that it uses."""
    names: set[str] = set()
    qubits: set[int] = set()
    _gather(circuit, tuple(range(circuit.num_qubits)), names, qubits)
    return Fitted(circuit, frozenset(names), frozenset(qubits))


def with_blocks(fit: Fitted) -> list[QuantumCircuit]:
    """The circuit, and every block of control flow in it."""
    found = [fit.circuit]
    if not fit.names.isdisjoint(CONTROL_FLOW_OP_NAMES):
        for circuit in found:  # grows as it is walked
            for step in circuit.data:
                found += getattr(step.operation, "blocks", ())
    return found


def _gather(
    circuit: QuantumCircuit, places: tuple[int, ...], names: set[str], qubits: set[int]
) -> None:
    """Collect names and qubits, blocks included; `places` are the device qubits of `circuit`'s."""
    index = dict(zip(circuit.qubits, places, strict=True))
    for step in circuit.data:
        operation = step.operation
        if operation.name == "barrier":
            continue
        touched = tuple(index[bit] for bit in step.qubits)
        names.add(operation.name)
        if operation.label:
            names.add(operation.label)
        qubits.update(touched)
        for block in getattr(operation, "blocks", ()):
            _gather(block, touched, names, qubits)
