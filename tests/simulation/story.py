"""What happens in one simulated world: a list of steps, drawn from a seed.

A step stands for itself: leaving one out changes nothing in the others, so a story that fails can
be made shorter step by step until only what matters is left.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

BACKENDS = ("glass", "model", "far", "sim")
USERS = 3
STAGES = ("prepare", "execute", "postprocess")
COMMIT_FAULTS = ("before", "torn", "after", "die_before", "die_torn", "die_after")


@dataclass(frozen=True)
class Step:
    """Something that a user, an operator, or misfortune does, `at` ms after the start."""

    at: int
    kind: str
    of: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = " ".join(f"{key}={value!r}" for key, value in self.of.items())
        return f"{self.at / 1000:9.3f} s  {self.kind:<12} {said}"


def tell(seed: int) -> list[Step]:
    """The story of a seed."""
    return _Teller(random.Random(seed)).tell()


class _Teller:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.jobs: list[str] = []
        self.groups: list[tuple[str, int, str]] = []

    def tell(self) -> list[Step]:
        dice = self.dice
        kinds: dict[Callable[[], tuple[str, dict[str, Any]] | None], int] = {
            self.submit: 30,
            self.open: 6,
            self.end_group: 4,
            self.cancel: 4,
            self.look: 8,
            self.change: 3,
            self.mode: 2,
            self.commit_fault: dice.choice((0, 3, 6)),
            self.store_fault: dice.choice((0, 0, 2)),
            self.kill_server: dice.choice((0, 2, 4)),
            self.stop_server: dice.choice((0, 0, 1)),
            self.kill_workers: dice.choice((0, 2, 5)),
            self.report_fault: dice.choice((0, 2, 4)),
            self.jump: dice.choice((0, 0, 1)),
            self.sweep: 1,
        }
        names, weights = list(kinds), list(kinds.values())
        steps, at = [], 0
        pause = dice.choice((20, 300, 2_000))
        for _ in range(dice.randint(8, 45)):
            at += int(dice.expovariate(1 / pause)) if dice.random() < 0.8 else 0
            made = dice.choices(names, weights)[0]()
            if made is not None:
                steps.append(Step(at, *made))
        return steps

    # ---- users ---------------------------------------------------------------------------------

    def submit(self) -> tuple[str, dict[str, Any]]:
        dice = self.dice
        name = f"s{len(self.jobs)}"
        self.jobs.append(name)
        user, backend, group = dice.randrange(USERS), dice.choice(BACKENDS), None
        if self.groups and dice.random() < 0.5:
            group, user, backend = dice.choice(self.groups[-3:])
        script: dict[str, Any] = {
            "name": name,
            "prepare": dice.choice((1, 5, 30, 60, 800)),
            "execute": dice.choice((1, 5, 50, 500, 3_000)),
            "postprocess": dice.choice((1, 5, 40, 300)),
        }
        chance = dice.random()
        if chance < 0.06:
            script["fails"] = dice.choice(STAGES)
        elif chance < 0.12:
            script |= {"crash": dice.choice(STAGES), "crashes": dice.choice((1, 1, 2, 9))}
        elif chance < 0.15:
            script["execute"] = -1  # the device hangs
        if backend == "far" and dice.random() < 0.4:
            script["runs"] = dice.choice((2, 3))
        if dice.random() < 0.1:
            script["pad"] = 70_000  # a result that is a file of its own
        if dice.random() < 0.15:
            script["interim"] = True
        asked: dict[str, Any] = {"user": user, "backend": backend, "group": group, "script": script}
        if script["execute"] < 0 or dice.random() < 0.2:
            asked["limit_s"] = dice.choice((1, 2, 30))
        if dice.random() < 0.15:
            asked["private"] = True
        if dice.random() < 0.5:
            asked["key"] = True
        return "submit", asked

    def open(self) -> tuple[str, dict[str, Any]]:
        dice = self.dice
        group = (f"g{len(self.groups)}", dice.randrange(USERS), dice.choice(BACKENDS[:3]))
        self.groups.append(group)
        return "open", {
            "name": group[0],
            "user": group[1],
            "backend": group[2],
            "mode": dice.choice(("dedicated", "batch")),
            "max_ttl": dice.choice((1, 5, 60, 3_600)),
        }

    def end_group(self) -> tuple[str, dict[str, Any]] | None:
        if not self.groups:
            return None
        kind = self.dice.choice(("close", "cancel_group", "keep_alive"))
        return kind, {"name": self.dice.choice(self.groups)[0]}

    def cancel(self) -> tuple[str, dict[str, Any]] | None:
        return ("cancel", {"name": self.dice.choice(self.jobs[-4:])}) if self.jobs else None

    def look(self) -> tuple[str, dict[str, Any]] | None:
        return ("look", {"name": self.dice.choice(self.jobs)}) if self.jobs else None

    def change(self) -> tuple[str, dict[str, Any]] | None:
        if not self.jobs:
            return None
        return self.dice.choice(("delete", "tag")), {"name": self.dice.choice(self.jobs)}

    def mode(self) -> tuple[str, dict[str, Any]]:
        to = self.dice.choice(("paused", "offline", "online"))
        return "mode", {"backend": self.dice.choice(BACKENDS[:3]), "to": to}

    # ---- misfortune ----------------------------------------------------------------------------

    def commit_fault(self) -> tuple[str, dict[str, Any]]:
        down = self.dice.choice((5, 2_000, 90_000))
        return "commit", {"fault": self.dice.choice(COMMIT_FAULTS), "down": down}

    def store_fault(self) -> tuple[str, dict[str, Any]]:
        how = self.dice.choice(("gone", "slow"))
        return "store", {"how": how, "ms": self.dice.choice((50, 1_500, 20_000))}

    def kill_server(self) -> tuple[str, dict[str, Any]]:
        down = self.dice.choice((0, 5, 700, 30_000, 4_000_000))
        return "kill", {"after_steps": self.dice.randint(1, 60), "down": down}

    def stop_server(self) -> tuple[str, dict[str, Any]]:
        return "stop", {"grace": self.dice.choice((0, 100, 5_000)), "down": 1_000}

    def kill_workers(self) -> tuple[str, dict[str, Any]]:
        return "kill_workers", {"of": self.dice.choice((*BACKENDS, "classical"))}

    def report_fault(self) -> tuple[str, dict[str, Any]]:
        how = self.dice.choice(("twice", "late"))
        return "report", {"how": how, "ms": self.dice.choice((0, 3, 400, 5_000))}

    def jump(self) -> tuple[str, dict[str, Any]]:
        return "jump", {"ms": self.dice.choice((-60_000, -500, 500, 40_000, 5_000_000))}

    def sweep(self) -> tuple[str, dict[str, Any]]:
        return "sweep", {}


def shortest(
    story: list[Step], fails: Callable[[list[Step]], bool], tries: int = 400
) -> list[Step]:
    """A story that still fails and from which no step can be left out (within `tries`)."""
    size = max(1, len(story) // 2)
    while tries > 0:
        at = 0
        before = len(story)
        while at < len(story) and tries > 0:
            shorter = story[:at] + story[at + size :]
            tries -= 1
            if shorter != story and fails(shorter):
                story = shorter
            else:
                at += size
        if size == 1 and len(story) == before:
            break
        size = max(1, size // 2)
    return story


def written(story: list[Step]) -> str:
    """A story to read, and to put into a test."""
    return "\n".join(str(step) for step in story)


def as_json(story: list[Step]) -> str:
    """A story to run again."""
    return json.dumps([[step.at, step.kind, step.of] for step in story])


def from_json(text: str) -> list[Step]:
    """What `as_json` wrote."""
    return [Step(at, kind, of) for at, kind, of in json.loads(text)]
