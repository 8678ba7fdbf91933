"""A backend as Qiskit's transpiler takes it: a `BackendV2` with its target.

The target is made from the configuration and the properties that the server gives; units on the
wire are nanoseconds for durations, microseconds for T1 and T2, and GHz (wire-protocol 5.2, 5.3).
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qiskit.circuit import (
    Delay,
    ForLoopOp,
    Gate,
    IfElseOp,
    Instruction,
    Measure,
    Parameter,
    Reset,
    SwitchCaseOp,
    WhileLoopOp,
)
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.providers import BackendV2, Options, QubitProperties
from qiskit.transpiler import InstructionProperties, Target

from qdwell.client import display, driving
from qdwell.client.transport import Request, path_of

if TYPE_CHECKING:
    from qdwell.client.service import QiskitRuntimeService

_SCALES = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "GHz": 1e9,
    "MHz": 1e6,
    "": 1.0,
}
_CONTROL_FLOW: Mapping[str, type[Instruction]] = {
    "if_else": IfElseOp,
    "for_loop": ForLoopOp,
    "while_loop": WhileLoopOp,
    "switch_case": SwitchCaseOp,
}


class BackendStatus(types.SimpleNamespace):
    """State of a backend: `operational`, `status_msg`, `pending_jobs`, `backend_version` (I10)."""

    operational: bool
    status_msg: str
    pending_jobs: int
    backend_name: str
    backend_version: str


class Backend(BackendV2):  # type: ignore[misc]
    """One machine or simulator of a server. Made by `service.backend(name)`.

    Args:
        service: where it is.
        configuration: as the server gives it.
        properties: as the server gives them; empty for a simulator.
    """

    def __init__(
        self,
        service: QiskitRuntimeService,
        configuration: Mapping[str, Any],
        properties: Mapping[str, Any],
    ) -> None:
        super().__init__(
            provider=service,
            name=configuration["backend_name"],
            backend_version=configuration["backend_version"],
        )
        self._service = service
        self._configuration = dict(configuration)
        self._properties = dict(properties)
        self._target = target_of(configuration, properties)

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    @property
    def service(self) -> QiskitRuntimeService:
        """The service that it belongs to."""
        return self._service

    @property
    def target(self) -> Target:
        """What the transpiler compiles for."""
        return self._target

    @property
    def max_circuits(self) -> int | None:
        """None: any number (L24)."""
        return None

    @property
    def simulator(self) -> bool:
        """Whether it is a simulator: no queue, and no sessions (S34)."""
        return bool(self._configuration["simulator"])

    @property
    def session_id(self) -> None:
        """None: a backend belongs to no session."""
        return None

    def configuration(self) -> types.SimpleNamespace:
        """What it is, with the names of the wire."""
        return types.SimpleNamespace(**self._configuration)

    def properties(self) -> dict[str, Any] | None:
        """How well it works: qubits and gates with their errors and times; None if unknown."""
        return self._properties or None

    def status(self) -> BackendStatus:
        """Whether it works, and how many jobs wait."""
        asked = Request("GET", path_of("backends", self.name, "status"))
        told = self._service.link.send(asked).json()
        return BackendStatus(
            backend_name=self.name,
            backend_version=told["backend_version"],
            operational=bool(told["state"]),
            status_msg=told["status"],
            pending_jobs=max(0, int(told["length_queue"])),
        )

    def run(self, *_: Any, **__: Any) -> Any:
        """Not here: use a primitive.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "backend.run() is not there: use SamplerV2(mode=backend).run([circuit])."
        )

    def __call__(self) -> Backend:
        """Itself; so that old code may say `session.backend()()`."""
        return self

    def __deepcopy__(self, _: Any) -> Backend:
        return self  # it is a handle on what the server has, and holds locks

    def __repr__(self) -> str:
        return f"<Backend({self.name!r}, {self.num_qubits} qubits)>"

    def _repr_html_(self) -> str:
        basis = ", ".join(self._configuration["basis_gates"][:12])
        rows = {
            "Name": self.name,
            "Qubits": self.num_qubits,
            "Simulator": "yes" if self.simulator else "no",
            "Basis gates": basis,
            "Version": self.backend_version,
        }
        return display.table("qdwell backend", rows)


