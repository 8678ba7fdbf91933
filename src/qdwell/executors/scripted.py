"""A device that acts by a script: how long it takes, and when it fails, come from a seed.

For tests of a session or a batch without physics. It looks like the ideal machine. Its outcomes are
uniformly random bits from the seed of the run, else from the seed of the script.

Options of the config row:

    seed         int, default 0: of durations, faults, and outcomes
    run_ms       int or [least, most], default 0: how long one run takes
    fail_rate    0 to 1, default 0: share of runs that fail (5203)
    lose_rate    0 to 1, default 0: share of runs in which the worker process ends at once
    repeatable   bool, default true
    simulator    bool, default false
    runs         path: a folder in which runs go on when the worker dies (see `lasting`)
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.transpiler import Target

from qdwell.clock import SystemClock
from qdwell.errors import ConfigError
from qdwell.executors import base, configuration
from qdwell.executors.ideal import ideal_target
from qdwell.executors.mock import random_bits
from qdwell.wire.device import Batch, Fitted, Outcome, Samples

_OPTIONS = frozenset(
    {"seed", "run_ms", "fail_rate", "lose_rate", "repeatable", "simulator", "runs"}
)

#: Exit status of a process that the script ends, so that a log shows it was on purpose.
LOST_EXIT_STATUS = 86


def scripted(name: str, options: dict[str, Any]) -> ScriptedExecutor:
    """The scripted device of a config row.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    key = f"backends.{name}.options"
    if unknown := set(options) - _OPTIONS:
        raise ConfigError(key, f"unknown: {', '.join(sorted(unknown))}")
    span = options.get("run_ms", 0)
    least, most = (span, span) if isinstance(span, int) else tuple(span)
    rates = [float(options.get(rate, 0.0)) for rate in ("fail_rate", "lose_rate")]
    if not 0 <= least <= most or not all(0 <= rate <= 1 for rate in rates):
        raise ConfigError(key, "run_ms must be [least, most] from 0 on, and rates from 0 to 1")
    kind: Callable[..., ScriptedExecutor] = ScriptedExecutor
    if "runs" in options:
        from qdwell.executors.lasting import LastingExecutor

        kind = partial(LastingExecutor, folder=Path(options["runs"]))
    return kind(
        name,
        seed=int(options.get("seed", 0)),
        run_ms=(least, most),
        fail_rate=rates[0],
        lose_rate=rates[1],
        repeatable=bool(options.get("repeatable", True)),
        simulator=bool(options.get("simulator", False)),
    )


class ScriptedExecutor(base.InProcess):
    """A device that acts by a script. Two with the same arguments act the same."""

    version = "1"
    noiseless = True  # random bits: mitigation would find nothing to take away

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        run_ms: tuple[int, int] = (0, 0),
        fail_rate: float = 0.0,
        lose_rate: float = 0.0,
        repeatable: bool = True,
        simulator: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.repeatable = repeatable
        self.simulator = simulator
        self._run_ms = run_ms
        self._fail_rate = fail_rate
        self._lose_rate = lose_rate
        self._script = random.Random(seed)
        self._target = ideal_target()
        self._clock = SystemClock()
        self._ended = threading.Event()

    @property
    def target(self) -> Target:
        """Instructions and qubits of the ideal machine."""
        return self._target

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Configuration and properties as the stock client reads them."""
        if self.simulator:
            return configuration.simulator(self.name, self.version, self._target)
        return configuration.machine(self.name, self.version, self._target)

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """The circuit as it is."""
        return base.fitted(circuit)

    def start(self, batch: Batch) -> str:
        """Begin a run; a stop from now on ends it."""
        self._ended.clear()
        return super().start(batch)

    def stop(self, run: str) -> None:
        """Forget the run; one that is being waited for ends at once, as failed."""
        super().stop(run)
        self._ended.set()

    def execute(self, batch: Batch) -> Outcome:
        """Take the scripted time, then fail, vanish, or give random bits."""
        start = self._clock.now()
        duration_ms = self._script.randint(*self._run_ms)
        fails = self._script.random() < self._fail_rate
        vanishes = self._script.random() < self._lose_rate
        if self._ended.wait(duration_ms / 1000):
            raise base.execution_failed("the run was stopped")
        if vanishes:
            os._exit(LOST_EXIT_STATUS)
        if fails:
            raise base.execution_failed("the script says so")
        samples = [
            self._outcomes(fit.circuit.num_clbits, batch, batch.first + place)
            for place, fit in enumerate(batch.circuits)
        ]
        return Outcome(samples, start, self._clock.now())

    def _outcomes(self, clbits: int, batch: Batch, place: int) -> Samples:
        seed = self._script.getrandbits(63) if batch.seed is None else batch.seed + place
        return random_bits(np.random.default_rng(seed), clbits, batch.shots)
