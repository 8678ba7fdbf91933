"""A noise model that a job brings along, on an ideal device that Aer plays (O18).

It is given out in cuts as a device's own is (see `noise`): a model of a real device that a user
sends holds hundreds of errors, of which a circuit meets a few, and Aer takes seconds to read all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction, Reset
from qiskit.circuit.library import PauliGate, UnitaryGate
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.quantum_info import PTM, SuperOp
from qiskit_aer.noise import NoiseModel, QuantumError, ReadoutError
from qiskit_aer.noise.noiseerror import NoiseError

from qdwell.errors import ProgramError
from qdwell.executors.noise import PIN, REGULAR, Cuts
from qdwell.wire.device import Fitted
from qdwell.wire.noise import GateError, JobNoise, Step

_GATES = get_standard_gate_name_mapping()


class CutJobNoise(Cuts):
    """The errors of a job's noise model, given out in cuts.

    Args:
        noise: what the job sent, checked.

    Raises:
        ProgramError: 1208, an error does not fit the instruction that it is for.
    """

    def __init__(self, noise: JobNoise) -> None:
        super().__init__()
        self.basis_gates = _basis_gates(noise)
        self._noise = noise
        self._made: dict[tuple[int, int], QuantumError] = {}
        ranks = [_rank(error) for error in noise.gates]
        self._pin_at = int(np.argmax(ranks)) if ranks else None
        self._check_default_errors()

    def _check_default_errors(self) -> None:
        """Aer knows how many qubits its own gates have: an error for all of them must agree."""
        model = NoiseModel()
        for place, error in enumerate(self._noise.gates):
            try:
                self._add_default(model, place, error, error.operations)
            except NoiseError as why:
                raise _unfit(place, why) from why

    def readout(self, qubit: int) -> tuple[float, float]:
        """Probability of reading 1 for a 0, and 0 for a 1."""
        own = [it for it in self._noise.readout if it.qubits == (qubit,)]
        default = [it for it in self._noise.readout if it.qubits is None]
        chosen = own or default
        if not chosen:
            return 0.0, 0.0
        both = np.eye(2)
        for error in chosen:
            both = both @ error.probabilities
        return float(both[0, 1]), float(both[1, 0])

    def irregular(self, fit: Fitted) -> bool:
        """Has the circuit an error that is neither Pauli nor reset?"""
        return any(
            not fit.names.isdisjoint(error.operations)
            and (error.qubits is None or any(fit.qubits.issuperset(it) for it in error.qubits))
            and _rank(error) > 0
            for error in self._noise.gates
        )

    def _matrix(self, operation: Any, qubit: int) -> NDArray[np.float64]:
        made = np.eye(4)
        for error in self._on_one(operation.name, qubit):
            made = np.real(PTM(SuperOp(error)).data) @ made
        return made

    def _on_one(self, name: str, qubit: int) -> Iterator[QuantumError]:
        """The errors of an instruction on one qubit: its own, else those for all qubits."""
        there = [(at, it) for at, it in enumerate(self._noise.gates) if name in it.operations]
        own = [at for at, it in there if it.qubits is not None and (qubit,) in it.qubits]
        for place in own or [at for at, it in there if it.qubits is None]:
            yield self._error(place, 1)

    def _build(self, names: frozenset[str], qubits: frozenset[int], pinned: bool) -> NoiseModel:
        model = NoiseModel()
        try:
            for place, error in enumerate(self._noise.gates):
                if met := [it for it in error.operations if it in names]:
                    self._add(model, place, error, met, qubits)
            self._add_readout(model, qubits)
            if pinned and self._pin_at is not None:
                pin = self._error(self._pin_at, self._noise.gates[self._pin_at].width)
                model.add_quantum_error(pin, [PIN], list(range(pin.num_qubits)), warnings=False)
        except NoiseError as why:
            raise _unfit(None, why) from why
        return model

    def _add(
        self,
        model: NoiseModel,
        place: int,
        error: GateError,
        met: list[str],
        qubits: frozenset[int],
    ) -> None:
        self._add_default(model, place, error, met)
        for where in error.qubits or ():
            if qubits.issuperset(where):
                made = self._error(place, len(where))
                model.add_quantum_error(made, met, list(where), warnings=False)

    def _add_default(
        self, model: NoiseModel, place: int, error: GateError, met: Sequence[str]
    ) -> None:
        for name in met if error.qubits is None else ():
            width = _GATES[name].num_qubits if name in _GATES else 1
            made = self._error(place, max(error.width, width))
            model.add_all_qubit_quantum_error(made, name, warnings=False)

    def _add_readout(self, model: NoiseModel, qubits: frozenset[int]) -> None:
        # Errors on qubits that the circuit leaves alone change nothing, but that a model has some
        # may change what Aer does: so the first one is always there.
        for place, error in enumerate(self._noise.readout):
            made = ReadoutError(error.probabilities)
            if error.qubits is None:
                model.add_all_qubit_readout_error(made, warnings=False)
            elif place == 0 or qubits.issuperset(error.qubits):
                model.add_readout_error(made, list(error.qubits), warnings=False)

    def _error(self, place: int, width: int) -> QuantumError:
        if (place, width) not in self._made:
            error = self._noise.gates[place]
            ways = [_circuit(way, width) for way in error.ways]
            self._made[place, width] = QuantumError(
                list(zip(ways, error.probabilities, strict=True))
            )
        return self._made[place, width]


def _basis_gates(noise: JobNoise) -> list[str]:
    """What Aer compiles to under a model: gates that it has errors for, and Aer's default.

    It is Aer's own rule for a simulator with a noise model (`NoiseModel.basis_gates`).
    """
    model = NoiseModel()
    named = {it for error in noise.gates for it in error.operations}
    model.add_basis_gates(sorted(named & set(_GATES)))
    return list(model.basis_gates)


def _circuit(way: tuple[Step, ...], width: int) -> QuantumCircuit:
    circuit = QuantumCircuit(width)
    for step in way:
        circuit.append(_operation(step), list(step.qubits))
    return circuit


def _operation(step: Step) -> Instruction:
    match step.name:
        case "reset":
            return Reset()
        case "pauli":
            return PauliGate(*step.params)
        case "unitary":
            return UnitaryGate(*step.params)
        case "kraus":
            return Instruction("kraus", len(step.qubits), 0, list(step.params))
        case _:
            return _GATES[step.name].copy()


def _rank(error: GateError) -> int:
    """How general its kind is: 0 for Paulis and resets; a `kraus` is above all others."""
    steps = {step.name for way in error.ways for step in way}
    if "kraus" in steps:
        return 3
    if "unitary" in steps:
        return 2
    return 0 if steps <= REGULAR else 1


def _unfit(place: int | None, why: Exception) -> ProgramError:
    where = "noise_model" if place is None else f"noise_model.errors[{place}]"
    return ProgramError(
        1208,
        f"{where} cannot be used: {str(why).strip(chr(34))}",
        "Send a model that qiskit_aer.noise.NoiseModel can hold, by its to_dict.",
    )
