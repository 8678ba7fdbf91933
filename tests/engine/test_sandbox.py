"""What code that takes over a worker finds: no data folder, no network, no other process."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from qdwell.engine import sandbox
from qdwell.engine.pickles import opened
from qdwell.engine.workers import ForkServer, Limits
from qdwell.errors import WorkerLost

TRIES = """
import json, os, pathlib, signal, socket, subprocess, sys, threading
from qdwell.engine import sandbox
secret, parent = sys.argv[1], int(sys.argv[2])
sandbox.limit(4 << 30)
sandbox.confine([str(pathlib.Path(secret).parent)])
def told(work):
    try:
        work()
    except (OSError, RuntimeError, MemoryError) as error:
        return type(error).__name__
    return "done"
def thread():
    t = threading.Thread(target=lambda: None); t.start(); t.join()
tries = {
    "read the data folder": lambda: open(secret).read(),
    "list the data folder": lambda: os.listdir(os.path.dirname(secret)),
    "write into it": lambda: open(secret + "x", "w"),
    "write to /tmp": lambda: open("/tmp/t-worker-was-here", "w"),
    "read passwords": lambda: open("/etc/shadow").read(),
    "read the server's secrets": lambda: open(f"/proc/{parent}/environ", "rb").read(),
    "read the server's memory": lambda: open(f"/proc/{parent}/mem", "rb").read(1),
    "open TCP": lambda: socket.socket(),
    "open UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "open a local socket": lambda: socket.socket(socket.AF_UNIX),
    "kill the server": lambda: os.kill(parent, signal.SIGTERM),
    "start a program": lambda: subprocess.run(["/bin/true"]),
    "fork": lambda: os.fork() or os._exit(0),
    "take all memory": lambda: bytearray(64 << 30),
    "start a thread": thread,
    "import a module": lambda: __import__("fractions"),
    "discard": lambda: open("/dev/null", "w").write("x"),
    "read the clock's zone": lambda: os.stat("/etc/localtime"),
}
print(json.dumps({name: told(work) for name, work in tries.items()}))
"""
MAY = {"start a thread", "import a module", "discard", "read the clock's zone"}

needs_all = pytest.mark.skipif(
    bool(sandbox.missing()), reason=f"NOT TESTED, protections missing: {sandbox.missing()}"
)


@needs_all
def test_a_worker_can_reach_nothing_outside_itself(tmp_path: Path) -> None:
    """Files, network, signals, processes, memory: refused; threads and imports work."""
    secret = tmp_path / "qdwell.db"
    secret.write_text("everybody's jobs")
    command = [sys.executable, "-c", TRIES, str(secret), str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name for name, how in found.items() if how == "done"} == MAY
    assert not (tmp_path / "qdwell.dbx").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its size")
def test_opening_bytes_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they claim; afterwards the process may have what it had before."""
    monkeypatch.setattr(sandbox, "OPENING_BYTES_MAX", 1 << 30)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with sandbox.opening():
        bytearray(256 << 20)
        with pytest.raises(MemoryError):
            bytearray(2 << 30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    bytearray(2 << 30)


async def test_protections_that_are_required_and_missing_stop_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`sandbox = "required"` refuses; `best` goes on, and the log says what is missing."""
    strict, easy = (ForkServer((), Limits(sandbox=word)) for word in ("required", "best"))
    with pytest.raises(WorkerLost, match="seccomp: none here"):
        strict._judge(["seccomp: none here"])
    easy._judge(["seccomp: none here"])


def test_what_a_worker_hands_on_is_opened_by_types() -> None:
    """A pickle that would run something is refused before it runs."""
    evil = b"cos\nsystem\n(S'true'\ntR."
    nested = b"cqdwell.clock\nos.system\n(S'true'\ntR."
    for content in (evil, nested, b"cbuiltins\neval\n(S'1'\ntR."):
        with pytest.raises(Exception, match="not for a worker"):
            opened(content)
