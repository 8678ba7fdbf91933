"""A throwaway root: this machine's files under a layer that takes every change, and goes with it.

Neither an init system nor a container engine runs where the tests do; what is in a service unit or
a container file can still be done to a root, with what Linux gives to both: namespaces, an overlay,
mounts. It needs root, and is skipped without.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
#: The interpreter and this tree are seen inside wherever they are, also where homes are hidden.
KEPT = (Path(sys.base_prefix), REPO)
BEGIN = """
mkdir -p {scratch}/up {scratch}/work {scratch}/root
mount -t overlay overlay -o lowerdir=/,upperdir={scratch}/up,workdir={scratch}/work {scratch}/root
cd {scratch}/root
mount --rbind /proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs tmp
"""


def available() -> None:
    """Skip the test where there is no right to make one."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("NO ROOT: the service and the container were not tried")
    done = subprocess.run(["unshare", "-m", "true"], check=False)
    if done.returncode:
        pytest.skip("NO NAMESPACES: the service and the container were not tried")


def kept() -> str:
    """Lines that put what is kept back to where it was."""
    lines = []
    for path in KEPT:
        lines.append(f"mkdir -p .{path}")
        # Users of the service and of the container reach it, also below root's own home.
        lines += [f"chmod a+rx .{it}" for it in path.parents[:-1]]
        lines.append(f"mount --bind {path} .{path}")
        lines.append(f"mount -o remount,bind,ro .{path}")
    return "\n".join(lines)


def command(scratch: Path, script: str) -> list[str]:
    """The command that runs a script of `sh` in a throwaway root's folder; it may `exec`."""
    whole = "set -e\n" + BEGIN.format(scratch=scratch) + script
    return ["unshare", "-m", "sh", "-c", whole]
