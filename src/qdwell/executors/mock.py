"""Stand-ins of devices: their instructions without the device.

A classical worker checks and fits circuits for a device that another process holds; it needs the
device's target and nothing more. `StandIn` is that. `Mock` is a stand-in that also answers, with
random bits: the *mock twin* of a machine, on which users try a job out (`dry_run`). What they get
has the shape of a result, and none of its meaning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.transpiler import Target

from qdwell.clock import SystemClock
from qdwell.executors import base
from qdwell.wire.device import Batch, Fitted, Outcome, Samples, Timing
from qdwell.wire.noise import JobNoise


class StandIn(base.InProcess):
    """A device by its name and target alone; it cannot run anything.

    Args:
        name: the backend's name.
        target: instructions and qubits of the device.
        version: changes when circuits fitted before must be fitted again.
        timing: how long work holds the device.
        simulator: takes any circuit.
        noiseless: its results have no errors.
    """

    repeatable = True

    def __init__(
        self,
        name: str,
        target: Target,
        version: str,
        timing: Timing,
        simulator: bool,
        noiseless: bool,
    ) -> None:
        super().__init__()
        self.name = name
        self.version = version
        self.timing = timing
        self.simulator = simulator
        self.noiseless = noiseless
        self._target = target

    @property
    def target(self) -> Target:
        """Instructions and qubits of the device."""
        return self._target

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Never asked: the device's own process describes it."""
        raise NotImplementedError

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """The circuit as it is."""
        return base.fitted(circuit)


class Mock(base.InProcess):
    """The mock twin of a device: all is as on the device, but its samples are random bits.

    Args:
        name: the twin's name.
        device: the device, or a stand-in; nothing is run on it.
    """

    repeatable = True

    def __init__(self, name: str, device: base.Executor) -> None:
        super().__init__()
        self.name = name
        self.version = device.version
        self.timing = device.timing
        self.simulator = device.simulator
        self.noiseless = device.noiseless
        self.fit = device.fit
        self._device = device
        self._clock = SystemClock()
        self._fresh = np.random.default_rng()

    @property
    def target(self) -> Target:
        """Instructions and qubits of the device."""
        return self._device.target

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """As the device; the server shows it under the twin's name."""
        return self._device.describe()

    def under(self, noise: JobNoise) -> Mock:
        """As on the device, which may refuse it; random bits stay random.

        Raises:
            ProgramError: 1208, the device takes none, or cannot have this one.
        """
        return Mock(self.name, self._device.under(noise))

    def execute(self, batch: Batch) -> Outcome:
        """Uniformly random bits, by the batch's seed if it has one."""
        now = self._clock.now()
        samples = [
            random_bits(self._dice(batch, place), fit.circuit.num_clbits, batch.shots)
            for place, fit in enumerate(batch.circuits)
        ]
        # A program that would fit a model to the results is told that they mean nothing.
        return Outcome(samples, now, self._clock.now(), {"mock": True})

    def _dice(self, batch: Batch, place: int) -> np.random.Generator:
        if batch.seed is None:
            return self._fresh
        return np.random.default_rng(batch.seed + batch.first + place)


def shown(device: base.Executor) -> tuple[Target, str, Timing, bool, bool]:
    """What a stand-in in another process is made of, in the order of its arguments."""
    return device.target, device.version, device.timing, device.simulator, device.noiseless


def random_bits(dice: np.random.Generator, clbits: int, shots: int) -> Samples:
    """So many shots of uniformly random classical bits."""
    width = (clbits + 7) // 8
    bits = dice.integers(0, 256, (shots, width), dtype=np.uint8)
    if clbits % 8:
        bits[:, 0] &= (1 << clbits % 8) - 1
    return Samples(bits)
