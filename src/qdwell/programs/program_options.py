"""The cheap check of a quantum program's submission: its outline and options, no payload opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdwell.errors import BadInput
from qdwell.programs import rules
from qdwell.programs.rules import Rules

#: Schemas of a quantum program that are read.
VERSIONS = ("v0.1", "v0.2", "v1.0", "v1.1", "v2.0")
SEED_MAX = 2**63 - 1
ITEMS_MAX = 10_000


def check_executor(params: Mapping[str, Any]) -> None:
    """Refuse what can be refused of an executor's submission.

    Raises:
        BadInput: names the field and what it accepts.
    """
    rules.required(params, "params", "schema_version", "quantum_program", "options")
    rules.check(_EXECUTOR, params, "params")
    rules.required(params["quantum_program"], "params.quantum_program", "shots", "items")


def refuse_calibration(_params: Mapping[str, Any]) -> None:
    """The `calibrate` program: no device of a server can be calibrated through it.

    Raises:
        BadInput: always.
    """
    raise BadInput(
        "The calibrate program is refused: no backend of this server has calibration routines "
        "that a job could run.",
        field="program_id",
        solution="Calibrate the device with its own tools, and start the server again.",
    )


def _items(value: Any, field: str) -> None:
    if not isinstance(value, list) or len(value) > ITEMS_MAX:
        raise rules.bad(field, f"must be a list of at most {ITEMS_MAX} items")
    for place, item in enumerate(value):
        path = f"{field}[{place}]"
        if not isinstance(item, Mapping):
            raise rules.bad(path, "must be an object")
        rules.choice("circuit", "samplex")(item.get("item_type", "circuit"), f"{path}.item_type")
        _shape(item.get("shape", []), f"{path}.shape")
        for key in ("circuit", "samplex"):
            if key in item and not isinstance(item[key], Mapping):
                raise rules.bad(f"{path}.{key}", "must be an object")


def _shape(value: Any, field: str) -> None:
    good = isinstance(value, list) and len(value) <= 32
    if not good or not all(type(it) is int and it >= 0 for it in value):
        raise rules.bad(field, "must be a list of sizes")


def _anything(value: Any, field: str) -> None:
    pass


def _mapping(value: Any, field: str) -> None:
    if not isinstance(value, Mapping):
        raise rules.bad(field, "must be an object")


def _not_scheduled(value: Any, field: str) -> None:
    rules.flag(value, field)
    if value:
        raise rules.refused(field, value, "the devices of this server do not tell a schedule")


_EXECUTOR: Rules = {
    "schema_version": rules.choice(*VERSIONS),
    "quantum_program": {
        "shots": rules.whole(1),
        "circuits": _mapping,
        "items": _items,
        "meas_level": rules.BITS,
        "passthrough_data": _anything,
        "semantic_role": rules.text,
    },
    "options": {
        "init_qubits": rules.RESET,
        "rep_delay": rules.not_negative,
        "scheduler_timing": _not_scheduled,
        "stretch_values": _not_scheduled,
        # Ours: the seed of everything random in the job.
        "experimental": {"seed_simulator": rules.whole(0, SEED_MAX)},
    },
}
