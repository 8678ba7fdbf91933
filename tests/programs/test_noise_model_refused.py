"""Noise models that are none: each part is checked, and named (O18, O42)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from qdwell.client.values import dumps
from qdwell.errors import BadInput
from qdwell.executors import Executor
from qdwell.programs import Cache, ProgramError, Work, check_submission, run_all

Devices = Callable[[str], Executor]
AER = "aer_simulator"


def gate(**fields: Any) -> dict[str, Any]:
    one = {
        "type": "qerror", "operations": ["x"], "probabilities": [1.0],
        "instructions": [[{"name": "z", "qubits": [0]}]],
    }  # fmt: skip
    return {**one, **fields}


def step(**fields: Any) -> dict[str, Any]:
    return gate(instructions=[[{"name": "z", "qubits": [0], **fields}]])


HALF = [[0.5, 0.0], [0.0, 0.5]]
BAD = {
    "no type": ({}, "errors[0]"),
    "another type": (gate(type="terror"), "errors[0]"),
    "unknown field": (gate(condition=1), "errors[0].condition"),
    "no operations": (gate(operations=[]), "operations"),
    "a long name": (gate(operations=["x" * 65]), "operations"),
    "not normalized": (gate(probabilities=[0.9]), "probabilities"),
    "negative": (
        gate(probabilities=[1.5, -0.5], instructions=[[{"name": "z", "qubits": [0]}]] * 2),
        "probabilities",
    ),
    "too few": (gate(probabilities=[]), "probabilities"),
    "not a number": (gate(probabilities=["much"]), "probabilities"),
    "many ways": (gate(instructions=[[]] * 5_000), "instructions"),
    "no step": (gate(instructions=[[]]), "instructions[0]"),
    "many steps": (gate(instructions=[[{"name": "z", "qubits": [0]}] * 65]), "instructions[0]"),
    "unknown gate": (step(name="measure"), "instructions[0][0]"),
    "a gate with an angle": (step(name="rx", params=[0.1]), "instructions[0][0]"),
    "wrong width": (step(name="cx"), "instructions[0][0]"),
    "condition": (step(condition=[0, 1]), "condition"),
    "wide": (step(qubits=[4]), "qubits"),
    "twice": (step(name="cx", qubits=[0, 0]), "qubits"),
    "letters": (step(name="pauli", params=["Q"]), "instructions[0][0]"),
    "no matrix": (step(name="unitary"), "instructions[0][0]"),
    "small matrix": (step(name="unitary", params=[[[1.0]]]), "params[0]"),
    "no unitary": (step(name="unitary", params=[HALF]), "params"),
    "no channel": (step(name="kraus", params=[HALF]), "params"),
    "a label of numbers": (step(label=[1]), "errors[0].instructions[0][0].label"),
    "a long label": (step(label="x" * 65), "errors[0].instructions[0][0].label"),
    "a condition": (step(condition=["c", 1]), "errors[0].instructions[0][0].condition"),
    "many matrices": (step(name="kraus", params=[HALF] * 5), "params"),
    "infinite": (step(name="unitary", params=[[[1e400, 0.0], [0.0, 1.0]]]), "params[0]"),
    "places": (gate(gate_qubits=[[-1]]), "gate_qubits"),
    "wider places": (gate(gate_qubits=[[0, 1, 2, 3, 4]]), "gate_qubits"),
    "narrow places": (
        gate(gate_qubits=[[0]], instructions=[[{"name": "cx", "qubits": [0, 1]}]]), "gate_qubits",
    ),
    "wider than the gate": (
        gate(operations=["x"], instructions=[[{"name": "cx", "qubits": [0, 1]}]]), "errors[0]",
    ),
    "readout of two": (
        {"type": "roerror", "probabilities": [[1, 0], [0, 1]], "gate_qubits": [[0, 1]]},
        "gate_qubits",
    ),
    "readout of four": ({"type": "roerror", "probabilities": np.eye(4).tolist()}, "probabilities"),
    "readout of gates": (
        {"type": "roerror", "operations": ["x"], "probabilities": [[1, 0], [0, 1]]}, "operations",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_model_that_is_none_is_refused_by_its_part(case: str, executor: Devices) -> None:
    error, named = BAD[case]
    raw = {"errors": [error]}
    for params in (
        {"pubs": [], "version": 2, "options": {"simulator": {"noise_model": raw}}},
        {"circuits": ["x"], "run_options": {"noise_model": raw}},
    ):
        check_submission("sampler", params)  # it looks well from outside
        with pytest.raises(ProgramError) as failed:
            run_all(Work("j", "sampler", dumps(params)), executor(AER), Cache())
        assert failed.value.code == 1208
        assert named in failed.value.reason
        assert "noise_model" in failed.value.reason


@pytest.mark.parametrize(
    "value",
    [
        3, "model", [], {}, {"errors": 3}, {"noise": []}, {"errors": [0] * 10_001},
        {"__type__": "ndarray", "__value__": ""}, {"__type__": "NoiseModel", "__value__": 3},
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_at_submission(value: Any) -> None:
    for params in (
        {"pubs": [], "version": 2, "options": {"simulator": {"noise_model": value}}},
        {"circuits": ["x"], "run_options": {"noise_model": value}},
    ):
        with pytest.raises(BadInput, match=r"noise_model must be a noise model"):
            check_submission("sampler", params)
