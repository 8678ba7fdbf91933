"""Between our stages and the client's libraries of error mitigation.

They prepare a `QuantumProgram` object for a `BackendV2`, and read a `QuantumProgramResult`. Here
the device is shown as such a backend, the program's items are made ready for the device, and what
the device gave is shown as such a result. Times in metadata are those of the chunks.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import EquivalenceLibrary, Parameter
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES
from qiskit.circuit.equivalence_library import SessionEquivalenceLibrary
from qiskit.circuit.library import RZGate, U1Gate
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import PassManager, Target
from qiskit.transpiler.exceptions import TranspilerError
from qiskit.transpiler.passes import BasisTranslator

from qdwell.errors import ProgramError
from qdwell.programs import narrow, pubs, quantum
from qdwell.programs.checks import check_instructions
from qdwell.programs.work import Facts
from qdwell.wire.device import Device, Fitted

T = TypeVar("T")
_INSTEAD = "Change what it names. An estimator's job runs as it is at resilience_level 0."
_AS_IT_IS = (
    "A circuit runs as it is at resilience_level 0 (estimator), or without twirling and dynamical "
    "decoupling (sampler)."
)

#: Where a circuit's qubits are on the device, and how many the device's circuit has.
Qubits = tuple[tuple[int, ...], int]


class Shown(BackendV2):  # type: ignore[misc]
    """A device, as the libraries want to see it. It runs nothing."""

    def __init__(self, target: Target, name: str) -> None:
        super().__init__(name=name)
        self._target = target

    @property
    def target(self) -> Target:
        """Instructions and qubits of the device."""
        return self._target

    @property
    def max_circuits(self) -> None:
        """No limit."""
        return None

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(self, run_input: Any, **options: Any) -> Any:
        """Not meant to be called: the stages run what was prepared.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError


class Maker:
    """Makes the items of one job's library programs ready for the device, and counts them."""

    def __init__(self, reader: pubs.Reader, device: Device, chance: np.random.Generator) -> None:
        self._reader = reader
        self._device = device
        self._chance = chance
        self.executions = 0
        self.loaded: list[pubs.Loaded] = []

    def items(
        self,
        program: Any,
        where: str,
        qubits: Qubits | None = None,
        last_shots: int | None = None,
    ) -> tuple[quantum.Item, ...]:
        """The items of a library's program: fitted, drawn, and counted.

        Args:
            program: the library's, of items with a circuit each.
            where: what it belongs to, for errors.
            qubits: where the circuits' qubits are on the device; None: where they are.
            last_shots: shots of the last item, if they are not the program's.

        Raises:
            ProgramError: 1517, 1208, or 6000.
        """
        made = []
        for place, item in enumerate(program.items):
            field = f"{where}, item {place}"
            # What a draw would take is counted before it is drawn.
            own = last_shots if place == len(program.items) - 1 else None
            shots = own or program.shots
            self._reader.check_executions(self.executions + math.prod(item.shape) * shots, where)
            made.append(replace(self._item(item, field, qubits), shots=own))
            self.count(made[-1].fitted, len(made[-1].rows), shots, where)
        return tuple(made)

    def count(self, fitted: Fitted, runs: int, shots: int, where: str) -> None:
        """Count a circuit that runs with so many sets of values, so many shots each.

        Raises:
            ProgramError: 6000.
        """
        self.executions += runs * shots
        self._reader.check_executions(self.executions, where)
        self._reader.held(fitted, runs, shots)
        self.loaded.append(pubs.Loaded(b"", fitted.circuit, fitted, fitted.circuit.depth()))

    def expect(self, program: Any, where: str, last_shots: int | None = None) -> None:
        """Check and count a library's program as if it ran; nothing is drawn.

        Raises:
            ProgramError: 1517 or 6000.
        """
        for place, item in enumerate(program.items):
            fitted = self._fitted(item.circuit, f"{where}, item {place}")
            own = last_shots if place == len(program.items) - 1 else None
            self.count(fitted, math.prod(item.shape), own or program.shots, where)

    def facts(self) -> Facts:
        """The facts of all that was counted."""
        return pubs.facts(self.loaded, self.executions, self._reader.estimate_ms)

    def _fitted(self, circuit: QuantumCircuit, field: str) -> Fitted:
        if not self._device.simulator:
            circuit = native(circuit, self._device.target)
            check_instructions(circuit, self._device.target, self._device.name, field)
        return self._device.fit(circuit)

    def _item(self, item: Any, field: str, qubits: Qubits | None) -> quantum.Item:
        circuit = item.circuit
        if qubits is not None:
            circuit = narrow.widened(circuit, *qubits)
        fitted = self._fitted(circuit, field)
        if hasattr(item, "samplex"):
            samplex = item.samplex.finalize()
            shape, outputs = quantum.drawn(
                samplex, item.samplex_arguments, item.shape, self._chance, field
            )
            rows = outputs.pop(quantum.ARGUMENTS, np.empty((*shape, 0)))
        else:
            shape, rows, outputs = tuple(item.shape), item.circuit_arguments, {}
        return quantum.Item(
            fitted=fitted,
            rows=np.asarray(rows, np.float64).reshape(math.prod(shape), circuit.num_parameters),
            shape=shape,
            registers=quantum.registers(circuit),
            outputs=outputs,
        )


