"""`qdwell conformance`: the findings about a backend, a line each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from qdwell.errors import ConfigError
from qdwell.executors.conformance import Verdict, conformance

_COLOURS = {Verdict.KEPT: "green", Verdict.BROKEN: "bold red", Verdict.UNTOLD: "yellow"}


def run(target: str, options: str) -> int:
    """Check, print each finding as it is made, and return the exit status: 1 if one is broken.

    Raises:
        ConfigError: `options` is no JSON object.
    """
    try:
        arguments = json.loads(options)
    except json.JSONDecodeError as error:
        raise ConfigError("--options", f"is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ConfigError("--options", f"must be a JSON object, not {options}")
    # As for the server, modules are found from the folder that the command was started in.
    sys.path.insert(0, str(Path.cwd()))
    console = Console(highlight=False, soft_wrap=True)
    broken = 0
    for finding in conformance(target, arguments):
        broken += finding.verdict is Verdict.BROKEN
        colour = _COLOURS[finding.verdict]
        said = f": {finding.said}" if finding.said else ""
        console.print(f"[{colour}]{finding.verdict:<7}[/] {finding.rule}", end="")
        console.print(said, markup=False)
    console.print(f"{broken} broken" if broken else f"{target} can be a machine of qdwell")
    return 1 if broken else 0
