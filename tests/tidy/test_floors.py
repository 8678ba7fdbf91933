"""Imports point down: the core knows nobody, the edges know what they need."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tidy.reading import SRC, Source, sources

_GROUND = {"errors", "config", "config_sign_in", "clock"}
_ALL = {it.name.removesuffix(".py") for it in SRC.iterdir()}

#: floor -> the floors it may import, besides itself.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"client", "errors"},
    "__main__": {"cli"},
    "errors": set(),
    "settings": {"errors"},
    "config": {"errors", "config_sign_in", "plans", "settings"},
    "config_sign_in": {"errors", "settings"},
    "plans": {"errors", "settings"},
    "clock": {"errors"},
    "core": {"errors"},
    "wire": _GROUND,
    "client": {"wire"} | _GROUND,
    "store": {"core"} | _GROUND,
    "programs": {"wire"} | _GROUND,
    "executors": {"wire"} | _GROUND,
    "engine": {"store", "programs", "executors", "wire", "core"} | _GROUND,
    "api": {"engine", "store", "wire", "core"} | _GROUND,
    "console": {"api", "store", "core"} | _GROUND,
    "cli": _ALL,
}

#: what -> (the modules that bring it, the only files or folders that may import them).
ONLY_HERE: dict[str, tuple[set[str], tuple[str, ...]]] = {
    "time": ({"time"}, ("clock.py",)),
    "chance": (
        {"random", "secrets", "uuid", "numpy.random"},
        (
            "executors/",
            "programs/",
            "store/ids.py",
            "store/accounts.py",
            "api/auth.py",
            "client/keys.py",
        ),
    ),
    "SQL": ({"sqlalchemy", "sqlite3", "alembic", "psycopg"}, ("store/",)),
    "Qiskit": (
        {"qiskit", "qiskit_aer", "qiskit_ibm_runtime", "samplomatic", "ibm_quantum_schemas"},
        ("executors/", "programs/", "wire/", "client/", "cli/demo", "cli/run"),
    ),
    "HTTP": ({"fastapi", "starlette", "uvicorn"}, ("api/", "console/", "cli/")),
}

_STANDARD_ONLY = ("core", "errors")  # no package at all: they must be readable alone


def _below(module: str, names: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def breaches(source: Source) -> list[str]:
    """What a file imports and may not."""
    found = []
    allowed = MAY_IMPORT[source.floor] | {source.floor}
    here = source.path.relative_to(SRC).as_posix()
    for module, line in source.imports():
        if module.startswith("qdwell."):
            floor = module.split(".")[1]
            if floor in MAY_IMPORT and floor not in allowed:
                found.append(f"{source.name}:{line} {source.floor} may not import {floor}")
        for what, (modules, places) in ONLY_HERE.items():
            if _below(module, modules) and not here.startswith(places):
                found.append(f"{source.name}:{line} {what} belongs to {', '.join(places)}")
    return found


def test_every_floor_has_its_row() -> None:
    floors = {source.floor for source in sources("src")}
    assert floors <= set(MAY_IMPORT), "give the new floor a row in MAY_IMPORT"


def test_imports_point_down() -> None:
    found = [breach for source in sources("src") for breach in breaches(source)]
    assert not found, "\n".join(found)


def test_the_core_and_the_errors_need_only_the_standard_library() -> None:
    found = [
        f"{source.name}:{line} imports {module}"
        for source in sources("src")
        if source.floor in _STANDARD_ONLY
        for module, line in source.imports()
        if module.split(".")[0] not in sys.stdlib_module_names | {"qdwell"}
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("process", "never"),
    [
        (
            "qdwell.cli.main, qdwell.api.server, qdwell.console.app",
            {"qiskit", "numpy", "psycopg", "httpx", "authlib", "joserfc"},
        ),
        ("qdwell.engine.child, qdwell.programs.stages", {"sqlalchemy", "fastapi", "jwt"}),
    ],
)
def test_a_process_loads_only_its_own_half(process: str, never: set[str]) -> None:
    """What is not loaded starts no slower, and cannot be attacked."""
    asked = f"import sys, {process}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=120
    )
    assert never & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("core/job.py", "import qdwell.store.sql", "core may not import store"),
        ("core/job.py", "from qdwell.config import Config", "core may not import config"),
        ("core/job.py", "from qdwell import clock", "core may not import clock"),
        ("core/job.py", "from ..store import x", "core may not import store"),
        ("wire/codec.py", "from qdwell.core.job import Job", "wire may not import core"),
        ("engine/engine.py", "import time", "time belongs to clock.py"),
        ("api/jobs.py", "from sqlalchemy import text", "SQL belongs to store/"),
        ("engine/loop.py", "import qiskit.qpy", "Qiskit belongs to"),
        ("core/queue.py", "import random", "chance belongs to"),
    ],
)
def test_a_breach_is_seen(file: str, text: str, said: str) -> None:
    found = breaches(Source(SRC / file, text, ast.parse(text)))
    assert any(said in breach for breach in found), found