#: Gates as angles of U(theta, phi, lambda), which are rz, sx, rz, sx, rz up to a phase.
_ANGLES: Mapping[str, Callable[..., tuple[Any, Any, Any]]] = {
    "r": lambda theta, phi: (theta, phi - math.pi / 2, math.pi / 2 - phi),
    "ry": lambda theta: (theta, 0.0, 0.0),
    "u": lambda theta, phi, lam: (theta, phi, lam),
    "u2": lambda phi, lam: (math.pi / 2, phi, lam),
    "u3": lambda theta, phi, lam: (theta, phi, lam),
}
_TURNS = ("p", "u1")  # rz, up to a phase


def spelled(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with its rotations but `rx` and `rz` written as `rz` and `sx`.

    `samplomatic` 0.21.0 takes no open ones, and of several closed ones in a layer it gives each the
    angles of one of them: twirled, `ry(0.4)` beside `ry(1.1)` were two `ry(1.1)`, without a word.
    """
    if not any(step.operation.name in (*_ANGLES, *_TURNS, "box") for step in circuit.data):
        return circuit
    made = circuit.copy_empty_like()
    for step in circuit.data:
        operation = step.operation
        if operation.name in _TURNS:
            made.rz(*operation.params, step.qubits)
        elif operation.name in _ANGLES:
            theta, phi, lam = _ANGLES[operation.name](*operation.params)
            made.rz(lam, step.qubits)
            made.sx(step.qubits)
            made.rz(theta + math.pi, step.qubits)
            made.sx(step.qubits)
            made.rz(phi + math.pi, step.qubits)
        elif operation.name == "box":
            inner = operation.replace_blocks([spelled(block) for block in operation.blocks])
            made.append(inner, step.qubits, step.clbits)
        else:
            made.append(step)
    return made


def native(circuit: QuantumCircuit, target: Target) -> QuantumCircuit:
    """The circuit in the device's gates: the libraries dress boxes with `rz` and `sx` only.

    Parameters stay open. A circuit that cannot be put so comes back as it is, to be refused by
    the check of its instructions.
    """
    if {"rz", "sx"} <= set(target.operation_names):
        return circuit
    basis = [name for name in target.operation_names if name not in CONTROL_FLOW_OP_NAMES]
    library = _without_phases() if "u1" in basis else SessionEquivalenceLibrary
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            translator = BasisTranslator(library, basis)
            made: QuantumCircuit = PassManager([translator]).run(circuit)
    except TranspilerError:
        return circuit
    return made if made.num_parameters == circuit.num_parameters else circuit


@functools.cache
def _without_phases() -> EquivalenceLibrary:
    """Qiskit's for machines of `u1`: `rz` is that without its global phase, which nobody measures.

    That phase would gather a term of every open parameter, and the time that Qiskit takes for such
    a sum doubles with each few: 24 parameters take 1.6 s, and 36 never end.
    """
    theta = Parameter("theta")
    turned = QuantumCircuit(1)
    turned.append(U1Gate(theta), [0])
    library = EquivalenceLibrary(base=SessionEquivalenceLibrary)
    library.set_entry(RZGate(theta), [turned])
    return library


def result(items: Sequence[quantum.Item], ran: quantum.Ran, passthrough: Any) -> Any:
    """The `QuantumProgramResult` of a library's program."""
    from qiskit_ibm_runtime.results import QuantumProgramItemResult, QuantumProgramResult

    data = [
        QuantumProgramItemResult(result=quantum.arrays(item, bits, ran.shots))
        for item, bits in zip(items, ran.bits, strict=True)
    ]
    return QuantumProgramResult(data=data, metadata=None, passthrough_data=passthrough)


def refused(error: Exception, where: str) -> ProgramError:
    """What a library will not prepare, as the job's own failure."""
    said = str(error.args[0]) if error.args else type(error).__name__
    return ProgramError(pubs.BAD_INPUT, f"{where}: {said}", _INSTEAD)


def tried(do: Callable[..., T], where: str, *given: Any, **named: Any) -> T:
    """What a library makes; what it will not make is the job's own failure, with its words.

    Raises:
        ProgramError: 1208.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for the user of the library, who is not here
            return do(*given, **named)
    except (ProgramError, MemoryError):
        raise
    except Exception as error:  # The libraries raise plain classes and many of their own.
        raise refused(error, where) from error


def dressed(do: Callable[..., T], where: str, *given: Any, **named: Any) -> T:
    """Circuits as a library dresses them for mitigation or twirling.

    It takes fewer circuits than the device does, and level 1 is the default on machines. So the
    reason says how to go on: it is all that the stock client shows.

    Raises:
        ProgramError: 1208.
    """
    try:
        return tried(do, where, *given, **named)
    except ProgramError as error:
        reason = f"{error.reason.rstrip('.')}. {_AS_IT_IS}"
        raise ProgramError(error.code, reason, error.solution) from error
