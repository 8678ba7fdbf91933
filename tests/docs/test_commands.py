"""Every `qdwell ...` line of the documentation is a command line that there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer._click.exceptions import UsageError  # Typer has its own
from typer.core import TyperGroup

from qdwell.cli.main import app

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"(?:^|bin/|\$\()(qdwell [a-z](?:[^|)&>\n2]|2(?!>))*)", re.MULTILINE)
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines() -> list[tuple[str, str]]:
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            text = block.replace("\\\n", " ")
            for line in re.findall(
                r"(?:^|bin/|\$\()(qdwell [a-z](?:[^|)&>\n2]|2(?!>))*)", text, re.MULTILINE
            ):
                found.append((page.relative_to(ROOT).as_posix(), line.split("#")[0].strip()))
    return found


def parse(words: list[str]) -> None:
    """Let the command line's own parser read it, without doing it.

    Raises:
        UsageError: there is no such command or option, or an argument is missing.
    """
    command: Any = typer.main.get_command(app)
    name = "qdwell"
    while True:
        context = command.make_context(name, words, resilient_parsing=False)
        if not isinstance(command, TyperGroup):
            return
        words = [*context._protected_args, *context.args]
        if not words and command.invoke_without_command:
            return
        name, command, words = command.resolve_command(context, words)


@pytest.mark.parametrize(("page", "line"), lines())
def test_the_line_is_understood(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    try:
        parse(words)
    except UsageError as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")


def test_a_wrong_line_is_seen() -> None:
    for line in (["jbos"], ["jobs", "--colour"], ["job", "show"]):
        with pytest.raises(UsageError):
            parse(line)


def test_there_are_lines_to_look_at() -> None:
    assert len(lines()) > 20
