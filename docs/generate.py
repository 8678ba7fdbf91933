"""Writes the pages of docs/ that are made from the code, and checks every link.

`python docs/generate.py` writes; a tidy test calls `pages()` and fails if a page in the repository
is not what it would be now.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

sys.path.insert(0, str(Path(__file__).parent))

import draw_states
import draw_timelines

from qdwell import errors
from qdwell.cli import exits
from qdwell.cli.main import app
from qdwell.config import Config
from qdwell.settings import sections

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> dict[Path, str]:
    """Every generated page and its text."""
    return {
        DOCS / "reference" / "settings.md": settings_page(),
        DOCS / "reference" / "errors.md": errors_page(),
        DOCS / "reference" / "commands.md": commands_page(),
        DOCS / "concepts" / "states.md": draw_states.page(),
        **{DOCS / "pictures" / name: it for name, it in draw_timelines.pictures().items()},
        **{DOCS / "pictures" / name: it for name, it in draw_states.pictures().items()},
    }


def settings_page() -> str:
    """All settings, table by table."""
    parts = [
        "# Settings",
        "Made from `qdwell.config` by `make docs`; do not edit.",
        _SETTINGS,
    ]
    for heading, reason, settings in sections(Config):
        rows = ["| Setting | Accepts | Default | What it does |", "|---|---|---|---|"]
        rows += [f"| `{it.name}` | {it.kind} | {it.default} | {it.reason} |" for it in settings]
        parts += [f"## `{heading}`", reason, "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def errors_page() -> str:
    """All error classes: the tree, then the answers with their codes."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]
    rows = ["| Row | Error | HTTP | Code | Meaning |", "|---|---|---|---|---|"]
    inside = ["| Error | Meaning |", "|---|---|"]
    for name in errors.__all__:
        cls = getattr(errors, name)
        said = " ".join((cls.__doc__ or "").split())
        if issubclass(cls, errors.RequestError) and cls is not errors.RequestError:
            row = cls.row if "row" in vars(cls) else ""
            rows.append(f"| {row} | `{name}` | {cls.status} | {cls.code} | {said} |")
        else:
            inside.append(f"| `{name}` | {said} |")
    parts = [
        "# Errors",
        "Made from `qdwell.errors` by `make docs`; do not edit.",
        "## Answers over HTTP",
        _BODY,
        "\n".join(rows),
        "## How a job ends badly",
        _JOB_CODES,
        "## Inside",
        "\n".join(inside),
        "## The tree",
        "```text\n" + inspect.cleandoc(tree) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


_SETTINGS = """\
One TOML file, given as `qdwell serve --config FILE`. Everything has a default. A key that is not
known, or a value of the wrong type or out of range, stops the start with its place in the file.
`qdwell config` prints the whole configuration in this form. Ids such as L6 are
[rules of the execution model](rules.md)."""

_BODY = """\
The body is `{"errors": [{"code", "message", "solution", "more_info"}], "trace", "error": {"code",
"message"}}`: the list for people and programs, the single one for the stock client. `trace` finds
the request in the server's log. `UnknownBackend` and `UnknownSession` are 404 on the resource
itself and 400 on a submission, where the stock client would read a 404 as a missing program."""

_JOB_CODES = """\
These are the reason codes of jobs, not answers to requests.

| Row | Code | State | Meaning |
|---|---|---|---|
| E22 | 4001 | Failed | Its session reached its time limit before the job was on the QPU. |
| E23 | 1305 | Cancelled | It ran too long: its limit of quantum time was used up. |
| E24 | 5202 | Cancelled | Its user cancelled it, alone or with its session. |
| E25 | 1517 | Failed | An instruction is not supported by the target. |
| E26 | 1603 | Failed | A circuit cannot be read. |
| E27 | 6000 | Failed | Too many shots or executions. |
| E28 | 5203 | Failed | The execution failed, several times if it may be repeated. |
| E29 | 9999 | Failed | An internal error. |"""


def commands_page() -> str:
    """All commands with their arguments and options, as `--help` tells them."""
    parts = ["# Commands", "Made from `qdwell.cli` by `make docs`; do not edit."]
    parts += ["## How commands end", inspect.cleandoc(exits.__doc__ or "")]
    parts += list(_commands(typer.main.get_command(app), "qdwell"))
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, name: str) -> Iterator[str]:
    yield f"## `{name}`"
    yield str(command.help)
    rows = [_parameter(it) for it in command.params if it.name != "help"]
    if rows:
        yield "\n".join(["| Argument or option | Default | Meaning |", "|---|---|---|", *rows])
    for below, item in getattr(command, "commands", {}).items():
        yield from _commands(item, f"{name} {below}")


def _parameter(it: Any) -> str:
    option = it.param_type_name == "option"
    shown = ", ".join(it.opts) if option else it.name.upper()
    plain = it.default is None or isinstance(it.default, bool)
    default = "" if plain else f"`{it.default}`"
    if it.required:
        default = "must be given"
    return f"| `{shown}` | {default} | {it.help or ''} |"


def broken_links() -> list[str]:
    """Links between our own pages that lead nowhere."""
    found = []
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        for link in _LINK.findall(text):
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists():
                found.append(f"{page.relative_to(ROOT)}: {link} leads nowhere")
            elif anchor and target.suffix == ".md" and anchor not in _anchors(target):
                found.append(f"{page.relative_to(ROOT)}: {link} has no such heading")
    return found


def _anchors(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", it.lower()).strip().replace(" ", "-") for it in titles}


def main() -> int:
    """Write the pages, and say which links are broken."""
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    broken = broken_links()
    print("\n".join(broken) or "all links lead somewhere")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
