"""Circuits in Aer's own form, kept, so that a run with new parameter values only binds and samples.

`AerSimulator.run` reads a Python circuit instruction by instruction for each run, which takes as
long as the simulation of a small problem, and writes the noise model out anew. But a session runs
the same circuits again and again. Here a circuit is read once, with its parameters open; for a run
the values are handed over beside it, in the form of `run(..., parameter_binds=...)`, and Aer binds
them in a copy. What is called are the functions that `run` itself is made of, below its threads and
its result objects, so a seed gives the same samples (tested against `run`).

Some circuits are rewritten by Aer before they are read: control flow, delays under noise, quantum
channels as instructions. For these there is no shortcut: `assembled` gives None.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression
from qiskit_aer import AerSimulator
from qiskit_aer.backends.aer_compiler import assemble_circuit, generate_aer_config
from qiskit_aer.backends.backend_utils import LIBRARY_DIR
from qiskit_aer.backends.controller_wrappers import (
    AerCircuit,
    AerConfig,
    aer_controller_execute,
)

T = TypeVar("T")

#: Where Aer is told the global phase in a table of parameters.
_PHASE = (AerConfig.GLOBAL_PHASE_POS, -1)

#: An entry of Aer's table: which parameter of which operation, and its values.
Entry = tuple[tuple[int, int], list[float]]


@dataclass(frozen=True, slots=True)
class Assembled:
    """One circuit. `plain` are slots that take a parameter itself, by its place; `formulas` others.

    The phase is always in the table, also where it is fixed: so Aer works on a copy. A circuit
    without any entry it would cut down in place, to the qubits that are measured.
    """

    circuit: Any
    plain: tuple[tuple[tuple[int, int], int], ...]
    formulas: tuple[tuple[tuple[int, int], ParameterExpression], ...]
    phase: float | None
    parameters: tuple[Parameter, ...]

    def table(self, row: NDArray[Any]) -> list[Entry]:
        """The entries for one row of parameter values."""
        values = row.tolist()
        entries = [(slot, [values[place]]) for slot, place in self.plain]
        if self.formulas:
            known = dict(zip(self.parameters, values, strict=True))
            entries += [(slot, [float(formula.bind_all(known))]) for slot, formula in self.formulas]
        if self.phase is not None:
            entries.append((_PHASE, [self.phase]))
        return entries


def assembled(circuit: QuantumCircuit, names: Collection[str]) -> Assembled | None:
    """Read a circuit with its parameters open; None if it has other instructions than `names`."""
    parameters = tuple(circuit.parameters)
    place_of = {parameter: place for place, parameter in enumerate(parameters)}
    found: list[tuple[int, int, ParameterExpression]] = []
    for at, step in enumerate(circuit.data):
        operation = step.operation
        if operation.name not in names or getattr(operation, "condition", None) is not None:
            return None
        for slot, value in enumerate(operation.params):
            if isinstance(value, ParameterExpression) and value.parameters:
                if operation.name == "delay":
                    return None  # its length is rounded when it is bound
                found.append((at, slot, value))
    aer_circuit, index = assemble_circuit(circuit)
    plain, formulas = [], []
    for at, slot, value in found:
        where = (index[at], slot)
        if isinstance(value, Parameter):
            plain.append((where, place_of[value]))
        else:
            formulas.append((where, value))
    phase: float | None = None
    if isinstance(circuit.global_phase, ParameterExpression) and circuit.global_phase.parameters:
        formulas.append((_PHASE, circuit.global_phase))
    else:
        phase = float(circuit.global_phase)
    return Assembled(aer_circuit, tuple(plain), tuple(formulas), phase, parameters)


class Shelf(Generic[T]):
    """What was made of circuits, for as long as they themselves are kept by somebody."""

    def __init__(self, make: Callable[[QuantumCircuit], T | None]) -> None:
        self._make = make
        self._kept: dict[int, tuple[weakref.ref[QuantumCircuit], T | None]] = {}

    def get(self, circuit: QuantumCircuit) -> T | None:
        """What is made of the circuit, None if nothing can be."""
        key = id(circuit)
        kept = self._kept.get(key)
        if kept is None:
            gone = weakref.ref(circuit, lambda _: self._kept.pop(key, None))
            kept = self._kept[key] = gone, self._make(circuit)
        return kept[1]


class Controller:
    """Aer's simulation, without the Python around it.

    Args:
        simulator: its options are taken as they are now.
    """

    def __init__(self, simulator: AerSimulator) -> None:
        self._options = simulator.options
        self._execute = aer_controller_execute()

    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        shelf: Sequence[Assembled],
        rows: Sequence[NDArray[Any]],
        noise: Mapping[str, Any],
        **options: Any,
    ) -> dict[str, Any]:
        """Run circuits with rows of values; the answer has the fields of Aer's own results.

        Args:
            circuits: for their widths.
            shelf: the same ones, assembled.
            rows: parameter values of each.
            noise: the noise model written out, empty if there is none.
            options: as of `AerSimulator.run`.
        """
        tables = [it.table(row) for it, row in zip(shelf, rows, strict=True)]
        config = generate_aer_config(circuits, self._options, parameterizations=tables, **options)
        config.library_dir = LIBRARY_DIR
        aer_circuits: list[AerCircuit] = [it.circuit for it in shelf]
        answer: dict[str, Any] = self._execute.execute(aer_circuits, noise, config)
        return answer
