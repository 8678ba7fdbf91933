"""Options of a simulator, on plain JSON: as it is to be a machine, or noisy (O18, O42), and what of
a machine's options it cannot follow (O45).

What they do is in `assumed` and in `noise_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdwell.programs import rules

_QUBITS_MAX = 1_000
_PAIRS_MAX = 10_000
NOISE_ERRORS_MAX = 10_000
NOISE_TAG = "NoiseModel"
#: Qiskit's standard gates by name. They stand here because the API does not load Qiskit.
STANDARD_GATES = frozenset(
    [
        "c3sx",
        "ccx",
        "ccz",
        "ch",
        "cp",
        "crx",
        "cry",
        "crz",
        "cs",
        "csdg",
        "cswap",
        "csx",
        "cu",
        "cu1",
        "cu3",
        "cx",
        "cy",
        "cz",
        "dcx",
        "delay",
        "ecr",
        "global_phase",
        "h",
        "id",
        "iswap",
        "measure",
        "p",
        "r",
        "rcccx",
        "rccx",
        "reset",
        "rx",
        "rxx",
        "ry",
        "ryy",
        "rz",
        "rzx",
        "rzz",
        "s",
        "sdg",
        "swap",
        "sx",
        "sxdg",
        "t",
        "tdg",
        "u",
        "u1",
        "u2",
        "u3",
        "x",
        "xx_minus_yy",
        "xx_plus_yy",
        "y",
        "z",
    ]
)


def coupling_map(value: Any, field: str) -> None:
    """Rule of the option: a list of pairs of qubits."""
    good = isinstance(value, list) and 0 < len(value) <= _PAIRS_MAX
    if not good or not all(
        isinstance(pair, list)
        and len(pair) == 2
        and pair[0] != pair[1]
        and all(type(it) is int and 0 <= it < _QUBITS_MAX for it in pair)
        for pair in value
    ):
        raise rules.bad(field, f"must be a list of pairs of qubits below {_QUBITS_MAX}")


def basis_gates(value: Any, field: str) -> None:
    """Rule of the option: a list of names of standard gates."""
    good = isinstance(value, list) and 0 < len(value) <= len(STANDARD_GATES)
    if not good or not all(isinstance(it, str) and it in STANDARD_GATES for it in value):
        raise rules.bad(field, "must be a list of names of Qiskit's standard gates")


#: What the option takes.
NOISE_WORDS = f"a noise model of Aer, or its to_dict, with at most {NOISE_ERRORS_MAX} errors"


def is_noise_model(value: Any) -> bool:
    """Whether a value looks like a noise model; a worker reads what is in it."""
    inner = value
    if isinstance(value, Mapping) and "__type__" in value:
        inner = value.get("__value__") if value["__type__"] == NOISE_TAG else None
    if not isinstance(inner, Mapping) or set(inner) != {"errors"}:
        return False
    errors = inner["errors"]
    return isinstance(errors, list) and len(errors) <= NOISE_ERRORS_MAX


def noise_model(value: Any, field: str) -> None:
    """Rule of the option."""
    if not is_noise_model(value):
        raise rules.bad(field, f"must be {NOISE_WORDS}")


def noise_sent(params: Mapping[str, Any]) -> tuple[Any, str]:
    """What checked params have for a noise model, and where; None: nothing."""
    if "version" not in params:
        return (params.get("run_options") or {}).get("noise_model"), "run_options.noise_model"
    simulator = (params.get("options") or {}).get("simulator") or {}
    return simulator.get("noise_model"), "options.simulator.noise_model"


def without_effect(params: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Leave out what a simulator has no use for, and say so, one sentence for each option (O45).

    It has no pauses between shots, and its gates take no time in which a qubit could idle.
    """
    options = params.get("options") or {}
    kept, told = dict(options), []
    execution = options.get("execution") or {}
    if execution.get("rep_delay") is not None:
        kept["execution"] = {**execution, "rep_delay": None}
        told.append("options.execution.rep_delay has no effect on a simulator.")
    decoupling = options.get("dynamical_decoupling") or {}
    if decoupling.get("enable"):
        kept["dynamical_decoupling"] = {**decoupling, "enable": False}
        told.append("options.dynamical_decoupling has no effect on a simulator.")
    return ({**params, "options": kept} if told else params), tuple(told)
