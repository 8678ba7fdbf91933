"""Aer: the ideal simulator, ideal machines, and models of real devices.

One warm `AerSimulator` per device. A circuit goes to Aer as it came, at full width: Aer itself
drops idle qubits, and measured narrow and wide runs differ by 7 %. What must be small is the noise
model, and `noise.CutNoise` sees to that. The samples for a seed are those of the stock client's
local testing mode: circuit `i` of a run uses `seed + 2113 i`, Aer's own rule, also when the run
comes in parts.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.transpiler import Target
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from qdwell.clock import SystemClock
from qdwell.errors import ProgramError
from qdwell.executors import base, configuration, methods, split, unknown
from qdwell.executors.assembled import Assembled, Controller, Shelf, assembled
from qdwell.executors.exact import Sampler
from qdwell.wire.device import Batch, Fitted, Outcome, Samples, Timing
from qdwell.wire.noise import JobNoise

if TYPE_CHECKING:
    from qdwell.executors.noise import Cuts

#: Executions in one call of Aer: results come as one Python text per shot, about 60 bytes each.
_CALL_EXECUTIONS_MAX = 1_000_000
#: Circuits in one call of Aer: deep ones slow each other down when there are hundreds.
_CALL_CIRCUITS_MAX = 64
#: Noise models of jobs that are kept.
_MODELS_MAX = 4

#: What Aer runs beside gates.
_WITHOUT_GATE = frozenset({"barrier", "delay", "measure", "reset", "store"}) | CONTROL_FLOW_OP_NAMES

#: What library gates are compiled to: those of Aer's gates that the transpiler knows by name.
_STANDARD = sorted(
    set(AerSimulator().configuration().basis_gates) & set(get_standard_gate_name_mapping())
)


class AerExecutor(base.InProcess):
    """A device that Aer plays.

    Args:
        name: the backend's name.
        target: instructions and qubits of a machine; None for the plain simulator.
        noise: the machine's noise; None for an ideal one.
        description: configuration and properties; made from the target if None.
        timing: how long work holds the real machine; None for the baseline of J35.
    """

    repeatable = True

    def __init__(
        self,
        name: str,
        target: Target | None = None,
        noise: Cuts | None = None,
        description: tuple[dict[str, Any], dict[str, Any]] | None = None,
        version: str = "1",
        timing: Timing | None = None,
    ) -> None:
        super().__init__()
        if timing is not None:
            self.timing = timing
        self.name = name
        self.version = version
        self.simulator = target is None
        self.noiseless = noise is None
        self._noise = noise
        self._aer = AerSimulator()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._target: Target = _simulated(self._aer, noise) if target is None else target
        self._native = frozenset(self._aer.configuration().basis_gates) | _WITHOUT_GATE
        self._controller = Controller(self._aer)
        # Under noise, delays become instructions of their own before a run.
        rewritten = {"delay"} if noise is not None else set()
        names = {*_STANDARD, "barrier", "measure"} - rewritten
        self._shelf: Shelf[Assembled] = Shelf(lambda circuit: assembled(circuit, names))
        self._sampler = Sampler(self._controller, names) if noise is None else None
        self._description = description
        self._clock = SystemClock()
        self._under: OrderedDict[str, AerExecutor] = OrderedDict()

    @property
    def target(self) -> Target:
        """Instructions and qubits of the device."""
        return self._target

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Configuration and properties as the stock client reads them."""
        if self._description is None:
            if self.simulator:
                self._description = configuration.simulator(self.name, self.version, self._target)
            else:
                self._description = configuration.machine(self.name, self.version, self._target)
        return self._description

    def under(self, noise: JobNoise) -> AerExecutor:
        """The device with a job's noise model; the last few are kept.

        Raises:
            ProgramError: 1208, it has noise of its own, or the model does not fit its instructions.
        """
        from qdwell.executors.job_noise import CutJobNoise

        if self._noise is not None:
            raise base.no_noise_taken(self.name, "has noise of its own")
        if (made := self._under.get(noise.mark)) is None:
            made = self._under[noise.mark] = AerExecutor(
                self.name,
                None if self.simulator else self._target,
                CutJobNoise(noise),
                self._description,
                f"{self.version}+{noise.mark}",
                self.timing,
            )
        self._under.move_to_end(noise.mark)
        if len(self._under) > _MODELS_MAX:
            self._under.popitem(last=False)
        return made

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """The circuit itself; on the plain simulator, library gates are compiled to Aer's own.

        Raises:
            ProgramError: an instruction has no definition to compile (E25), or is none for Aer.
        """
        fit = base.fitted(circuit)
        unknown.refuse(fit, self.name)
        if "box" in fit.names:
            circuit = unknown.without_boxes(circuit)
            fit = base.fitted(circuit)
        names = {step.name for part in base.with_blocks(fit) for step in part.data}
        if self.simulator and not names <= self._native:
            fit = base.fitted(self._compile(circuit))
        parts = split.parts_of(fit, self._noise, self.name)
        return fit if parts is None else replace(fit, parts=parts)

    def _compile(self, circuit: QuantumCircuit) -> QuantumCircuit:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compiled = transpile(circuit, basis_gates=_STANDARD, optimization_level=0)
        except Exception as error:  # The compiler raises many classes for a gate it cannot build.
            raise ProgramError(
                1517,
                f"The circuit has an instruction that {self.name} cannot run: {error}",
                "Decompose it into gates of the standard library before sending the circuit.",
            ) from error
        assert isinstance(compiled, QuantumCircuit)
        compiled.metadata = circuit.metadata
        return compiled

    def execute(self, batch: Batch) -> Outcome:
        """Run the batch; the outcome's times are those of the simulation."""
        if batch.noise is not None:
            return self.under(batch.noise).execute(replace(batch, noise=None))
        start = self._clock.now()
        samples: list[Samples] = []
        step = max(1, min(_CALL_CIRCUITS_MAX, _CALL_EXECUTIONS_MAX // max(1, batch.shots)))
        for at in range(0, len(batch.circuits), step):
            samples += self._some(batch.part(at, min(at + step, len(batch.circuits))))
        return Outcome(samples, start, self._clock.now())

    def _some(self, batch: Batch) -> list[Samples]:
        """Run circuits that follow each other in the same way: whole, or in parts."""
        if all(fit.parts is None for fit in batch.circuits):
            return self._call(batch)
        samples: list[Samples] = []
        at = 0
        for apart, same in groupby(batch.circuits, lambda fit: fit.parts is not None):
            piece = batch.part(at, at + len(list(same)))
            at += len(piece.circuits)
            if apart:
                samples += split.run(piece, [fit.parts for fit in piece.circuits], self._call)
            else:
                samples += self._call(piece)
        return samples

    def _call(self, batch: Batch, method: str | None = None) -> list[Samples]:
        options: dict[str, Any] = {"shots": batch.shots, "memory": batch.ordered}
        if batch.seed is not None:
            options["seed_simulator"] = batch.seed + base.SEED_STEP * batch.first
        if method is not None:
            options["method"] = method
        try:
            if self._sampler is not None and method is None:
                drawn = self._sampler.samples(batch)
                if drawn is not None:
                    return drawn
            kept = [self._shelf.get(fit.circuit) for fit in batch.circuits]
            ready = [each for each in kept if each is not None]
            if len(ready) == len(kept) and method is None:
                circuits = [fit.circuit for fit in batch.circuits]
                noise = self._noise.written(*_used(batch)) if self._noise is not None else {}
                answer = self._controller.run(circuits, ready, batch.values, noise, **options)
                failure = None if answer["success"] else answer["status"]
                data = [result["data"] for result in answer["results"]] if not failure else []
            else:
                failure, data = self._call_whole(batch, options)
        except Exception as error:  # Aer raises classes of its own and plain ones alike.
            raise _failed(str(error)) from error
        if failure is not None:
            raise _failed(str(failure))
        return [
            _samples(entry, fit.circuit.num_clbits, batch)
            for entry, fit in zip(data, batch.circuits, strict=True)
        ]

    def _call_whole(self, batch: Batch, options: dict[str, Any]) -> tuple[Any, list[Any]]:
        """Run what Aer rewrites before it runs it; what failed, or the data of each circuit."""
        circuits = [
            fit.circuit.assign_parameters(row) if len(row) else fit.circuit
            for fit, row in zip(batch.circuits, batch.values, strict=True)
        ]
        if self._noise is not None:
            options["noise_model"] = self._noise.cut(*_used(batch), pinned="method" not in options)
        result = self._aer.run(circuits, **options).result()
        if not result.success:
            return result.status, []
        return None, [vars(entry.data) for entry in result.results]


def _simulated(aer: AerSimulator, noise: Cuts | None) -> Target:
    """What a simulator takes; under a noise model Aer compiles to the gates of the model."""
    if noise is None:
        return aer.target
    return AerSimulator(noise_model=NoiseModel(basis_gates=noise.basis_gates)).target


def _failed(why: str) -> ProgramError:
    if "Insufficient memory" in why:  # the words of Aer, which name what it needs and may use
        advice = "Use fewer qubits, or Clifford gates only."
        return ProgramError(methods.TOO_MUCH, f"The circuit is too large: {why.strip()}", advice)
    return base.execution_failed(why)


def _used(batch: Batch) -> tuple[frozenset[str], frozenset[int]]:
    """Names and qubits of all instructions of a batch."""
    names = frozenset[str]().union(*(fit.names for fit in batch.circuits))
    qubits = frozenset[int]().union(*(fit.qubits for fit in batch.circuits))
    return names, qubits


def _samples(data: Mapping[str, Any], clbits: int, batch: Batch) -> Samples:
    width = (clbits + 7) // 8
    if batch.ordered:
        memory = data.get("memory") or ["0x0"] * batch.shots
        return Samples(_rows(memory, width))
    counts = data.get("counts") or {"0x0": batch.shots}
    return Samples(_rows(list(counts), width), np.fromiter(counts.values(), np.int64, len(counts)))


def _rows(texts: list[str], width: int) -> NDArray[np.uint8]:
    """Hexadecimal outcomes as rows of `width` bytes, most significant first."""
    if width <= 8:
        words = np.fromiter(map(int, texts, repeat(16)), np.dtype(">u8"), len(texts))
        return words.view(np.uint8).reshape(-1, 8)[:, 8 - width :]
    joined = b"".join(int(text, 16).to_bytes(width, "big") for text in texts)
    return np.frombuffer(joined, np.uint8).reshape(-1, width)
