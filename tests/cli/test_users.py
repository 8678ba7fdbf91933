"""The users' and operators' commands against a real server: what they print, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from qiskit import qpy
from typer.testing import CliRunner

from qdwell.cli.asking import Door
from qdwell.client.accounts import Account
from qdwell.client.errors import ServerUnreachable
from qdwell.client.transport import PATIENCE_S

CONFIG = """
[[backends]]
name = "lab"
kind = "scripted"
[[backends]]
name = "slow"
kind = "scripted"
options = { run_ms = 600000 }
"""
QASM2 = (
    'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q->c;'
)
QASM3 = (
    'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1];'
    " c = measure q;"
)
QASM3P = 'OPENQASM 3.0; include "stdgates.inc"; input float a; qubit[1] q; bit c; rx(a) q[0];'


@dataclass
class Shell:
    """A terminal of a user who is signed in."""

    home: Path
    url: str
    token: str

    def run(self, *arguments: str | Path, text: str | None = None) -> Any:
        """Run a command in this process, which spares it its start."""
        from qdwell.cli.main import app

        with contextlib.chdir(self.home):
            return CliRunner().invoke(
                app, [*map(str, arguments)], input=text, env={"HOME": str(self.home)}
            )

    def process(self, *arguments: str | Path) -> Any:
        """Run a command as a process of its own."""
        command = [sys.executable, "-m", "qdwell", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=100, check=False,
            env={**os.environ, "HOME": str(self.home)}, cwd=self.home,
        )  # fmt: skip

    def json(self, *arguments: str | Path) -> Any:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("users")
    (folder / "qdwell.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "qdwell", "serve", "--port", "0", "--config", "qdwell.toml"]
    server = subprocess.Popen(
        [*command, "--data-dir", "data"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = token = ""
    for line in server.stdout:
        url = line.split()[-1] if " serves " in line else url
        if "QISKIT_IBM_TOKEN" in line:
            token = line.strip().partition("=")[2].strip("'")
            break
    signed_in = Shell(folder, url, token)
    done = signed_in.run("login", "--url", url, "--token", "-", text=f"{token}\n")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Signed in" in done.stdout
    yield signed_in
    server.terminate()
    server.communicate(timeout=30)


@pytest.fixture(scope="module")
def ran(shell: Shell) -> dict[str, Any]:
    """A job that has completed."""
    (shell.home / "bell.qasm").write_text(QASM3)
    found: dict[str, Any] = shell.json(
        "run", "bell.qasm", "-b", "lab", "--shots", "50", "--tag", "cli"
    )
    return found


def test_an_account_is_saved_for_its_owner_alone(shell: Shell) -> None:
    path = shell.home / ".qdwell" / "accounts.json"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_circuit_of_a_file_is_run_and_its_counts_printed(
    shell: Shell, ran: dict[str, Any]
) -> None:
    (counts,) = ran["pubs"][0]["counts"].values()
    assert sum(counts.values()) == 50
    assert ran["backend"] == "lab"
    (shell.home / "old.qasm").write_text(QASM2)
    done = shell.run("run", "old.qasm", "-b", "lab", "--shots", "20")
    assert done.exit_code == 0
    assert "20 in " in done.stdout
    assert done.stderr.startswith("job ")


def test_qpy_files_and_observables_are_run(shell: Shell) -> None:
    from qiskit import QuantumCircuit, qpy

    circuit = QuantumCircuit(2)
    circuit.x(0)
    with (shell.home / "two.qpy").open("wb") as file:
        qpy.dump([circuit, circuit], file)
    found = shell.json("run", "two.qpy", "-b", "lab", "-o", "ZZ", "-o", "ZI")
    assert len(found["pubs"]) == 2
    assert len(found["pubs"][0]["evs"]) == 2
    assert "stds" in found["pubs"][0]


def test_a_python_program_finds_the_server(shell: Shell) -> None:
    program = "import sys, qdwell\ns = qdwell.QiskitRuntimeService()\n"
    program += "print(s.backend('lab').name, sys.argv[1:])\nsys.exit(3)\n"
    (shell.home / "program.py").write_text(program)
    done = shell.process("run", "program.py", "one", "--two")
    assert (done.returncode, done.stdout) == (3, "lab ['one', '--two']\n")


def test_jobs_are_listed_shown_and_fetched(shell: Shell, ran: dict[str, Any]) -> None:
    job_id = ran["job"]
    assert job_id in {it["id"] for it in shell.json("jobs")}
    assert [it["id"] for it in shell.json("jobs", "--tag", "cli")] == [job_id]
    listed = shell.run("jobs", "--ended", "-b", "lab")
    assert job_id in listed.stdout
    assert "Completed" in listed.stdout
    empty = shell.run("jobs", "--tag", "nothing")
    assert (empty.stdout, empty.stderr) == ("", "There are no such jobs.\n")
    assert shell.json("job", "show", job_id)["metrics"]["num_circuits"] == 1
    assert "Completed" in shell.run("job", "show", job_id).stdout
    again = shell.json("job", "result", job_id)
    assert again["pubs"] == ran["pubs"]
    assert "50 in " in shell.run("job", "result", job_id).stdout
    assert "does not wait: it is Completed" in shell.run("job", "why", job_id).stdout
    assert shell.run("job", "logs", job_id).stderr == "There is no log; the job is Completed.\n"
    assert shell.json("job", "logs", job_id) == {"job": job_id, "log": None}


def test_a_waiting_job_says_why_and_is_cancelled(shell: Shell) -> None:
    (shell.home / "bell.qasm").write_text(QASM3)
    ids = [
        shell.run("run", "bell.qasm", "-b", "slow", "--no-wait").stdout.strip() for _ in range(6)
    ]
    told = shell.json("job", "why", ids[-1])
    assert told["position_in_queue"] == 1
    assert "lanes" in told["queue_reason"]
    why = shell.run("job", "why", ids[-1]).stdout
    assert why.startswith("All 5 lanes of slow are taken.")
    entries = shell.json("queue", "slow")
    assert {it["id"] for it in entries} == set(ids)
    assert entries[-1]["position"] == 1
    assert ids[-1] in shell.run("queue").stdout
    top = shell.run("top", "--once")
    assert top.exit_code == 0
    assert "slow" in top.stdout
    done = shell.run("job", "cancel", *ids)
    assert done.exit_code == 0
    assert done.stderr.count("is cancelled") == 6
    failed = shell.run("job", "result", ids[0])
    assert failed.exit_code == 6
    assert failed.stderr.count("\n") == 1


def test_sessions_are_listed_and_closed(shell: Shell) -> None:
    from qdwell import QiskitRuntimeService, Session

    with QiskitRuntimeService(url=shell.url, token=shell.token) as service:
        group = Session(backend=service.backend("lab")).session_id
        assert group in {it["id"] for it in shell.json("sessions", "--open")}
        shell.run("run", "bell.qasm", "-b", "lab", "--session", str(group))
        assert "session" in shell.run("session", "show", str(group)).stdout
        assert shell.run("session", "close", str(group)).exit_code == 0
        assert shell.json("session", "show", str(group))["accepting_jobs"] is False
        assert shell.run("session", "cancel", str(group)).exit_code == 0
        assert str(group) in shell.run("sessions").stdout


def test_backends_and_usage_are_shown_and_machines_switched(
    shell: Shell, ran: dict[str, Any]
) -> None:
    assert [it["name"] for it in shell.json("backends")] == ["lab", "slow"]
    done = shell.run("backend", "pause", "lab", "--reason", "helium")
    assert (done.exit_code, done.stderr) == (0, "lab is paused.\n")
    assert "helium" in shell.run("backends").stdout
    assert shell.run("backend", "offline", "lab").exit_code == 0
    assert shell.run("backend", "resume", "lab").stderr == "lab is online.\n"
    assert "usage_consumed_seconds" in shell.json("usage")
    assert "used" in shell.run("usage").stdout
    assert shell.run("usage", "--csv").stdout.startswith("start,end,milliseconds,use,charged")
    assert shell.json("usage", "--by", "job")["entries"]
    assert "job_id" in shell.run("usage", "--by", "job").stdout
    assert shell.run("usage", "--by", "moon").exit_code == 1


def test_events_are_followed(shell: Shell) -> None:
    command = [sys.executable, "-m", "qdwell", "events", "--follow", "--json", "--all"]
    environment = {**os.environ, "HOME": str(shell.home), "PYTHONUNBUFFERED": "1"}
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert follower.stdout is not None
    try:
        job_id, seen = "", []
        while not seen:  # the follower may begin after a job; then there is another one
            job_id = shell.run("run", "bell.qasm", "-b", "lab", "--no-wait").stdout.strip()
            os.set_blocking(follower.stdout.fileno(), False)
            seen = [json.loads(line) for line in follower.stdout.readlines()]
        os.set_blocking(follower.stdout.fileno(), True)
        while not any(it["id"] == job_id and it["status"] == "Completed" for it in seen):
            seen.append(json.loads(follower.stdout.readline()))
        assert all("instance" in it for it in seen)
    finally:
        follower.kill()
        follower.communicate()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("job", "show", "nothing"), 4),
        (("session", "show", "nothing"), 4),
        (("backend", "pause", "nothing"), 4),
        (("jobs", "--account", "nobody"), 3),
        (("jobs", "--limit", "0"), 2),
        (("job", "logs", "nothing", "--json"), 4),
        (("usage", "--csv", "--json"), 2),
        (("run", "missing.qasm"), 1),
        (("run", "circuit.doc"), 1),
        (("run", "bell.qasm", "--shotz", "5"), 1),
        (("run", "bell.qasm", "-b", "nothing"), 4),
        (("run", "empty.qasm"), 1),
        (("run", "words.qasm"), 1),
        (("run", "none.qpy"), 1),
        (("run", "parameter.qasm"), 1),
        (("run", "bell.qasm", "-o", "QQ"), 1),
        (("run", "bell.qasm", "-o", "ZZZ"), 1),
    ],
)
def test_every_failure_has_its_status_and_one_line(
    shell: Shell, arguments: tuple[str, ...], status: int
) -> None:
    files = {"bell.qasm": QASM3, "empty.qasm": "", "words.qasm": "hello", "parameter.qasm": QASM3P}
    for name, text in files.items():
        (shell.home / name).write_text(text)
    with (shell.home / "none.qpy").open("wb") as file:
        qpy.dump([], file)
    done = shell.run(*arguments)
    assert (done.exit_code, done.stdout) == (status, ""), done.stderr
    assert "Traceback" not in done.stderr
    if status != 2:
        assert done.stderr.count("\n") == 1
        assert not done.stderr.endswith(": \n")


def test_an_unknown_token_and_an_absent_server_have_their_status(shell: Shell) -> None:
    unknown = shell.run("login", "--url", shell.url, "--token", "wrong", "--as", "other")
    assert unknown.exit_code == 3
    absent = shell.run("login", "--url", "http://127.0.0.1:9", "--token", "x", "--as", "other")
    assert absent.exit_code == 5
    assert absent.stderr.count("\n") == 1


def test_the_shell_completes_our_words(shell: Shell) -> None:
    environment = {
        **os.environ,
        "_QDWELL_COMPLETE": "complete_bash",
        "COMP_WORDS": "qdwell job ",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "qdwell"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert {"show", "result", "cancel", "logs", "why"} <= set(done.stdout.split())


def test_own_tokens_are_listed_made_and_revoked(shell: Shell) -> None:
    """What is made signs in until it is revoked; what cannot be is refused with its status."""
    (first,) = shell.json("tokens")
    made = shell.run("tokens", "create", "laptop", "--scope", "read", "--days", "2")
    secret = made.stdout.strip()
    assert made.exit_code == 0
    assert made.stderr.count("\n") == 1
    by_id = {it["id"]: it for it in shell.json("tokens")}
    token_id = next(iter(by_id.keys() - {first["id"]}))
    assert token_id in made.stderr
    assert secret not in str(by_id)
    laptop = by_id[token_id]
    assert (laptop["name"], laptop["scope"], laptop["instance"]) == ("laptop", "read", None)
    assert laptop["expires_at"] - laptop["created"] == 2 * 86_400_000
    assert "laptop" in shell.run("tokens").stdout

    as_it = ("--url", shell.url, "--token", "-", "--as", "laptop")
    assert shell.run("login", *as_it, text=f"{secret}\n").exit_code == 0
    mine = ("--account", "laptop")
    assert token_id in {it["id"] for it in shell.json("tokens", *mine)}
    reading = shell.run("tokens", "create", "more", *mine)
    assert (reading.exit_code, reading.stdout) == (3, "")
    assert "reading" in reading.stderr
    early = shell.run("tokens", *mine, "create", "more")
    assert (early.exit_code, early.stdout) == (2, "")
    assert "--account" in early.stderr
    scope = shell.run("tokens", "create", "more", "--scope", "all")
    assert (scope.exit_code, scope.stdout) == (1, "")
    assert "scope" in scope.stderr
    assert shell.run("tokens", "create", "more", "--instance", "others").exit_code == 3

    done = shell.run("tokens", "revoke", token_id)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{token_id} is revoked.\n")
    assert shell.run("tokens", *mine).exit_code == 3
    assert shell.run("tokens", "revoke", token_id).exit_code == 4
    assert [it["id"] for it in shell.json("tokens")] == [first["id"]]

    whole = shell.json("tokens", "create", "script", "--instance", "default")
    assert whole["token"]
    assert whole["instance"].startswith("crn:")
    assert shell.run("tokens", "revoke", whole["id"]).exit_code == 0


def test_commands_that_run_jobs_do_not_wait_for_a_server_that_is_not_there(shell: Shell) -> None:
    """They find it with the patience of all commands, and wait for a job with that of a program."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = Account(f"http://127.0.0.1:{taken.getsockname()[1]}", shell.token)
    door = Door(nobody)
    door.transport.patience_s = 0.01
    with pytest.raises(ServerUnreachable):
        door.service()
    door = Door(Account(shell.url, shell.token))
    assert door.transport.patience_s < PATIENCE_S
    with door.service() as service:
        assert service.link.transport is door.transport
        assert door.transport.patience_s == PATIENCE_S
