"""`qdwell conformance`: a good device passes, and each fault of a bad one is named."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from qdwell.cli.main import app
from qdwell.executors.conformance import CHECKS, Verdict, conformance


def test_a_good_device_keeps_every_rule() -> None:
    found = list(conformance("machines.lab:lab", {"run_s": 0.01}))
    assert len(found) == len(CHECKS) + 1
    assert [it for it in found if it.verdict is Verdict.BROKEN] == []
    assert [it.rule for it in found if it.verdict is Verdict.UNTOLD] == [
        "With an option seed_simulator, equal seeds give equal shots"
    ]


@pytest.mark.parametrize(
    ("factory", "rule"),
    [
        ("Backwards", "Classical bit 0 is the last character of an outcome"),
        ("Short", "A run gives as many ordered shots as it was asked for"),
        ("Uncounted", "A run gives as many ordered shots as it was asked for"),
        ("Nameless", "Every job has an id of its own"),
        ("Shuffled", "Several circuits give their results in order, also more than fit"),
        ("Blind", "The target has qubits, gates, and a measurement"),
        ("Forgetful", "retrieve_job(id) gives a job that is known by its id"),
    ],
)
def test_a_fault_is_named(factory: str, rule: str) -> None:
    found = list(conformance(f"machines.lab:{factory}", {}))
    broken = [it.rule for it in found if it.verdict is Verdict.BROKEN]
    assert any(it.startswith(rule) for it in broken), broken
    assert len(found) == len(CHECKS) + 1, "a fault ended the whole check"


def test_one_fault_is_not_taken_for_many() -> None:
    found = list(conformance("machines.lab:Nameless", {}))
    assert sum(it.verdict is Verdict.BROKEN for it in found) == 1


@pytest.mark.parametrize("target", ["no.such:thing", "machines.lab:nothing", "builtins:dict"])
def test_what_is_no_backend_is_one_finding(target: str) -> None:
    (found,) = conformance(target, {})
    assert found.verdict is Verdict.BROKEN
    assert target in found.said


def test_the_command_tells_by_its_exit_status() -> None:
    good = CliRunner().invoke(app, ["conformance", "machines.lab:lab"])
    assert good.exit_code == 0
    assert "machines.lab:lab can be a machine of qdwell" in good.output
    bad = CliRunner().invoke(app, ["conformance", "machines.lab:lab", "--options", '{"broken":1}'])
    assert bad.exit_code == 1
    assert "the run is ERROR" in bad.output


@pytest.mark.parametrize("options", ["{", "[]", "3"])
def test_options_that_are_no_object_are_refused(options: str) -> None:
    done = CliRunner().invoke(app, ["conformance", "machines.lab:lab", "--options", options])
    assert done.exit_code == 1
    assert "--options" in done.output
