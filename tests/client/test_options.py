"""Options: names are known, values of V1 are checked, and only what is set is sent."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from qdwell import IBMInputValueError, Options, RuntimeOptions
from qdwell.client.options import (
    ESTIMATOR,
    SAMPLER,
    body_fields,
    check_v1,
    options_v2,
    program_options,
)
from qdwell.client.primitives_v1 import merged_v1


def test_only_what_is_set_is_sent() -> None:
    options = options_v2(ESTIMATOR, {"default_shots": 100})
    assert program_options(options.to_dict()) == {"default_shots": 100}
    options.dynamical_decoupling.enable = True
    options.resilience.zne.noise_factors = [1, 3]
    options.environment.job_tags = ["a"]
    options.max_execution_time = 60
    assert program_options(options.to_dict()) == {
        "default_shots": 100,
        "dynamical_decoupling": {"enable": True},
        "resilience": {"zne": {"noise_factors": [1, 3]}},
    }
    assert body_fields(options.to_dict()) == {"tags": ["a"], "cost": 60}
    options.default_shots = None
    assert "default_shots" not in options.to_dict()


def test_a_group_takes_a_mapping_and_keeps_the_rest() -> None:
    options = options_v2(SAMPLER, None)
    options.twirling.strategy = "all"
    options.twirling = {"enable_gates": True}
    assert options.twirling.to_dict() == {"strategy": "all", "enable_gates": True}
    with pytest.raises(IBMInputValueError, match="is a group"):
        options.twirling = 3


def test_an_image_is_told_beside_the_program() -> None:
    options = options_v2(SAMPLER, {"experimental": {"image": "a:b", "x": 1}}).to_dict()
    assert body_fields(options) == {"runtime": "a:b"}
    assert program_options(options) == {"experimental": {"x": 1}}


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    options = options_v2(SAMPLER, None)
    with pytest.raises(AttributeError, match="default_shots"):
        options.shotz = 1
    with pytest.raises(AttributeError, match="options.twirling has no"):
        _ = options.twirling.nothing
    with pytest.raises(IBMInputValueError, match="resilience_level"):
        options_v2(SAMPLER, {"resilience_level": 1})
    with pytest.raises(ValueError, match="has no 'shots'"):
        Options(shots=1)


def test_copies_are_their_own() -> None:
    options = Options(optimization_level=1)
    twin = copy.deepcopy(options)
    twin.execution.shots = 5
    assert (options.execution.shots, twin.execution.shots) == (None, 5)
    assert isinstance(twin, Options)
    assert twin != options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimization_level": 4}, "optimization_level must be"),
        ({"optimization_level": True}, "optimization_level must be"),
        ({"resilience_level": 2}, "resilience_level must be 0 to 1"),
        ({"max_execution_time": 28_801}, "28800"),
        ({"transpilation": {"layout_method": "wild"}}, "layout_method must be"),
        ({"transpilation": {"routing_method": "wild"}}, "routing_method must be"),
        ({"transpilation": {"approximation_degree": 1.5}}, "approximation_degree must be"),
        ({"resilience": {"extrapolator": "Magic"}}, "extrapolator must be"),
        ({"resilience": {"noise_amplifier": "Magic"}}, "noise_amplifier must be"),
        (
            {"resilience": {"extrapolator": "CubicExtrapolator", "noise_factors": [1, 3, 5]}},
            "at least 4",
        ),
        (
            {"resilience": {"extrapolator": "QuarticExtrapolator", "noise_factors": [1, 2, 3, 4]}},
            "at least 5",
        ),
        ({"environment": {"log_level": "LOUD"}}, "log_level must be"),
        ({"execution": {"shots": 0}}, "shots must be"),
    ],
)
def test_a_v1_value_that_cannot_be_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_v1(given, 1)


def test_options_of_one_run_win_and_are_put_where_they_belong() -> None:
    base = Options(execution={"shots": 10}, resilience_level=1)
    merged = merged_v1(base, {"shots": 20, "seed_simulator": 3, "initial_layout": [1, 0]})
    assert merged["execution"] == {"shots": 20}
    assert merged["simulator"] == {"seed_simulator": 3}
    assert merged["transpilation"] == {"initial_layout": [1, 0]}
    assert merged["resilience_level"] == 1
    assert base.execution.shots == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image": "no tag"}, "name:tag"),
        ({"log_level": "LOUD"}, "log_level"),
        ({"job_tags": "one"}, "list of texts"),
        ({"nothing": 1}, "there are backend"),
        ({"session_time": "1h"}, "max_time"),
    ],
)
def test_runtime_options_are_checked(given: dict[str, Any], said: str) -> None:
    with pytest.raises(IBMInputValueError, match=said):
        RuntimeOptions.of(given)
    if "nothing" not in given:  # as an object too
        with pytest.raises(IBMInputValueError, match=said):
            RuntimeOptions.of(RuntimeOptions(**given))


def test_runtime_options_that_are_set_are_sent_even_if_they_are_nothing() -> None:
    """A zero is for the server to refuse, not for us to forget."""
    assert RuntimeOptions(max_execution_time=0).body_fields() == {"cost": 0}
    assert body_fields(options_v2(SAMPLER, {"max_execution_time": 0}).to_dict()) == {"cost": 0}
    assert RuntimeOptions().body_fields() == {}
