"""What runs: one file per program id, in three stages. Pure: inputs and a device in, results out.

check_submission   in the API's process, on plain JSON: shape and options
prepare            classical: decode, check against the device, count
execute            on the device
postprocess        classical: reduce and encode
run_all            the three stages in a row, for small jobs

The names are imported when they are first used: the API needs the check alone, which opens no
payload, and so never pays for Qiskit.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdwell.programs.cache import Cache, Caches
    from qdwell.programs.options import check_submission
    from qdwell.programs.stages import execute, postprocess, prepare, run_all
    from qdwell.programs.work import Facts, Finished, Limits, Prepared, ProgramError, Raw, Work

__all__ = [
    "Cache",
    "Caches",
    "Facts",
    "Finished",
    "Limits",
    "Prepared",
    "ProgramError",
    "Raw",
    "Work",
    "check_submission",
    "execute",
    "postprocess",
    "prepare",
    "run_all",
]

_HOMES = {
    name: module
    for module, names in {
        "cache": ("Cache", "Caches"),
        "options": ("check_submission",),
        "stages": ("execute", "postprocess", "prepare", "run_all"),
        "work": ("Facts", "Finished", "Limits", "Prepared", "ProgramError", "Raw", "Work"),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
