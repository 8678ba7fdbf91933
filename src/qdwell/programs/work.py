"""What goes into a program and what comes out of each of its three stages.

    Work -> prepare -> Prepared, Facts -> execute -> Raw -> postprocess -> Finished

All of it can be pickled, because each stage may run in another process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qdwell.errors import ProgramError
from qdwell.wire.noise import JobNoise

__all__ = ["Facts", "Finished", "Limits", "Prepared", "ProgramError", "Raw", "Work"]


#: Oldest QPY that is read: below 13 it may carry formulas as text, which took code along once.
QPY_VERSION_MIN = 13
QPY_VERSION_MIN_OLD_CLIENTS = 10  #: of the Qiskit of 0.20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may ask for."""

    #: Circuits times shots, after broadcasting (L14).
    executions_max: int = 10_000_000
    #: QPY older than this is refused.
    qpy_version_min: int = QPY_VERSION_MIN
    #: The most that one compressed value of the input may hold.
    inflated_bytes_max: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Work:
    """One job as it was submitted."""

    job_id: str
    #: sampler or estimator.
    program_id: str
    #: The JSON text of the submission's `params`.
    params: bytes
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Facts:
    """What preparation learned about a job (J34, J35)."""

    #: Circuits times shots after broadcasting.
    executions: int
    num_circuits: int
    #: One entry per circuit of the submission.
    num_qubits: list[int]
    circuit_depths: list[int]
    #: Expected quantum time, by the device's own timing (J35).
    estimate_ms: int
    #: Sentences for the job's log: what it asked for, and what has no effect (O45).
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the device needs: one plan per PUB, of the program's own type."""

    program_id: str
    pubs: tuple[Any, ...]
    seed: int | None
    #: Metadata of the result as a whole.
    metadata: dict[str, Any]
    #: Pause before each shot, in microseconds (O40); None: the device's default.
    rep_delay_us: float | None = None
    #: The job's own noise model (O18); None: there is none.
    noise: JobNoise | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """What the device gave: one entry per PUB, of the program's own type."""

    program_id: str
    pubs: tuple[Any, ...]
    metadata: dict[str, Any]
    #: How many PUBs at the front were already given out as interim results.
    emitted: int = 0
    #: Facts that take the place of those of preparation: of a job that learned what to run.
    facts: Facts | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a job: JSON texts, ready to be stored and sent.

    `interim` are the interim results that `execute` did not give out: the last PUB's, whose result
    is made only now. They come before the final one (R5).
    """

    result: bytes
    interim: tuple[bytes, ...] = ()
