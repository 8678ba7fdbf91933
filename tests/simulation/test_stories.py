"""Stories that the simulation has found, each the shortest that showed a fault of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.books import Count
from simulation.story import Step, as_json, from_json


def job(name: str, backend: str, prepare: int, execute: int, postprocess: int, **more: object):
    """A submission of user 0."""
    stages = {"prepare": prepare, "execute": execute, "postprocess": postprocess}
    script = {"name": name, **stages, **more}
    return {"user": 0, "backend": backend, "group": None, "script": script}


STORIES = {
    # U8: giving back an ended charge was refused by the store, and the job hung for ever.
    "refund": [
        Step(0, "submit", job("a", "model", 60, 3_000, 300, crash="postprocess", crashes=9))
    ],
    # C8: a clock that was set back was believed after the next restart.
    "clock": [
        Step(0, "submit", job("a", "model", 60, 1, 1)),
        Step(6_000, "jump", {"ms": -60_000}),
        Step(15_000, "commit", {"fault": "die_before", "down": 5}),
        Step(16_000, "submit", job("b", "model", 1, 5, 40)),
    ],
    # A 5xx was sent although the submission was stored, and its repetition was a second job.
    "denied": [
        Step(0, "commit", {"fault": "after", "down": 0}),
        Step(10, "submit", job("a", "model", 5, 50, 1)),
    ],
    # J5: a real device ran a job again, because after a restart the news of its loss could not be
    # stored at once, and the reload took the run for one that was still to be begun.
    "twice": [
        Step(46, "submit", job("a", "sim", 5, 5, 300)),
        Step(87, "submit", job("b", "glass", 1, 500, 1)),
        Step(280, "mode", {"backend": "glass", "to": "offline"}),
        Step(280, "commit", {"fault": "die_torn", "down": 2_000}),
        Step(336, "store", {"how": "gone", "ms": 1_500}),
    ],
}


@pytest.mark.parametrize("name", STORIES)
def test_story(live: Callable[[list[Step]], Count], name: str) -> None:
    """U8, C8, J5: what broke once holds."""
    assert live(STORIES[name]).starts


def test_a_story_can_be_written_down_and_lived_again() -> None:
    for story in STORIES.values():
        assert from_json(as_json(story)) == story
