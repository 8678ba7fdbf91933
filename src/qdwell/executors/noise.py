"""Noise models of real devices, cut down to what a circuit needs.

The stock local testing mode builds the noise model of a whole device (1.6 s for 127 qubits, 5 s for
133), and Aer writes all of it out and reads it back for every run. Here errors are made one gate at
a time, when the first circuit asks for them, and kept; a run gets a model with only the errors that
it can meet: instructions that it contains, on qubits that it touches.

**Why the samples stay the same.** Every error comes from one entry of the device's calibration and
is attached to exactly the qubits of that entry, so leaving out entries on other qubits or
instructions changes no operation of the circuit. What could change is Aer's choice of method, which
looks at the kinds of error in the whole model: without any `kraus` error a Clifford circuit runs on
the stabilizer simulator. So a cut model carries one *pin*: an error of the whole model, of the most
general kind that it has, attached to an instruction that no circuit contains.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Delay
from qiskit.quantum_info import PTM, SuperOp
from qiskit_aer.noise import NoiseModel
from qiskit_aer.noise.device.models import (
    basic_device_gate_errors,
    basic_device_readout_errors,
)
from qiskit_aer.noise.device.parameters import thermal_relaxation_values
from qiskit_aer.noise.passes import RelaxationNoisePass
from qiskit_ibm_runtime.models.exceptions import BackendPropertyError

from qdwell.wire.device import Fitted

#: Name of the instruction that the pin is attached to.
PIN = "qdwell_pin"

#: Errors of these parts alone are within a stabilizer simulation.
REGULAR = frozenset({"id", "x", "y", "z", "pauli", "reset", "h", "s", "sdg", "cx", "cz", "swap"})

#: Cut models that are kept for each device.
_MODELS_MAX = 256

_Key = tuple[frozenset[str], frozenset[int], bool]


class Cuts(ABC):
    """A noise model that is given out in cuts; what its errors are, each kind of model says."""

    #: What is compiled to under this model.
    basis_gates: list[str]

    def __init__(self) -> None:
        self._models: OrderedDict[_Key, tuple[NoiseModel, dict[str, Any]]] = OrderedDict()
        self._matrices: dict[tuple[Any, ...], NDArray[np.float64]] = {}

    def cut(
        self, names: frozenset[str], qubits: frozenset[int], *, pinned: bool = True
    ) -> NoiseModel:
        """The model for circuits with instructions `names` on device `qubits`.

        Without a pin Aer may not choose the method by the model; the caller has to.
        """
        return self._entry(names, qubits, pinned)[0]

    def written(self, names: frozenset[str], qubits: frozenset[int]) -> dict[str, Any]:
        """The same written out, as Aer's simulation takes it; without the noise of delays."""
        model, text = self._entry(names, qubits)
        if not text:
            text.update(model.to_dict(serializable=True))
        return text

    def _entry(
        self, names: frozenset[str], qubits: frozenset[int], pinned: bool = True
    ) -> tuple[NoiseModel, dict[str, Any]]:
        key = (names, qubits, pinned)
        if (entry := self._models.get(key)) is not None:
            self._models.move_to_end(key)
            return entry
        entry = self._models[key] = self._build(names, qubits, pinned), {}
        if len(self._models) > _MODELS_MAX:
            self._models.popitem(last=False)
        return entry

    def matrix(self, operation: Any, qubit: int) -> NDArray[np.float64] | None:
        """The noise after an instruction on one qubit, as a real 4x4 matrix on (1, x, y, z).

        None: it is named by a label, or its duration is open, so that it cannot be told here.
        """
        length = operation.params[0] if operation.name == "delay" else 0.0
        if operation.label or not isinstance(length, int | float):
            return None
        key = (operation.name, qubit, float(length), getattr(operation, "unit", None))
        if key not in self._matrices:
            self._matrices[key] = self._matrix(operation, qubit)
        return self._matrices[key]

    @abstractmethod
    def readout(self, qubit: int) -> tuple[float, float]:
        """Probability of reading 1 for a 0, and 0 for a 1."""
        ...

    @abstractmethod
    def irregular(self, fit: Fitted) -> bool:
        """Has the circuit an error that is neither Pauli nor reset?"""
        ...

    @abstractmethod
    def _matrix(self, operation: Any, qubit: int) -> NDArray[np.float64]: ...

    @abstractmethod
    def _build(self, names: frozenset[str], qubits: frozenset[int], pinned: bool) -> NoiseModel: ...


