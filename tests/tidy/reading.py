"""How the tidy tests read the repository: its Python files, parsed and walked once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "qdwell"


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: Path
    text: str
    tree: ast.Module

    @functools.cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All that its tree consists of, walked once for all rules."""
        return tuple(ast.walk(self.tree))

    @functools.cached_property
    def name(self) -> str:
        """Its path from the root of the repository, as messages show it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def floor(self) -> str:
        """The folder or file under src/qdwell that it belongs to."""
        return self.path.relative_to(SRC).parts[0].removesuffix(".py")

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every module it imports, with the line; relative ones are made absolute."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((item.name, node.lineno) for item in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    here = self.path.relative_to(SRC.parent).with_suffix("").parts
                    up = node.level - (self.path.name == "__init__.py")
                    base = ".".join([*here[: len(here) - up], *filter(None, [base])])
                yield base, node.lineno
                # `from qdwell import store` imports a module too.
                if base == "qdwell":
                    yield from ((f"qdwell.{item.name}", node.lineno) for item in node.names)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method."""
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call, with the dotted name of what is called."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield dotted(node.func), node


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a chain of attributes; what is not a name at its root is a question mark."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


@functools.cache
def sources(folder: str) -> tuple[Source, ...]:
    """All Python files under a folder of the repository."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if "__pycache__" not in path.parts:
            text = path.read_text(encoding="utf-8")
            found.append(Source(path, text, ast.parse(text, str(path))))
    return tuple(found)


def everywhere() -> tuple[Source, ...]:
    """All Python files of the repository."""
    return sources("src") + sources("tests") + sources("bench") + sources("docs")
