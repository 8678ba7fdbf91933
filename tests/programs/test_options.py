"""The check of a submission: what is accepted, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from qiskit_ibm_runtime.options import EstimatorOptions, SamplerOptions

from programs.stock import params
from programs.test_same_samples import bell
from qdwell.errors import BadInput, UnknownProgram
from qdwell.programs import check_submission


def sampler(**options: Any) -> dict[str, Any]:
    return params("sampler", [(bell(),)], options)


def estimator(options: Any = None, **top: Any) -> dict[str, Any]:
    return params("estimator", [(bell(), "ZZ")], options, **top)


def test_accepts_what_the_stock_client_sends() -> None:
    check_submission("sampler", sampler(default_shots=100, simulator={"seed_simulator": 0}))
    check_submission("estimator", estimator({"default_precision": 0.1}, resilience_level=0))


def test_accepts_every_option_set_to_what_is_done_anyway() -> None:
    off = {
        "default_shots": None,
        "dynamical_decoupling": {"enable": False, "sequence_type": "XY4"},
        "twirling": {"enable_gates": False, "enable_measure": False, "num_randomizations": "auto"},
        "simulator": {"noise_model": None, "coupling_map": None},
        "experimental": {},
    }
    execution = {"init_qubits": True, "rep_delay": None}
    check_submission("sampler", sampler(**off, execution=execution | {"meas_type": "classified"}))
    resilience = {"measure_mitigation": False, "zne_mitigation": False, "pec_mitigation": False}
    check_submission(
        "estimator", estimator({**off, "resilience": resilience, "execution": execution})
    )


SAMPLER_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"default_shots": 0}, "default_shots"),
    ({"default_shots": 1.5}, "default_shots"),
    ({"default_shots": True}, "default_shots"),
    ({"dynamical_decoupling": {"sequence_type": "YY"}}, "sequence_type"),
    ({"twirling": {"strategy": "some"}}, "twirling.strategy"),
    ({"execution": {"init_qubits": False}}, "execution.init_qubits"),
    ({"execution": {"meas_type": "kerneled"}}, "execution.meas_type"),
    ({"execution": {"meas_type": "avg_kerneled"}}, "execution.meas_type"),
    ({"execution": {"meas_type": 3}}, "execution.meas_type"),
    ({"simulator": {"noise_model": {}}}, "simulator.noise_model"),
    ({"simulator": {"coupling_map": [[0, 0]]}}, "simulator.coupling_map"),
    ({"simulator": {"coupling_map": []}}, "simulator.coupling_map"),
    ({"simulator": {"basis_gates": ["magic"]}}, "simulator.basis_gates"),
    ({"simulator": {"seed_simulator": -1}}, "simulator.seed_simulator"),
    ({"simulator": {"seed_simulator": 2**64}}, "simulator.seed_simulator"),
    ({"experimental": {"fast": True}}, "experimental.fast"),
    ({"resilience": {}}, "resilience"),
    ({"shots": 100}, "options.shots"),
    ({"twirling": []}, "options.twirling"),
]

ESTIMATOR_REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"resilience_level": 3}, "from 0 to 2"),
    ({"default_precision": 0}, {}, "default_precision"),
    ({"default_precision": float("inf")}, {}, "default_precision"),
    ({"execution": {"meas_type": "classified"}}, {}, "meas_type"),
    ({"seed_estimator": "7"}, {}, "seed_estimator"),
    ({}, {"version": 1}, "version"),
    ({}, {"version": True}, "version"),
    ({}, {"support_qiskit": False}, "support_qiskit"),
    ({}, {"surprise": 1}, "surprise"),
]


@pytest.mark.parametrize(("options", "named"), SAMPLER_REFUSED)
def test_sampler_names_the_option_that_it_refuses(options: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_submission("sampler", sampler(**options))
    assert named in refused.value.message
    assert refused.value.status == 400


@pytest.mark.parametrize(("options", "top", "named"), ESTIMATOR_REFUSED)
def test_estimator_names_the_option_that_it_refuses(
    options: dict[str, Any], top: dict[str, Any], named: str
) -> None:
    body = {**estimator(options), **top}
    with pytest.raises(BadInput) as refused:
        check_submission("estimator", body)
    assert named in refused.value.message


PUBS_REFUSED: list[Any] = [
    None,
    {},
    [[]],
    ["QISKIT"],
    [[{"__type__": "QuantumCircuit"}]],
    [[{"__type__": "ndarray", "__value__": ""}]],
    [["OPENQASM 3.0;", {"__type__": "set", "__value__": []}]],
    [["OPENQASM 3.0;", None, 0]],
    [["OPENQASM 3.0;", None, "many"]],
    [["OPENQASM 3.0;", None, 1, 1]],
]


@pytest.mark.parametrize("pubs", PUBS_REFUSED)
def test_refuses_pubs_of_another_shape(pubs: Any) -> None:
    with pytest.raises(BadInput, match="pubs"):
        check_submission("sampler", {"pubs": pubs, "version": 2})


def test_refuses_an_unknown_program_with_404() -> None:
    with pytest.raises(UnknownProgram) as refused:
        check_submission("circuit-runner", {})
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("program_id", "client"), [("sampler", SamplerOptions), ("estimator", EstimatorOptions)]
)
def test_every_option_of_the_stock_client_has_a_rule(program_id: str, client: Any) -> None:
    """An option that the client knows and we do not would be called unknown: no clear answer."""
    from dataclasses import fields, is_dataclass

    from qdwell.programs.options import _RULES

    def compare(options: Any, rules: Any, path: str) -> None:
        for field in fields(options):
            if field.name in ("max_execution_time", "environment", "_VERSION", "resilience_level"):
                continue
            assert field.name in rules, f"{path}.{field.name}"
            inner = getattr(options, field.name)
            if is_dataclass(inner) and isinstance(rules[field.name], dict):
                compare(inner, rules[field.name], f"{path}.{field.name}")

    compare(client(), _RULES[program_id]["options"], program_id)
