"""Run one benchmark, as a script; `python -m bench` starts this for each."""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    sys.exit(0 if importlib.import_module(f"bench.bench_{sys.argv[1]}").run() else 1)