class CutNoise(Cuts):
    """The noise of one device, given out in cuts.

    Args:
        properties: the device's calibration, as the fake backend holds it.
        basis_gates: the device's basis gates.
        dt: length of one time step in seconds, for delays.
    """

    def __init__(self, properties: Any, basis_gates: list[str], dt: float | None) -> None:
        super().__init__()
        self._properties = properties
        self.basis_gates = basis_gates
        self._gates: dict[frozenset[int], list[tuple[int, Any]]] = defaultdict(list)
        for place, gate in enumerate(properties.gates):
            self._gates[frozenset(gate.qubits)].append((place, gate))
        self._errors: dict[int, list[tuple[str, list[int], Any]]] = {}
        self._readout = {tuple(q): error for q, error in basic_device_readout_errors(properties)}
        self._delay_pass = _delay_pass(properties, dt)
        self._pin: Any = None
        self._pin_sought = False

    def _matrix(self, operation: Any, qubit: int) -> NDArray[np.float64]:
        made = np.eye(4)
        for place, gate in self._gates[frozenset({qubit})]:
            if gate.gate == operation.name:
                for _, _, error in self._errors_of(place, gate):
                    made = np.real(PTM(SuperOp(error)).data) @ made
        if operation.name == "delay" and self._delay_pass is not None:
            error = self._delay_pass._thermal_relaxation_error(operation, [qubit])
            if error is not None:
                made = np.real(PTM(SuperOp(error)).data) @ made
        return made

    def readout(self, qubit: int) -> tuple[float, float]:
        """Probability of reading 1 for a 0, and 0 for a 1."""
        error = self._readout.get((qubit,))
        if error is None:
            return 0.0, 0.0
        return float(error.probabilities[0][1]), float(error.probabilities[1][0])

    def irregular(self, fit: Fitted) -> bool:
        """Has the circuit an error that is neither Pauli nor reset?"""
        if "delay" in fit.names and self._delay_pass is not None:
            return True
        for qubits, gates in self._gates.items():
            for place, gate in gates if qubits <= fit.qubits else ():
                if gate.gate in fit.names and any(
                    step.operation.name not in REGULAR
                    for _, _, error in self._errors_of(place, gate)
                    for circuit in error.circuits
                    for step in circuit
                ):
                    return True
        return False

    def _build(self, names: frozenset[str], qubits: frozenset[int], pinned: bool) -> NoiseModel:
        model = NoiseModel(basis_gates=self.basis_gates)
        for qubit in sorted(qubits):
            if (error := self._readout.get((qubit,))) is not None:
                model.add_readout_error(error, [qubit])
        wanted = [
            place_gate
            for gate_qubits, gates in self._gates.items()
            if gate_qubits <= qubits
            for place_gate in gates
            if place_gate[1].gate in names
        ]
        for place, gate in sorted(wanted, key=lambda it: it[0]):
            for name, gate_qubits, error in self._errors_of(place, gate):
                model.add_quantum_error(error, name, gate_qubits, warnings=False)
        if pinned and (pin := self._find_pin()) is not None:
            places = list(range(pin.num_qubits))
            model.add_quantum_error(pin, [PIN], places, warnings=False)
        if self._delay_pass is not None:
            model._custom_noise_passes.append(self._delay_pass)
        return model

    def _errors_of(self, place: int, gate: Any) -> list[tuple[str, list[int], Any]]:
        if place not in self._errors:
            one = SimpleNamespace(qubits=self._properties.qubits, gates=[gate])
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="qiskit_aer.noise.device.models")
                self._errors[place] = basic_device_gate_errors(one)
        return self._errors[place]

    def _find_pin(self) -> Any:
        """An error with a `kraus` part if the device has any; else any error.

        Relaxation has a `kraus` part exactly where T2 > T1 (else it is a mixture of resets and Z),
        so only gates on such qubits are tried, the smallest first.
        """
        if not self._pin_sought:
            self._pin_sought = True
            times = thermal_relaxation_values(self._properties)
            slow = {qubit for qubit, (t1, t2, _) in enumerate(times) if t2 > t1}
            ordered = sorted(self._gates.items(), key=lambda it: (len(it[0]), min(it[0])))
            every = [entry for _, gates in ordered for entry in gates]
            likely = [entry for entry in every if slow.intersection(entry[1].qubits)]
            self._pin = self._first(likely, _has_kraus) or self._first(every, lambda _: True)
        return self._pin

    def _first(self, gates: Iterable[tuple[int, Any]], fits: Callable[[Any], bool]) -> Any:
        for place, gate in gates:
            for _, _, error in self._errors_of(place, gate):
                if fits(error):
                    return error
        return None


def _has_kraus(error: Any) -> bool:
    return any(step.operation.name == "kraus" for circuit in error.circuits for step in circuit)


def _delay_pass(properties: Any, dt: float | None) -> RelaxationNoisePass | None:
    """Relaxation during delays, or None where the calibration lacks T1 or T2 of a qubit.

    The excited population is left at zero: the stock model is made for a temperature of 0 K. A T2
    that was measured above 2 T1, its physical bound, is taken as the bound, as Aer takes it for
    gates; the stock model fails at the first delay on such a qubit.
    """
    count = range(len(properties.qubits))
    try:
        t1s = [properties.t1(qubit) for qubit in count]
        t2s = [min(properties.t2(qubit), 2 * t1s[qubit]) for qubit in count]
    except BackendPropertyError:
        return None
    return RelaxationNoisePass(t1s=t1s, t2s=t2s, dt=dt, op_types=Delay)
