"""The three stages of any program, and all three in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from qdwell.clock import stopwatch_ns
from qdwell.errors import BadInput, ProgramError
from qdwell.programs import (
    assumed,
    estimator,
    estimator_mitigated,
    estimator_v1,
    estimator_v1_pec,
    executor,
    mitigation_options,
    noise_learner,
    noise_model,
    sampler,
    sampler_mitigated,
    sampler_v1,
    simulator_options,
)
from qdwell.programs.cache import Cache
from qdwell.programs.options import check_submission
from qdwell.programs.work import Facts, Finished, Prepared, Raw, Work
from qdwell.wire import codec
from qdwell.wire.device import Device

#: What is prepared says by its program id who goes on with it; V1 input has no version.
_PROGRAMS: dict[str, ModuleType] = {
    "sampler": sampler,
    "estimator": estimator,
    sampler_v1.ID: sampler_v1,
    estimator_v1.ID: estimator_v1,
    estimator_v1_pec.ID: estimator_v1_pec,
    estimator_mitigated.ID: estimator_mitigated,
    sampler_mitigated.ID: sampler_mitigated,
    "executor": executor,
    "noise-learner": noise_learner,
}
_VERSIONED = ("sampler", "estimator")
#: Those that may bring a noise model along.
_NOISY = (*_VERSIONED, "noise-learner")
#: Those that may take a simulator for a machine.
_SEEN_AS = frozenset({"sampler", "estimator", sampler_mitigated.ID, estimator_mitigated.ID})

Emit = Callable[[bytes], None]


def prepare(work: Work, device: Device, cache: Cache) -> tuple[Prepared, Facts]:
    """Decode, check against the device, and count; no device time.

    Raises:
        ProgramError: the job fails through its own content (E25-E27).
    """
    try:
        params = codec.parse(work.params)
        check_submission(work.program_id, params)
        noise = noise_model.given(work, params, cache) if work.program_id in _NOISY else None
        if noise is not None:
            device = noise_model.Noisy(device, noise)
        notes: tuple[str, ...] = ()
        if device.simulator and work.program_id in _VERSIONED:
            params, notes = simulator_options.without_effect(params)
        if work.program_id == "estimator" and "version" in params:
            params = mitigation_options.leveled(params, device)
    except BadInput as error:
        raise ProgramError(1208, error.message, error.solution) from error
    name = work.program_id
    if name in _VERSIONED:
        if "version" not in params:
            name = estimator_v1_pec.ID if estimator_v1_pec.wanted(params) else f"{name}-v1"
        elif mitigation_options.wanted(params):
            name = f"{name}-mitigated"
    if name in _SEEN_AS:
        device = assumed.assumed(params, device)
    prepared: Prepared
    facts: Facts
    prepared, facts = _PROGRAMS[name].prepare(work, params, device, cache)
    facts = replace(facts, notes=notes)
    return (prepared if noise is None else replace(prepared, noise=noise)), facts


def execute(prepared: Prepared, device: Device, emit_interim: Emit | None = None) -> Raw:
    """Run on the device. `emit_interim` gets each finished PUB's result but the last one's.

    Raises:
        ProgramError: the device failed (E28).
    """
    if prepared.noise is not None:
        device = noise_model.Noisy(device, prepared.noise)
    raw: Raw = _PROGRAMS[prepared.program_id].execute(prepared, device, emit_interim)
    return raw


def postprocess(raw: Raw) -> Finished:
    """Reduce and encode; `Finished.interim` holds the interim results not given out before."""
    finished: Finished = _PROGRAMS[raw.program_id].postprocess(raw)
    return finished


def run_all(
    work: Work, device: Device, cache: Cache, emit_interim: Emit | None = None
) -> tuple[Facts, tuple[int, int, int], Finished]:
    """The three stages in a row: the facts, nanoseconds of each stage, and the end.

    Every interim result has been emitted when it returns, the last PUB's too.

    Raises:
        ProgramError: as the stages.
    """
    began = stopwatch_ns()
    prepared, facts = prepare(work, device, cache)
    ready = stopwatch_ns()
    raw = execute(prepared, device, emit_interim)
    executed = stopwatch_ns()
    finished = postprocess(raw)
    done = stopwatch_ns()
    if emit_interim is not None:
        for text in finished.interim:
            emit_interim(text)
    return raw.facts or facts, (ready - began, executed - ready, done - executed), finished
