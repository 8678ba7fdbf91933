"""A device as the stock client reads it: configuration and properties (wire-protocol 5.2, 5.3).

The client builds its transpiler target from these two, so whatever the device's own target says
must be in them. Units on the wire: nanoseconds for `dt` and durations, microseconds for T1 and T2,
GHz.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qiskit.circuit import ControlFlowOp, Measure
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.transpiler import Target

from qdwell.wire.device import Timing

_ONLINE = "2026-01-01T00:00:00+00:00"
_NON_UNITARY = ("measure", "reset", "delay")
_CONTROL_FLOW = ("if_else", "while_loop", "for_loop", "switch_case")


def simulator(name: str, version: str, target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plain simulator: every standard gate that it runs, on any qubits; no properties."""
    standard = get_standard_gate_name_mapping()
    gates = [it for it in sorted(target.operation_names) if it in standard]
    basis = [it for it in gates if it not in _NON_UNITARY]
    shown = _configuration(name, version, int(target.num_qubits or 0), basis)
    shown |= {
        "simulator": True,
        "gates": [_gate(it, list(map(str, standard[it].params)), None) for it in basis],
        "coupling_map": None,
        "supported_instructions": [*gates, *_CONTROL_FLOW],
        "supported_features": features(_CONTROL_FLOW),
    }
    return shown, {}


def machine(
    name: str, version: str, target: Target, timing: Timing | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A machine with this target; with a `timing`, users may see and choose its rep_delay."""
    standard = get_standard_gate_name_mapping()
    basis, gates, signatures, supported = [], [], [], []
    for op_name in sorted(target.operation_names):
        operation = target.operation_from_name(op_name)
        supported.append(op_name)
        if isinstance(operation, type | ControlFlowOp):
            continue
        if op_name in _NON_UNITARY:
            continue
        if op_name in standard:
            basis.append(op_name)
            where = target.qargs_for_operation_name(op_name)
            gates.append(_gate(op_name, [str(it) for it in operation.params], where))
        else:
            signatures.append(
                {
                    "name": op_name,
                    "num_qubits": operation.num_qubits,
                    "num_clbits": operation.num_clbits,
                    "parameters": [str(it) for it in operation.params],
                }
            )
    shown = _configuration(name, version, int(target.num_qubits or 0), basis)
    coupling = target.build_coupling_map()
    shown |= {
        "simulator": False,
        "gates": gates,
        "coupling_map": None if coupling is None else [list(edge) for edge in coupling],
        "supported_instructions": supported,
        "supported_features": features(supported),
        "instruction_signatures": signatures,
        "timing_constraints": {
            "granularity": target.granularity,
            "min_length": target.min_length,
            "pulse_alignment": target.pulse_alignment,
            "acquire_alignment": target.acquire_alignment,
        },
    }
    if timing is not None and timing.rep_delay_range_us is not None:
        shown["default_rep_delay"] = timing.rep_delay_us
        shown["rep_delay_range"] = list(timing.rep_delay_range_us)
        shown["dynamic_reprate_enabled"] = True
    if target.dt is not None:
        shown["dt"] = target.dt * 1e9
    return shown, _properties(name, version, target)


def _configuration(name: str, version: str, qubits: int, basis: list[str]) -> dict[str, Any]:
    return {
        "backend_name": name,
        "backend_version": version,
        "n_qubits": qubits,
        "basis_gates": basis,
        "local": False,
        "conditional": False,
        "open_pulse": False,
        "memory": True,
        "max_shots": 10_000_000,
        "online_date": _ONLINE,
        "processor_type": {"family": "Simulated", "revision": "1"},
    }


def features(instructions: Iterable[str]) -> list[str]:
    """The words of the wire for what a device can do; the client's filters look for them."""
    return ["qasm3", *(["dynamic_circuits"] if "if_else" in instructions else [])]


def _gate(name: str, parameters: list[str], where: Any) -> dict[str, Any]:
    gate: dict[str, Any] = {
        "name": name,
        "parameters": parameters,
        "qasm_def": f"gate {name} q {{ }}",
    }
    if where:
        gate["coupling_map"] = [list(qargs) for qargs in where]
    return gate


def _properties(name: str, version: str, target: Target) -> dict[str, Any]:
    gates = []
    for op_name in sorted(target.operation_names):
        operation = target.operation_from_name(op_name)
        places = target[op_name]
        if isinstance(operation, type | Measure) or places is None:
            continue
        for qargs, props in places.items():
            if qargs is None or props is None:
                continue
            entries = _known(
                ("gate_error", "", props.error),
                ("gate_length", "ns", _scaled(props.duration, 1e9)),
            )
            gates.append(
                {"qubits": list(qargs), "gate": op_name, "name": _joined(op_name, qargs)}
                | {"parameters": entries}
            )
    return {
        "backend_name": name,
        "backend_version": version,
        "last_update_date": _ONLINE,
        "qubits": [_qubit(target, qubit) for qubit in range(int(target.num_qubits or 0))],
        "gates": gates,
        "general": [],
    }


def _qubit(target: Target, qubit: int) -> list[dict[str, Any]]:
    props = target.qubit_properties[qubit] if target.qubit_properties else None
    measure = (target["measure"] or {}).get((qubit,)) if "measure" in target else None
    return _known(
        ("T1", "us", _scaled(getattr(props, "t1", None), 1e6)),
        ("T2", "us", _scaled(getattr(props, "t2", None), 1e6)),
        ("frequency", "GHz", _scaled(getattr(props, "frequency", None), 1e-9)),
        ("readout_error", "", getattr(measure, "error", None)),
        ("readout_length", "ns", _scaled(getattr(measure, "duration", None), 1e9)),
        # A qubit without any entry is refused by the client, so every one says that it works.
        ("operational", "", 1),
    )


def _known(*entries: tuple[str, str, float | None]) -> list[dict[str, Any]]:
    return [
        {"date": _ONLINE, "name": name, "unit": unit, "value": value}
        for name, unit, value in entries
        if value is not None
    ]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _joined(name: str, qargs: tuple[int, ...]) -> str:
    return name + "_".join(map(str, qargs))
