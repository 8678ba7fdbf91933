"""Options of a simulator that is asked to be a machine, on plain JSON (O42); see `assumed`."""

from __future__ import annotations

from typing import Any

from qdwell.programs import rules

_QUBITS_MAX = 1_000
_PAIRS_MAX = 10_000
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
