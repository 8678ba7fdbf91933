"""The Python of the README, the quickstart, and two how-to pages, run as it is printed.

What a page leaves to its reader (which circuits) is put before the block that needs it.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from watch.served import serving

ROOT = Path(__file__).parents[2]
BACKENDS = """
[[backends]]
name = "aer_simulator"
[[backends]]
name = "fake_sherbrooke"
kind = "fake"
"""
MORE = "\ncircuits = [transpile(circuit, backend)] * 4\n"
pytestmark = pytest.mark.timeout(500)


def blocks(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Runs a program in the surroundings that `qdwell env` makes; returns what it prints."""
    folder = tmp_path_factory.mktemp("examples")
    with serving(folder, backends=BACKENDS):
        told = subprocess.run(
            [sys.executable, "-m", "qdwell", "env", "--data-dir", "data"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=100,
        ).stdout  # fmt: skip
        lines = dict(re.findall(r"^export (\w+)='?([^'\n]*)", told, re.MULTILINE))

        def run(text: str) -> str:
            (folder / "program.py").write_text(text)
            done = subprocess.run(
                [sys.executable, "program.py"], cwd=folder, env={**os.environ, **lines},
                capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout

        yield run


def test_the_readme(program: Callable[[str], str]) -> None:
    (text,) = blocks("README.md")
    counts = program(text)
    assert re.search(r"'00': \d+", counts)
    assert re.search(r"'11': \d+", counts)


def test_the_quickstart(program: Callable[[str], str]) -> None:
    job, session, batch = blocks("docs/quickstart.md")
    printed = program(job + session + MORE + batch + "print(len(results))\n").splitlines()
    assert re.search(r"'11': \d+", printed[0])
    assert printed[1].endswith("seconds of quantum time")
    assert printed[-1] == "4"


def test_a_noise_model_of_ones_own(program: Callable[[str], str]) -> None:
    """O18, O42: the counts are those of Aer with the same model and seed, as the page says."""
    (text,) = blocks("docs/how-to/device-models.md")
    more = (
        "from qiskit_aer import AerSimulator\n"
        "aer = AerSimulator(noise_model=model)\n"
        "print(aer.run(bell, shots=1000, seed_simulator=7).result().get_counts())\n"
    )
    ours, theirs = map(ast.literal_eval, program(text + more).splitlines())
    assert ours == theirs
    assert len(ours) == 4


def test_use_it_from_python(program: Callable[[str], str]) -> None:
    first, second, many = blocks("docs/how-to/python.md")
    inside = "import asyncio\nsampler = SamplerV2(mode=backend)\ncircuits = [bell] * 4\n" + many
    inside += "print(len(results))\n"
    whole = first + second + "async def main():\n" + textwrap.indent(inside, "    ")
    printed = program(whole + "import asyncio\nasyncio.run(main())\n")
    assert re.search(r"'11': \d+", printed)
    assert printed.splitlines()[-1] == "4"
