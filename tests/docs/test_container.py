"""The container file: hadolint has nothing to say, and its steps, done one by one, serve a Bell."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from docs import throwaway
from docs.test_wheel import built

FILE = throwaway.REPO / "docs" / "operate" / "Containerfile"
BELL = """
from qiskit import QuantumCircuit
from qdwell import QiskitRuntimeService, SamplerV2
bell = QuantumCircuit(2)
bell.h(0); bell.cx(0, 1); bell.measure_all()
service = QiskitRuntimeService(filename="/data/credentials.env")
job = SamplerV2(mode=service.backend("aer_simulator")).run([bell], shots=1000)
counts = job.result()[0].data.meas.get_counts()
assert set(counts) == {"00", "11"} and sum(counts.values()) == 1000, counts
"""


def steps() -> dict[str, str]:
    """The last of each kind of instruction, lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return dict(line.split(" ", 1) for line in text.splitlines() if line.strip())


def test_hadolint_has_nothing_to_say() -> None:
    tool = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([tool, FILE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_its_steps_make_a_server_that_runs_a_bell(tmp_path: Path) -> None:
    """COPY, RUN, USER, ENTRYPOINT, CMD, HEALTHCHECK, STOPSIGNAL, in a throwaway root.

    Its network is its own, as a container's, so port 8000 is free there.
    """
    throwaway.available()
    uv, wheel = built(tmp_path)
    # The versions that the tests run with: pip would try many where there is no such list.
    export = ["export", "--frozen", "--no-hashes", "--no-emit-project", "--no-dev"]
    export += ["--extra", "server", "--extra", "traces", "--project", str(throwaway.REPO)]
    done = subprocess.run([uv, *export], capture_output=True, text=True, check=True, timeout=100)
    (tmp_path / "versions").write_text(done.stdout)
    told = steps()
    assert told["COPY"] == "qdwell-*.whl /tmp/"
    start = [*json.loads(told["ENTRYPOINT"]), *json.loads(told["CMD"])]
    (tmp_path / "run").write_text(f"#!/bin/sh\nset -e\n{told['RUN']}\n")
    (tmp_path / "up.py").write_text(_UP)
    (tmp_path / "bell.py").write_text(BELL)
    script = f"""
{throwaway.kept()}
cp {wheel} tmp/
cp {tmp_path}/run {tmp_path}/bell.py {tmp_path}/versions usr/local/
export PIP_CONSTRAINT=/usr/local/versions
chroot . {Path(sys.base_prefix) / "bin/python3"} -m venv /usr/local/image
export PATH=/usr/local/image/bin:/usr/sbin:/usr/bin:/sbin:/bin
chroot . sh /usr/local/run
exec unshare --net sh -c 'python3 {tmp_path}/up.py; exec chroot . setpriv \\
  --reuid={told["USER"]} --regid={told["USER"]} --clear-groups --no-new-privs \\
  env HOME=/data {" ".join(start)}'
"""
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            throwaway.command(tmp_path / "scratch", script),
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert server.stdout is not None
        if not any("GLOBAL_CATALOG_URL" in line for line in server.stdout):
            pytest.fail((tmp_path / "log").read_text()[-3000:])
        health = json.loads(told["HEALTHCHECK"].split("CMD ", 1)[1])
        for words in (health, ["python", "/usr/local/bell.py"]):
            done = inside(server.pid, ["/usr/local/image/bin/python", *words[1:]], told["USER"])
            assert done.returncode == 0, done.stderr
        server.send_signal(signal.Signals[told["STOPSIGNAL"]])
        assert server.wait(60) == 0
    finally:
        with suppress(ProcessLookupError):
            server.kill()
        server.communicate()


# Loopback is down in a new network; there may be no `ip` command.
_UP = """import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14s", b"lo", 0x41, bytes(14)))
"""


def inside(pid: int, words: list[str], user: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the server is, as its user."""
    whole = ["nsenter", f"--target={pid}", "--mount", "--net", "--root", "--wd=/"]
    whole += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *words]
    return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=200)
