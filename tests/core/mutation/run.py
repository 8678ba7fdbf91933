"""Runs the core's tests against its mutants: `python tests/core/mutation/run.py [options]`.

Not a test; `test_mutation` starts it. One process loads pytest and the libraries once, and forks
for each mutant; the child imports the core with the mutant in place and runs the tests, quick and
telling ones first, until one fails. What survives those meets the exhaustive walk and the dice.
Prints a line for each survivor and one with the count; nothing of the source tree is written.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import resource
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import hypothesis.stateful  # noqa: F401  loaded once, before the forks
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from core.mutation.mutants import Mutant, modules, mutants

QUICK = (
    "golden",
    "test_rules_jobs.py",
    "test_rules_groups.py",
    "test_rules_instances.py",
    "test_resume.py",
    "test_tries.py",
    "test_fairshare.py",
    "test_forecast.py",
    "test_replay.py",
    "test_edges.py",
    "test_tables.py",
    "test_invariants.py",
    "test_audit.py",
    "test_keep_alive.py",
    "test_reasons.py",
    "test_shared_account.py",
    "test_corners.py",
    "test_experience.py",
    "test_futures.py",
    "test_ledger.py",
)
WALK = "test_exhaust.py::test_no_history_of_a_variant_breaks_a_rule[idle windows end-8]"
THOROUGH = ("test_machine.py::TestDice", WALK)
FIRST = {  # what tests a module most directly; for the others it is the timelines
    "job": "test_tables.py",
    "group": "test_tables.py",
    "audit": "test_audit.py",
    "invariants": "test_invariants.py",
    "resume": "test_resume.py",
    "usage": "test_fairshare.py",
    "forecast": "test_forecast.py",
    "replay": "test_replay.py",
    "reasons": "test_reasons.py",
    "experience": "test_experience.py",
    "futures": "test_futures.py",
    "ledger": "test_ledger.py",
}
STAGES = ("first", "quick", "thorough")
CPU_SECONDS_MOST = {"first": 10, "quick": 25, "thorough": 240}  # a mutant that hangs is found out
MEMORY_BYTES_MOST = 4 << 30


class _Planted(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Gives one module of the core its mutant's source."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = f"qdwell.core.{mutant.module}"
        self._source = mutant.source()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def get_source(self, fullname: str) -> str:
        return self._source


def _tests(mutant: Mutant, stage: str) -> list[str]:
    files = {
        "first": (FIRST.get(mutant.module, "golden"),),
        "quick": QUICK,
        "thorough": THOROUGH,
    }[stage]
    return [str(ROOT / "tests" / "core" / each) for each in files]


def _child(mutant: Mutant | None, stage: str) -> None:
    """Run the tests in this forked process, and leave with 0 if the mutant survives."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    if mutant is not None:
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.meta_path.insert(0, _Planted(mutant))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MOST[stage],) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MOST,) * 2)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--no-header"]
    if stage == "thorough":
        options += ["-m", "long or not long"]  # the walk is a long one
    shown = mutant or Mutant("", 0, "", "", (), ast.Pass())
    code = 70  # a mutant that breaks the test runner is noticed, too
    try:
        code = int(pytest.main([*options, "--rootdir", str(ROOT), *_tests(shown, stage)]))
    finally:
        os._exit(code)


def _run(wanted: Iterable[Mutant | None], stage: str, jobs: int) -> list[Mutant | None]:
    """Return those that survive a stage."""
    waiting = list(wanted)[::-1]
    running: dict[int, Mutant | None] = {}
    survivors: list[Mutant | None] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            pid = os.fork()
            if pid == 0:
                _child(mutant, stage)
            running[pid] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        if os.waitstatus_to_exitcode(status) == 0:
            survivors.append(mutant)
    return survivors


def main() -> int:
    """Do what the command line says; exit status 1 if the tests themselves fail."""
    options = argparse.ArgumentParser()
    options.add_argument("--sample", type=int, help="so many mutants, chosen by --seed")
    options.add_argument("--seed", type=int, default=2026)
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--modules", nargs="*", default=modules())
    options.add_argument("--among", type=Path, help="only those that a file calls survivors")
    options.add_argument("--quick", action="store_true", help="leave out the slow tests")
    given = options.parse_args()
    for name in list(os.environ):
        if name.startswith("PYTEST_"):
            del os.environ[name]
    wanted: list[Mutant] = [each for module in given.modules for each in mutants(module)]
    if given.among is not None:
        listed = given.among.read_text(encoding="utf-8")
        wanted = [each for each in wanted if f"- {each.name}\n" in listed]
    if given.sample is not None:
        wanted = random.Random(given.seed).sample(wanted, given.sample)
    if not _run([None], "quick", 1):
        sys.stdout.write("the tests fail without any mutant\n")
        return 1
    alive: list[Mutant | None] = list(wanted)
    for stage in STAGES[: 2 if given.quick else 3]:
        alive = _run(alive, stage, given.jobs)
        sys.stdout.write(f"{len(alive)} of {len(wanted)} left after the {stage} tests\n")
        sys.stdout.flush()
    for mutant in alive:
        if mutant is not None:
            sys.stdout.write(f"survivor {mutant.name} (line {mutant.line})\n")
    killed = len(wanted) - len(alive)
    sys.stdout.write(f"killed {killed} of {len(wanted)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
