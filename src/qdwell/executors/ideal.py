"""One ideal machine that Aer plays: 27 qubits, heavy-hex, no noise."""

from __future__ import annotations

from qiskit.circuit import Delay, IfElseOp, Measure, Parameter, Reset, SwitchCaseOp, WhileLoopOp
from qiskit.circuit.controlflow import ForLoopOp
from qiskit.circuit.library import CXGate, IGate, RZGate, SXGate, XGate
from qiskit.providers import QubitProperties
from qiskit.transpiler import InstructionProperties, Target

from qdwell.executors import configuration
from qdwell.executors.aer import AerExecutor
from qdwell.wire.device import Timing

#: Couplings of the 27-qubit heavy-hex lattice of the Falcon processors.
_HEAVY_HEX_27 = (
    (0, 1), (1, 2), (1, 4), (2, 3), (3, 5), (4, 7), (5, 8), (6, 7), (7, 10), (8, 9), (8, 11),
    (10, 12), (11, 14), (12, 13), (12, 15), (13, 14), (14, 16), (15, 18), (16, 19), (17, 18),
    (18, 21), (19, 20), (19, 22), (21, 23), (22, 25), (23, 24), (24, 25), (25, 26),
)  # fmt: skip

#: As on the processors that it looks like: 250 us between shots, where a job does not say.
TIMING = Timing(rep_delay_range_us=(0.0, 500.0))

_CONTROL_FLOW = {
    "if_else": IfElseOp,
    "for_loop": ForLoopOp,
    "while_loop": WhileLoopOp,
    "switch_case": SwitchCaseOp,
}


def ideal_machine(name: str) -> AerExecutor:
    """A 27-qubit heavy-hex machine without noise, with the durations of a Falcon processor."""
    target = ideal_target()
    description = configuration.machine(name, "1", target, timing=TIMING)
    return AerExecutor(name, target, description=description, timing=TIMING)


def ideal_target() -> Target:
    """Instructions of the ideal machine: cx, id, rz, sx, x, measure, reset, delay, control flow."""
    qubits = range(27)
    target = Target(
        num_qubits=27,
        dt=2.2222222222222221e-10,
        qubit_properties=[QubitProperties(frequency=5.0e9) for _ in qubits],
    )

    def on_each(duration: float) -> dict[tuple[int, ...], InstructionProperties]:
        return {(q,): InstructionProperties(duration=duration, error=0.0) for q in qubits}

    target.add_instruction(IGate(), on_each(3.5555555555555554e-08))
    target.add_instruction(SXGate(), on_each(3.5555555555555554e-08))
    target.add_instruction(XGate(), on_each(3.5555555555555554e-08))
    target.add_instruction(RZGate(Parameter("angle")), on_each(0.0))
    target.add_instruction(Measure(), on_each(7.1e-07))
    target.add_instruction(Reset(), on_each(8.0e-07))
    target.add_instruction(Delay(Parameter("t")), {(q,): None for q in qubits})
    target.add_instruction(
        CXGate(),
        {
            pair: InstructionProperties(duration=3.0e-07, error=0.0)
            for a, b in _HEAVY_HEX_27
            for pair in ((a, b), (b, a))
        },
    )
    for name, operation in _CONTROL_FLOW.items():
        target.add_instruction(operation, name=name)
    return target
