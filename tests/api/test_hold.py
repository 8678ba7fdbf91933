"""The rule for held status requests, row by row."""

from __future__ import annotations

import pytest

from qdwell.api.hold import (
    LOOP_GAP_MS,
    PACE_MS,
    PACE_SPREAD_MS,
    REMEMBERED,
    YOUNG_MS,
    LastAnswers,
    hold_ms,
    pace_ms,
)
from qdwell.core.job import FINAL, RUNNING, Job, JobState

CREATED = 1_000_000
ANY = 20_000


def job(state: JobState) -> Job:
    return Job(id="j", seq=1, instance="i", backend="b", created=CREATED, state=state)


@pytest.mark.parametrize("state", sorted(FINAL | {JobState.QUEUED}))
def test_a_final_job_and_one_that_waits_its_turn_are_answered_at_once(state: JobState) -> None:
    assert hold_ms(job(state), CREATED, None, ANY) == 0
    assert hold_ms(job(state), CREATED + pace_ms("j"), CREATED, ANY) == 0


@pytest.mark.parametrize("state", sorted(RUNNING | {JobState.QUEUED}))
def test_who_asks_without_a_pause_is_answered_at_a_pace(state: JobState) -> None:
    now = CREATED + 60_000
    pace = pace_ms("j")
    assert hold_ms(job(state), now, now, ANY) == pace
    assert hold_ms(job(state), now, now - pace + 1, ANY) == 1
    assert hold_ms(job(state), now, now, 20) == 20
    assert hold_ms(job(state), now, now, 0) == 0


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_final_job_is_answered_at_once_however_often(state: JobState) -> None:
    assert hold_ms(job(state), CREATED, CREATED, ANY) == 0


@pytest.mark.parametrize("state", sorted(RUNNING))
def test_a_young_job_at_work_is_held_until_it_is_no_longer_young(state: JobState) -> None:
    assert hold_ms(job(state), CREATED, None, ANY) == YOUNG_MS
    assert hold_ms(job(state), CREATED + YOUNG_MS - 1, None, ANY) == 1


def test_an_older_job_that_is_asked_for_once_is_answered_at_once() -> None:
    assert hold_ms(job(JobState.EXECUTING), CREATED + YOUNG_MS, None, ANY) == 0


def test_an_older_job_that_is_asked_for_at_the_clients_pace_is_held_up_to_the_bound() -> None:
    now, executing = CREATED + 60_000, job(JobState.EXECUTING)
    nearest, farthest = LOOP_GAP_MS
    assert hold_ms(executing, now, now - nearest, ANY) == ANY
    assert hold_ms(executing, now, now - farthest, ANY) == ANY
    assert hold_ms(executing, now, now - farthest - 1, ANY) == 0


def test_a_question_soon_after_the_last_answer_is_not_the_clients_loop() -> None:
    now = CREATED + 60_000
    assert hold_ms(job(JobState.EXECUTING), now, now - LOOP_GAP_MS[0] + 1, ANY) == 0


def test_the_operators_bound_is_kept_and_zero_switches_holding_off() -> None:
    asked = CREATED - LOOP_GAP_MS[0]
    assert hold_ms(job(JobState.EXECUTING), CREATED, asked, 400) == 400
    assert hold_ms(job(JobState.EXECUTING), CREATED, None, 100) == 100
    assert hold_ms(job(JobState.EXECUTING), CREATED, asked, 0) == 0


def test_last_answers_are_kept_for_the_newest_jobs_that_go_on() -> None:
    answers = LastAnswers()
    answers.told("ended", 1, final=False)
    answers.told("ended", 2, final=True)
    assert answers.get("ended") is None
    for n in range(REMEMBERED + 1):
        answers.told(str(n), n, final=False)
    assert answers.get("0") is None
    assert answers.get(str(REMEMBERED)) == REMEMBERED


def test_jobs_are_answered_at_paces_of_their_own() -> None:
    paces = [pace_ms(str(n)) for n in range(500)]
    assert min(paces) == PACE_MS
    assert max(paces) == PACE_MS + PACE_SPREAD_MS - 1
    assert PACE_MS + PACE_SPREAD_MS < 100  # the stock client's own pause in a session
