"""What goes with a release: the list of its parts, and the look for known faults in them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Advisories(BaseHTTPRequestHandler):
    """A source of advisories as OSV is one, which knows of one fault."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = {"id": "GHSA-0000-0000-0001", "aliases": [], "summary": "it leaks", "affected": []}
        fault["affected"] = [
            {
                "package": {"name": "idna", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
            }
        ]
        known = {"vulns": [fault]} if asked["package"]["name"] == "idna" else {}
        body = json.dumps(known).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def source() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


@pytest.mark.long
@pytest.mark.parametrize(
    ("names", "status", "words"),
    [
        (["certifi"], 0, "1 packages looked up."),
        (["certifi", "idna"], 1, "GHSA-0000-0000-0001, fixed in 99"),
    ],
)
def test_an_audit_asks_the_source_that_it_is_told(
    tmp_path: Path, source: str, names: list[str], status: int, words: str
) -> None:
    """The tool itself, with a source of advisories of our own."""
    pytest.importorskip("pip_audit", reason="make test-long installs it")
    told = audited(tmp_path, names, source)
    assert words in told.stdout, told.stdout + told.stderr
    assert told.returncode == status


@pytest.mark.long
def test_an_audit_that_could_not_ask_says_what_to_do_next(tmp_path: Path) -> None:
    """It is no clean bill: status 2."""
    pytest.importorskip("pip_audit", reason="make test-long installs it")
    told = audited(tmp_path, ["idna"], "http://127.0.0.1:9/nobody")
    assert told.returncode == 2
    assert "NOT audited" in told.stdout
    assert "make audit AUDIT='-s osv'" in told.stdout


def audited(folder: Path, names: list[str], url: str) -> subprocess.CompletedProcess[str]:
    """What the script says of some packages as the lock has them."""
    lines = []
    for it in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        if it["name"] in names:
            lines.append(f"{it['name']}=={it['version']} --hash={it['wheels'][0]['hash']}")
    (folder / "some.txt").write_text("\n".join(lines) + "\n")
    command = [sys.executable, str(ROOT / "release" / "audit.py"), str(folder / "some.txt")]
    command += ["-s", "osv", "--osv-url", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
