"""Environments for clients and libraries that cannot be installed beside the server.

Old stock clients pin an old Qiskit, and frameworks bring much that nobody else needs. Each gets an
environment of its own below `.clients/`, of exactly the packages in `requirements/NAME.txt`; it is
made anew when that file has changed. What runs there is a script of `drivers/`, by a subprocess.

    python tests/clients/environments.py NAME...     # make these; all, without a name

The exit status is 0 if all of them are there. Qiskit's and NumPy's old wheels are for Python 3.11.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYTHON = "3.11"
MAKE_S = 900


def names() -> list[str]:
    """Every environment there could be."""
    return sorted(path.stem for path in (HERE / "requirements").glob("*.txt"))


def folder(name: str) -> Path:
    """Where an environment is, made or not."""
    return ROOT / ".clients" / name


def python(name: str) -> Path | None:
    """The interpreter of an environment; None if it is not made, or not as its file says now."""
    mark = folder(name) / "made-of"
    if not mark.is_file() or mark.read_text() != _content(name):
        return None
    return folder(name) / "bin" / "python"


def make(name: str) -> str | None:
    """Make an environment if it is not there; None, or why it could not be made."""
    if python(name) is not None:
        return None
    uv = shutil.which("uv", path=f"{ROOT / '.uv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        return "there is no uv; `make setup` brings it"
    target = folder(name)
    shutil.rmtree(target, ignore_errors=True)
    steps = (
        [uv, "venv", "--quiet", "--no-project", "--python", PYTHON, str(target)],
        # Wheels only: some old releases have sources that no longer build.
        [uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--no-deps",
         "--python", str(target / "bin" / "python"), "--requirement", str(_file(name))],
    )  # fmt: skip
    for step in steps:
        try:
            subprocess.run(step, check=True, capture_output=True, text=True, timeout=MAKE_S)
        except subprocess.CalledProcessError as error:
            return str(error.stderr).strip()[-2000:]
        except subprocess.TimeoutExpired:
            return f"it was not done after {MAKE_S} s"
    (target / "made-of").write_text(_content(name))
    return None


def _file(name: str) -> Path:
    return HERE / "requirements" / f"{name}.txt"


def _content(name: str) -> str:
    return hashlib.sha256(_file(name).read_bytes()).hexdigest()


def main(wanted: list[str]) -> int:
    """Make what is asked for, and say loudly what could not be made."""
    failed = 0
    for name in wanted or names():
        problem = make(name)
        if problem is not None:
            failed += 1
            sys.stderr.write(
                f"THE ENVIRONMENT {name} COULD NOT BE MADE, its tests are skipped:\n{problem}\n"
            )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
