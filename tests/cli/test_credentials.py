"""The lines for the stock client, and the files that hold them."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from pathlib import Path

import pytest

from qdwell.cli.credentials import (
    ServerFacts,
    public_url,
    read_credentials,
    read_server,
    ready_folder,
    render,
    settings_for,
    write_credentials,
    write_server,
)
from qdwell.config import Config, Plan
from qdwell.errors import ConfigError, StoreUnavailable

URL = "http://127.0.0.1:8765"
CRN = "crn:v1:qdwell:private:quantum-computing:us-east:a/acc:inst::"
LINES = settings_for(URL, token="secret-token", instance_crn=CRN)


def test_the_lines_are_those_of_the_wire_protocol() -> None:
    assert {
        "QISKIT_IBM_TOKEN": "secret-token",
        "QISKIT_IBM_URL": f"{URL}/experimental/api/v1",
        "QISKIT_IBM_INSTANCE": CRN,
        "IAM_URL": URL,
        "GLOBAL_SEARCH_URL": URL,
        "GLOBAL_CATALOG_URL": f"{URL}/catalog",
    } == LINES


def test_a_shell_takes_the_lines_as_they_are() -> None:
    odd = {**LINES, "QISKIT_IBM_TOKEN": "a b'$c"}
    script = 'eval "$TEXT"; printf %s "$QISKIT_IBM_TOKEN|$IAM_URL"'
    env = {**os.environ, "TEXT": render(odd)}
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"a b'$c|{URL}"


def test_the_lines_stand_under_the_warning() -> None:
    assert "IAM_URL sends the token" in render(LINES).split("export", 1)[0]


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = write_credentials(tmp_path, LINES)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == render(LINES)
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_address_moves_the_lines_and_keeps_the_token(tmp_path: Path) -> None:
    write_credentials(tmp_path, LINES)
    write_server(tmp_path, ServerFacts("http://127.0.0.1:9", {"default": Plan()}))
    moved = settings_for("http://127.0.0.1:9", token="secret-token", instance_crn=CRN)
    assert read_credentials(tmp_path) == render(moved)
    assert (tmp_path / "credentials.env").read_text() == render(moved)
    assert read_server(tmp_path) == ServerFacts("http://127.0.0.1:9", {"default": Plan()})


def test_a_folder_without_a_server_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="qdwell serve --data-dir"):
        read_server(tmp_path)
    with pytest.raises(StoreUnavailable, match="qdwell serve --data-dir"):
        read_credentials(tmp_path)


def test_lines_that_are_gone_can_be_had_again(tmp_path: Path) -> None:
    """A file that was deleted, or a server that stands by: starting one brings no lines back."""
    write_server(tmp_path, ServerFacts(URL, {"default": Plan()}))
    with pytest.raises(StoreUnavailable, match="qdwell token create"):
        read_credentials(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"url": 1}', "x"])
def test_a_damaged_server_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(StoreUnavailable, match="damaged"):
        read_server(tmp_path)


def test_damaged_credentials_stop_the_command_but_not_the_server(tmp_path: Path) -> None:
    (tmp_path / "credentials.env").write_text("# mine\n")
    write_server(tmp_path, ServerFacts(URL, {"default": Plan()}))
    assert (tmp_path / "credentials.env").read_text() == "# mine\n"
    with pytest.raises(StoreUnavailable, match="damaged"):
        read_credentials(tmp_path)


@pytest.mark.parametrize(
    ("configured", "bound", "told"),
    [
        (None, "http://127.0.0.1:80", "http://127.0.0.1:80"),
        (None, "http://0.0.0.0:80/", "http://127.0.0.1:80"),
        (None, "http://[::]:80", "http://[::1]:80"),
        ("https://q.lab", "http://0.0.0.0:80", "https://q.lab"),
    ],
)
def test_users_are_told_an_address_they_can_reach(
    configured: str | None, bound: str, told: str
) -> None:
    config = Config()
    server = dataclasses.replace(config.server, public_url=configured)
    assert public_url(dataclasses.replace(config, server=server), bound) == told


def test_the_data_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    folder = ready_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_data_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        ready_folder(tmp_path / "file")
