"""The commands as a user runs them: what they print, and how they end."""

from __future__ import annotations

import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from qdwell import __version__
from qdwell.cli.credentials import ServerFacts, write_server
from qdwell.config import Config

URL = "http://127.0.0.1:8765"


def qdwell(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qdwell.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def exported(text: str) -> dict[str, str]:
    lines = [it.removeprefix("export ") for it in text.splitlines() if it.startswith("export ")]
    return dict(it.split("=", 1) for it in lines)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder on which a server has been started once."""
    folder = tmp_path / "lab"
    folder.mkdir()
    write_server(folder, ServerFacts(URL, Config().plans))
    return folder


def test_the_version() -> None:
    done = qdwell("--version")
    assert (done.returncode, done.stdout) == (0, f"qdwell {__version__}\n")


def test_help_lists_the_commands() -> None:
    told = qdwell("--help").stdout
    missing = [
        it for it in ("serve", "demo", "env", "jobs", "run", "account", "token") if it not in told
    ]
    assert missing == []


def test_help_is_quick_because_it_loads_nothing_heavy() -> None:
    heavy = {"qiskit", "sqlalchemy", "fastapi", "numpy", "rich", "structlog"}
    code = f"import sys, qdwell.cli.main; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_config_prints_a_file_that_reads_back(tmp_path: Path) -> None:
    done = qdwell("config")
    assert done.returncode == 0
    path = tmp_path / "all.toml"
    path.write_text(done.stdout)
    assert Config.load(path) == Config()
    assert tomllib.loads(done.stdout)["server"]["port"] == 8000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("env", "--data-dir", "nowhere"), "qdwell serve --data-dir nowhere"),
        (("config", "--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("account", "create", "x", "--data-dir", "nowhere"), "no server has been started"),
        (("token", "create", "x", "--data-dir", "nowhere"), "no server has been started"),
        (("serve", "--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
    ],
)
def test_an_error_is_one_line_on_stderr(arguments: tuple[str, ...], said: str) -> None:
    done = qdwell(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_command_that_is_not_there_is_refused() -> None:
    done = qdwell("sevre")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = qdwell("serve", "--data-dir", tmp_path / "lab", "--port", str(port))
    assert done.returncode == 1
    assert f"cannot bind 127.0.0.1 port {port}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_account_and_more_tokens_are_made_beside_the_server(data_dir: Path) -> None:
    bob = qdwell("account", "create", "bob", "--plan", "open", "--data-dir", data_dir)
    assert (bob.returncode, bob.stderr) == (0, "")
    lines = exported(bob.stdout)
    assert lines["IAM_URL"] == URL
    assert lines["QISKIT_IBM_INSTANCE"].startswith("crn:")

    more = exported(qdwell("token", "create", "bob", "--data-dir", data_dir).stdout)
    assert more["QISKIT_IBM_INSTANCE"] == lines["QISKIT_IBM_INSTANCE"]
    assert more["QISKIT_IBM_TOKEN"] != lines["QISKIT_IBM_TOKEN"]


def test_a_class_gets_its_credentials_or_nobody_does(data_dir: Path, tmp_path: Path) -> None:
    """Bad rows by line; files for the owner alone; none is written over, and then none is made."""
    listed, out = tmp_path / "students.csv", tmp_path / "tokens"
    arguments = ("instance", "import", listed, "--out", out, "--data-dir", data_dir)
    listed.write_text("name,plan\nann,open\n../bob,open\ncyd,gold\nann,open\n")
    bad = qdwell(*arguments)
    assert bad.returncode == 1
    for said in ("line 3: instance '../bob'", "line 4: there is no plan 'gold'", "line 5: 'ann'"):
        assert said in bad.stderr
    assert list(out.iterdir()) == []
    listed.write_text("name,plan\n" + "".join(f"s{n},open\n" for n in range(200)))
    out.joinpath("s7.env").write_text("somebody's")
    there = qdwell(*arguments)
    assert there.returncode == 1
    assert "s7.env" in there.stderr
    assert [it.name for it in out.iterdir()] == ["s7.env"]
    out.joinpath("s7.env").unlink()
    done = qdwell(*arguments)
    assert done.returncode == 0, done.stderr
    files = sorted(out.iterdir())
    assert len(files) == 200
    assert {it.stat().st_mode & 0o777 for it in files} == {0o600}
    assert len({exported(it.read_text())["QISKIT_IBM_TOKEN"] for it in files}) == 200
    again = qdwell(*arguments)
    assert "line 2: there is instance 's0' already" in again.stderr


def test_what_an_operator_mistypes_is_told(data_dir: Path) -> None:
    plan = qdwell("account", "create", "bob", "--plan", "opne", "--data-dir", data_dir)
    assert plan.returncode == 1
    assert "there are: default, open" in plan.stderr

    qdwell("account", "create", "bob", "--data-dir", data_dir)
    twice = qdwell("account", "create", "bob", "--data-dir", data_dir)
    assert twice.returncode == 1
    assert "exists already" in twice.stderr

    nobody = qdwell("token", "create", "carol", "--data-dir", data_dir)
    assert nobody.returncode == 1
    assert "there is no account 'carol'" in nobody.stderr
