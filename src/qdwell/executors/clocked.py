"""A device model that is held as long as the real machine would be.

A simulation is over when it is computed, which says nothing about the machine. With a *clock* a run
lasts at least `overhead + (rep_delay + circuit length) * executions`, the formula of estimates
(J35), where a circuit's length comes from the durations of the target's instructions. So usage,
waiting, and time limits are those of the real machine, or, with a `scale` below 1, proportional to
them.

The option `clock` of a config row, a table; all keys may be left out:

    scale          default 1.0: 0.01 is a hundred times as fast as the real machine
    overhead_ms    default 2000: once for each job
    rep_delay_us   default: the device's own, else 250
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp, Delay, ForLoopOp
from qiskit.exceptions import QiskitError
from qiskit.transpiler import Target

from qdwell.clock import SystemClock
from qdwell.errors import ConfigError
from qdwell.executors import base
from qdwell.wire.device import Batch, Fitted, Outcome, Timing
from qdwell.wire.noise import JobNoise

_KEYS = ("scale", "overhead_ms", "rep_delay_us")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}


def timing_of(name: str, given: Mapping[str, Any], device: Timing) -> Timing:
    """The timing of a backend with the option `clock`, over the device's own.

    Raises:
        ConfigError: a key is unknown, or a value is not a number from 0 on.
    """
    where = f"backends.{name}.options.clock"
    if not isinstance(given, Mapping):
        raise ConfigError(where, f"must be a table with {', '.join(_KEYS)}, not {given!r}")
    for key, value in given.items():
        if key not in _KEYS:
            raise ConfigError(f"{where}.{key}", f"there is no such key; known: {', '.join(_KEYS)}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise ConfigError(f"{where}.{key}", f"must be a number from 0 on, not {value!r}")
    return replace(
        device,
        scale=float(given.get("scale", device.scale)),
        overhead_ms=float(given.get("overhead_ms", device.overhead_ms)),
        rep_delay_us=float(given.get("rep_delay_us", device.rep_delay_us)),
    )


class Clocked:
    """A device with a clock. All but the time that a run takes is the device's own."""

    def __init__(self, device: base.Executor, timing: Timing) -> None:
        self._device = device
        self._clock = SystemClock()
        self._begun: dict[str, tuple[int, float]] = {}  #: start and length of each run, in ms
        self._overhead_due = False  #: the lease's first run bears the job's overhead
        self._stopped = threading.Event()
        self.timing = timing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def acquire(self) -> str:
        """A lease; a job has one, so its overhead is due once."""
        self._overhead_due = True
        return self._device.acquire()

    def under(self, noise: JobNoise) -> Clocked:
        """The device with a job's noise model, and the same clock.

        Raises:
            ProgramError: 1208, it takes none, or cannot have this one.
        """
        return Clocked(self._device.under(noise), self.timing)

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """The circuit with its length on the device."""
        fit = self._device.fit(circuit)
        return replace(fit, duration_us=length_s(fit.circuit, self._device.target) * 1e6)

    def start(self, batch: Batch) -> str:
        """Begin a run; a stop from now on ends it."""
        self._stopped.clear()
        run = self._device.start(batch)
        length = sum(
            self.timing.runs_ms(fit, batch.shots, batch.rep_delay_us) for fit in batch.circuits
        )
        length += self.timing.job_ms if self._overhead_due else 0.0
        self._overhead_due = False
        self._begun[run] = (self._clock.now(), length)
        return run

    def result(self, run: str) -> Outcome:
        """The samples, not before the machine would have them.

        Raises:
            ProgramError: the run failed or was stopped.
        """
        start, length = self._begun.pop(run, (0, 0.0))
        outcome = self._device.result(run)
        rest_ms = start + length - self._clock.now()
        if rest_ms > 0 and self._stopped.wait(rest_ms / 1_000):
            raise base.execution_failed("the run was stopped")
        return replace(outcome, stop=self._clock.now())

    def stop(self, run: str) -> None:
        """End a run early."""
        self._device.stop(run)
        self._stopped.set()

    def run(self, batch: Batch) -> Outcome:
        """`start` and `result` in one."""
        return self.result(self.start(batch))


def length_s(circuit: QuantumCircuit, target: Target) -> float:
    """Seconds of one shot: the longest path through the circuit.

    A branch counts with its longest block, a `for` loop with all its rounds, a `while` loop with
    one. What the target has no duration for counts as nothing.
    """
    try:
        return float(circuit.estimate_duration(target))
    except QiskitError:  # control flow, or an instruction without a known duration
        return _longest_path(circuit, target, list(range(circuit.num_qubits)))


def _longest_path(circuit: QuantumCircuit, target: Target, places: list[int]) -> float:
    """`places[i]` is the device's qubit for the circuit's qubit `i`."""
    index = dict(zip(circuit.qubits, places, strict=True))
    ends: dict[Any, float] = {}
    for step in circuit.data:
        qubits = tuple(index[bit] for bit in step.qubits)
        bits = [*step.qubits, *step.clbits]
        begin = max((ends.get(bit, 0.0) for bit in bits), default=0.0)
        end = begin + _operation_s(step.operation, qubits, target)
        ends.update(dict.fromkeys(bits, end))
    return max(ends.values(), default=0.0)


def _operation_s(operation: Any, qubits: tuple[int, ...], target: Target) -> float:
    if isinstance(operation, ControlFlowOp):
        rounds = len(list(operation.params[0])) if isinstance(operation, ForLoopOp) else 1
        blocks = (_longest_path(block, target, list(qubits)) for block in operation.blocks)
        return rounds * max(blocks, default=0.0)
    if isinstance(operation, Delay):
        return _delay_s(operation, target)
    if operation.name not in target.operation_names:
        return 0.0
    properties = (target[operation.name] or {}).get(qubits)
    return (properties.duration if properties is not None else None) or 0.0


def _delay_s(delay: Delay, target: Target) -> float:
    duration = delay.duration
    if not isinstance(duration, int | float):  # a parameter, or an expression
        return 0.0
    return duration * (_SECONDS.get(delay.unit) or target.dt or 0.0)
