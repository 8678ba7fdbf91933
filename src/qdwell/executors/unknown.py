"""What Qiskit can write and Aer cannot run: put into its own words, or refused by name.

Aer itself fails on these with an error of its insides, which tells a user nothing.
"""

from __future__ import annotations

from qiskit import QuantumCircuit
from qiskit.circuit.classical import types
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES

from qdwell.errors import ProgramError
from qdwell.executors import base
from qdwell.wire.device import Fitted

_SAVES = "save_"  # the names of Aer's instructions that look at the state begin so


def without_boxes(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with the contents of its boxes in their place: a simulator has no timing."""
    plain = circuit.copy_empty_like()
    for step in circuit.data:
        if step.name == "box":
            body = without_boxes(step.operation.blocks[0])
            plain.compose(body, step.qubits, step.clbits, inplace=True, copy=False)
        elif step.name in CONTROL_FLOW_OP_NAMES:
            blocks = [without_boxes(block) for block in step.operation.blocks]
            plain.append(step.replace(operation=step.operation.replace_blocks(blocks)))
        else:
            plain.append(step)
    return plain


def refuse(fit: Fitted, name: str) -> None:
    """Refuse what Aer has no way to run, or no way to tell the result of.

    Raises:
        ProgramError: 1517, an instruction that saves the state, or a variable that is no Uint.
    """
    saves = any(it.startswith(_SAVES) for it in fit.names)
    for circuit in base.with_blocks(fit):
        for var in circuit.iter_declared_vars():
            if not isinstance(var.type, types.Uint):
                raise ProgramError(
                    1517,
                    f"{name} cannot run the variable {var.name} of type {var.type}: "
                    "its variables are unsigned integers",
                    "Use a variable of type Uint(1) or wider, or a classical bit.",
                )
        if not saves:
            continue
        for step in circuit.data:
            if step.name.startswith(_SAVES):
                raise ProgramError(
                    1517,
                    f"The instruction {step.name} is not supported by {name}: "
                    "the result of a job is what its measurements give",
                    "Remove it; for expectation values use an estimator.",
                )
