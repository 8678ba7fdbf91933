"""The state tables, pair by pair (J5, S10): what is not listed raises and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum

import pytest

from qdwell.core import group as groups
from qdwell.core import job as jobs
from qdwell.core.group import Group, GroupState, Mode, group_moved
from qdwell.core.job import Job, JobState, moved
from qdwell.errors import IllegalMove

# Written out a second time, from style-examples 3.4 and S10, so that a slip in one of them shows.
JOB_MOVES = {
    "queued": "preparing failed cancelled",
    "preparing": "ready preparing failed cancelled",
    "ready": "executing preparing failed cancelled",
    "executing": "executed ready failed cancelled",
    "executed": "postprocessing failed cancelled",
    "postprocessing": "completed executed failed cancelled",
    "completed": "",
    "failed": "",
    "cancelled": "",
}
GROUP_MOVES = {
    "open": "active closed",
    "active": "inactive pending_inactive pending_closed closed",
    "inactive": "active closed",
    "pending_inactive": "inactive closed pending_closed",
    "pending_closed": "closed",
    "closed": "",
}


def job_in(state: JobState) -> Job:
    return Job(id="j", seq=1, instance="A", backend="m", created=0, state=state)


def group_in(state: GroupState) -> Group:
    return Group(
        id="g",
        seq=1,
        mode=Mode.SESSION,
        instance="A",
        backend="m",
        created=0,
        interactive_ttl_ms=1,
        max_ttl_ms=2,
        state=state,
    )


@pytest.mark.parametrize("to", JobState)
@pytest.mark.parametrize("state", JobState)
def test_every_pair_of_job_states(state: JobState, to: JobState) -> None:
    job = job_in(state)
    before = asdict(job)
    if to.value in JOB_MOVES[state].split():
        after = moved(job, to, attempt=7)
        assert (after.state, after.attempt) == (to, 7)
    else:
        with pytest.raises(IllegalMove, match=rf"job j cannot go from {state} to {to}"):
            moved(job, to, attempt=7)
    assert asdict(job) == before


@pytest.mark.parametrize("to", GroupState)
@pytest.mark.parametrize("state", GroupState)
def test_every_pair_of_group_states(state: GroupState, to: GroupState) -> None:
    group = group_in(state)
    before = asdict(group)
    if to.value in GROUP_MOVES[state].split():
        after = group_moved(group, to, closed_at=7)
        assert (after.state, after.closed_at) == (to, 7)
    else:
        message = rf"dedicated g cannot go from {state} to {to}"
        with pytest.raises(IllegalMove, match=message):
            group_moved(group, to, closed_at=7)
    assert asdict(group) == before


@pytest.mark.parametrize(
    ("table", "start", "final"),
    [
        (jobs.TRANSITIONS, JobState.QUEUED, jobs.FINAL),
        (groups.TRANSITIONS, GroupState.OPEN, {GroupState.CLOSED}),
    ],
)
def test_every_state_is_reached_and_only_final_ones_are_ends(
    table: Mapping[StrEnum, frozenset[StrEnum]], start: StrEnum, final: set[StrEnum]
) -> None:
    def reached(from_: StrEnum) -> set[StrEnum]:
        found = {from_}
        while (more := {to for each in found for to in table[each]}) - found:
            found |= more
        return found

    assert reached(start) == set(table)
    for state in table:
        assert bool(table[state]) == (state not in final)
        assert reached(state) & final


def test_classes_of_states() -> None:
    assert {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED} == jobs.FINAL
    assert set(JobState) - jobs.FINAL - jobs.RUNNING == {JobState.QUEUED}
    assert {JobState.QUEUED, JobState.PREPARING, JobState.READY} == jobs.BEFORE_QPU
    assert {
        GroupState.ACTIVE,
        GroupState.PENDING_INACTIVE,
        GroupState.PENDING_CLOSED,
    } == groups.LIVE


def test_the_words_that_users_see() -> None:
    words = {state: jobs.SERVER_WORDS[state] for state in JobState}
    assert words[JobState.QUEUED] == "Queued"
    assert {words[state] for state in jobs.RUNNING} == {"Running"}
    final = [words[JobState(each)] for each in ("completed", "failed", "cancelled")]
    assert final == ["Completed", "Failed", "Cancelled"]
    assert [groups.REPORTED[state] for state in GroupState] == [
        "open",
        "active",
        "inactive",
        "active",
        "active",
        "closed",
    ]
    for state in JobState:
        job = job_in(state)
        assert (job.final, job.running) == (state in jobs.FINAL, state in jobs.RUNNING)


def test_usage_of_a_group_so_far() -> None:
    group = group_in(GroupState.ACTIVE)
    assert group.usage_at(5) is None
    group = group.evolve(started_at=0, usage_ms=3)
    assert group.usage_at(5) == 3
    group = group.evolve(charging_since=4)
    assert (group.usage_at(5), group.usage_at(4), group.usage_at(3)) == (4, 3, 3)
