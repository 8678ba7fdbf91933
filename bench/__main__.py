"""Run every benchmark, or those named: `python -m bench [core] [stock_client] ...`.

Each prints ratios measured in one run beside their targets (B1-B10); the exit status says if all
were met.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    """Run the benchmarks; 0 if every target is met, 1 if one is missed, 2 if a name is unknown."""
    known = sorted(each.stem.removeprefix("bench_") for each in FOLDER.glob("bench_*.py"))
    wanted = sys.argv[1:] or known
    if unknown := set(wanted) - set(known):
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} cores, load average {load}")
    met = True
    for name in wanted:
        print(f"\n== {name}", flush=True)
        met = _run(name) and met
    print("\nall targets met" if met else "\nnot all targets met")
    return 0 if met else 1


def _run(name: str) -> bool:
    """Run one benchmark in a process of its own, started as people start their programs.

    The stock client walks the caller's stack at every request, to name the library that called it.
    Below `python -m` that walk searches every loaded module for the frames of the interpreter's own
    `runpy`, 15 to 30 ms a request, which would drown what is measured: so a script is started.
    """
    root = str(FOLDER.parent)
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, str(FOLDER / "_one.py"), name]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
