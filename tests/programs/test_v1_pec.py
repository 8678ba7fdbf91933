"""Level 3 of the V1 estimator: probabilistic error cancellation (O21, O23)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qdwell.client import v1
from qdwell.client.values import dumps
from qdwell.executors import Executor
from qdwell.programs import Cache, ProgramError, Work, check_submission, run_all

Devices = Callable[[str], Executor]
MANILA = "fake_manila"


def ran(device: Executor, circuits: Any, observables: Any, values: Any, **options: Any) -> Any:
    options = {"simulator": {"seed_simulator": 5}, **options}
    sent = dumps(v1.params("estimator", circuits, observables, values, options))
    check_submission("estimator", json.loads(sent))
    interim: list[bytes] = []
    _, _, finished = run_all(Work("j", "estimator", sent), device, Cache(), interim.append)
    assert len(interim) == len(json.loads(sent)["circuits"])  # R5
    return v1.decoder_of("estimator")(json.loads(finished.result))


def layered(pairs: int) -> QuantumCircuit:
    """What its parameter turns, after gates that are nothing but noise."""
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    for _ in range(2 * pairs):
        circuit.cx(0, 1)
        circuit.barrier()  # or the compiler would find that two are none
    return circuit


@pytest.mark.timeout(300)
def test_level_3_cancels_the_noise_and_tells_what_it_cost(executor: Devices) -> None:
    device = executor(MANILA)
    circuit, shots = layered(10), {"shots": 8_000}
    errors = {}
    for level in (1, 3):
        result = ran(
            device, [circuit] * 2, ["ZZ", "IZ"], [[np.pi], [np.pi]],
            resilience_level=level, execution=shots,
        )  # fmt: skip
        errors[level] = np.abs(result.values + 1.0)  # both are -1 without noise
    assert errors[3].max() < errors[1].max() / 2, errors
    for value, metadata in zip(result.values, result.metadata, strict=True):
        assert set(metadata) == {
            "standard_error", "confidence_interval", "confidence_level", "shots", "samples",
            "sampling_overhead", "total_mitigated_layers",
        }  # fmt: skip
        low, high = metadata["confidence_interval"]
        assert high - value == pytest.approx(1.96 * metadata["standard_error"], rel=1e-3)
        assert value - low == pytest.approx(high - value)
        assert abs(value + 1) < 4 * metadata["standard_error"]
        assert metadata["confidence_level"] == 0.95
        assert metadata["sampling_overhead"] > 1
        assert metadata["total_mitigated_layers"] == 20
        assert metadata["samples"] >= 8_000 / 64
        assert metadata["shots"] == metadata["samples"] * 64


def test_level_3_needs_neighbours_and_no_measurements(executor: Devices) -> None:
    """O20: a simulator without a map has no layers of gates to learn."""
    with pytest.raises(ProgramError, match="no coupling map"):
        ran(executor("aer_simulator"), layered(1), "ZZ", [0.0], resilience_level=3)
    measured = layered(1)
    measured.measure_all()
    with pytest.raises(ProgramError, match="has measurements"):
        ran(executor(MANILA), measured, "ZZ", [0.0], resilience_level=3)
