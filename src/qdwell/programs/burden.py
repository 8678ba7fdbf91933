"""What a job's circuits ask of a machine's control electronics: limits L15 and L16.

L15 bounds the control instructions of a job on each qubit: every circuit counts once for each set
of parameter values, whatever its shots, with `init` for each circuit and a weight for each gate.
L16 bounds the gates of one circuit. A circuit with control flow is *dynamic*; a `for` loop counts
with all its rounds, and of the branches each counts, since the electronics hold them all.

Counting costs a walk through the circuit, so a bound from its length alone comes first: almost
every job is far below the limits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from qiskit import QuantumCircuit
from qiskit.circuit import ForLoopOp
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES

from qdwell.errors import ProgramError
from qdwell.wire.device import Fitted

#: Code of a job that asks for too much (E27).
TOO_MUCH = 6000
#: L15: instructions on one qubit.
INSTRUCTIONS_MAX = 26_800_000
WEIGHTS = {"rz": 1, "delay": 1, "sx": 2, "x": 2, "measure": 10, "reset": 17}
INIT_WEIGHT = 50
TWO_QUBIT_WEIGHT = 5
_WEIGHT_MOST = max(WEIGHTS.values())
#: L16: gates of one circuit.
TWO_QUBIT_MAX = 400_000
TWO_QUBIT_DYNAMIC_MAX = 100_000
GATES_MAX = {"rz": 2_400_000, "sx": 1_600_000}


@dataclass(slots=True)
class Burden:
    """Adds up a job. Only for machines: a simulator has no electronics."""

    machine: str
    #: Bound of L15 from lengths alone; exact counts begin when it is beyond the limit.
    _loose: int = 0
    _seen: list[tuple[Fitted, int]] = field(default_factory=list)
    _exact: Counter[int] | None = None

    def add(self, fitted: Fitted, runs: int) -> None:
        """Count a circuit that runs with so many sets of values.

        Raises:
            ProgramError: 6000, names the limit and what was counted.
        """
        length = len(fitted.circuit.data)
        dynamic = not CONTROL_FLOW_OP_NAMES.isdisjoint(fitted.names)
        if dynamic or length > TWO_QUBIT_DYNAMIC_MAX:
            _check_gates(fitted.circuit, dynamic)
        self._loose += runs * (length * _WEIGHT_MOST + INIT_WEIGHT)
        self._seen.append((fitted, runs))
        if self._exact is None and (self._loose > INSTRUCTIONS_MAX or dynamic):
            self._exact = Counter()
            for each, times in self._seen:
                self._count(each, times)
        elif self._exact is not None:
            self._count(fitted, runs)

    def _count(self, fitted: Fitted, runs: int) -> None:
        assert self._exact is not None
        one: Counter[int] = Counter(dict.fromkeys(fitted.qubits, INIT_WEIGHT))
        _weigh(fitted.circuit, list(range(fitted.circuit.num_qubits)), 1, one)
        for qubit, weight in one.items():
            self._exact[qubit] += weight * runs
            if self._exact[qubit] > INSTRUCTIONS_MAX:
                raise ProgramError(
                    TOO_MUCH,
                    f"The job has {self._exact[qubit]} control instructions on qubit {qubit}; "
                    f"{self.machine} takes {INSTRUCTIONS_MAX} on each qubit of a job",
                    "Split the job: fewer circuits, or fewer sets of parameter values.",
                )


def _weigh(circuit: QuantumCircuit, places: list[int], rounds: int, into: Counter[int]) -> None:
    index = dict(zip(circuit.qubits, places, strict=True))
    for step in circuit.data:
        operation, qubits = step.operation, [index[bit] for bit in step.qubits]
        blocks = getattr(operation, "blocks", ())
        for block in blocks:
            _weigh(block, qubits, rounds * _rounds(operation), into)
        if blocks or operation.name in ("barrier", "store"):
            continue
        weight = WEIGHTS.get(operation.name, TWO_QUBIT_WEIGHT if len(qubits) > 1 else 2)
        for qubit in qubits:
            into[qubit] += weight * rounds


def _rounds(operation: object) -> int:
    return len(list(operation.params[0])) if isinstance(operation, ForLoopOp) else 1


def _check_gates(circuit: QuantumCircuit, dynamic: bool) -> None:
    """L16.

    Raises:
        ProgramError: 6000, names the gate, the count, and the limit.
    """
    found: Counter[str] = Counter()
    _tally(circuit, 1, found)
    kind = "a dynamic circuit" if dynamic else "a circuit"
    most = TWO_QUBIT_DYNAMIC_MAX if dynamic else TWO_QUBIT_MAX
    for name, limit in {"two-qubit": most, **GATES_MAX}.items():
        if found[name] > limit:
            raise ProgramError(
                TOO_MUCH,
                f"{kind} has {found[name]} {name} gates; at most {limit} are possible",
                "Make the circuit shorter, or cut it into several.",
            )


def _tally(circuit: QuantumCircuit, rounds: int, into: Counter[str]) -> None:
    for step in circuit.data:
        operation = step.operation
        blocks = getattr(operation, "blocks", ())
        for block in blocks:
            _tally(block, rounds * _rounds(operation), into)
        if not blocks and operation.name != "barrier":
            into["two-qubit" if len(step.qubits) > 1 else operation.name] += rounds
