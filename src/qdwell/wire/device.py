"""What a program may ask of a device, and the values that pass between them.

Programs and executors never import each other; they meet here. All values are picklable, because a
stage may run in another process than the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from qdwell.wire.noise import JobNoise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit
    from qiskit.transpiler import Target


_CIRCUIT_US = 100.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """A circuit in the form in which a device takes it, its parameters still open."""

    circuit: QuantumCircuit
    #: Names and labels of the instructions in it, blocks of control flow included.
    names: frozenset[str]
    #: Device qubits that any instruction but a barrier touches.
    qubits: frozenset[int]
    #: Length of one shot on the device, in microseconds; None: the device does not say.
    duration_us: float | None = None
    #: What the device keeps with the circuit for itself.
    parts: Any = None

    @property
    def weight(self) -> int:
        """How much memory it takes, in instructions."""
        return len(self.circuit.data) + int(self.circuit.num_qubits)


@dataclass(frozen=True, slots=True)
class Batch:
    """Circuits to run one after the other, each with its own row of parameter values."""

    circuits: tuple[Fitted, ...]
    #: `values[i]` are the parameter values of `circuits[i]`, in the order of its parameters.
    values: tuple[NDArray[np.float64], ...]
    shots: int
    #: None: the device takes a fresh seed for every run.
    seed: int | None = None
    #: Place of the first circuit in the larger run that this is a part of. A run in parts then
    #: gives the same samples as one run.
    first: int = 0
    #: Keep the order of the shots; else only how often each outcome came.
    ordered: bool = True
    #: Pause before each shot, in microseconds (O40); None: the device's default.
    rep_delay_us: float | None = None
    #: The job's own noise model (O18); None: the device's own noise, if it has any.
    noise: JobNoise | None = None

    def part(self, start: int, stop: int) -> Batch:
        """Circuits `start` to `stop` as a batch of their own, with the same samples."""
        return replace(
            self,
            circuits=self.circuits[start:stop],
            values=self.values[start:stop],
            first=self.first + start,
        )


@dataclass(frozen=True, slots=True)
class Samples:
    """What one circuit gave.

    `bits` has shape `(rows, ceil(clbits / 8))`, most significant byte first; classical bit 0 is the
    last bit of the last byte. Without `counts` each row is one shot, in order; with `counts` the
    rows are the distinct outcomes and `counts[i]` says how often row `i` came.
    """

    bits: NDArray[np.uint8]
    counts: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answer of a device to a batch: samples per circuit, and when it ran (ms since the epoch)."""

    samples: list[Samples]
    start: int
    stop: int
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long work holds a machine (J35): `overhead + (rep_delay + circuit length) * executions`.

    The defaults are the baseline of J35, 2 s + 0.35 ms per execution: a pause of 250 us, and 100 us
    for a circuit whose length is not known.
    """

    #: Once for each job.
    overhead_ms: float = 2_000.0
    #: Pause before each shot, where the job does not say.
    rep_delay_us: float = 250.0
    #: Least and most pause that a job may ask for; None: it may not ask.
    rep_delay_range_us: tuple[float, float] | None = None
    #: A clock that goes faster (below 1) or slower than the real machine's.
    scale: float = 1.0

    def runs_ms(self, fitted: Fitted, executions: float, rep_delay_us: float | None) -> float:
        """Milliseconds of so many executions of a circuit, without the overhead."""
        pause = self.rep_delay_us if rep_delay_us is None else rep_delay_us
        length = _CIRCUIT_US if fitted.duration_us is None else fitted.duration_us
        return self.scale * executions * (pause + length) / 1_000

    @property
    def job_ms(self) -> float:
        """Milliseconds of a job's overhead."""
        return self.scale * self.overhead_ms


class Device(Protocol):
    """A device as a program sees it."""

    @property
    def name(self) -> str:
        """The backend's name."""
        ...

    @property
    def version(self) -> str:
        """Changes when circuits fitted before must be fitted again (S37)."""
        ...

    @property
    def simulator(self) -> bool:
        """True: takes any circuit; False: only instructions of `target`, as a machine does."""
        ...

    @property
    def noiseless(self) -> bool:
        """True: its results have no errors that could be mitigated."""
        ...

    @property
    def target(self) -> Target:
        """Instructions and qubits of the device."""
        ...

    @property
    def timing(self) -> Timing:
        """How long work holds the device."""
        ...

    def under(self, noise: JobNoise) -> Device:
        """The device as it is with a job's own noise model (O18), to fit circuits for it.

        Raises:
            ProgramError: 1208, it takes none, or cannot have this one.
        """
        ...

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """The circuit in the device's form; classical work, no device time.

        Raises:
            ProgramError: the device cannot run it.
        """
        ...

    def run(self, batch: Batch) -> Outcome:
        """Run the batch and wait for its samples.

        Raises:
            ProgramError: the run failed.
        """
        ...
