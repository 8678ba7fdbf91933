"""A server process with one scripted machine, and our client as its first user."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qdwell import QiskitRuntimeService

LAB = """
[[backends]]
name = "lab"
kind = "scripted"
options = { run_ms = 30 }
"""


@contextmanager
def serving(folder: Path, more: str = "", backends: str = LAB) -> Iterator[QiskitRuntimeService]:
    """A server with `more` settings of `[server]`; it must end by itself, with status 0."""
    (folder / "qdwell.toml").write_text(f"[server]\n{more}\n{backends}")
    command = [sys.executable, "-m", "qdwell", "serve", "--port", "0", "--data-dir", "data"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--config", "qdwell.toml"],
            cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert server.stdout is not None
        printed = ""
        for line in server.stdout:
            printed += line
            if "GLOBAL_CATALOG_URL" in line:
                break
        lines = dict(re.findall(r"^export (\w+)='?([^'\n]*)", printed, re.MULTILINE))
        origin = re.search(r" serves (\S+)", printed)
        assert origin, (folder / "log").read_text()
        yield QiskitRuntimeService(
            url=origin[1], token=lines["QISKIT_IBM_TOKEN"], instance=lines["QISKIT_IBM_INSTANCE"]
        )
        server.terminate()
        assert server.wait(60) == 0, (folder / "log").read_text()[-3000:]
    finally:
        with suppress(ProcessLookupError):
            server.kill()
        server.communicate()
