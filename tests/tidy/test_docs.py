"""The documentation is whole: settings, errors, commands, routes are there, and links work."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from qdwell import errors
from qdwell.clock import ManualClock
from qdwell.config import Backend, Config, Plan, Scheduler, Server, Storage, Workers
from qdwell.config_sign_in import Oidc
from tidy.reading import ROOT, sources

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_generated_pages_are_what_the_code_says_now(generate: ModuleType) -> None:
    stale = [
        path.relative_to(ROOT).as_posix()
        for path, text in generate.pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `make docs` and commit what it writes"


def test_every_link_leads_somewhere(generate: ModuleType) -> None:
    assert generate.broken_links() == []


@pytest.mark.parametrize("table", [Server, Storage, Backend, Scheduler, Plan, Oidc])
def test_every_setting_is_documented_with_a_reason(table: type) -> None:
    text = page("reference/settings.md")
    for field in dataclasses.fields(table):
        assert re.search(rf"\| `{field.name}` \|[^|]+\|[^|]+\| \S[^|]{{10,}}\|", text), field.name


@functools.cache
def attributes_read() -> set[str]:
    return {
        node.attr
        for source in sources("src")
        if source.floor not in {"config", "plans", "settings"}
        for node in source.nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@pytest.mark.parametrize("table", [Server, Storage, Backend, Scheduler, Plan, Oidc])
def test_every_setting_is_read_somewhere(table: type) -> None:
    # `lanes` of a backend is read through Config.lanes().
    ignored = {field.name for field in dataclasses.fields(table)} - attributes_read()
    assert ignored == set(), "accepted and then ignored"


def test_every_limit_is_in_the_table_of_limits() -> None:
    """Each bound of a plan, the server, and the workers; every limit of the rules (L1-L25)."""
    text = page("reference/limits.md")
    bounds = [f"`{it.name}`" for it in dataclasses.fields(Plan)]
    for table, group in ((Server, "server"), (Workers, "workers")):
        names = [it.name for it in dataclasses.fields(table)]
        bounds += [f"`{group}.{it}`" for it in names if it.endswith("_max")]
    assert [it for it in bounds if it not in text] == []
    rules = set(re.findall(r"\bL\d+\b", text))
    # Not limits of a user: lanes, bounds of old clients, history, retention.
    others = {"L1", "L3", "L4", "L5", "L10", "L19"}
    assert {f"L{n}" for n in range(1, 26)} - rules <= others
    rows = [it for it in text.splitlines() if it.startswith("| ") and "---" not in it]
    assert all(row.count("|") == 6 for row in rows)


def test_every_error_is_documented() -> None:
    text = page("reference/errors.md")
    assert [name for name in errors.__all__ if f"| `{name}` |" not in text] == []


def test_every_make_target_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony
    told = set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE))
    assert set(phony[1].split()) == told


def test_every_route_is_documented(tmp_path: Path) -> None:
    from qdwell.api.app import build
    from qdwell.engine.engine import Engine
    from qdwell.store import open_store

    config, clock = Config(), ManualClock()
    with contextlib.closing(open_store(tmp_path)) as store:
        paths = build(config, store, Engine(config, store, clock), clock).openapi()["paths"]
    text = page("reference/api.md")
    missing = [
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if f"`{method.upper()} {path.removeprefix('/experimental')}`" not in text
    ]
    assert missing == []


def test_every_rule_that_the_code_cites_is_documented() -> None:
    told = page("reference/rules.md") + page("reference/errors.md")
    rows = " ".join(re.findall(r"^\| ([A-Z0-9, -]+) \|", told, re.MULTILINE))
    known = set(re.findall(r"[A-Z]\d+", rows))
    for letter, first, last in re.findall(r"([A-Z])(\d+)-[A-Z](\d+)", rows):
        known |= {f"{letter}{number}" for number in range(int(first), int(last) + 1)}
    cited = {
        rule
        for source in sources("src")
        for brackets in re.findall(r"\(([^()]*)\)", source.text)
        for rule in re.findall(r"\b[CJMSBUQILOREP]\d{1,2}\b", brackets)
        if re.fullmatch(r"[\w ,:;.-]*", brackets)
    }
    assert cited - known == set(), "say the rule in docs/reference/rules.md"


def test_decisions_are_numbered_in_order() -> None:
    numbers = [int(it.name[:4]) for it in sorted((DOCS / "decisions").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_readme_leads_to_a_running_server_with_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
