"""The systemd unit: verified by systemd itself, and its command run under its own restrictions."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import suppress
from pathlib import Path

import pytest

from docs import throwaway
from qdwell import QiskitRuntimeService, SamplerV2
from watch.jobs import bell

UNIT = throwaway.REPO / "docs" / "operate" / "qdwell.service"
USER = 61_234  # of the range that DynamicUser= takes from
CONFIG = '[server]\nport = 0\n[[backends]]\nname = "lab"\nkind = "scripted"\n'
EXPOSURE_MOST = 3.2  # of 10; systemd calls everything below 4 "OK"

# What systemd does with seccomp: RestrictAddressFamilies=, RestrictNamespaces=, LockPersonality=.
PROGRAM = """#!{python}
import errno, sys
sys.path[:0] = {path!r}
import pyseccomp as s
calls = s.SyscallFilter(s.ALLOW)
for family in range(46):
    if family not in (1, 2, 10):
        calls.add_rule(s.ERRNO(errno.EAFNOSUPPORT), "socket", s.Arg(0, s.EQ, family))
for name in ("unshare", "setns"):
    calls.add_rule(s.ERRNO(errno.EPERM), name)
calls.add_rule(s.ERRNO(errno.EPERM), "personality", s.Arg(0, s.NE, 0xFFFFFFFF))
calls.load()
from qdwell.cli.main import main
sys.exit(main())
"""

# Each line does what the setting does that it names.
CLOSED = """
for home in root home; do mount -t tmpfs -o mode=755 tmpfs $home; done    # ProtectHome=
mkdir -p opt/qdwell/bin etc/qdwell var/lib/qdwell
cp {program} opt/qdwell/bin/qdwell && chmod 755 opt/qdwell/bin/qdwell
cp {config} etc/qdwell/qdwell.toml
mount -t tmpfs -o mode=1777 tmpfs tmp                                      # PrivateTmp=
{kept}
umount -l dev && mount -t tmpfs -o mode=755 tmpfs dev                      # PrivateDevices=
for each in null zero full random urandom; do : > dev/$each; mount --bind /dev/$each dev/$each; done
mkdir dev/shm && mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o uid={user},gid={user},mode=700 tmpfs var/lib/qdwell      # StateDirectory=
for part in sys kcore; do test ! -e proc/$part || mount --bind -o ro /proc/$part proc/$part; done
mount -o remount,bind,ro .                                                 # ProtectSystem=strict
umask 0077                                                                 # UMask=
exec prlimit --nofile={files} chroot . setpriv --reuid={user} --regid={user} --clear-groups \
  --bounding-set=-all --inh-caps=-all --no-new-privs env -i PATH=/usr/bin:/bin \
  STATE_DIRECTORY=/var/lib/qdwell {start}
"""


def unit() -> dict[str, str]:
    """The settings of [Service]."""
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string(UNIT.read_text())
    return dict(parser["Service"])


def analyze(tmp_path: Path, *words: str) -> str:
    """What systemd-analyze says of the unit, its program in a place that there is."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("NO systemd-analyze: the unit was not verified")
    there = tmp_path / "qdwell.service"
    there.write_text(UNIT.read_text().replace("/opt/qdwell/bin/qdwell", sys.executable))
    done = subprocess.run(
        [tool, *words, there], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    assert analyze(tmp_path, "verify") == ""


def test_systemd_finds_it_closed_in(tmp_path: Path) -> None:
    said = analyze(tmp_path, "security", "--offline=true", "--no-pager")
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert level, said
    assert float(level[1]) <= EXPOSURE_MOST


@pytest.fixture
def service(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The unit's command, started as the unit would."""
    throwaway.available()
    path = [str(throwaway.REPO / "src"), *(it for it in sys.path if "site-packages" in it)]
    python = Path(sys.base_prefix) / "bin" / "python3"
    (tmp_path / "program").write_text(PROGRAM.format(python=python, path=path))
    (tmp_path / "config").write_text(CONFIG)
    files = min(int(unit()["LimitNOFILE"]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    script = CLOSED.format(
        program=tmp_path / "program", config=tmp_path / "config", user=USER,
        kept=throwaway.kept(), start=unit()["ExecStart"], files=files,
    )  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            throwaway.command(tmp_path / "scratch", script),
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    process.communicate()


@pytest.mark.timeout(400)
def test_the_command_of_the_unit_serves_under_its_restrictions(
    service: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert service.stdout is not None
    printed = ""
    for line in service.stdout:
        printed += line
        if "GLOBAL_CATALOG_URL" in line:
            break
    origin = re.search(r" serves (\S+)", printed)
    assert origin, (tmp_path / "log").read_text()
    lines = dict(re.findall(r"^export (\w+)='?([^'\n]*)", printed, re.MULTILINE))
    status = Path(f"/proc/{service.pid}/status").read_text()
    assert re.search(rf"^Uid:\t{USER}\t", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    mine = QiskitRuntimeService(
        url=origin[1], token=lines["QISKIT_IBM_TOKEN"], instance=lines["QISKIT_IBM_INSTANCE"]
    )
    job = SamplerV2(mode=mine.backend("lab")).run([bell()], shots=20)
    assert sum(job.result()[0].data.meas.get_counts().values()) == 20
    inside = Path(f"/proc/{service.pid}/root")
    assert {it.stat().st_mode & 0o077 for it in (inside / "var/lib/qdwell").iterdir()} == {0}
    service.send_signal(signal.SIGTERM)
    assert service.wait(int(unit()["TimeoutStopSec"])) == 0
