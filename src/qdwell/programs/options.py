"""The cheap check of a submission, on plain JSON: shape and options. It opens no payload.

Every option of the V2 primitives has a row here. An option that is not implemented yet is accepted
only with the value that means what we do anyway (off, unset, the default); any other value is
refused and named. Nothing is accepted and then ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from qdwell.errors import BadInput, UnknownProgram
from qdwell.programs import v1_options

#: Shots of a PUB when nobody says (O31, L23).
DEFAULT_SHOTS = 4096
#: Precision of a PUB when nobody says (O32, L23).
DEFAULT_PRECISION = 0.015625

_SEED_MAX = 2**63 - 1

Check: TypeAlias = Callable[[Any, str], None]
Rules: TypeAlias = Mapping[str, "Check | Rules"]


def check_submission(program_id: str, params: Mapping[str, Any]) -> None:
    """Refuse what can be refused without opening a payload; returns nothing if all is well.

    Raises:
        UnknownProgram: no such program (E7).
        BadInput: names the field and what it accepts (E4).
    """
    if program_id not in _RULES:
        raise UnknownProgram(program_id)
    if not isinstance(params, Mapping):
        raise _bad("params", "must be an object")
    if "version" not in params:
        v1_options.check(program_id, params)
        return
    if params.get("version") != 2 or isinstance(params.get("version"), bool):
        raise _bad("params.version", f"must be 2, not {params.get('version')!r}")
    _check(_RULES[program_id], params, "params")


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


def _check(rules: Rules, value: Any, field: str) -> None:
    if not isinstance(value, Mapping):
        raise _bad(field, "must be an object")
    for key, item in value.items():
        path = f"{field}.{key}"
        rule = rules.get(key)
        if rule is None:
            raise _bad(path, f"is not known; {field} takes {', '.join(sorted(rules))}")
        # The client leaves out what is unset; null means the same.
        if item is None and key not in ("pubs", "version"):
            continue
        if isinstance(rule, Mapping):
            _check(rule, item, path)
        else:
            rule(item, path)


def _bad(field: str, why: str) -> BadInput:
    return BadInput(f"{field} {why}.", field=field)


def _whole(least: int, most: int | None = None) -> Check:
    def check(value: Any, field: str) -> None:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not good or (most is not None and value > most):
            span = f"from {least} on" if most is None else f"from {least} to {most}"
            raise _bad(field, f"must be an integer {span}, not {value!r}")

    return check


def _positive(value: Any, field: str) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not 0 < value < math.inf:
        raise _bad(field, f"must be a number above 0, not {value!r}")


def _not_negative(value: Any, field: str) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not 0 <= value < math.inf:
        raise _bad(field, f"must be a number of seconds from 0 on, not {value!r}")


def _choice(*accepted: str) -> Check:
    def check(value: Any, field: str) -> None:
        if not isinstance(value, str) or value not in accepted:
            raise _bad(field, f"must be one of {', '.join(accepted)}, not {value!r}")

    return check


def _flag(value: Any, field: str) -> None:
    if not isinstance(value, bool):
        raise _bad(field, f"must be true or false, not {value!r}")


def _fixed(only: bool | str, *known: str) -> Check:
    """An option of which only one value is implemented; `known` are values that others have."""

    def check(value: Any, field: str) -> None:
        if value == only and type(value) is type(only):
            return
        if value in known or (isinstance(only, bool) and isinstance(value, bool)):
            raise _missing(field, value, f"only {str(only).lower()} is")
        raise _bad(field, f"must be {str(only).lower()}, not {value!r}")

    return check


def _unset(value: Any, field: str) -> None:
    raise _missing(field, value, "leave it out")


def _empty(value: Any, field: str) -> None:
    if not isinstance(value, Mapping):
        raise _bad(field, "must be an object")
    for key in value:
        raise _missing(f"{field}.{key}", value[key], "leave it out")


def _absent(value: Any, field: str) -> None:
    """A section that only has meaning with an option that is not implemented."""
    if not isinstance(value, Mapping):
        raise _bad(field, "must be an object")
    for key, item in value.items():
        if item is not None:
            raise _missing(f"{field}.{key}", item, "leave it out")


def _missing(field: str, value: Any, instead: str) -> BadInput:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return BadInput(
        f"{field} = {shown} is not implemented on this server yet; {instead}.",
        field=field,
        solution=f"Remove {field} from the options, or set it to its default.",
    )


def _resilience_level(value: Any, field: str) -> None:
    _whole(0, 2)(value, field)
    if value != 0:
        raise _missing(field, value, "only level 0, which is the default here, is")


def _auto_or_whole(value: Any, field: str) -> None:
    if value != "auto":
        try:
            _whole(1)(value, field)
        except BadInput:
            raise _bad(field, f"must be auto or an integer from 1 on, not {value!r}") from None


def _pubs(least: int, most: int, names: tuple[str, ...]) -> Check:
    """A list of PUBs, each a list of `least` to `most` parts called `names`."""

    def check(value: Any, field: str) -> None:
        if not isinstance(value, list):
            raise _bad(field, "must be a list of PUBs")
        for place, pub in enumerate(value):
            path = f"{field}[{place}]"
            if not isinstance(pub, list) or not least <= len(pub) <= most:
                raise _bad(path, f"must be a list of {least} to {most}: {', '.join(names)}")
            for name, part in zip(names, pub, strict=False):
                _PARTS[name](part, f"{path} ({name})")

    return check


def _circuit(value: Any, field: str) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, Mapping) or value.get("__type__") != "QuantumCircuit":
        raise _bad(field, "must be an encoded circuit or an OpenQASM 3 text")
    if not isinstance(value.get("__value__"), str):
        raise _bad(field, "must be an encoded circuit: its __value__ is not a text")


def _values(value: Any, field: str) -> None:
    if value is None or isinstance(value, list):
        return
    if not isinstance(value, Mapping) or value.get("__type__") not in ("ndarray", "BindingsArray"):
        raise _bad(field, "must be an array of parameter values, or null")


def _observables(value: Any, field: str) -> None:
    if not isinstance(value, str | list | Mapping):
        raise _bad(field, "must be an observable or an array of observables")


def _shots(value: Any, field: str) -> None:
    if value is not None:
        _whole(1)(value, field)


def _precision(value: Any, field: str) -> None:
    if value is not None:
        _positive(value, field)


_PARTS: Mapping[str, Check] = {
    "circuit": _circuit,
    "observables": _observables,
    "parameter values": _values,
    "shots": _shots,
    "precision": _precision,
}

_DYNAMICAL_DECOUPLING: Rules = {
    "enable": _fixed(False),
    "sequence_type": _choice("XX", "XpXm", "XY4"),
    "extra_slack_distribution": _choice("middle", "edges"),
    "scheduling_method": _choice("alap", "asap"),
    "skip_reset_qubits": _flag,
}
_TWIRLING: Rules = {
    "enable_gates": _fixed(False),
    "enable_measure": _fixed(False),
    "num_randomizations": _auto_or_whole,
    "shots_per_randomization": _auto_or_whole,
    "strategy": _choice("active", "active-accum", "active-circuit", "all"),
}
_SIMULATOR: Rules = {
    "noise_model": _unset,
    "seed_simulator": _whole(0, _SEED_MAX),
    "coupling_map": _unset,
    "basis_gates": _unset,
}
_COMMON: Rules = {
    "default_shots": _whole(1),
    "dynamical_decoupling": _DYNAMICAL_DECOUPLING,
    "twirling": _TWIRLING,
    "simulator": _SIMULATOR,
    "experimental": _empty,
}
_EXECUTION: Rules = {"init_qubits": _fixed(True), "rep_delay": _not_negative}

_RULES: Mapping[str, Rules] = {
    "sampler": {
        "pubs": _pubs(1, 3, ("circuit", "parameter values", "shots")),
        "version": _whole(2, 2),
        "support_qiskit": _fixed(True),
        "options": {
            **_COMMON,
            "execution": {
                **_EXECUTION,
                "meas_type": _fixed("classified", "kerneled", "avg_kerneled"),
            },
        },
    },
    "estimator": {
        "pubs": _pubs(2, 4, ("circuit", "observables", "parameter values", "precision")),
        "version": _whole(2, 2),
        "support_qiskit": _fixed(True),
        "resilience_level": _resilience_level,
        "options": {
            **_COMMON,
            "default_precision": _positive,
            "seed_estimator": _whole(0, _SEED_MAX),
            "execution": _EXECUTION,
            "resilience": {
                "measure_mitigation": _fixed(False),
                "measure_noise_learning": _absent,
                "zne_mitigation": _fixed(False),
                "zne": _absent,
                "pec_mitigation": _fixed(False),
                "pec": _absent,
                "layer_noise_learning": _absent,
                "layer_noise_model": _unset,
            },
        },
    },
}
