"""Does a circuit use only instructions that the machine has, where it has them (J10, E25)?"""

from __future__ import annotations

from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction
from qiskit.transpiler import Target

from qdwell.errors import ProgramError

#: Instructions that need nothing of the device.
_FREE = frozenset({"barrier", "store"})


def check_instructions(circuit: QuantumCircuit, target: Target, name: str, field: str) -> None:
    """Check every instruction, those in blocks of control flow included.

    Raises:
        ProgramError: 1517, names the first instruction that `target` lacks, and its qubits.
    """
    if circuit.num_qubits > (target.num_qubits or 0):
        raise ProgramError(
            1517,
            f"{field}: the circuit has {circuit.num_qubits} qubits, {name} has {target.num_qubits}",
            "Transpile the circuit for the backend before sending it.",
        )
    found = _first_foreign(circuit, tuple(range(circuit.num_qubits)), target)
    if found is not None:
        step, qubits = found
        where = "qubit" if len(qubits) == 1 else "qubits"
        shown = ", ".join(map(str, qubits))
        raise ProgramError(
            1517,
            f"{field}: the instruction {step.operation.name} on {where} {shown} is not supported "
            f"by the target system {name}",
            "Transpile the circuit for the backend before sending it, for example with "
            "generate_preset_pass_manager(backend=backend).",
        )


def _first_foreign(
    circuit: QuantumCircuit, places: tuple[int, ...], target: Target
) -> tuple[CircuitInstruction, tuple[int, ...]] | None:
    index = dict(zip(circuit.qubits, places, strict=True))
    for step in circuit.data:
        operation = step.operation
        if operation.name in _FREE:
            continue
        qubits = tuple(index[bit] for bit in step.qubits)
        blocks = getattr(operation, "blocks", None)
        if blocks is not None:
            if operation.name not in target.operation_names and operation.name not in (
                "break_loop",
                "continue_loop",
            ):
                return step, qubits
            for block in blocks:
                found = _first_foreign(block, qubits, target)
                if found is not None:
                    return found
        elif not target.instruction_supported(operation.name, qubits):
            return step, qubits
    return None
