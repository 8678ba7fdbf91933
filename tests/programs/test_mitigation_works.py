"""Mitigation works: on models of devices the error of an energy falls with each level.

H2 in two qubits, and a stabilizer of a GHZ state of ten. Level 1 takes away at least half of the
readout part of the error; level 2 is at least 30 % below level 1. Both are one-sided t-tests over
seeds at 99 % confidence, with fixed seeds. Level 0 agrees with Aer run directly.

Ten qubits with a noise that is no Pauli noise cost a minute for each seed, so that the short form
has six.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit.primitives import BackendEstimatorV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.fake_provider import FakeGuadalupeV2, FakeManilaV2
from qiskit_ibm_runtime.json import RuntimeDecoder
from scipy.optimize import minimize
from scipy.special import stdtrit

from programs.stock import params
from qdwell.executors import Executor, Spec, make
from qdwell.programs import Cache, Work, check_submission, run_all

H2 = SparsePauliOp(
    ["II", "IZ", "ZI", "ZZ", "XX"],
    [-1.052373245772859, 0.39793742484318, -0.39793742484318, -0.01128010425623538, 0.180931199784],
)


@dataclass(frozen=True)
class Case:
    """A circuit and an observable on a device, with the values that a measurement would have."""

    device: Executor
    circuit: QuantumCircuit
    observable: SparsePauliOp
    exact: float
    noisy: float  #: as it is
    gates_only: float  #: with readout errors switched off


def _case(name: str, backend: Any, circuit: QuantumCircuit, observable: SparsePauliOp) -> Case:
    exact = Statevector(circuit).expectation_value(observable).real
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        passes = generate_preset_pass_manager(3, backend=backend, seed_transpiler=5)
        made = passes.run(circuit)
        placed = observable.apply_layout(made.layout)
        values = []
        for readout in (True, False):
            model = NoiseModel.from_backend(backend, readout_error=readout)
            simulator = AerSimulator(noise_model=model, basis_gates=model.basis_gates)
            direct = BackendEstimatorV2(
                backend=simulator, options={"seed_simulator": 1, "default_precision": 0.004}
            )
            values.append(float(direct.run([(made, placed)]).result()[0].data.evs))
    return Case(make(Spec(name, "fake")), made, placed, exact, *values)


@cache
def hydrogen() -> Case:
    ansatz = efficient_su2(2, reps=3)

    def energy(point: Any) -> float:
        return float(Statevector(ansatz.assign_parameters(point)).expectation_value(H2).real)

    start = np.random.default_rng(0).random(ansatz.num_parameters)
    best = minimize(energy, start, method="COBYLA", options={"maxiter": 3000})
    return _case("fake_manila", FakeManilaV2(), ansatz.assign_parameters(best.x), H2)


@cache
def ghz(width: int) -> Case:
    circuit = QuantumCircuit(width)
    circuit.h(0)
    for qubit in range(width - 1):
        circuit.cx(qubit, qubit + 1)
    return _case("fake_guadalupe", FakeGuadalupeV2(), circuit, SparsePauliOp(["X" * width]))


def measured(case: Case, level: int, precision: float, seed: int) -> float:
    options = {"simulator": {"seed_simulator": seed}}
    pubs = [(case.circuit, case.observable, None, precision)]
    body = params("estimator", pubs, options, resilience_level=level)
    check_submission("estimator", body)
    work = Work("job", "estimator", json.dumps(body).encode())
    _, _, finished = run_all(work, case.device, Cache())
    return float(json.loads(finished.result, cls=RuntimeDecoder)[0].data.evs)


def above_zero(values: list[float]) -> bool:
    """Is the mean of a sample above 0, at 99 % confidence?"""
    sample = np.asarray(values)
    error = sample.std(ddof=1) / np.sqrt(len(sample))
    return bool(sample.mean() > error * stdtrit(len(sample) - 1, 0.99))


def check(case: Case, precision: float, seeds: range) -> None:
    raw = [measured(case, 0, precision, seed) for seed in seeds]
    readout = [measured(case, 1, precision, seed) for seed in seeds]
    extrapolated = [measured(case, 2, precision, seed) for seed in seeds]
    part = abs(case.noisy - case.gates_only)
    assert above_zero([part / 2 - abs(it - case.gates_only) for it in readout]), (raw, readout)
    errors = [
        (abs(one - case.exact), abs(two - case.exact))
        for one, two in zip(readout, extrapolated, strict=True)
    ]
    assert above_zero([0.7 * one - two for one, two in errors]), errors
    # Level 0 is Aer, run directly: five standard errors of the mean and of the reference.
    spread = precision * float(np.abs(case.observable.coeffs).sum())
    spread = spread * np.sqrt(1 / len(seeds) + (0.004 / precision) ** 2)
    assert abs(np.mean(raw) - case.noisy) < 5 * spread


def test_hydrogen() -> None:
    check(hydrogen(), 0.01, range(100, 105))


def test_six_qubits_of_ghz() -> None:
    """Two seeds, no confidence: the error of the mean falls with each level."""
    case, seeds = ghz(6), (100, 101)
    means = [np.mean([measured(case, level, 0.04, seed) for seed in seeds]) for level in range(3)]
    errors = [abs(it - case.exact) for it in means]
    assert errors[0] > 2 * errors[1] > 2 * errors[2], errors


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_both_with_many_seeds() -> None:
    check(hydrogen(), 0.006, range(200, 220))
    check(ghz(10), 0.02, range(200, 210))
