"""Compiling on the server, for the V1 interface, and folding of gates for zero-noise extrapolation.

A compiled circuit is kept in the group's cache under its text, the device, and the settings: in a
session a circuit is compiled once (S37). Compilation starts from a fixed seed, so it gives the same
circuit each time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.transpiler import CouplingMap, TranspilerError
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager

from qdwell.errors import ProgramError
from qdwell.programs import pubs
from qdwell.programs.cache import Cache, content_key
from qdwell.programs.checks import check_instructions
from qdwell.programs.simulator_options import STANDARD_GATES
from qdwell.programs.v1_options import Settings
from qdwell.wire.device import Device

SEED = 0
#: Gates on two qubits that Qiskit can put on a pair of the other direction.
_TURNED = frozenset(["cx", "cz", "ecr", "rxx", "ryy", "rzx", "rzz", "swap"])
_SIMULATOR_ONLY = ("coupling_map", "basis_gates")  # O20


@dataclass(frozen=True, slots=True)
class Compiled:
    """A circuit in the instructions of the device, its parameters open."""

    key: bytes  #: of the text and the settings that it came from
    source: QuantumCircuit
    circuit: QuantumCircuit
    #: For each parameter that is left, its place among those of the source.
    columns: tuple[int, ...]

    def row(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values of the source's parameters as values of the compiled circuit's."""
        return values[list(self.columns)]


def compiled(
    part: Any, chosen: Settings, reader: pubs.Reader, device: Device, cache: Cache, field: str
) -> Compiled:
    """The circuit of a submission, compiled for the device; from the cache if it is there.

    Raises:
        ProgramError: it cannot be read, or not be compiled.
    """
    text = part if isinstance(part, str) else part["__value__"]
    how = json.dumps([chosen.level, dict(chosen.transpile)], sort_keys=True)
    key = content_key(f"{how}\n{text}")
    address = ("compiled", key, device.name, device.version)
    return cache.get(
        address,
        lambda: _compiled(key, reader.parsed(part, field), chosen, device, field),
        lambda it: max(1, len(it.circuit.data)),
    )


def _compiled(
    key: bytes, source: QuantumCircuit, chosen: Settings, device: Device, field: str
) -> Compiled:
    how = dict(chosen.transpile)
    if not device.simulator:
        for name in _SIMULATOR_ONLY:
            if how.get(name) is not None:
                raise ProgramError(
                    pubs.BAD_INPUT, f"{name} is for simulators, and {device.name} is a machine"
                )
    if how.pop("skip_transpilation", False):
        circuit = source
        if not device.simulator:
            check_instructions(circuit, device.target, device.name, field)
    else:
        circuit = _transpiled(source, chosen, how, device, field)
    order = {parameter: place for place, parameter in enumerate(source.parameters)}
    columns = tuple(order[parameter] for parameter in circuit.parameters)
    return Compiled(key, source, circuit, columns)


def _transpiled(
    source: QuantumCircuit, chosen: Settings, how: dict[str, Any], device: Device, field: str
) -> QuantumCircuit:
    coupling, basis = how.pop("coupling_map", None), how.pop("basis_gates", None)
    if coupling == []:
        raise ProgramError(
            pubs.BAD_INPUT,
            f"{field} cannot be compiled for a coupling_map without pairs of qubits",
            "Name the pairs, or leave coupling_map out.",
        )
    layout = how.pop("initial_layout", None)
    if isinstance(layout, dict):
        layout = [layout[key] for key in sorted(layout, key=int)]
    try:
        if coupling is None and basis is None:
            how["target"] = device.target
        else:
            how["coupling_map"] = None if coupling is None else CouplingMap(coupling)
            how["basis_gates"] = basis or _gates(device)
        manager = generate_preset_pass_manager(
            optimization_level=chosen.optimization(device),
            initial_layout=layout,
            seed_transpiler=SEED,
            **how,
        )
        result: QuantumCircuit = manager.run(source)
    except (TranspilerError, ValueError, KeyError, IndexError) as error:
        raise ProgramError(
            1517,
            f"{field} cannot be compiled for {device.name}: {error}",
            "Check the circuit's width, its gates, and the transpilation options.",
        ) from error
    return result


def _gates(device: Device) -> list[str]:
    """The device's standard gates on one qubit, and those on two that Qiskit can turn round.

    It takes no others beside a coupling map, which may have pairs one way only. A simulator has
    some: what it saves its state by, and gates on any number of qubits.
    """
    target = device.target
    return [
        name
        for name in sorted(STANDARD_GATES & set(target.operation_names))
        if name in _TURNED or getattr(target.operation_from_name(name), "num_qubits", 0) == 1
    ]


def folded(circuit: QuantumCircuit, factor: float) -> QuantumCircuit:
    """The circuit with its gates on two and more qubits repeated: G becomes G G' G, and so on.

    The number of gates grows by `factor`; for one that is not odd, part of them are folded once
    more, spread evenly. The result is the same unitary.
    """
    wide = [place for place, step in enumerate(circuit.data) if _foldable(step)]
    pairs = round(len(wide) * (factor - 1) / 2)
    if not wide or pairs == 0:
        return circuit
    each, rest = divmod(pairs, len(wide))
    more = {wide[place * len(wide) // rest] for place in range(rest)} if rest else set()
    result = circuit.copy_empty_like()
    chosen = set(wide)
    for place, step in enumerate(circuit.data):
        result.append(step)
        if place in chosen:
            back = step.operation.inverse()
            for _ in range(each + (place in more)):
                result.append(back, step.qubits)
                result.append(step)
    return result


def _foldable(step: Any) -> bool:
    return (
        len(step.qubits) > 1
        and not step.clbits
        and hasattr(step.operation, "inverse")
        and (step.operation.name != "barrier" and not getattr(step.operation, "blocks", ()))
    )
