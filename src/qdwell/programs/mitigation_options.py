"""Options of error mitigation: what they accept, whether a job asks for any, and the client's
library's form of them (O33-O39).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdwell.programs import rules, simulator_options
from qdwell.programs.learning_options import DEFAULTS, LEARNING, Settings
from qdwell.programs.rules import Rules
from qdwell.wire.device import Device

STRATEGIES = ("active", "active-accum", "active-circuit", "all")
AMPLIFIERS = ("gate_folding", "gate_folding_front", "gate_folding_back", "pea")
#: How many noise factors an extrapolator needs at least (O37).
FACTORS_LEAST: Mapping[str, int] = {
    "fallback": 1,
    "linear": 2,
    "exponential": 2,
    "double_exponential": 4,
    **{f"polynomial_degree_{degree}": degree + 1 for degree in range(1, 8)},
}
NOISE_FACTORS = (1, 3, 5)
EXTRAPOLATORS = ("exponential", "linear")
_FACTORS_MAX = 50
#: The level of an estimator's job that names none: on a machine, and where there is no noise.
LEVEL = 1
LEVEL_NOISELESS = 0


def _numbers(value: Any, field: str, least: float) -> None:
    good = isinstance(value, list) and 0 < len(value) <= _FACTORS_MAX
    plain = good and all(
        isinstance(it, int | float) and not isinstance(it, bool) and least <= it < 1e6
        for it in value
    )
    if not plain:
        raise rules.bad(field, f"must be a list of up to {_FACTORS_MAX} numbers from {least:g} on")


def _noise_factors(value: Any, field: str) -> None:
    if value == "auto":
        return
    _numbers(value, field, 1)
    if len(set(value)) < len(value):
        # A fit through fewer points than it has parameters gives a number, and a wrong one.
        raise rules.bad(field, f"must name each noise factor once, not {value!r}")


def _evaluated_at(value: Any, field: str) -> None:
    if value != "auto":
        _numbers(value, field, 0)


def _extrapolators(value: Any, field: str) -> None:
    every = value if isinstance(value, list) else [value]
    if not every or len(every) > len(FACTORS_LEAST):
        raise rules.bad(field, "must name an extrapolator, or a list of them")
    for it in every:
        rules.choice(*FACTORS_LEAST)(it, field)


def _gain(value: Any, field: str) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6
    if value != "auto" and not good:
        raise rules.bad(field, f"must be auto or a number from 0 on, not {value!r}")


def _layer_noise_model(value: Any, field: str) -> None:
    tag = value.get("__type__") if isinstance(value, Mapping) else None
    if not isinstance(value, list) and tag != "NoiseLearnerResult":
        raise rules.bad(field, "must be a result of the noise learner, or a list of layer errors")


DYNAMICAL_DECOUPLING: Rules = {
    "enable": rules.flag,
    "sequence_type": rules.choice("XX", "XpXm", "XY4"),
    "extra_slack_distribution": rules.choice("middle", "edges"),
    "scheduling_method": rules.choice("alap", "asap"),
    "skip_reset_qubits": rules.flag,
}
TWIRLING: Rules = {
    "enable_gates": rules.flag,
    "enable_measure": rules.flag,
    "num_randomizations": rules.auto_or_whole,
    "shots_per_randomization": rules.auto_or_whole,
    "strategy": rules.choice(*STRATEGIES),
}
RESILIENCE: Rules = {
    "measure_mitigation": rules.flag,
    "measure_noise_learning": {
        "num_randomizations": rules.whole(1),
        "shots_per_randomization": rules.auto_or_whole,
    },
    "zne_mitigation": rules.flag,
    "zne": {
        "amplifier": rules.choice(*AMPLIFIERS),
        "noise_factors": _noise_factors,
        "extrapolator": _extrapolators,
        "extrapolated_noise_factors": _evaluated_at,
    },
    "pec_mitigation": rules.flag,
    "pec": {"max_overhead": rules.positive, "noise_gain": _gain},
    "layer_noise_learning": {**LEARNING, "max_layers_to_learn": rules.whole(0)},
    "layer_noise_model": _layer_noise_model,
}
#: Beside the options: the estimator's own level (O33).
LEVELS = rules.whole(0, 2)


def check_together(params: Mapping[str, Any]) -> None:
    """Refuse options of the estimator that are accepted one by one but not together (O36-O38).

    Raises:
        BadInput: names one of them, and why.
    """
    on = switches(params)
    options = params.get("options") or {}
    given = options.get("resilience") or {}
    field = "params.options.resilience"
    if on["pec_mitigation"] and on["zne_mitigation"]:
        raise rules.refused(f"{field}.pec_mitigation", True, "zne_mitigation is on as well")
    readout = _set(given.get("measure_noise_learning"))
    if readout and not on["measure_mitigation"]:
        why = "measure_mitigation is off, so that it would have no effect"
        raise rules.refused(f"{field}.measure_noise_learning", readout, why)
    if on["zne_mitigation"]:
        zne = _set(given.get("zne"))
        factors = zne.get("noise_factors", "auto")
        factors = NOISE_FACTORS if factors == "auto" else factors
        wanted = zne.get("extrapolator", list(EXTRAPOLATORS))
        for name in wanted if isinstance(wanted, list) else [wanted]:
            least = FACTORS_LEAST[name]
            if len(factors) < max(2, least):
                why = f"{name} requires at least {max(2, least)} noise_factors, not {len(factors)}"
                raise rules.refused(f"{field}.zne.extrapolator", name, why)


def leveled(params: Mapping[str, Any], device: Device) -> Mapping[str, Any]:
    """The params of an estimator's job with its level, whether it names one or not (O33).

    A device without noise has nothing to mitigate, so that it has level 0 unless the job asks for
    another; so has a simulator that has got none from the job.

    Raises:
        BadInput: options that cannot go together at that level.
    """
    if params.get("resilience_level") is not None:
        return params
    plain = device.simulator and (simulator_options.noise_sent(params)[0] is None)
    level = LEVEL_NOISELESS if plain or device.noiseless else LEVEL
    chosen = {**params, "resilience_level": level}
    check_together(chosen)
    return chosen


def switches(params: Mapping[str, Any], otherwise: int = LEVEL) -> dict[str, bool]:
    """Which methods a job has on: what its level implies, and what it says itself.

    `otherwise` is the level of a job that names none.
    """
    options = params.get("options") or {}
    level = params.get("resilience_level")
    level = otherwise if level is None else level
    resilience = _set(options.get("resilience"))
    twirling = _set(options.get("twirling"))
    decoupling = _set(options.get("dynamical_decoupling"))
    # Probabilistic error cancellation takes the place of the extrapolation that level 2 implies.
    pec = bool(resilience.get("pec_mitigation", False))
    return {
        "measure_mitigation": bool(resilience.get("measure_mitigation", level >= 1)),
        "zne_mitigation": bool(resilience.get("zne_mitigation", level >= 2 and not pec)),
        "pec_mitigation": pec,
        "enable_gates": bool(twirling.get("enable_gates", level >= 2)),
        "enable_measure": bool(twirling.get("enable_measure", level >= 1)),
        "decoupling": bool(decoupling.get("enable", False)),
    }


def wanted(params: Mapping[str, Any]) -> bool:
    """Does a leveled estimator's job, or a sampler's, ask for anything beyond plain running?"""
    return any(switches(params, LEVEL_NOISELESS).values())


def needs_noise(params: Mapping[str, Any]) -> bool:
    """Does an estimator's job need a model of the noise of its layers?"""
    on = switches(params)
    zne = _set(((params.get("options") or {}).get("resilience") or {}).get("zne"))
    return on["pec_mitigation"] or (on["zne_mitigation"] and zne.get("amplifier") == "pea")


