"""The cheap check of a submission, on plain JSON: shape and options. It opens no payload.

Every option of the V2 primitives has a row here. What no backend here can do is accepted only
with the value that means what is done anyway (off, unset, the default); any other value is refused
and named. Nothing is accepted and then ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qdwell.errors import UnknownProgram
from qdwell.programs import (
    learning_options,
    mitigation_options,
    program_options,
    rules,
    simulator_options,
    v1_options,
)
from qdwell.programs.rules import Check, Rules

#: Shots of a PUB when nobody says (O31, L23).
DEFAULT_SHOTS = 4096
#: PUBs of one job; each costs a decoding and a result.
PUBS_MAX = 10_000
#: Precision of a PUB when nobody says (O32, L23).
DEFAULT_PRECISION = 0.015625

_SEED_MAX = 2**63 - 1


def check_submission(program_id: str, params: Mapping[str, Any]) -> None:
    """Refuse what can be refused without opening a payload; returns nothing if all is well.

    Raises:
        UnknownProgram: no such program (E7).
        BadInput: names the field and what it accepts (E4).
    """
    if program_id not in _RULES and program_id not in _CHECKS:
        raise UnknownProgram(program_id)
    if not isinstance(params, Mapping):
        raise rules.bad("params", "must be an object")
    if program_id in _CHECKS:
        _CHECKS[program_id](params)
        return
    if "version" not in params:
        v1_options.check(program_id, params)
        return
    if params.get("version") != 2 or isinstance(params.get("version"), bool):
        raise rules.bad("params.version", f"must be 2, not {params.get('version')!r}")
    rules.check(_RULES[program_id], params, "params")
    if program_id == "estimator":
        mitigation_options.check_together(params)


@dataclass(frozen=True, slots=True)
class Options:
    """The options that have an effect, with defaults filled in."""

    shots: int
    precision: float
    #: The estimator's `default_shots`, if given: then it stands in for the precision (O32).
    estimator_shots: int | None
    seed: int | None
    #: Pause before each shot, in microseconds (O40); None: the device's default.
    rep_delay_us: float | None


def resolved(params: Mapping[str, Any]) -> Options:
    """The options of checked params, defaults filled in."""
    options = params.get("options") or {}
    seed = (options.get("simulator") or {}).get("seed_simulator")
    if seed is None:
        seed = options.get("seed_estimator")
    shots = options.get("default_shots")
    precision = options.get("default_precision")
    rep_delay_s = (options.get("execution") or {}).get("rep_delay")
    return Options(
        shots=DEFAULT_SHOTS if shots is None else shots,
        precision=DEFAULT_PRECISION if precision is None else float(precision),
        estimator_shots=shots,
        seed=seed,
        rep_delay_us=None if rep_delay_s is None else rep_delay_s * 1e6,
    )


def _pubs(least: int, most: int, names: tuple[str, ...]) -> Check:
    """A list of PUBs, each a list of `least` to `most` parts called `names`."""

    def check(value: Any, field: str) -> None:
        if not isinstance(value, list):
            raise rules.bad(field, "must be a list of PUBs")
        if len(value) > PUBS_MAX:
            raise rules.bad(field, f"must be at most {PUBS_MAX} PUBs, not {len(value)}")
        for place, pub in enumerate(value):
            path = f"{field}[{place}]"
            if not isinstance(pub, list) or not least <= len(pub) <= most:
                raise rules.bad(path, f"must be a list of {least} to {most}: {', '.join(names)}")
            for name, part in zip(names, pub, strict=False):
                _PARTS[name](part, f"{path} ({name})")

    return check


def _circuit(value: Any, field: str) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, Mapping) or value.get("__type__") != "QuantumCircuit":
        raise rules.bad(field, "must be an encoded circuit or an OpenQASM 3 text")
    if not isinstance(value.get("__value__"), str):
        raise rules.bad(field, "must be an encoded circuit: its __value__ is not a text")


def _values(value: Any, field: str) -> None:
    if value is None or isinstance(value, list):
        return
    if not isinstance(value, Mapping) or value.get("__type__") not in ("ndarray", "BindingsArray"):
        raise rules.bad(field, "must be an array of parameter values, or null")


def _observables(value: Any, field: str) -> None:
    if not isinstance(value, str | list | Mapping):
        raise rules.bad(field, "must be an observable or an array of observables")


def _shots(value: Any, field: str) -> None:
    if value is not None:
        rules.whole(1)(value, field)


def _precision(value: Any, field: str) -> None:
    if value is not None:
        rules.positive(value, field)


_PARTS: Mapping[str, Check] = {
    "circuit": _circuit,
    "observables": _observables,
    "parameter values": _values,
    "shots": _shots,
    "precision": _precision,
}


_SIMULATOR: Rules = {
    "noise_model": simulator_options.noise_model,
    "seed_simulator": rules.whole(0, _SEED_MAX),
    "coupling_map": simulator_options.coupling_map,
    "basis_gates": simulator_options.basis_gates,
}
_COMMON: Rules = {
    "default_shots": rules.whole(1),
    "dynamical_decoupling": mitigation_options.DYNAMICAL_DECOUPLING,
    "twirling": mitigation_options.TWIRLING,
    "simulator": _SIMULATOR,
    "experimental": rules.empty,
}
_EXECUTION: Rules = {"init_qubits": rules.RESET, "rep_delay": rules.not_negative}

_RULES: Mapping[str, Rules] = {
    "sampler": {
        "pubs": _pubs(1, 3, ("circuit", "parameter values", "shots")),
        "version": rules.whole(2, 2),
        "support_qiskit": rules.fixed(True),
        "options": {
            **_COMMON,
            "execution": {
                **_EXECUTION,
                "meas_type": rules.BITS,
            },
        },
    },
    "estimator": {
        "pubs": _pubs(2, 4, ("circuit", "observables", "parameter values", "precision")),
        "version": rules.whole(2, 2),
        "support_qiskit": rules.fixed(True),
        "resilience_level": mitigation_options.LEVELS,
        "options": {
            **_COMMON,
            "default_precision": rules.positive,
            "seed_estimator": rules.whole(0, _SEED_MAX),
            "execution": _EXECUTION,
            "resilience": mitigation_options.RESILIENCE,
        },
    },
}

#: Programs whose submissions are no PUBs.
_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "executor": program_options.check_executor,
    "noise-learner": learning_options.check_noise_learner,
    "calibrate": program_options.refuse_calibration,
}
