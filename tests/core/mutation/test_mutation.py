"""The core's tests notice small faults: mutants are killed, or known and explained."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
KILLED_LEAST = 0.95


def known_survivors() -> set[str]:
    """The faults that `survivors.md` explains; lines move, so they are listed without."""
    text = (HERE / "survivors.md").read_text(encoding="utf-8")
    return set(re.findall(r"^- ([\w.]+: .*`)$", text, re.MULTILINE))


def run(*options: str) -> tuple[int, int, set[str]]:
    """How many were killed, of how many, and who survived."""
    command = [sys.executable, str(HERE / "run.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    count = re.search(r"^killed (\d+) of (\d+)$", done.stdout, re.MULTILINE)
    assert count is not None, done.stdout
    survivors = re.findall(r"^survivor (.*) \(line \d+\)$", done.stdout, re.MULTILINE)
    return int(count[1]), int(count[2]), set(survivors)


@pytest.mark.timeout(300)
def test_a_sample_of_mutants_is_killed() -> None:
    _, wanted, survivors = run("--sample", "5", "--quick", "--jobs", "1")
    assert wanted == 5
    assert survivors <= known_survivors()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_all_mutants_are_killed_but_those_explained() -> None:
    killed, wanted, survivors = run()
    assert survivors <= known_survivors()
    assert killed >= KILLED_LEAST * wanted


def test_a_planted_fault_is_a_mutant_of_the_source() -> None:
    from core.mutation.mutants import CORE, modules, mutants

    found = list(mutants("queue"))
    assert len(found) > 50
    assert len({(each.place, each.fault) for each in found}) == len(found)
    plain = (CORE / "queue.py").read_text(encoding="utf-8")
    for each in found[:10]:
        compile(each.source(), "mutant", "exec")
        assert each.source() != plain
    assert {"scheduler", "moves", "fairshare"} <= set(modules())
