"""Kill -9 of a real server under the stock client's load, at chosen points and at random ones.

Each test starts a server process several times, which takes seconds; `make test-long` kills it 50
times more. What holds after every death: an acknowledged job is there, ends, and has its result;
nothing is there twice; and a real device was asked for each job's run once at most.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3

import pytest
from qiskit.exceptions import QiskitError
from qiskit_ibm_runtime.exceptions import IBMError

from crash.armed import POINTS
from crash.served import SHOTS_OF_A_FILE, Served, submit, until

DIED = (IBMError, QiskitError, OSError)
FINAL = ("DONE", "ERROR", "CANCELLED")
AT_RANDOM = "at random"
IN_A_RUN = "while a worker executes"


class Load:
    """What a user has submitted over all lives of the server."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.acknowledged: dict[str, str] = {}  #: id to tag
        self.unsure = 0

    def put(self, seed: int) -> None:
        """Submit until the server dies, or enough."""
        dice = random.Random(seed)
        try:
            service = self.served.client()
            for n in range(6):
                tag = f"t{seed}-{n}"
                backend = dice.choice(("quick", "model", "qpu"))
                self.unsure += 1
                job = submit(service, backend, tag, SHOTS_OF_A_FILE if dice.random() < 0.4 else 10)
                self.unsure -= 1
                self.acknowledged[job] = tag
        except DIED:
            until(lambda: self.served.ended, "the death that the client has noticed")

    def check(self) -> None:
        """After all deaths: nothing lost, nothing twice."""
        assert self.served.start(), self.served.log()
        service = self.served.client()
        assert self.acknowledged
        for job_id, tag in self.acknowledged.items():
            job = service.job(job_id)
            until(lambda job=job: str(job.status()) in FINAL, f"the end of {job_id} ({tag})")
            assert job.tags == [tag]
            if str(job.status()) == "DONE":
                assert len(job.result()) == 1
            else:  # too many deaths in one stage, or a run that nobody could name (J5)
                assert "5203" in str(job.error_message())
                assert job.usage() == 0
        there = service.jobs(limit=None)
        tags = [job.tags[0] for job in there]
        assert len(tags) == len(set(tags)), "two jobs of one submission"
        assert len(self.acknowledged) <= len(there) <= len(self.acknowledged) + self.unsure
        on_qpu = [job for job in there if job.backend().name == "qpu"]
        until(lambda: all(str(job.status()) in FINAL for job in there), "the end of all")
        assert len(list(self.served.runs.glob("*.json"))) <= len(on_qpu), "a run was repeated"
        assert self.served.stop() == 0, self.served.log()
        with contextlib.closing(sqlite3.connect(self.served.folder / "data/qdwell.db")) as found:
            assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            twice = "SELECT job FROM charges WHERE charged AND job IS NOT NULL GROUP BY job HAVING "
            assert not found.execute(twice + "count(*) > 1").fetchall(), "charged twice"


def kill_once(served: Served, load: Load, point: str, seed: int) -> None:
    """One life: start, load, and die at the point."""
    dice = random.Random(seed)
    if point in POINTS:
        # Some commits belong to the start; a blob is only written for a large job.
        n = dice.randint(1, 3) if "blob" in point else dice.randint(4, 40)
        if served.start(point, str(n)):
            load.put(seed)
    else:
        assert served.start(), served.log()
        load.put(seed)
        if point == IN_A_RUN:
            job = submit(served.client(), "model", f"t{seed}-run")
            load.acknowledged[job] = f"t{seed}-run"
    served.kill()


@pytest.mark.timeout(600)
def test_killed_five_times(served: Served) -> None:
    """J5, P6, U8: chosen points, and while a worker executes."""
    assert served.start(), served.log()  # the first start makes the account
    load = Load(served)
    load.put(0)
    served.kill()
    points = (POINTS[1], POINTS[2], POINTS[4], IN_A_RUN)
    for seed, point in enumerate(points, 1):
        kill_once(served, load, point, seed)
    load.check()


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("campaign", range(10))
def test_killed_fifty_times(served: Served, campaign: int) -> None:
    """The same: five deaths in each of ten campaigns, at all points."""
    assert served.start(), served.log()
    load = Load(served)
    load.put(1_000 + campaign)
    served.kill()
    dice = random.Random(campaign)
    for number in range(5):
        point = dice.choice((*POINTS, IN_A_RUN, AT_RANDOM))
        kill_once(served, load, point, 2_000 + 10 * campaign + number)
    load.check()
