"""The V1 form of a submission: circuits instead of PUBs, and three groups of options (O2-O24).

A V1 submission has no `version`. As in `options`, every option has a row here; one that is not
implemented is refused by name, and nothing is accepted and then ignored. `parameters`, which older
clients send, repeats what the circuits say; it must be there for each circuit or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qdwell.errors import BadInput
from qdwell.programs.simulator_options import NOISE_WORDS, is_noise_model
from qdwell.wire.device import Device

DEFAULT_SHOTS = 4_000  # L22
SEED_MAX = 2**63 - 1
CIRCUITS_MAX = 10_000
RESILIENCE_MAX = {"sampler": 1, "estimator": 3}  # O3
EXTRAPOLATORS = {  # degree of the polynomial
    "LinearExtrapolator": 1,
    "QuadraticExtrapolator": 2,
    "CubicExtrapolator": 3,
    "QuarticExtrapolator": 4,
}
AMPLIFIERS = ("LocalFoldingAmplifier",)
LAYOUTS = ("trivial", "dense", "sabre")
ROUTINGS = ("basic", "lookahead", "sabre", "none")

Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that have an effect; None: the default of the device."""

    shots: int
    seed: int | None
    level: int | None  #: of compilation
    resilience: int | None
    noise_factors: tuple[float, ...]
    extrapolator: str
    #: What else the compiler is told; simulators alone take the last two.
    transpile: Mapping[str, Any]
    #: The job brings a noise model along (O18).
    noisy: bool

    def optimization(self, device: Device) -> int:
        """Level of compilation on this device (O2)."""
        plain = device.simulator and not self.noisy
        return self.level if self.level is not None else (1 if plain else 3)

    def mitigation(self, device: Device) -> int:
        """Level of resilience on this device (O3)."""
        plain = device.noiseless or (device.simulator and not self.noisy)
        return self.resilience if self.resilience is not None else (0 if plain else 1)


def check(program_id: str, params: Mapping[str, Any]) -> None:
    """Refuse what can be refused without opening a payload.

    Raises:
        BadInput: names the field and what it accepts.
    """
    fields = {
        "circuits", "parameters", "parameter_values", "transpilation_settings",
        "resilience_settings", "run_options",
    }  # fmt: skip
    if program_id == "estimator":
        fields.add("observables")
    for name in params:
        if name not in fields:
            raise _bad(f"params.{name}", f"is not known; there are {', '.join(sorted(fields))}")
    circuits = params.get("circuits")
    if not isinstance(circuits, list) or not 0 < len(circuits) <= CIRCUITS_MAX:
        raise _bad("params.circuits", f"must be a list of 1 to {CIRCUITS_MAX} circuits")
    for place, circuit in enumerate(circuits):
        if not _is_circuit(circuit):
            raise _bad(f"params.circuits[{place}]", "must be an encoded circuit, or OpenQASM 3")
    for name in ("observables", "parameter_values", "parameters"):
        listed = params.get(name)
        if name == "observables" and program_id == "estimator" and listed is None:
            raise _bad("params.observables", "is missing")
        if listed is not None and (not isinstance(listed, list) or len(listed) != len(circuits)):
            raise _bad(f"params.{name}", f"must be a list of {len(circuits)}, one for each circuit")
    _groups(params, RESILIENCE_MAX[program_id])


def _is_circuit(value: Any) -> bool:
    if isinstance(value, str):
        return True
    tagged = isinstance(value, Mapping) and value.get("__type__") == "QuantumCircuit"
    return tagged and isinstance(value.get("__value__"), str)


def settings(params: Mapping[str, Any]) -> Settings:
    """The options of checked params."""
    transpile = dict(params.get("transpilation_settings") or {})
    resilience = params.get("resilience_settings") or {}
    run = params.get("run_options") or {}
    optimization = transpile.pop("optimization_settings", None) or {}
    shots = run.get("shots")
    return Settings(
        shots=DEFAULT_SHOTS if shots is None else shots,
        seed=run.get("seed_simulator"),
        level=optimization.get("level"),
        resilience=resilience.get("level"),
        noise_factors=tuple(resilience.get("noise_factors") or (1, 3, 5)),
        extrapolator=resilience.get("extrapolator") or "LinearExtrapolator",
        transpile={key: value for key, value in transpile.items() if value is not None},
        noisy=run.get("noise_model") is not None,
    )


