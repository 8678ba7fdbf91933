"""Inputs of jobs that are attacks: refused with a 4xx, or the job fails with a code; soon.

The jobs run in real workers on a simulator, so whatever the bytes do, they do it there. Slow
because a hundred jobs run, some to the memory's end.
"""

from __future__ import annotations

import time

import pytest

from security import payloads
from security.conftest import Person, Target

SECONDS = 30
CODES = {1208, 1517, 1603, 6000, 5203}  # section 11 of the execution model


def attacked(person: Person, program: str, params: object) -> tuple[int, str]:
    """Submit; return the HTTP status, or the code of the job that failed, and the words of it."""
    answer = person.submit(params, program_id=program)
    if answer.status_code != 200:
        return answer.status_code, answer.json()["error"]["message"]
    state = person.outcome(answer)["state"]
    assert state["status"] == "Failed", state
    return state["reason_code"], state["reason"]


@pytest.mark.parametrize("name", payloads.HOSTILE)
def test_a_hostile_sampler_job_fails(target: Target, mallory: Person, name: str) -> None:
    """E4 at once, or E25-E28 of the job."""
    params = payloads.HOSTILE[name]()
    began = time.monotonic()
    code, words = attacked(mallory, "sampler", params)
    assert code in CODES or 400 <= code < 500, (code, words)
    assert len(words) > 10
    assert "Traceback" not in words
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("name", payloads.HOSTILE_ESTIMATES)
def test_a_hostile_estimator_job_fails(target: Target, mallory: Person, name: str) -> None:
    """E4 at once, or E25-E28 of the job."""
    began = time.monotonic()
    code, words = attacked(mallory, "estimator", payloads.HOSTILE_ESTIMATES[name]())
    assert code in CODES or 400 <= code < 500, (code, words)
    assert time.monotonic() - began < SECONDS
