"""A real server for the benchmarks: a process of its own, on a free port, with its data in a
temporary folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def server(config: str = "", place: Path | None = None) -> Iterator[dict[str, str]]:
    """Start `qdwell serve` with this TOML; yield the first user's settings; stop it again.

    `place` is a folder that keeps the data for another start. Beside the settings there are `PID`,
    `DATA`, the folder, and `START_S`, the seconds that the start took.
    """
    with tempfile.TemporaryDirectory(prefix="qdwell-bench-") as folder:
        toml = Path(folder) / "qdwell.toml"
        toml.write_text(config)
        data = (place or Path(folder)) / "data"
        command = [sys.executable, "-m", "qdwell", "serve", "--port", "0"]
        command += ["--data-dir", str(data), "--config", str(toml)]
        with (Path(folder) / "log").open("wb") as log:
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                assert process.stdout is not None
                if not any("serves" in line for line in process.stdout):
                    raise RuntimeError(Path(log.name).read_text())
                took = time.perf_counter() - began
                yield {
                    **_settings(data),
                    "PID": str(process.pid),
                    "START_S": f"{took:.3f}",
                    "DATA": str(data),
                }
            finally:
                process.terminate()
                process.communicate()


@contextmanager
def canned(settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """Put a server that answers from memory before this one; yield the settings to reach it."""
    url = urllib.parse.urlsplit(settings["QISKIT_IBM_URL"])
    command = [sys.executable, str(Path(__file__).with_name("_canned.py"))]
    command.append(f"{url.scheme}://{url.netloc}")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        there = url._replace(netloc=f"127.0.0.1:{int(process.stdout.readline())}")
        yield {**settings, "QISKIT_IBM_URL": there.geturl()}
    finally:
        process.terminate()
        process.communicate()


def _settings(data: Path) -> dict[str, str]:
    command = [sys.executable, "-m", "qdwell", "env", "--data-dir", str(data)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
    return {name: value.strip("'\"") for name, value in pairs if not name.startswith("#")}


def own_service(settings: dict[str, str]) -> object:
    """Return our own client's service for these settings."""
    from qdwell import QiskitRuntimeService

    return QiskitRuntimeService(
        token=settings["QISKIT_IBM_TOKEN"],
        url=settings["QISKIT_IBM_URL"],
        instance=settings["QISKIT_IBM_INSTANCE"],
    )


def stock_service(settings: dict[str, str]) -> object:
    """Return the stock client's service for these settings; several can be used in turns."""
    for name in ("IAM_URL", "GLOBAL_SEARCH_URL", "GLOBAL_CATALOG_URL"):
        os.environ[name] = settings[name]
    from qiskit_ibm_runtime import QiskitRuntimeService

    return QiskitRuntimeService(
        token=settings["QISKIT_IBM_TOKEN"],
        url=settings["QISKIT_IBM_URL"],
        instance=settings["QISKIT_IBM_INSTANCE"],
    )
