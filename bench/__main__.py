"""Run every benchmark, or those named: `python -m bench [core] [stock_client] ...`.

Each prints ratios measured in one run beside their targets (B1-B10); the exit status says if all
were met.
"""

from __future__ import annotations

import importlib
import os
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
        print(f"\n== {name}")
        met = importlib.import_module(f"bench.bench_{name}").run() and met
    print("\nall targets met" if met else "\nnot all targets met")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
