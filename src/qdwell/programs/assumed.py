"""A simulator that is asked to be a machine: `simulator.coupling_map` and `basis_gates` (O42).

Circuits are then checked as that machine would check them, and methods that need to know which
qubits are neighbours know it. The simulation itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import ForLoopOp, IfElseOp, SwitchCaseOp, WhileLoopOp
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.transpiler import CouplingMap, Target

from qdwell.errors import ProgramError
from qdwell.programs.cache import content_key
from qdwell.programs.pubs import BAD_INPUT
from qdwell.wire.device import Batch, Device, Fitted, Outcome, Timing
from qdwell.wire.noise import JobNoise

_ALWAYS = ("measure", "reset", "delay")
_CONTROL_FLOW = {
    "if_else": IfElseOp,
    "for_loop": ForLoopOp,
    "while_loop": WhileLoopOp,
    "switch_case": SwitchCaseOp,
}


class Assumed:
    """A simulator as a program sees it, with the instructions of the machine that it stands for."""

    simulator = False

    def __init__(self, device: Device, target: Target, mark: str) -> None:
        self._device = device
        self.target = target
        self.noiseless = device.noiseless
        self.name = device.name
        self.version = f"{device.version}+{mark}"

    @property
    def timing(self) -> Timing:
        """The simulator's own."""
        return self._device.timing

    def under(self, noise: JobNoise) -> Device:
        """The simulator with a noise model."""
        return self._device.under(noise)

    def fit(self, circuit: QuantumCircuit) -> Fitted:
        """As the simulator fits it."""
        return self._device.fit(circuit)

    def run(self, batch: Batch) -> Outcome:
        """As the simulator runs it."""
        return self._device.run(batch)


def assumed(params: Mapping[str, Any], device: Device) -> Device:
    """The device, or what it is to be taken for.

    Raises:
        ProgramError: 1208, one of the options on a machine.
    """
    given = (params.get("options") or {}).get("simulator") or {}
    coupling, basis = given.get("coupling_map"), given.get("basis_gates")
    if coupling is None and basis is None:
        return device
    if not device.simulator:
        named = "coupling_map" if coupling is not None else "basis_gates"
        raise ProgramError(
            BAD_INPUT,
            f"options.simulator.{named} is for simulators, and {device.name} is a machine",
            f"Remove {named} from the options.",
        )
    standard = get_standard_gate_name_mapping()
    names = list(basis) if basis is not None else [it for it in standard if it not in _ALWAYS]
    width = 1 + max(max(pair) for pair in coupling) if coupling else device.target.num_qubits
    # Neighbours are defined for pairs; without them, wider gates may be anywhere.
    widest = 2 if coupling else width
    names = [it for it in names if 1 <= standard[it].num_qubits <= widest]
    target = Target.from_configuration(
        basis_gates=[*dict.fromkeys([*names, *_ALWAYS])],
        num_qubits=width,
        coupling_map=None if coupling is None else CouplingMap(coupling),
    )
    for name, operation in _CONTROL_FLOW.items():
        target.add_instruction(operation, name=name)
    return Assumed(device, target, content_key(f"{coupling}{basis}").hex()[:8])
