"""The cheap check of a noise learner's submission, V2 and V3; no payload opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdwell.programs import rules, simulator_options
from qdwell.programs.rules import Rules

V3_VERSIONS = ("v0.1", "v0.2", "v0.3")
CIRCUITS_MAX = 10_000
SEED_MAX = 2**63 - 1
DEPTHS_MAX = 100

#: What holds where nobody says (O39).
DEFAULTS: Mapping[str, Any] = {
    "max_layers_to_learn": 4,
    "shots_per_randomization": 128,
    "num_randomizations": 32,
    "layer_pair_depths": [0, 1, 2, 4, 16, 32],
}
STRATEGY = "active-accum"  #: of twirling, the same


@dataclass(frozen=True, slots=True)
class Settings:
    """How an experiment is made (O39)."""

    randomizations: int
    shots: int
    depths: tuple[int, ...]
    #: Checks by extra pulses before and after each circuit: `{pre_circuit: {...}, ...}`, or None.
    checks: Mapping[str, Any] | None = None


def check_noise_learner(params: Mapping[str, Any]) -> None:
    """Refuse what can be refused of a noise learner's submission.

    Raises:
        BadInput: names the field and what it accepts.
    """
    v3 = "schema_version" in params
    rules.required(params, "params", *(("schema_version", "instructions") if v3 else ("circuits",)))
    rules.check(_V3 if v3 else _V2, params, "params")


def _circuits(value: Any, field: str) -> None:
    if not isinstance(value, list) or len(value) > CIRCUITS_MAX:
        raise rules.bad(field, f"must be a list of at most {CIRCUITS_MAX} circuits")
    for place, part in enumerate(value):
        tagged = isinstance(part, Mapping) and part.get("__type__") == "QuantumCircuit"
        if not isinstance(part, str) and not (tagged and isinstance(part.get("__value__"), str)):
            path = f"{field}[{place}]"
            raise rules.bad(path, "must be an encoded circuit or an OpenQASM 3 text")


def _instructions(value: Any, field: str) -> None:
    if not isinstance(value, Mapping) or not isinstance(value.get("circuit_b64"), str):
        raise rules.bad(field, "must be an object with a QPY file as circuit_b64")


def depths(value: Any, field: str) -> None:
    """A list of depths, in pairs of layers."""
    good = isinstance(value, list) and 0 < len(value) <= DEPTHS_MAX
    if not good or not all(type(it) is int and 0 <= it <= 10_000 for it in value):
        raise rules.bad(field, "must be a list of integers from 0 on")


def _post_selection(value: Any, field: str) -> None:
    if not isinstance(value, Mapping):
        raise rules.bad(field, "must be an object")
    if value.get("enable"):
        raise rules.refused(f"{field}.enable", True, "it became bit_flip_checks.post_circuit")


_CHECK: Rules = {
    "enable": rules.flag,
    "x_pulse_type": rules.choice("xslow", "rx"),
    "strategy": rules.choice("node", "edge"),
}

#: Options that both versions have; the estimator's `layer_noise_learning` too.
LEARNING: Rules = {
    "shots_per_randomization": rules.whole(1),
    "num_randomizations": rules.whole(1),
    "layer_pair_depths": depths,
}

_V2: Rules = {
    "circuits": _circuits,
    "version": rules.whole(2, 2),
    "options": {
        **LEARNING,
        "max_layers_to_learn": rules.whole(0),
        "twirling_strategy": rules.choice("active", "active-accum", "active-circuit", "all"),
        "support_qiskit": rules.fixed(True),
        "experimental": rules.empty,
        "simulator": {
            "noise_model": simulator_options.noise_model,
            "seed_simulator": rules.whole(0, SEED_MAX),
            "coupling_map": rules.unset,
            "basis_gates": rules.unset,
        },
    },
}
_V3: Rules = {
    "instructions": _instructions,
    "schema_version": rules.choice(*V3_VERSIONS),
    "version": rules.whole(3, 3),
    "options": {
        **LEARNING,
        "bit_flip_checks": {"pre_circuit": _CHECK, "post_circuit": _CHECK},
        "post_selection": _post_selection,
        "init_qubits": rules.RESET,
        "rep_delay": rules.not_negative,
    },
}