def read_backend(service: QiskitRuntimeService, name: str) -> driving.Operation[Backend]:
    """The steps of reading a backend from the server."""
    configuration = yield Request("GET", path_of("backends", name, "configuration"))
    properties = yield Request("GET", path_of("backends", name, "properties"))
    return Backend(service, configuration.json(), properties.json() or {})


def target_of(configuration: Mapping[str, Any], properties: Mapping[str, Any]) -> Target:
    """The transpiler's target of a machine or simulator."""
    qubits = int(configuration["n_qubits"])
    dt = configuration.get("dt")
    target = Target(
        num_qubits=qubits,
        dt=None if dt is None else float(dt) * 1e-9,
        qubit_properties=_qubit_properties(properties),
        **(configuration.get("timing_constraints") or {}),
    )
    simulator = bool(configuration["simulator"])
    for name, operation, where in _operations(configuration):
        places: Any = None
        if not simulator or where is not None:
            spots = where if where is not None else [[qubit] for qubit in range(qubits)]
            known = _errors(properties, name)
            places = {tuple(spot): known.get(tuple(spot)) for spot in spots}
        target.add_instruction(operation, places, name=name)
    for name in configuration.get("supported_instructions") or ():
        if name in _CONTROL_FLOW and name not in target:
            target.add_instruction(_CONTROL_FLOW[name], name=name)
    return target


def _operations(configuration: Mapping[str, Any]) -> list[tuple[str, Instruction, Any]]:
    """Every instruction: its name, what it is, and where; None is everywhere."""
    standard = get_standard_gate_name_mapping()
    found: list[tuple[str, Instruction, Any]] = []
    for gate in configuration["gates"]:
        operation = standard.get(gate["name"])
        where = gate.get("coupling_map")
        if operation is None:
            operation = _custom(gate, where)
        found.append((gate["name"], operation, where))
    for signature in configuration.get("instruction_signatures") or ():
        parameters = [Parameter(name) for name in signature["parameters"]]
        made = Instruction(
            signature["name"], signature["num_qubits"], signature["num_clbits"], parameters
        )
        found.append((signature["name"], made, None))
    names = {name for name, _, _ in found}
    supported = configuration.get("supported_instructions") or ()
    for name, operation in (
        ("measure", Measure()),
        ("reset", Reset()),
        ("delay", Delay(Parameter("t"))),
    ):
        if (name == "measure" or name in supported) and name not in names:
            found.append((name, operation, None))
    return found


def _custom(gate: Mapping[str, Any], where: Any) -> Gate:
    width = len(where[0]) if where else 1
    return Gate(gate["name"], width, [Parameter(name) for name in gate["parameters"]])


def _errors(
    properties: Mapping[str, Any], name: str
) -> dict[tuple[int, ...], InstructionProperties]:
    """Error and duration of an instruction by its qubits."""
    if name == "measure":
        return _readout(properties)
    found = {}
    for gate in properties.get("gates") or ():
        if gate["gate"] == name:
            values = _values(gate["parameters"])
            found[tuple(gate["qubits"])] = InstructionProperties(
                duration=values.get("gate_length"), error=values.get("gate_error")
            )
    return found


def _readout(properties: Mapping[str, Any]) -> dict[tuple[int, ...], InstructionProperties]:
    found: dict[tuple[int, ...], InstructionProperties] = {}
    for qubit, entries in enumerate(properties.get("qubits") or ()):
        values = _values(entries)
        found[qubit,] = InstructionProperties(
            duration=values.get("readout_length"), error=values.get("readout_error")
        )
    return found


def _qubit_properties(properties: Mapping[str, Any]) -> list[QubitProperties] | None:
    entries = properties.get("qubits")
    if not entries:
        return None
    each = [_values(qubit) for qubit in entries]
    return [
        QubitProperties(t1=it.get("T1"), t2=it.get("T2"), frequency=it.get("frequency"))
        for it in each
    ]


def _values(entries: Any) -> dict[str, float]:
    """Named values in seconds, hertz, or one."""
    return {it["name"]: float(it["value"]) * _SCALES.get(it["unit"], 1.0) for it in entries}
