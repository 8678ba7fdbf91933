"""Public names stand in one sorted list, and the package tells its version once."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import qdwell
from tidy.reading import ROOT, Source, sources

PACKAGES = sorted((ROOT / "src").rglob("__init__.py"))


def public_names(source: Source) -> list[str] | None:
    """The `__all__` of a file, or None."""
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def reexported(source: Source) -> set[str]:
    """Names that a package takes from its own modules."""
    return {
        item.asname or item.name
        for node in source.tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qdwell")
        for item in node.names
    }


@pytest.mark.parametrize("path", PACKAGES, ids=lambda it: it.relative_to(ROOT).as_posix())
def test_the_public_names_of_a_package_are_sorted(path: Path) -> None:
    source = next(it for it in sources("src") if it.path == path)
    names = public_names(source)
    if names is None:
        defines = [it for it in source.tree.body if isinstance(it, ast.FunctionDef | ast.ClassDef)]
        assert defines or not reexported(source), "what is taken in to be given on needs __all__"
    else:
        assert names == sorted(names)
        assert len(names) == len(set(names))


def test_the_version_is_told_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert qdwell.__version__ == project["version"]


def test_every_module_says_what_it_is() -> None:
    missing = [it.name for it in sources("src") if it.text and not ast.get_docstring(it.tree)]
    assert missing == []