def _set(section: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (section or {}).items() if value is not None}


def estimator_options(params: Mapping[str, Any]) -> Any:
    """The options of checked params as the client's library takes them, `layer_noise_model` unset.

    Every method is set to what `switches` says, so that the library's own rules add nothing.
    """
    from qiskit_ibm_runtime.options_models import EstimatorOptions

    options = params.get("options") or {}
    on = switches(params)
    given = _set(options.get("resilience"))
    resilience: dict[str, Any] = {
        name: on[name] for name in ("measure_mitigation", "zne_mitigation", "pec_mitigation")
    }
    for name in ("zne", "pec"):
        resilience[name] = _set(given.get(name))
    # A limit of null says that there is none; left out, it is the library's own.
    if "max_overhead" in (given.get("pec") or {}):
        resilience["pec"]["max_overhead"] = given["pec"]["max_overhead"]
    readout = _set(given.get("measure_noise_learning")).get("num_randomizations", 32)
    resilience["measure_noise_learning"] = {"num_randomizations": readout}
    level = params.get("resilience_level")
    return EstimatorOptions(
        resilience_level=LEVEL if level is None else level,
        resilience=resilience,
        twirling={
            **_set(options.get("twirling")),
            "enable_gates": on["enable_gates"] or needs_noise(params),
            "enable_measure": on["enable_measure"]
            or on["measure_mitigation"]
            or needs_noise(params),
        },
        dynamical_decoupling=_set(options.get("dynamical_decoupling")),
    )


def readout_shots(params: Mapping[str, Any]) -> int | None:
    """Shots of each randomization of the readout's calibration, if the job measures it and says."""
    if not switches(params)["measure_mitigation"]:
        return None
    given = _set((params.get("options") or {}).get("resilience")).get("measure_noise_learning")
    shots = _set(given).get("shots_per_randomization", "auto")
    return None if shots == "auto" else int(shots)


def sampler_options(params: Mapping[str, Any]) -> Any:
    """The options of checked params as the client's library takes them."""
    from qiskit_ibm_runtime.options_models import SamplerOptions

    options = params.get("options") or {}
    return SamplerOptions(
        twirling=_set(options.get("twirling")),
        dynamical_decoupling=_set(options.get("dynamical_decoupling")),
    )


def learning(params: Mapping[str, Any]) -> tuple[Settings, int | None]:
    """How layers are learned for an estimator's job, and how many at most."""
    given = ((params.get("options") or {}).get("resilience") or {}).get("layer_noise_learning")
    chosen = {**DEFAULTS, **_set(given)}
    settings = Settings(
        randomizations=chosen["num_randomizations"],
        shots=chosen["shots_per_randomization"],
        depths=tuple(chosen["layer_pair_depths"]),
    )
    # Here null has a meaning of its own: no limit.
    return settings, (given or {}).get("max_layers_to_learn", DEFAULTS["max_layers_to_learn"])
