"""A campaign led by coverage on one decoder (atheris, which is libFuzzer for Python).

    cd tests && python -m security.fuzz TARGET SECONDS FOLDER      # TARGET: see `decoders`
    cd tests && python -m security.fuzz campaign TARGET SECONDS FOLDER

Inputs that are new to the coverage are collected in FOLDER/corpus, what was found in FOLDER. Copy a
finding to tests/security/corpus/TARGET, and every test run tries it. Memory is bounded, so that a
bomb is a finding; so is the processor's time of one input, which counts the same on a machine that
does much else. Only what never comes back from native code is ended by the wall clock.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import atheris
from jwt import api_jws, api_jwt
from jwt import utils as jws_utils

from qdwell.api import auth, body
from qdwell.clock import stopwatch_ns
from qdwell.engine import frames
from qdwell.executors import job_noise
from qdwell.programs import noise_model, options, program_reader, rules
from qdwell.wire import arrays, codec, tensors
from security import decoders

INPUT_BYTES_MAX = 20_000
MEMORY_MB_MAX = 8_000  # above what a worker gives to the opening of bytes, which is bounded too
ONE_CPU_SECONDS_MAX = 20
ONE_WALL_SECONDS_MAX = 900

#: Where coverage is counted. (Counting it while everything is imported takes minutes.)
READERS = (arrays, codec, tensors, body, auth, frames, options, rules, program_reader, api_jwt)
READERS += (api_jws, jws_utils, noise_model, job_noise)
LIBRARIES = ("qiskit_qasm3_import.", "openqasm3.", "qiskit.qpy.")  # as far as they are Python


def count_coverage() -> None:
    """Count it in every function and method of the readers."""
    loaded = [it for name, it in sys.modules.items() if f"{name}.".startswith(LIBRARIES)]
    for module in (*READERS, *loaded):
        for value in vars(module).values():
            inside = vars(value).values() if isinstance(value, type) else (value,)
            for each in inside:
                if isinstance(each, types.FunctionType) and each.__module__ == module.__name__:
                    atheris.instrument_func(each)


class TooLong(BaseException):
    """One input took more of the processor than any may; no reader catches this."""


def _too_long(*_: object) -> None:
    raise TooLong(f"more than {ONE_CPU_SECONDS_MAX} s of the processor for one input")


def campaign(target: str, seconds: int, folder: Path) -> tuple[int, int, str]:
    """Run for so long: executions, how often the loader ran out of memory, and a finding or "".

    The loader of QPY is Rust, which ends its process when it cannot have the memory that some bytes
    claim. That is a worker's end, and its job's failure with a code; here the next run begins.
    """
    command = [sys.executable, "-m", "security.fuzz", target]
    until, executions, ended = stopwatch_ns() + seconds * 10**9, 0, 0
    while (left := (until - stopwatch_ns()) // 10**9) > 0:
        told = subprocess.run(
            [*command, str(left), str(folder)],
            cwd=Path(__file__).parents[1],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "RUST_BACKTRACE": "0"},
        )
        executions += sum(map(int, re.findall(r"executed_units: (\d+)", told.stderr)))
        if told.returncode and "memory allocation of" not in told.stderr:
            return executions, ended, told.stderr[-5_000:]
        ended += bool(told.returncode)
    return executions, ended, ""


def main() -> None:
    """Run until the time is over, or something was found."""
    for data in decoders.seeds()[sys.argv[1]]:
        decoders.run(sys.argv[1], data)  # what is loaded at the first use is loaded now
    count_coverage()
    target, seconds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    kept = decoders.CORPUS / target
    found = [it.read_bytes() for it in kept.iterdir()] if kept.is_dir() else []
    for number, data in enumerate(decoders.seeds()[target] + found):
        (corpus / f"seed-{number}").write_bytes(data)
    words = folder / "words"
    lines = ("".join(f"\\x{it:02x}" for it in edge) for edge in decoders.EDGES)
    words.write_text("".join(f'"{line}"\n' for line in lines))

    signal.signal(signal.SIGPROF, _too_long)

    def tried(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, ONE_CPU_SECONDS_MAX)
        try:
            decoders.run(target, data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    atheris.Setup(
        [
            *(sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-dict={words}"),
            *(f"-max_len={INPUT_BYTES_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}"),
            *(f"-timeout={ONE_WALL_SECONDS_MAX}", f"-artifact_prefix={folder}/found-"),
            "-print_final_stats=1",
        ],
        tried,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1] == "campaign":
        sys.stdout.write(f"{campaign(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))}\n")
    else:
        main()
