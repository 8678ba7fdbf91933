"""Quantum programs as the stock client sends and reads them, run through our stages."""

from __future__ import annotations

import json
from functools import reduce
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_ibm_runtime.decoders.defaults import DEFAULT_DECODERS
from qiskit_ibm_runtime.options_models.executor import ExecutorOptions
from qiskit_ibm_runtime.quantum_program import QuantumProgram
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS
from samplomatic import Twirl, build

from qdwell.programs import Cache, Facts, Limits, Work, check_submission, run_all
from qdwell.wire.device import Device

VERSIONS = tuple(QUANTUM_PROGRAM_PARAMS_CONVERTERS)


def params(
    program: Any, options: ExecutorOptions | None = None, version: str = "v2.0", role: Any = None
) -> dict[str, Any]:
    """The params that the stock client would send, as plain JSON values."""
    program = QuantumProgram.from_(program)
    program._semantic_role = role
    encoder = QUANTUM_PROGRAM_PARAMS_CONVERTERS[version].encoder
    plain: dict[str, Any] = encoder(program, options or ExecutorOptions()).model_dump(mode="json")
    return plain


def seeded(body: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """With our seed, in the one place where the schema leaves room; the first schema has none."""
    if seed is not None and body["schema_version"] != "v0.1":
        body["options"]["experimental"] = {"seed_simulator": seed}
    return body


def run_raw(
    body: dict[str, Any], device: Device, cache: Cache | None = None, limits: Limits | None = None
) -> tuple[str, Facts]:
    """Our result of checked params, as text, and the facts."""
    check_submission("executor", body)
    work = Work("job", "executor", json.dumps(body).encode(), limits or Limits())
    facts, _, finished = run_all(work, device, cache or Cache())
    return finished.result.decode(), facts


def ours(
    program: Any,
    device: Device,
    options: ExecutorOptions | None = None,
    *,
    seed: int | None = 1,
    version: str = "v2.0",
    role: str | None = None,
) -> tuple[Any, Facts]:
    """Our result as the stock client's chain of decoders leaves it, and the facts."""
    text, facts = run_raw(seeded(params(program, options, version, role), seed), device)
    decoded = reduce(
        lambda it, decoder: decoder.decode(it) if decoder.is_applicable(it) else it,
        DEFAULT_DECODERS["executor"],
        text,
    )
    return decoded, facts


def twirled(angle: Parameter) -> tuple[QuantumCircuit, Any]:
    """A template of two twirled qubits and its samplex; the outcome is 11 with sin^2(angle/2)."""
    circuit = QuantumCircuit(2)
    with circuit.box([Twirl()]):
        circuit.rx(angle, 0)
        circuit.cx(0, 1)
    with circuit.box([Twirl()]):
        circuit.measure_all()
    made: tuple[QuantumCircuit, Any] = build(circuit)
    return made


def both_kinds(shots: int = 100, passthrough: Any = None) -> QuantumProgram:
    """A program of a circuit item of shape (2, 3) and a samplex item of shape (5, 2)."""
    program = QuantumProgram(shots=shots, passthrough_data=passthrough)
    plain = QuantumCircuit(2)
    angle = Parameter("a")
    plain.rz(angle, 0)
    plain.x(0)
    plain.cx(0, 1)
    plain.measure_all()
    program.append_circuit_item(plain, circuit_arguments=np.zeros((2, 3, 1)))
    template, samplex = twirled(Parameter("t"))
    program.append_samplex_item(
        template,
        samplex,
        samplex_arguments={"parameter_values": np.array([[0.0], [np.pi]])},
        shape=(5, 2),
    )
    return program
