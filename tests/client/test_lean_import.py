"""`import qdwell` brings the client and what it needs, and nothing of the server."""

from __future__ import annotations

import subprocess
import sys

_PRINT = """
import sys
import qiskit.primitives, qiskit.transpiler, http.client, orjson
before = set(sys.modules)
import qdwell
for name in qdwell.__all__:
    getattr(qdwell, name)
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(" ".join(sorted(new - set(sys.stdlib_module_names))))
print(" ".join(sorted({name.split(".")[1] for name in sys.modules if name.startswith("qdwell.")})))
print(" ".join(sorted(set(sys.modules) & {"asyncio", "rich", "pydantic", "qiskit_aer"})))
"""

#: All packages beside the standard library's, once every public name is loaded: Qiskit's, and what
#: Qiskit itself imports for its primitives, and a JSON library.
PACKAGES = {
    "dill", "numpy", "orjson", "qdwell", "qiskit", "rustworkx", "scipy", "stevedore",
    "typing_extensions",
}  # fmt: skip
_ALL = """
import sys, qdwell
for name in qdwell.__all__:
    getattr(qdwell, name)
print(*{name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
"""
#: What an interpreter or a compiled extension adds to `sys.modules` without being a package.
_NO_PACKAGE = ("_cython", "_cyutility", "_sysconfigdata", "__m", "cython_runtime", "_virtualenv")


def printed(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")


def test_the_client_brings_only_what_it_needs() -> None:
    packages, floors, heavy, _ = printed(_PRINT)
    assert packages == "qdwell"
    assert floors == "client clock errors wire"
    assert heavy == ""


def test_the_list_of_packages_is_short() -> None:
    found = {name for name in printed(_ALL)[0].split() if not name.startswith(_NO_PACKAGE)}
    assert found == PACKAGES


def test_the_package_alone_brings_nothing_at_all() -> None:
    code = "import sys, qdwell; print('qiskit' in sys.modules, 'numpy' in sys.modules)"
    assert printed(code)[0] == "False False"


def test_every_public_name_is_there() -> None:
    code = (
        "import qdwell; print([n for n in qdwell.__all__ if not hasattr(qdwell, n)], dir(qdwell))"
    )
    missing, _, listed = printed(code)[0].partition("]")
    assert missing == "["
    assert "QiskitRuntimeService" in listed