# ---- the three groups ----------------------------------------------------------------------------


def _whole(least: int, most: int) -> Check:
    return lambda it: isinstance(it, int) and not isinstance(it, bool) and least <= it <= most


def _word(*words: str) -> Check:
    return lambda it: isinstance(it, str) and it in words


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _qubits(value: Any) -> bool:
    listed = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, Mapping | list) and all(_whole(0, 10_000)(it) for it in listed)


def _edges(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(it, list) and len(it) == 2 and _qubits(it) for it in value
    )


def _factors(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 2 <= len(value) <= 20
        and all(isinstance(it, int | float) and 1 <= it <= 99 for it in value)
        and len(set(value)) == len(value)
    )


_TRANSPILATION: Mapping[str, tuple[Check, str]] = {
    "skip_transpilation": (_is_bool, "true or false"),
    "initial_layout": (_qubits, "a list of qubits"),
    "layout_method": (_word(*LAYOUTS), ", ".join(LAYOUTS)),
    "routing_method": (_word(*ROUTINGS), ", ".join(ROUTINGS)),
    "approximation_degree": (
        lambda it: isinstance(it, int | float) and 0 <= it <= 1,
        "a number from 0 to 1",
    ),
    "coupling_map": (_edges, "a list of pairs of qubits"),
    "basis_gates": (
        lambda it: isinstance(it, list) and all(isinstance(name, str) for name in it),
        "a list of names",
    ),
}
_RUN: Mapping[str, tuple[Check, str]] = {
    "shots": (_whole(1, 10**9), "an integer from 1 on"),
    "init_qubits": (lambda it: it is True, "true; leaving qubits as they are is not implemented"),
    "seed_simulator": (_whole(0, SEED_MAX), "an integer from 0 on"),
    "noise_model": (is_noise_model, NOISE_WORDS),
}


def _groups(params: Mapping[str, Any], resilience_max: int) -> None:
    resilience: Mapping[str, tuple[Check, str]] = {
        "level": (_whole(0, resilience_max), f"0 to {resilience_max}"),
        "noise_factors": (_factors, "2 to 20 different numbers from 1 on"),
        "extrapolator": (_word(*EXTRAPOLATORS), ", ".join(EXTRAPOLATORS)),
        "noise_amplifier": (_word(*AMPLIFIERS), ", ".join(AMPLIFIERS)),
    }
    transpilation = {
        **_TRANSPILATION,
        "optimization_settings": (
            lambda it: (
                isinstance(it, Mapping)
                and set(it) <= {"level"}
                and _whole(0, 3)(it.get("level", 0))
            ),
            "an object with level, 0 to 3",
        ),
    }
    _group(params, "transpilation_settings", transpilation)
    _group(params, "run_options", _RUN)
    given = _group(params, "resilience_settings", resilience)
    level, zne = given.get("level"), ("noise_factors", "extrapolator", "noise_amplifier")
    for name in zne:
        if given.get(name) is not None and level != 2:
            raise _bad(f"params.resilience_settings.{name}", "has a meaning only at level 2")
    factors = given.get("noise_factors") or (1, 3, 5)
    degree = EXTRAPOLATORS[given.get("extrapolator") or "LinearExtrapolator"]
    if len(factors) < degree + 1:
        raise _bad(
            "params.resilience_settings.noise_factors",
            f"must be at least {degree + 1} for {given.get('extrapolator')}",  # O15
        )


def _group(
    params: Mapping[str, Any], name: str, rules: Mapping[str, tuple[Check, str]]
) -> Mapping[str, Any]:
    given = params.get(name)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _bad(f"params.{name}", "must be an object")
    for key, value in given.items():
        field = f"params.{name}.{key}"
        if key not in rules:
            raise _bad(field, f"is not known; there are {', '.join(sorted(rules))}")
        holds, words = rules[key]
        if value is not None and not holds(value):
            raise _bad(field, f"must be {words}, not {str(value)[:60]}")
    return given


def _bad(field: str, why: str) -> BadInput:
    return BadInput(f"{field} {why}.", field=field)
