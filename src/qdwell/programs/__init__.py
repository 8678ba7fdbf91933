"""What runs: one file per program id, in three stages. Pure: inputs and a device in, results out.

check_submission   in the API's process, on plain JSON: shape and options
prepare            classical: decode, check against the device, count
execute            on the device
postprocess        classical: reduce and encode
run_all            the three stages in a row, for small jobs
"""

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
