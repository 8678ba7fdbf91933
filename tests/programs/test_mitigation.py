"""The estimator's and the sampler's options of error mitigation (O33-O39): what they do, what the
results tell (O44), and what is refused.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from ibm_quantum_schemas.estimator.version_0_1 import primitive_result, pub_result
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers import BackendV2
from qiskit.quantum_info import PauliList, SparsePauliOp
from qiskit_ibm_runtime.json import RuntimeDecoder
from qiskit_ibm_runtime.results.noise_learner import (
    LayerError,
    NoiseLearnerResult,
    PauliLindbladError,
)

from programs.stock import params
from qdwell.errors import BadInput
from qdwell.executors import Executor
from qdwell.executors.aer import AerExecutor
from qdwell.executors.mock import Mock
from qdwell.programs import (
    Cache,
    Facts,
    ProgramError,
    Work,
    check_submission,
    mitigation_options,
    run_all,
)

Devices = Callable[[str], Executor]
AER, IDEAL, MANILA = "aer_simulator", "ideal_machine", "fake_manila"
LEARN = {"num_randomizations": 4, "shots_per_randomization": 64, "layer_pair_depths": [0, 4]}


def turn(width: int = 5) -> QuantumCircuit:
    """On a machine's qubits 0 and 1: <ZZ> = 1, <ZI> = cos(t), in the machines' own gates."""
    circuit = QuantumCircuit(width, metadata={"mine": 1})
    circuit.sx(0)
    circuit.rz(Parameter("t"), 0)
    circuit.sx(0)
    circuit.rz(3 * np.pi, 0)
    circuit.cx(0, 1)
    return circuit


def observable(width: int = 5) -> SparsePauliOp:
    return SparsePauliOp.from_sparse_list([("ZZ", [0, 1], 1.0), ("Z", [0], 0.5)], width)


ANGLES = np.array([0.4, 1.9])
#: sx rz(t) sx is rx(-t) up to a phase and rotations about Z, so <Z> is -cos(t) after two sx.
EXACT = 1 - 0.5 * np.cos(ANGLES)


def estimate(
    device: Executor,
    options: dict[str, Any],
    level: int | None = None,
    pubs: list[Any] | None = None,
) -> tuple[Any, Facts]:
    pubs = pubs or [(turn(device.target.num_qubits), observable(device.target.num_qubits), ANGLES)]
    top = {} if level is None else {"resilience_level": level}
    body = params("estimator", pubs, {"simulator": {"seed_simulator": 7}, **options}, **top)
    return run("estimator", body, device)


def run(program: str, body: dict[str, Any], device: Executor) -> tuple[Any, Facts]:
    check_submission(program, body)
    interim: list[bytes] = []
    work = Work("job", program, json.dumps(body).encode())
    facts, _, finished = run_all(work, device, Cache(), interim.append)
    result = json.loads(finished.result, cls=RuntimeDecoder)
    assert len(interim) == len(result)  # one for each PUB (R5)
    return result, facts


# ---- the estimator -------------------------------------------------------------------------------

PLAIN = {"evs", "stds", "ensemble_standard_error"}
ZNE = {
    "evs", "stds", "evs_noise_factors", "stds_noise_factors", "ensemble_stds_noise_factors",
    "evs_extrapolated", "stds_extrapolated",
}  # fmt: skip
METHODS: list[tuple[str, dict[str, Any], int | None, set[str]]] = [
    ("level 1", {}, 1, PLAIN),
    ("level 2", {}, 2, ZNE),
    ("level 2 without ZNE", {"resilience": {"zne_mitigation": False}}, 2, PLAIN),
    ("readout", {"resilience": {"measure_mitigation": True}}, 0, PLAIN),
    ("twirled", {"twirling": {"enable_gates": True, "num_randomizations": 5}}, 0, PLAIN),
    ("decoupled", {"dynamical_decoupling": {"enable": True, "sequence_type": "XY4"}}, 0, PLAIN),
    (
        "folding",
        {
            "resilience": {
                "zne_mitigation": True,
                "zne": {
                    "amplifier": "gate_folding_front",
                    "noise_factors": [1, 1.5, 2, 3],
                    "extrapolator": "linear",
                    "extrapolated_noise_factors": [0, 0.5],
                },
            }
        },
        0,
        ZNE,
    ),
    (
        "PEA",
        {"resilience": {"zne": {"amplifier": "pea"}, "layer_noise_learning": LEARN}},
        2,
        ZNE,
    ),
    ("PEC", {"resilience": {"pec_mitigation": True, "layer_noise_learning": LEARN}}, 1, PLAIN),
    ("PEC 2", {"resilience": {"pec_mitigation": True, "layer_noise_learning": LEARN}}, 2, PLAIN),
]


@pytest.mark.parametrize(
    ("options", "level", "fields"), [it[1:] for it in METHODS], ids=[it[0] for it in METHODS]
)
def test_every_method_gives_its_fields(
    options: dict[str, Any], level: int | None, fields: set[str], executor: Devices
) -> None:
    """On a machine without noise all methods are right: 0.15 is over six standard errors."""
    result, facts = estimate(executor(IDEAL), {**options, "default_precision": 0.04}, level)
    assert set(result[0].data) == fields
    assert result[0].data.evs == pytest.approx(EXACT, abs=0.15)
    assert result[0].data.stds.shape == (2,)
    told = result[0].metadata
    assert (told["shots"], told["target_precision"]) == (625, 0.04)
    assert told["circuit_metadata"] == {"mine": 1}
    assert facts.executions >= 2 * 625
    published = pub_result.PubResultMetadataModel.model_validate(_plain(told))
    assert published.num_randomizations == told["num_randomizations"]
    metadata = {**result.metadata, "resilience": dict(result.metadata["resilience"])}
    noise = metadata["resilience"].pop("layer_noise_model", None)
    primitive_result.PrimitiveResultMetadataModel.model_validate(metadata)
    if "PE" in str(options) or "pec" in str(options):
        assert noise is not None
    if fields is ZNE:
        factors = len(metadata["resilience"]["zne"]["noise_factors"])
        assert result[0].data.evs_noise_factors.shape == (2, factors)
        shown = metadata["resilience"]["zne"]
        points = (len(shown["extrapolator"]), len(shown["extrapolated_noise_factors"]))
        assert result[0].data.evs_extrapolated.shape == (2, *points)
    if level is not None:
        assert result.metadata["resilience_level"] == level


@pytest.mark.parametrize("level", [0, 1])
def test_errors_of_extrapolation_are_those_of_all_shots(level: int, executor: Devices) -> None:
    """O44: not of one shot, which is sixty times as much; neither untwirled nor fallen back."""
    zne = {"extrapolator": ["fallback", "linear"]}
    options = {"resilience": {"zne_mitigation": True, "zne": zne}, "default_shots": 3600}
    data = estimate(executor(MANILA), options, level)[0][0].data
    least = data.ensemble_stds_noise_factors[:, 0]
    assert np.all((least > 0.002) & (least < 1.5 * 1.2 / 60))
    assert data.stds_noise_factors == pytest.approx(data.ensemble_stds_noise_factors, rel=0.6)
    assert data.evs == pytest.approx(data.evs_noise_factors[:, 0])
    assert data.stds == pytest.approx(least)
    assert data.stds_extrapolated[:, 0, 0] == pytest.approx(least)
    assert not np.allclose(data.stds_extrapolated[:, 1, 0], least)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_pubs_of_different_precision_keep_their_places(executor: Devices) -> None:
    width = 27
    pubs = [
        (turn(width), observable(width), [[0.4]], 0.1),
        (turn(width), [[observable(width)], [observable(width)]], ANGLES, 0.05),
        (turn(width), observable(width), 1.9, 0.1),
    ]
    result, _ = estimate(executor(IDEAL), {}, 1, pubs)
    assert [it.data.evs.shape for it in result] == [(1,), (2, 2), ()]
    assert [it.metadata["shots"] for it in result] == [100, 400, 100]
    assert result[0].data.evs[0] == pytest.approx(EXACT[0], abs=0.4)
    assert result[2].data.evs == pytest.approx(EXACT[1], abs=0.4)
    assert result[1].data.evs == pytest.approx(np.array([EXACT, EXACT]), abs=0.25)


def test_randomizations_and_shots(executor: Devices) -> None:
    """O35: auto is max(64, ceil(shots / 32)) shots each; either may be set."""

    def split(**twirling: Any) -> tuple[int, int]:
        options = {"twirling": {"enable_measure": True, **twirling}, "default_shots": 1000}
        result, facts = estimate(executor(IDEAL), options, 0)
        return result[0].metadata["num_randomizations"], facts.executions

    # Both values of the parameter, and one setting for all terms.
    assert split() == (16, 2 * 16 * 64)
    assert split(num_randomizations=10) == (10, 2 * 1000)
    assert split(shots_per_randomization=300) == (4, 2 * 1200)
    assert split(num_randomizations=3, shots_per_randomization=7)[1] == 2 * 21


def test_the_same_seed_gives_the_same_values(executor: Devices) -> None:
    def values(seed: int) -> list[float]:
        options = {"simulator": {"seed_simulator": seed}, "default_precision": 0.1}
        found: list[float] = estimate(executor(MANILA), options, 2)[0][0].data.evs.tolist()
        return found

    assert values(3) == values(3)
    assert values(3) != values(4)


def layer_error(rate: float, qubits: list[int]) -> LayerError:
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    return LayerError(circuit, qubits, PauliLindbladError(PauliList(["ZX", "IY"]), [rate, 0.0]))


@pytest.mark.parametrize("wrapped", [True, False])
def test_noise_that_is_given_is_not_learned(wrapped: bool, executor: Devices) -> None:
    """A model that says there is much noise makes cancellation costly; one of other layers not."""

    def cancelled(model: list[LayerError]) -> Any:
        given = NoiseLearnerResult(model, {}) if wrapped else model
        resilience = {"pec_mitigation": True, "layer_noise_model": given, "pec": {"noise_gain": 0}}
        options = {"resilience": resilience, "default_precision": 0.1}
        return estimate(executor(IDEAL), options, 0)

    costly, facts = cancelled([layer_error(0.3, [0, 1])])
    free, fewer = cancelled([layer_error(0.3, [2, 3])])
    # The overhead is gamma^2, with gamma = exp(2 * 0.3).
    assert facts.executions / fewer.executions == pytest.approx(np.exp(1.2), rel=0.4)
    (told,) = costly.metadata["resilience"]["layer_noise_model"]
    assert (told.qubits, told.error.rates.max()) == ([0, 1], 0.3)
    assert free.metadata["resilience"]["layer_noise_model"][0].error is None
    assert free[0].data.evs == pytest.approx(EXACT, abs=0.5)


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"resilience": {"pec_mitigation": True, "zne_mitigation": True}}, 0, "pec_mitigation"),
    ({"resilience": {"zne": {"noise_factors": [0.5, 1]}}}, 2, "noise_factors"),
    ({"resilience": {"zne": {"noise_factors": [1]}}}, 2, "noise_factors"),
    ({"resilience": {"zne": {"noise_factors": [1, 1.0]}}}, 2, "noise_factors"),
    (
        {"resilience": {"zne": {"noise_factors": [1, 3], "extrapolator": "polynomial_degree_2"}}},
        2,
        "polynomial_degree_2 requires at least 3",
    ),
    ({"resilience": {"zne": {"extrapolator": "cubic"}}}, 2, "extrapolator"),
    ({"resilience": {"zne": {"amplifier": "wish"}}}, 2, "amplifier"),
    ({"resilience": {"measure_noise_learning": {"num_randomizations": 4}}}, 0, "no effect"),
    ({"resilience": {"pec": {"max_overhead": 0}}}, 0, "max_overhead"),
    ({"resilience": {"pec": {"noise_gain": -1}}}, 0, "noise_gain"),
    ({"resilience": {"layer_noise_learning": {"num_randomizations": 0}}}, 0, "num_randomizations"),
    ({"resilience": {"layer_noise_model": 3}}, 0, "layer_noise_model"),
    ({"twirling": {"enable_gates": 1}}, 0, "enable_gates"),
    ({"dynamical_decoupling": {"enable": "yes"}}, 0, "dynamical_decoupling.enable"),
]


@pytest.mark.parametrize(("options", "level", "named"), REFUSED)
def test_what_is_refused_at_the_door(options: dict[str, Any], level: int, named: str) -> None:
    body = params("estimator", [(turn(), observable(), ANGLES)], options, resilience_level=level)
    with pytest.raises(BadInput) as refused:
        check_submission("estimator", body)
    assert named in refused.value.message


def test_what_fails_with_a_reason(executor: Devices) -> None:
    """Methods that a device or an observable rules out: the job fails, and says why."""
    pec = {"resilience": {"pec_mitigation": True}}
    with pytest.raises(ProgramError, match="coupling map"):
        plain = QuantumCircuit(2)
        plain.cx(0, 1)
        estimate(executor(AER), pec, 0, [(plain, "ZZ")])
    with pytest.raises(ProgramError, match="projection"):
        estimate(executor(IDEAL), {}, 1, [(turn(27), "0" * 27, [0.1])])
    dynamic = QuantumCircuit(27, 1)
    dynamic.measure(0, 0)
    with dynamic.if_test((dynamic.clbits[0], 1)):
        dynamic.x(0)
    with pytest.raises(ProgramError, match="dynamic circuits"):
        options = {"dynamical_decoupling": {"enable": True}}
        estimate(executor(IDEAL), options, 0, [(dynamic, "Z" * 27)])
    with pytest.raises(ProgramError, match=r"if_else.* runs as it is at resilience_level 0"):
        estimate(executor(IDEAL), {}, 1, [(dynamic, "Z" * 27)])


# ---- all options that the client can set, in pairs -----------------------------------------------

CHOICES: dict[str, list[Any]] = {
    "level": [0, 1, 2],
    "measure_mitigation": [None, True, False],
    "zne_mitigation": [None, True, False],
    "pec_mitigation": [None, True, False],
    "enable_gates": [None, True, False],
    "enable_measure": [None, True, False],
    "strategy": [None, "active", "active-accum", "active-circuit", "all"],
    "num_randomizations": [None, "auto", 2],
    "amplifier": [None, "gate_folding", "gate_folding_front", "gate_folding_back", "pea"],
    "decoupling": [None, False, "XX", "XpXm", "XY4"],
    "slack": ["middle", "edges"],
    "scheduling": ["alap", "asap"],
}


def options_of(chosen: dict[str, Any]) -> dict[str, Any]:
    resilience = {k: chosen[k] for k in ("measure_mitigation", "zne_mitigation", "pec_mitigation")}
    names = ("enable_gates", "enable_measure", "strategy", "num_randomizations")
    decoupling = chosen["decoupling"]
    return {
        "default_shots": 64,
        "resilience": {
            **resilience,
            "zne": {"amplifier": chosen["amplifier"]},
            "layer_noise_learning": LEARN,
        },
        "twirling": {name: chosen[name] for name in names},
        "dynamical_decoupling": {
            "enable": bool(decoupling),
            "sequence_type": decoupling or "XX",
            "extra_slack_distribution": chosen["slack"],
            "scheduling_method": chosen["scheduling"],
        },
    }


def in_pairs() -> Iterator[dict[str, Any]]:
    """Few cases in which each two values of different options meet: of 30 at random, the best."""
    chance = np.random.default_rng(1)
    names = list(CHOICES)
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x in range(len(CHOICES[a]))
        for y in range(len(CHOICES[b]))
    }
    while missing:
        drawn = [
            {name: int(chance.integers(len(CHOICES[name]))) for name in names} for _ in "x" * 30
        ]
        met = [missing & set(itertools.combinations(it.items(), 2)) for it in drawn]
        best = max(range(len(met)), key=lambda at: len(met[at]))
        if met[best]:
            missing -= met[best]
            yield {name: CHOICES[name][place] for name, place in drawn[best].items()}


def test_every_combination_is_taken_or_refused_by_name() -> None:
    """All of them that differ in the switches: what is refused are PEC with ZNE, nothing else."""
    names = ("level", "measure_mitigation", "zne_mitigation", "pec_mitigation", "enable_gates")
    names += ("enable_measure", "amplifier", "decoupling")
    rest = {name: CHOICES[name][0] for name in CHOICES if name not in names}
    pub = params("estimator", [(turn(), observable(), ANGLES)])["pubs"]
    for values in itertools.product(*(CHOICES[name] for name in names)):
        chosen = {**rest, **dict(zip(names, values, strict=True))}
        body = {"pubs": pub, "version": 2, "resilience_level": chosen["level"]}
        body["options"] = options_of(chosen)
        if chosen["pec_mitigation"] and chosen["zne_mitigation"]:
            with pytest.raises(BadInput, match="pec_mitigation"):
                check_submission("estimator", body)
        else:
            check_submission("estimator", body)
            assert mitigation_options.estimator_options(body).resilience_level == chosen["level"]


PAIRS = [it for it in in_pairs() if not (it["pec_mitigation"] and it["zne_mitigation"])]


@pytest.fixture(scope="module")
def quiet(backend: Callable[[str], BackendV2]) -> Executor:
    """Five qubits without noise: a layer of the ideal machine's 27 takes long to learn."""
    return AerExecutor("quiet_manila", backend(MANILA).target)


@pytest.mark.parametrize("chosen", PAIRS, ids=range(len(PAIRS)))
def test_options_in_pairs_run(chosen: dict[str, Any], quiet: Executor) -> None:
    """Values on a machine without noise; with 64 shots 1.5 is over six standard errors."""
    result, _ = estimate(quiet, options_of(chosen), chosen["level"])
    assert result[0].data.evs == pytest.approx(EXACT, abs=1.5)
    # A fit through values without any noise has no error that the library can tell.
    assert not np.isnan(result[0].data.stds).any()


@pytest.mark.parametrize(("options", "level"), [it[1:3] for it in METHODS])
def test_a_dry_run_has_every_field(
    options: dict[str, Any], level: int | None, executor: Devices
) -> None:
    """Whatever the mock twin's random bits are, no method stumbles over them."""
    device = Mock("mock_machine", executor(IDEAL))
    result, facts = estimate(device, {**options, "default_precision": 0.1}, level)
    assert result[0].data.evs.shape == (2,)
    assert facts.estimate_ms > 2000
