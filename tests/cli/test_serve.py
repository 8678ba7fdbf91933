"""A first start, as an operator sees it: a real process, its files, its address, and its end."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

QDWELL = [sys.executable, "-m", "qdwell"]
CONFIG = '[[backends]]\nname = "machine"\nkind = "scripted"\n'  # it starts fastest


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    (tmp_path / "qdwell.toml").write_text(CONFIG)
    started: list[subprocess.Popen[str]] = []

    def start(port: int = 0) -> subprocess.Popen[str]:
        command = ["serve", "--port", str(port), "--config", "qdwell.toml", "--data-dir", "lab"]
        process = subprocess.Popen(
            [*QDWELL, *command], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def url_of(process: subprocess.Popen[str]) -> str:
    """The address that the server says it serves; empty if it ended before."""
    assert process.stdout is not None
    for line in process.stdout:
        if " serves " in line:
            return line.split()[-1]
    return ""


def exported(text: str) -> dict[str, str]:
    lines = [it.removeprefix("export ") for it in text.splitlines() if it.startswith("export ")]
    return dict(it.split("=", 1) for it in lines)


def run(tmp_path: Path, *arguments: str) -> str:
    command = [*QDWELL, *arguments, "--data-dir", "lab"]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def logged_in(lines: dict[str, str]) -> httpx.Client:
    """A client with an access token for these credentials."""
    grant = {
        "grant_type": "urn:ibm:params:oauth:grant-type:apikey",
        "apikey": lines["QISKIT_IBM_TOKEN"],
        "response_type": "cloud_iam",
    }
    answer = httpx.post(lines["IAM_URL"] + "/identity/token", data=grant)
    answer.raise_for_status()
    headers = {
        "Authorization": f"Bearer {answer.json()['access_token']}",
        "Service-CRN": lines["QISKIT_IBM_INSTANCE"],
        "IBM-API-Version": "2026-04-15",
    }
    return httpx.Client(base_url=lines["QISKIT_IBM_URL"], headers=headers)


def test_a_first_start_makes_an_account_and_a_second_one_keeps_it(start, tmp_path: Path) -> None:
    server = start()
    url = url_of(server)
    assert httpx.get(f"{url}/healthz").status_code == 200

    path = tmp_path / "lab" / "credentials.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = exported(path.read_text())
    assert (lines["IAM_URL"], run(tmp_path, "env")) == (url, path.read_text())
    with logged_in(lines) as client:
        assert [it["name"] for it in client.get("/backends").json()["devices"]] == ["machine"]

    # A second user is made beside the running server, and is known to it at once.
    bob = exported(run(tmp_path, "account", "create", "bob"))
    with logged_in(bob) as client:
        assert client.get("/jobs").json()["count"] == 0
        foreign = {"Service-CRN": lines["QISKIT_IBM_INSTANCE"]}
        assert client.get("/jobs", headers=foreign).status_code in {401, 403}

    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=120) == 0

    second = start()
    moved = url_of(second)
    again = exported(path.read_text())
    assert again["QISKIT_IBM_TOKEN"] == lines["QISKIT_IBM_TOKEN"]
    assert again["IAM_URL"] == moved
    with logged_in(exported(run(tmp_path, "token", "create", "bob"))) as client:
        assert client.get("/jobs").status_code == 200
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=120) == 0


def test_whoever_finds_the_server_well_finds_the_lines(start, tmp_path: Path) -> None:
    """A script that waits for `/healthz` reads the credentials next."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start(port)
    well = f"http://127.0.0.1:{port}/healthz"
    status = 0
    with httpx.Client(timeout=60) as client:
        while status != 200:  # it is asked all the time, so that no moment is missed
            with suppress(httpx.ConnectError):
                status = client.get(well).status_code
    assert exported((tmp_path / "lab" / "credentials.env").read_text())
    assert exported(run(tmp_path, "env"))["IAM_URL"] == f"http://127.0.0.1:{port}"


def test_a_second_server_is_kept_off_the_folder_until_the_first_has_gone(start, tmp_path) -> None:
    """Two engines on one store would move the same jobs; the lock goes with its process."""
    first = start()
    assert url_of(first)
    second = subprocess.run(
        [*QDWELL, "serve", "--port", "0", "--config", "qdwell.toml", "--data-dir", "lab"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 1
    assert "another server uses" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    first.kill()
    first.wait()
    assert url_of(start())


def test_a_hangup_without_tls_ends_nothing(start) -> None:
    """`systemctl reload` sends it: there is no certificate to read again, and no reason to stop."""
    server = start()
    url = url_of(server)
    server.send_signal(signal.SIGHUP)
    assert httpx.get(f"{url}/healthz").status_code == 200
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=120) == 0


def test_a_start_without_the_first_lines_names_the_way_to_new_ones(start, tmp_path: Path) -> None:
    first = start()
    assert url_of(first)
    (tmp_path / "lab" / "credentials.env").unlink()
    first.kill()
    first.wait()
    second = start()
    assert url_of(second)
    assert second.stdout is not None
    assert "qdwell token create" in second.stdout.readline()
