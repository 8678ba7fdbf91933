"""Known vulnerabilities of everything that uv.lock names: `make audit`.

    python release/audit.py REQUIREMENTS [OPTIONS]     # a requirements file with exact versions

OPTIONS go to pip-audit: `-s osv --osv-url URL` asks another source of advisories than PyPI.

Ends with 0 if every package was looked up and has none; with 1 if one has; and with 2 if the
service could not be asked about some, because a look-up that did not happen is no clean bill.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 2
SHOWN = 5
NEXT = (
    "What was asked does not know them: a mirror of PyPI has packages and no advisories. So "
    "nobody knows yet whether they have faults: this is no clean bill, and the status is 2.\n"
    "Run `make audit` where https://pypi.org is reached, or ask another source: "
    "make audit AUDIT='-s osv', with --osv-url URL if it has an address of its own."
)


def judged(report: dict[str, Any]) -> tuple[int, list[str]]:
    """The exit status of a report of pip-audit, and what to say."""
    packages = report["dependencies"]
    lines = [
        f"{it['name']} {it['version']}: {fault['id']}, fixed in "
        f"{', '.join(fault['fix_versions']) or 'no release yet'}"
        for it in packages
        for fault in it.get("vulns", ())
    ]
    skipped = [it["name"] for it in packages if "skip_reason" in it]
    looked_up = len(packages) - len(skipped)
    if skipped:
        some = ", ".join(skipped[:SHOWN]) + (", ..." if len(skipped) > SHOWN else "")
        lines.append(f"NOT looked up: {len(skipped)} of {len(packages)} packages ({some}).\n{NEXT}")
    lines.append(f"{looked_up} packages looked up.")
    if any(it.get("vulns") for it in packages):
        return VULNERABLE, lines
    return (UNKNOWN if skipped or not packages else CLEAN), lines


def main() -> int:
    """Ask, and judge."""
    command = [sys.executable, "-m", "pip_audit", "-r", sys.argv[1], "--disable-pip"]
    command += ["--require-hashes", "--format", "json", "--progress-spinner", "off"]
    command += sys.argv[2:]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(told.stdout)
    except ValueError:
        why = (told.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"NOT audited: the service could not be asked ({why:.200}).\n{NEXT}")
        return UNKNOWN
    status, lines = judged(report)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
