"""The V1 programs: what the server compiles, measures, mitigates, and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import efficient_su2
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector

from qdwell.client import v1
from qdwell.client.values import dumps
from qdwell.errors import BadInput
from qdwell.executors import Executor
from qdwell.programs import Cache, ProgramError, Work, check_submission, run_all
from qdwell.programs.compiling import folded
from qdwell.programs.estimator_v1 import extrapolated
from qdwell.programs.readout import BitErrors, flips, inverted

Devices = Callable[[str], Executor]
AER, IDEAL, MANILA = "aer_simulator", "ideal_machine", "fake_manila"


def ran(
    program: str,
    device: Executor,
    circuits: Any,
    observables: Any = None,
    values: Any = None,
    cache: Cache | None = None,
    **options: Any,
) -> Any:
    """Run a submission as our client makes it; the decoded result."""
    simulator = {"seed_simulator": 5, **options.pop("simulator", {})}
    options = {"simulator": simulator, **options}
    sent = dumps(v1.params(program, circuits, observables, values, options))
    check_submission(program, json.loads(sent))
    interim: list[bytes] = []
    _, _, finished = run_all(Work("j", program, sent), device, cache or Cache(), interim.append)
    assert len(interim) == len(json.loads(sent)["circuits"])
    return v1.decoder_of(program)(json.loads(finished.result))


def bell(measured: bool = True) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    if measured:
        circuit.measure_all()
    return circuit


def test_the_sampler_gives_integers(executor: Devices) -> None:
    result = ran("sampler", executor(AER), bell())
    (shares,) = result.quasi_dists
    assert set(shares) == {0, 3}
    assert sum(shares.values()) == pytest.approx(1)
    assert result.metadata == [{"shots": 4000, "header_metadata": {}}]


def test_registers_and_gaps_keep_their_places(executor: Devices) -> None:
    circuit = QuantumCircuit(1, 5)
    circuit.x(0)
    circuit.measure(0, 3)
    assert ran("sampler", executor(AER), circuit).quasi_dists == [{8: 1.0}]


@pytest.mark.parametrize("device", [AER, IDEAL, MANILA])
def test_the_estimator_compiles_and_is_right(device: str, executor: Devices) -> None:
    circuit = efficient_su2(3, reps=1)
    values = np.linspace(0, 2, circuit.num_parameters)
    observable = SparsePauliOp(["XIZ", "IYY", "ZZZ", "III"], [0.5, -1, 0.25, 2])
    result = ran("estimator", executor(device), circuit, observable, values, resilience_level=0)
    exact = Statevector(circuit.assign_parameters(values)).expectation_value(observable).real
    assert result.values[0] == pytest.approx(exact, abs=0.3 if device == MANILA else 0.1)
    assert set(result.metadata[0]) == {"variance", "shots"}


def test_parameters_that_compiling_removes_are_left_out(executor: Devices) -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("b"), 0)
    circuit.rz(Parameter("a"), 0)  # before a measurement it does nothing
    circuit.measure_all()
    result = ran("sampler", executor(IDEAL), circuit, None, [0.3, np.pi], optimization_level=3)
    assert result.quasi_dists == [pytest.approx({1: 1.0}, abs=0.01)]


def test_many_circuits_each_with_its_own(executor: Devices) -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("a"), 0)
    z = SparsePauliOp("Z")
    result = ran("estimator", executor(AER), [circuit] * 2, [z, -1 * z], [[0.0], [np.pi]])
    assert list(result.values) == [1.0, 1.0]
    assert len(result.metadata) == 2


def test_readout_mitigation_brings_values_nearer(executor: Devices) -> None:
    device, circuit = executor(MANILA), bell(measured=False)
    plain = ran("estimator", device, circuit, "ZZ", resilience_level=0).values[0]
    result = ran("estimator", device, circuit, "ZZ")
    assert abs(1 - result.values[0]) < abs(1 - plain) / 2
    assert result.metadata[0]["readout_mitigation_num_twirled_circuits"] == 16
    assert result.metadata[0]["readout_mitigation_shots_calibration"] == 8192
    assert ran("estimator", device, circuit, "ZZ", execution={"shots": 100}).metadata[0][
        "shots"
    ] == 112  # fmt: skip


def test_readout_mitigation_of_the_sampler(executor: Devices) -> None:
    device = executor(MANILA)
    plain = ran("sampler", device, bell(), resilience_level=0).quasi_dists[0]
    result = ran("sampler", device, bell())
    better = result.quasi_dists[0]
    assert better[1] + better[2] < (plain[1] + plain[2]) / 2
    assert sum(better.values()) == pytest.approx(1)
    assert result.metadata[0]["readout_mitigation_overhead"] >= 1


def test_extrapolation_shows_its_steps(executor: Devices) -> None:
    options = {"noise_factors": [1, 2, 3, 4], "extrapolator": "QuadraticExtrapolator"}
    result = ran(
        "estimator", executor(MANILA), bell(measured=False), "ZZ",
        resilience_level=2, resilience=options, execution={"shots": 20_000},
    )  # fmt: skip
    zne = result.metadata[0]["zne"]
    amplified = zne["noise_amplification"]
    assert amplified["noise_amplifier"] == "LocalFoldingAmplifier"
    assert amplified["noise_factors"] == [1, 2, 3, 4]
    assert amplified["values"][3] < amplified["values"][0]
    assert zne["extrapolation"] == {"extrapolator": "QuadraticExtrapolator"}
    assert result.values[0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 5])
def test_folding_changes_the_count_and_nothing_else(factor: float) -> None:
    circuit = QuantumCircuit(3)
    for _ in range(4):
        circuit.cx(0, 1)
        circuit.h(1)
        circuit.barrier()
        circuit.cz(1, 2)
    more = folded(circuit, factor)
    gates = sum(more.count_ops()[name] for name in ("cx", "cz"))
    assert gates == 8 + 2 * round(8 * (factor - 1) / 2)
    assert Operator(more).equiv(Operator(circuit))


def test_extrapolation_is_exact_on_a_polynomial() -> None:
    factors = (1.0, 2.0, 3.0, 4.0)
    values = [7 - 2 * x + 0.5 * x**2 for x in factors]
    value, variance = extrapolated(factors, values, [1.0] * 4, 2)
    assert value == pytest.approx(7)
    assert variance > 1


def test_inversion_undoes_the_errors_it_knows() -> None:
    errors = BitErrors(np.array([0.1, 0.05]), np.array([0.2, 0.1]))
    outcomes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.uint8)
    read = np.zeros(4)
    for bits, share in (((0, 0), 0.5), ((1, 1), 0.5)):
        chance = [1.0] * 4
        for bit, value in enumerate(bits):
            wrong = errors.of_one[bit] if value else errors.of_zero[bit]
            for row, outcome in enumerate(outcomes):
                chance[row] *= wrong if outcome[bit] != value else 1 - wrong
        read += share * np.array(chance)
    counts = np.round(read * 1e9).astype(np.int64)
    assert inverted(outcomes, counts, errors) == pytest.approx([0.5, 0, 0, 0.5], abs=1e-6)


def test_every_bit_is_flipped_in_half_of_the_circuits() -> None:
    assert (flips(7, 3).sum(axis=0) == 8).all()


def test_a_circuit_is_compiled_once_for_each_group(executor: Devices) -> None:
    cache, circuit = Cache(), bell(measured=False)
    ran("estimator", executor(MANILA), circuit, "ZZ", cache=cache)
    misses = cache.misses
    ran("estimator", executor(MANILA), circuit, "ZZ", cache=cache)
    assert cache.misses == misses
    ran("estimator", executor(MANILA), circuit, "ZZ", cache=cache, optimization_level=0)
    assert cache.misses > misses


def test_a_compiled_circuit_may_be_sent(executor: Devices) -> None:
    skip = {"skip_transpilation": True}
    with pytest.raises(ProgramError, match="not supported"):
        ran("sampler", executor(MANILA), bell(), transpilation=skip)
    native = QuantumCircuit(5)
    native.x(2)
    native.measure_all()
    (shares,) = ran("sampler", executor(MANILA), native, transpilation=skip).quasi_dists
    assert shares[4] > 0.9


def test_a_layout_is_kept(executor: Devices) -> None:
    layout = {"initial_layout": [3], "layout_method": "trivial"}
    circuit = QuantumCircuit(1)
    circuit.x(0)
    assert ran(
        "estimator", executor(IDEAL), circuit, "Z", resilience_level=0, transpilation=layout
    ).values[0] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("program", "params", "field"),
    [
        ("sampler", {}, "circuits"),
        ("sampler", {"circuits": []}, "circuits"),
        ("sampler", {"circuits": [3]}, "circuits[0]"),
        ("sampler", {"circuits": ["q"], "observables": []}, "observables"),
        ("estimator", {"circuits": ["q"]}, "observables"),
        ("estimator", {"circuits": ["q"], "observables": []}, "observables"),
        ("sampler", {"circuits": ["q"], "parameter_values": [1, 2]}, "parameter_values"),
        ("sampler", {"circuits": ["q"], "run_options": 3}, "run_options"),
        ("sampler", {"circuits": ["q"], "run_options": {"shots": 0}}, "run_options.shots"),
        ("sampler", {"circuits": ["q"], "run_options": {"noise_model": {}}}, "noise_model"),
        ("sampler", {"circuits": ["q"], "run_options": {"init_qubits": False}}, "init_qubits"),
        ("sampler", {"circuits": ["q"], "run_options": {"x": 1}}, "run_options.x"),
        ("sampler", {"circuits": ["q"], "resilience_settings": {"level": 2}}, "level"),
        (
            "estimator",
            {"circuits": ["q"], "observables": [1], "resilience_settings": {"level": 4}},
            "level",
        ),
        (
            "estimator",
            {
                "circuits": ["q"],
                "observables": [1],
                "resilience_settings": {"noise_factors": [1, 3]},
            },
            "noise_factors",
        ),
        (
            "estimator",
            {
                "circuits": ["q"],
                "observables": [1],
                "resilience_settings": {"level": 2, "extrapolator": "CubicExtrapolator"},
            },
            "noise_factors",
        ),
        (
            "sampler",
            {"circuits": ["q"], "transpilation_settings": {"optimization_settings": {"level": 4}}},
            "optimization_settings",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    program: str, params: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        check_submission(program, params)
    assert field in str(refused.value.field)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"circuits": ["nonsense"]}, "OpenQASM"),
        ({"transpilation_settings": {"coupling_map": [[0, 1]]}}, "is for simulators"),
        ({"parameter_values": [[1.0]]}, "0 parameters"),
    ],
)
def test_what_fails_in_preparation_says_why(
    sent: dict[str, Any], said: str, executor: Devices
) -> None:
    params = {**v1.params("sampler", bell(), None, None, {}), **sent}
    with pytest.raises(ProgramError, match=said):
        run_all(Work("j", "sampler", dumps(params)), executor(MANILA), Cache(), None)


def test_a_circuit_without_measurement_has_nothing_to_sample(executor: Devices) -> None:
    with pytest.raises(ProgramError, match="no measurement"):
        ran("sampler", executor(AER), bell(measured=False))


@pytest.mark.parametrize(("program", "level"), [("sampler", 1), ("estimator", 1), ("estimator", 2)])
def test_j34_what_is_counted_is_what_runs(program: str, level: int, executor: Devices) -> None:
    """J34, J35: three circuits that measure the same qubits; the sampler calibrates them once."""
    device = executor(MANILA)
    circuits = [bell(program == "sampler")] * 3
    observables = None if program == "sampler" else [SparsePauliOp("ZZ")] * 3
    sent = v1.params(program, circuits, observables, None, {"resilience_level": level})
    ran: list[float] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(device, name)

        def run(self, batch: Any) -> Any:
            ran.append(len(batch.circuits) * batch.shots)
            return device.run(batch)

    work = Work("j", program, dumps(sent))
    facts, _, _ = run_all(work, Counting(), Cache())  # type: ignore[arg-type]
    assert facts.executions == sum(ran)
    timing = device.timing
    expected = timing.job_ms + sum(ran) * (timing.rep_delay_us + 100.0) / 1_000
    assert facts.estimate_ms == pytest.approx(expected, abs=1)
