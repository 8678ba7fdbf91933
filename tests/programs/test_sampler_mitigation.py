"""The sampler's twirling and dynamical decoupling (O34, O35)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit

from programs.stock import params
from programs.test_mitigation import IDEAL, run, turn
from qdwell.executors import Executor
from qdwell.programs import Facts

Devices = Callable[[str], Executor]


def sample(device: Executor, options: dict[str, Any], pubs: list[Any]) -> tuple[Any, Facts]:
    body = params("sampler", pubs, {"simulator": {"seed_simulator": 7}, **options})
    return run("sampler", body, device)


def counted() -> QuantumCircuit:
    circuit = turn(27)
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize("gates", [None, True, False])
@pytest.mark.parametrize("measure", [None, True, False])
@pytest.mark.parametrize("decoupling", [None, "XX", "XpXm", "XY4"])
def test_the_sampler_with_all_its_options(
    gates: bool | None, measure: bool | None, decoupling: str | None, executor: Devices
) -> None:
    """The angle 0 gives 11 with certainty on a machine without noise, whatever is twirled."""
    options = {
        "twirling": {"enable_gates": gates, "enable_measure": measure},
        "dynamical_decoupling": {"enable": bool(decoupling), "sequence_type": decoupling or "XX"},
    }
    result, _ = sample(
        executor(IDEAL), options, [(counted(), [[0.0], [np.pi]], 70), (counted(), 0)]
    )
    meas = result[0].data.meas
    assert (meas.shape, meas.num_shots, meas.num_bits) == ((2,), 70, 27)
    pair = meas.slice_bits([0, 1])
    assert pair.get_counts(0) == {"11": 70}
    assert pair.get_counts(1) == {"00": 70}
    assert result[1].data.meas.num_shots == 4096
    assert result[0].metadata["circuit_metadata"] == {"mine": 1}
    twirled = bool(gates or measure)
    assert result[0].metadata.get("num_randomizations") == (2 if twirled else None)
    spans = result.metadata["execution"]["execution_spans"]
    assert len(spans) == 2
    assert spans[0].mask(0).shape == (2, 70)
    assert spans[0].mask(0).all()
    assert result.metadata["version"] == 2
