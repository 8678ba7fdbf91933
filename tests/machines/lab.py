"""A laboratory's own device, written without Aer: three ions in a row, and jobs in the background.

It has its own instruction set (`rz`, `sx`, `cz`), runs one job at a time in a thread, can cancel,
and can be told to fail. Results are exact samples of the state vector.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Delay, Measure, Parameter, Reset
from qiskit.circuit.library import CZGate, RZGate, SXGate, XGate
from qiskit.providers import BackendV2, JobError, JobStatus, JobV1, Options
from qiskit.quantum_info import Statevector
from qiskit.result import Result
from qiskit.transpiler import InstructionProperties, Target


class LabJob(JobV1):
    """One run in a thread."""

    def __init__(self, backend: Lab, job_id: str, circuits: Sequence[QuantumCircuit], shots: int):
        super().__init__(backend, job_id)
        self._circuits = circuits
        self._shots = shots
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._status = JobStatus.QUEUED
        self._results: list[dict[str, Any]] = []

    def submit(self) -> None:
        """Begin."""
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        lab = self._backend
        with lab.one_at_a_time:
            self._status = JobStatus.RUNNING
            if self._cancelled.wait(lab.run_s):
                self._status = JobStatus.CANCELLED
            elif lab.broken:
                self._status = JobStatus.ERROR
            else:
                self._results = [self._sample(circuit) for circuit in self._circuits]
                self._status = JobStatus.DONE
        self._ended.set()

    def _sample(self, circuit: QuantumCircuit) -> dict[str, Any]:
        places = {}
        for step in circuit.data:
            if step.operation.name == "measure":
                qubit = circuit.find_bit(step.qubits[0]).index
                places[circuit.find_bit(step.clbits[0]).index] = qubit
        state = Statevector(circuit.remove_final_measurements(inplace=False))
        chances = state.probabilities(list(range(circuit.num_qubits)))
        found = self._backend.dice.choice(len(chances), self._shots, p=chances / chances.sum())
        memory = [
            hex(sum(((outcome >> qubit) & 1) << clbit for clbit, qubit in places.items()))
            for outcome in found.tolist()
        ]
        counts = {text: memory.count(text) for text in set(memory)}
        shown = (
            {"counts": counts}
            if self._backend.only_counts
            else {"counts": counts, "memory": memory}
        )
        return {
            "shots": self._shots,
            "success": True,
            "data": shown,
            "header": {"name": circuit.name, "memory_slots": circuit.num_clbits},
        }

    def result(self) -> Result:
        """Wait for the end."""
        self._ended.wait()
        if self._status is not JobStatus.DONE:
            raise JobError(f"the run is {self._status.name}")
        head = {"backend_name": "lab", "backend_version": "1", "job_id": self.job_id()}
        return Result.from_dict({**head, "success": True, "results": self._results})

    def cancel(self) -> None:
        """End early."""
        self._cancelled.set()

    def wait_for_final_state(self, *_more: Any) -> None:
        """Wait for the end; Qiskit's own way looks every five seconds."""
        self._ended.wait()

    def status(self) -> JobStatus:
        """Where it is."""
        return self._status


class Lab(BackendV2):
    """The device."""

    only_counts = False
    job_class = LabJob

    def __init__(self, run_s: float = 0.0, broken: bool = False, log: str | None = None) -> None:
        super().__init__(name="lab", backend_version="1")
        self.run_s, self.broken = run_s, broken
        self.one_at_a_time = threading.Lock()
        self.dice = np.random.default_rng(7)
        self._jobs: dict[str, LabJob] = {}
        self._serial = itertools.count()
        self._target = _target()
        if log is not None:  # who opened the device
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")

    @property
    def target(self) -> Target:
        """Three ions in a row."""
        return self._target

    @property
    def max_circuits(self) -> int | None:
        """Two circuits in a run."""
        return 2

    @classmethod
    def _default_options(cls) -> Options:
        return Options(shots=100, memory=True)

    def run(self, run_input: Any, **options: Any) -> LabJob:
        """Start a job; returns at once."""
        circuits = [run_input] if isinstance(run_input, QuantumCircuit) else list(run_input)
        job = self.job_class(self, f"lab-{next(self._serial)}", circuits, options.get("shots", 100))
        self._jobs[job.job_id()] = job
        job.submit()
        return job

    def retrieve_job(self, job_id: str) -> LabJob:
        """A job by its id."""
        return self._jobs[job_id]


def _target() -> Target:
    target = Target(num_qubits=3, dt=1e-9)
    on_each = {(q,): InstructionProperties(duration=5e-8, error=1e-3) for q in range(3)}
    target.add_instruction(SXGate(), dict(on_each))
    target.add_instruction(XGate(), dict(on_each))
    target.add_instruction(RZGate(Parameter("t")), {(q,): None for q in range(3)})
    pairs = ((0, 1), (1, 0), (1, 2), (2, 1))
    target.add_instruction(CZGate(), {it: InstructionProperties(duration=2e-7) for it in pairs})
    target.add_instruction(Measure(), {(q,): InstructionProperties(1e-6, 0.01) for q in range(3)})
    target.add_instruction(Delay(Parameter("d")), {(q,): None for q in range(3)})
    target.add_instruction(Reset(), {(q,): None for q in range(3)})
    return target


def lab(**options: Any) -> Lab:
    """The factory that a config names."""
    return Lab(**options)


def with_helper(helpers: str, **options: Any) -> Lab:
    """The device, and a process of its control software that has all its files, and outlives it."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    with Path(helpers).open("a", encoding="utf-8") as file:
        file.write(f"{pid}\n")
    return Lab(**options)


class Backwards(Lab):
    """Reads its register from the wrong end."""

    def run(self, run_input: Any, **options: Any) -> LabJob:
        circuits = [run_input] if isinstance(run_input, QuantumCircuit) else list(run_input)
        return super().run([circuit.reverse_bits() for circuit in circuits], **options)


class Short(Lab):
    """Loses a shot."""

    def run(self, run_input: Any, **options: Any) -> LabJob:
        return super().run(run_input, **{**options, "shots": options["shots"] - 1})


class Uncounted(Lab):
    """Gives counts, and not each shot."""

    only_counts = True


class Nameless(Lab):
    """Gives all its jobs one name."""

    def run(self, run_input: Any, **options: Any) -> LabJob:
        self._serial = itertools.count()
        return super().run(run_input, **options)


class Shuffled(Lab):
    """Gives the results of several circuits in the wrong order."""

    def run(self, run_input: Any, **options: Any) -> LabJob:
        circuits = [run_input] if isinstance(run_input, QuantumCircuit) else list(run_input)
        return super().run(circuits[::-1], **options)


class Blind(Lab):
    """Cannot be read."""

    @property
    def target(self) -> Target:
        target = Target(num_qubits=1)
        target.add_instruction(XGate(), {(0,): None})
        return target


class Forgetful(Lab):
    """Finds another job than the one that was asked for."""

    def retrieve_job(self, job_id: str) -> LabJob:
        return self._jobs["lab-0"]


class PlainJob(LabJob):
    """Waits as Qiskit's own jobs do."""

    wait_for_final_state = JobV1.wait_for_final_state


class Plain(Lab):
    """Its jobs are awaited by looking at them."""

    job_class = PlainJob
