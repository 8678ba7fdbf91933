"""What goes with a release: the list of its parts, and the look for known faults in them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from docs.test_wheel import ROOT, UV


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "release" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(folder: Path) -> dict[str, Any]:
    """The list that `make release` makes."""
    recipe = (ROOT / "Makefile").read_text().split("\nrelease:")[1].split("\n\n")[0]
    words = recipe.split("$(UV) export ")[1].replace("\\\n", " ").split()
    options = words[: words.index("--output-file")]
    if not UV.exists():
        pytest.skip("NO uv: the list was not made")
    out = folder / "q.json"
    command = [str(UV), "export", *options, "--output-file", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    made: dict[str, Any] = json.loads(out.read_text())
    return made


def needed() -> dict[str, str]:
    """What uv.lock names for qdwell with all extras, whatever is installed here."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for it in packages:
        by_name.setdefault(it["name"], []).append(it)
    (root,) = by_name["qdwell"]
    todo = [it["name"] for it in root["dependencies"]]
    todo += [it["name"] for extra in root["optional-dependencies"].values() for it in extra]
    extras = {"psycopg": ["binary"]}
    found: dict[str, str] = {}
    while todo:
        name = todo.pop()
        if name in found:
            continue
        for it in by_name[name]:
            found[name] = it["version"]
            todo += [each["name"] for each in it.get("dependencies", ())]
            for extra in extras.get(name, ()):
                todo += [each["name"] for each in it["optional-dependencies"][extra]]
    return found


def test_the_list_names_every_locked_dependency(tmp_path: Path) -> None:
    """CycloneDX, with the version of each and its address in the index."""
    made = exported(tmp_path)
    assert (made["bomFormat"], made["metadata"]["component"]["name"]) == ("CycloneDX", "qdwell")
    listed = {it["name"] for it in made["components"]}
    wanted = needed()
    assert len(wanted) > 60
    assert wanted.keys() - listed == set()
    assert "pytest" not in listed, "tools of development are no part of a release"
    assert all(it["purl"].startswith("pkg:pypi/") for it in made["components"])


def report(*packages: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(packages), "fixes": []}


GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "who", "version": "3", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([GOOD], 0, "1 packages looked up."),
        ([GOOD, BAD], 1, "bad 2: CVE-1, fixed in 3"),
        ([BAD, UNKNOWN], 1, "bad 2: CVE-1"),
        ([GOOD, UNKNOWN], 2, "NOT looked up: 1 of 2 packages (who)"),
        ([], 2, "0 packages looked up."),
    ],
)
def test_an_audit_is_clean_only_if_everything_was_looked_up(
    audit: ModuleType, packages: list[dict[str, Any]], status: int, words: str
) -> None:
    """The tool itself ends with 0 when its service knows none of the packages."""
    told, lines = audit.judged(report(*packages))
    assert told == status
    assert words in "\n".join(lines)
