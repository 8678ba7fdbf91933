"""What follows from a report of a stage (step 1 of C6). Old and unwanted reports are dropped, with
a note (J5).
"""

from __future__ import annotations

from qdwell.core.decisions import Postprocess, Prepare
from qdwell.core.events import (
    JobBegun,
    JobExecuted,
    JobFailed,
    JobLost,
    JobPostprocessed,
    JobPrepared,
    Report,
    RunAdopted,
    RunStopped,
)
from qdwell.core.job import CODE_LOST, TRIES_MAX, Job, JobState
from qdwell.core.moves import Turn

_LOST_REASON = "The worker or the service stopped while it ran this job, too often to try again."
_ONCE_REASON = (
    "The worker or the service stopped while the device ran this job, and whether the run came to "
    "its end is not known: this device's runs are not begun again."
)
_LOST_SOLUTION = "Submit the job again. It was not charged."

_EXPECTED: dict[type, frozenset[JobState]] = {
    JobBegun: frozenset({JobState.PREPARING}),
    JobPrepared: frozenset({JobState.PREPARING}),
    JobExecuted: frozenset({JobState.EXECUTING}),
    JobPostprocessed: frozenset({JobState.POSTPROCESSING}),
    JobFailed: frozenset({JobState.PREPARING, JobState.EXECUTING, JobState.POSTPROCESSING}),
    JobLost: frozenset(
        {JobState.PREPARING, JobState.READY, JobState.EXECUTING, JobState.POSTPROCESSING}
    ),
    RunAdopted: frozenset({JobState.EXECUTING}),
}


def report(turn: Turn, event: Report) -> None:
    """Take one report."""
    _confirm_stop(turn, event)
    if isinstance(event, RunStopped):
        return
    job = turn.state.jobs.get(event.job)
    if job is None or job.attempt != event.attempt or job.state not in _EXPECTED[type(event)]:
        turn.note(
            event.job, f"{type(event).__name__} of attempt {event.attempt} came late: dropped"
        )
        return
    if isinstance(event, JobBegun):
        turn.change_job(job, "execution began", executing_at=turn.now)
    elif isinstance(event, JobPrepared):
        _prepared(turn, job, event)
    elif isinstance(event, JobExecuted):
        _executed(turn, job, event)
    elif isinstance(event, JobPostprocessed):
        turn.finish_job(job, JobState.COMPLETED, "result stored")
        turn.settle_group(job.group)
    elif isinstance(event, JobFailed):
        _failed(turn, job, event)
    elif isinstance(event, JobLost):
        lost(turn, job, event.repeatable)
    else:
        turn.note(job.id, f"the device still knows attempt {event.attempt}: adopted")


def _confirm_stop(turn: Turn, event: Report) -> None:
    """Any last word about a run that is being stopped ends its lease (J20)."""
    if not isinstance(event, RunStopped | JobExecuted | JobFailed | JobLost):
        return
    for machine in turn.state.machines.values():
        lease = machine.lease
        if lease and lease.stopping and (lease.job, lease.attempt) == (event.job, event.attempt):
            turn.free_lease(machine)


def _prepared(turn: Turn, job: Job, event: JobPrepared) -> None:
    estimate = job.estimate_ms if event.estimate_ms is None else event.estimate_ms
    turn.move_job(job, JobState.READY, "prepared", ready_at=turn.now, estimate_ms=estimate)


def _executed(turn: Turn, job: Job, event: JobExecuted) -> None:
    if turn.state.machines[job.backend].simulator:
        quantum_ms = 0  # C5, T18: simulators are not charged
    elif event.quantum_ms is None:
        quantum_ms = turn.in_qpu_ms(job)
    else:
        quantum_ms = max(0, min(event.quantum_ms, turn.in_qpu_ms(job)))
    turn.leave_qpu(job, quantum_ms)
    job = turn.move_job(
        job, JobState.EXECUTED, "left the QPU", executed_at=turn.now, quantum_ms=quantum_ms
    )
    postprocess(turn, job)


def postprocess(turn: Turn, job: Job) -> None:
    """Hand a job's raw data to the next worker."""
    tries = job.postprocess_tries + 1
    cause = "post-processing"
    turn.move_job(job, JobState.POSTPROCESSING, cause, postprocess_tries=tries)
    turn.out.append(Postprocess(job.id, job.attempt, job.backend))


def _failed(turn: Turn, job: Job, event: JobFailed) -> None:
    """The stage said no. A user's error pays for its QPU time so far, a system error for nothing
    (U8).
    """
    quantum_ms = job.quantum_ms
    if job.state is JobState.EXECUTING:
        simulator = turn.state.machines[job.backend].simulator
        quantum_ms = 0 if simulator else turn.in_qpu_ms(job)
        turn.leave_qpu(job, quantum_ms, charged=not event.system)
    elif event.system:
        turn.refund(job)
    if event.system:
        quantum_ms = 0
    turn.finish_job(
        job,
        JobState.FAILED,
        "failed",
        code=event.code,
        reason=event.reason,
        solution=event.solution,
        quantum_ms=quantum_ms,
    )
    turn.settle_group(job.group)


def lost(turn: Turn, job: Job, repeatable: bool, *, failed: bool = True) -> None:
    """The work of an attempt is gone: again from its last durable stage, or failed (J5).

    `failed` false: the stage had ended well, so that beginning it again is no further try.
    """
    attempt = job.attempt + 1
    tries = job.prepare_tries + failed
    if job.state in (JobState.PREPARING, JobState.READY) and tries <= TRIES_MAX:
        cause = "preparation lost, again"
        # On a simulator the limit begins anew with the next attempt (J15).
        again = {"attempt": attempt, "executing_at": None, "downtime_ms": 0}
        turn.move_job(job, JobState.PREPARING, cause, prepare_tries=tries, **again)
        turn.out.append(Prepare(job.id, attempt, job.backend))
    elif job.state is JobState.EXECUTING and repeatable and job.execute_tries < TRIES_MAX:
        turn.leave_qpu(job, turn.in_qpu_ms(job), charged=False)
        again = {"attempt": attempt, "executing_at": None, "downtime_ms": 0}
        turn.move_job(job, JobState.READY, "run lost, again", **again)
    elif job.state is JobState.POSTPROCESSING and job.postprocess_tries < TRIES_MAX:
        cause = "post-processing lost, again"
        postprocess(turn, turn.move_job(job, JobState.EXECUTED, cause, attempt=attempt))
    else:
        once = job.state is JobState.EXECUTING and not repeatable
        if job.state is JobState.EXECUTING:
            turn.leave_qpu(job, turn.in_qpu_ms(job), charged=False)
        else:
            turn.refund(job)
        turn.finish_job(
            job,
            JobState.FAILED,
            "lost",
            code=CODE_LOST,
            reason=_ONCE_REASON if once else _LOST_REASON,
            solution=_LOST_SOLUTION,
            quantum_ms=0,
        )
        turn.settle_group(job.group)
