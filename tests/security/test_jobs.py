"""Inputs of jobs that are attacks: refused with a 4xx, or the job fails with a code; soon.

The jobs run in real workers on a simulator, so whatever the bytes do, they do it there. Slow
because a hundred jobs run, some to the memory's end.
"""

from __future__ import annotations

import pytest

from qdwell.clock import stopwatch_ns
from security import payloads
from security.conftest import SECOND, Person, Target

SECONDS = 30
MAY_RUN = {"no pubs", "a thousand qubits", "forty qubits", "ragged observables"}  # if exactly
CODES = {1208, 1517, 1603, 6000, 5203, 1305}  # section 11 of the execution model


def attacked(person: Person, program: str, params: object) -> tuple[int, str]:
    """Submit; return the HTTP status, or the code of the job that failed, and the words of it."""
    answer = person.submit(params, program_id=program)
    if answer.status_code != 200:
        return answer.status_code, answer.json()["error"]["message"]
    state = person.outcome(answer)["state"]
    if state["status"] == "Completed":
        return 200, "it was done"
    assert state["status"] == "Failed" or state["reason"] == "Ran too long", state
    return state["reason_code"], state["reason"]


@pytest.mark.parametrize("name", payloads.HOSTILE)
def test_a_hostile_sampler_job_fails(target: Target, mallory: Person, name: str) -> None:
    """E4 at once, or E25-E28 of the job."""
    params = payloads.HOSTILE[name]()
    began = stopwatch_ns()
    code, words = attacked(mallory, "sampler", params)
    assert code in CODES or 400 <= code < 500 or name in MAY_RUN, (code, words)
    assert len(words) > 10
    assert "Traceback" not in words
    assert stopwatch_ns() - began < SECONDS * SECOND


@pytest.mark.parametrize("name", payloads.HOSTILE_ESTIMATES)
def test_a_hostile_estimator_job_fails(target: Target, mallory: Person, name: str) -> None:
    """E4 at once, or E25-E28 of the job."""
    began = stopwatch_ns()
    code, words = attacked(mallory, "estimator", payloads.HOSTILE_ESTIMATES[name]())
    assert code in CODES or 400 <= code < 500 or name in MAY_RUN, (code, words)
    assert stopwatch_ns() - began < SECONDS * SECOND
