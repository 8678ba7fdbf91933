"""The configuration: what is shipped, and that no line of a file is ever ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdwell.config import Backend, Config, Plan
from qdwell.errors import ConfigError


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str) -> Config:
        path = tmp_path / "qdwell.toml"
        path.write_text(text, encoding="utf-8")
        return Config.load(path)

    return load


def test_the_shipped_backends_stand_in_this_order() -> None:
    assert [(it.name, it.kind, it.aliases) for it in Config.load().backends] == [
        ("aer_simulator", "aer", ("ibmq_qasm_simulator",)),
        ("ideal_machine", "ideal", ()),
        ("fake_manila", "fake", ()),
        ("fake_sherbrooke", "fake", ()),
        ("fake_torino", "fake", ()),
    ]


def test_the_shipped_limits_are_those_of_the_model() -> None:
    plan = Config().plans["default"]
    assert plan.modes == ("job", "batch", "session")
    assert (plan.session_interactive_ttl_seconds, plan.batch_interactive_ttl_seconds) == (60, 1)
    assert (plan.max_ttl_seconds, plan.batch_max_ttl_seconds) == (28_800, 28_800)
    assert (plan.job_limit_seconds, plan.executions_max) == (10_800, 10_000_000)
    assert (plan.tags_max, plan.tag_length_max) == (8, 86)
    assert (plan.pending_jobs_max, plan.usage_limit_seconds) == (None, None)


def test_the_open_plan_is_the_free_one() -> None:
    plan = Config().plans["open"]
    assert "session" not in plan.modes
    assert (plan.usage_limit_seconds, plan.pending_jobs_max) == (600, 3)
    assert plan.batch_max_ttl_seconds == 600


def test_a_file_changes_only_what_it_names(load) -> None:
    config = load("[plans.open]\npending_jobs_max = 5\n[server]\nport = 0\n")
    assert config.plans["open"].pending_jobs_max == 5
    assert config.plans["open"].usage_limit_seconds == 600
    assert config.plans["default"] == Plan()
    assert (config.server.port, config.server.host) == (0, "127.0.0.1")


def test_a_new_plan_starts_from_the_defaults(load) -> None:
    plan = load('[plans.course]\nmodes = ["job"]').plans["course"]
    assert plan == Plan(modes=("job",))


def test_backends_in_a_file_replace_the_shipped_ones(load) -> None:
    config = load(
        '[[backends]]\nname = "lab"\nkind = "qiskit"\ntarget = "lab.device:make"\n'
        'options = {shots = 5, address = {host = "a", ports = [1, 2]}}\nlanes = 2\n'
    )
    options = {"shots": 5, "address": {"host": "a", "ports": [1, 2]}}
    assert config.backends == (Backend("lab", "qiskit", "lab.device:make", options, 2),)
    assert config.lanes(config.backends[0]) == 2
    assert Config.load().lanes(Config().backends[0]) == 5


def test_a_backend_is_found_by_name_and_by_alias() -> None:
    config = Config()
    assert config.backend("ibmq_qasm_simulator") is config.backends[0]
    assert config.backend("fake_torino") is config.backends[4]
    assert config.backend("nowhere") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[plans."course-1"]\nsubmissions_per_minute = 5\n',
        '[server]\npublic_url = "https://q.lab/a"',
    ],
)
def test_what_is_written_reads_back_the_same(load, text: str) -> None:
    config = load(text)
    assert load(config.to_toml()) == config


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[servr]", "servr", "'server'"),
        ("[server]\nprt = 1", "server.prt", "'port'"),
        ("[server]\nport = 'x'", "server.port", "whole number"),
        ("[server]\nport = true", "server.port", "whole number"),
        ("[server]\nport = 65536", "server.port", "65535 or less"),
        ("[server]\nstatus_hold_ms = 60000", "server.status_hold_ms", "2000 or less"),
        ("[server]\nhost = 1", "server.host", "text"),
        ("[server]\npublic_url = 'q.lab'", "server.public_url", "http"),
        ("[server]\npublic_url = 'http://q.lab/'", "server.public_url", "slash"),
        ("server = 1", "server", "table"),
        ("[scheduler]\nlanes = 0", "scheduler.lanes", "1 or more"),
        ("[scheduler]\nbatch_qpu_lock = 'windw'", "scheduler.batch_qpu_lock", "'window'"),
        ("[plans.x]\nmodes = ['sesion']", "plans.x.modes", "'session'"),
        ("[plans.x]\nmodes = []", "plans.x.modes", "at least one"),
        ("[plans.x]\nmodes = 'job'", "plans.x.modes", "list"),
        ("[plans.x]\nactive_ttl_seconds = 59", "plans.x.active_ttl_seconds", "60"),
        ("[plans.'a.b']", "plans.a.b", "name"),
        ("[plans]\nx = 1", "plans.x", "table"),
        ("backends = []", "backends", "at least one"),
        ("backends = 'all'", "backends", "list"),
        ("[[backends]]\nkind = 'aer'", "backends[0].name", "name"),
        ("[[backends]]\nname = 'a/b'", "backends[0].name", "name"),
        ("[[backends]]\nname = 'a'\nkind = 'aeer'", "backends[0].kind", "'aer'"),
        ("[[backends]]\nname = 'a'\nkind = 'qiskit'", "backends[0].target", "factory"),
        ("[[backends]]\nname = 'a'\nkind = 'aer'\ntarget = 'x:y'", "backends[0].target", "meaning"),
        ("[[backends]]\nname = 'a'\n[[backends]]\nname = 'a'", "backends[1].name", "twice"),
        ("[[backends]]\nname = 'a'\naliases = ['a']", "backends[0].name", "twice"),
        ("[[backends]]\nname = 'a'\noptions = 1", "backends[0].options", "table"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(
    load, text: str, key: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.key == key
    assert hint in caught.value.why


def test_a_file_that_is_not_there_or_not_toml_is_named(load, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.toml"):
        Config.load(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=r"qdwell\.toml.*cannot be read"):
        load("x")
