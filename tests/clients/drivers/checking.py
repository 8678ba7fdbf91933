"""Runs the checks of a driver, and says of each on a line of JSON how it went.

It runs in the environment of an old client: Python 3.11, and nothing of ours can be imported.
"""

import json
import sys
import traceback


def run(module):
    """Run every `check_` of a module, in order."""
    for name, check in list(vars(module).items()):
        if not name.startswith("check_"):
            continue
        error = ""
        try:
            check()
        except Exception:
            error = traceback.format_exc()
        line = {"check": name, "error": error}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def main():
    """Run the checks of the script that was started."""
    run(sys.modules["__main__"])
