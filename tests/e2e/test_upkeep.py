"""`qdwell backup`, `restore`, and `doctor`, beside a server that runs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2

from e2e.conftest import MACHINE, Served, bell

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of our commands; its status is the caller's to look at."""
    return subprocess.run(
        [sys.executable, "-m", "qdwell", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def test_a_running_server_is_backed_up_and_its_copy_restored_and_sound(
    service: QiskitRuntimeService, served: Served, tmp_path: Path
) -> None:
    """With jobs that wait and run: the doctor finds store, copy, and new store sound."""
    slow = service.backend("slow_machine")
    waiting = [SamplerV2(mode=slow).run([bell(slow)]) for _ in range(2)]
    machine = service.backend(MACHINE)
    SamplerV2(mode=machine).run([bell(machine)], shots=200_000).result()
    config = ("--config", served.folder / "qdwell.toml")
    try:
        examined = run("doctor", "--data-dir", served.folder, *config)
        assert (examined.returncode, "is sound" in examined.stdout) == (0, True), examined.stdout
        copied = run("backup", tmp_path / "copy", "--data-dir", served.folder)
        assert copied.returncode == 0, copied.stderr
        made = run("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
        assert made.returncode == 0, made.stderr
        for folder in ("copy", "new"):
            examined = run("doctor", "--data-dir", tmp_path / folder, *config)
            assert examined.returncode == 0, examined.stdout
    finally:
        for job in waiting:
            job.cancel()


def test_the_doctor_ends_with_one_if_something_is_wrong(
    service: QiskitRuntimeService, served: Served, tmp_path: Path
) -> None:
    """And says what; a folder without a store is an error too."""
    assert run("backup", tmp_path / "copy", "--data-dir", served.folder).returncode == 0
    with sqlite3.connect(tmp_path / "copy" / "qdwell.db") as connection:
        connection.execute("UPDATE blobs SET content = x'00', size = 1 WHERE content IS NOT NULL")
    connection.close()
    examined = run("doctor", "--data-dir", tmp_path / "copy")
    assert examined.returncode == 1
    assert "not what its name says" in examined.stdout
    assert run("doctor", "--data-dir", tmp_path / "nothing").returncode == 1
