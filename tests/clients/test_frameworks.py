"""Libraries that take a primitive take ours: PennyLane, qiskit-algorithms, mitiq; and Jupyter."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.running import Running
from clients.conftest import checks, drive

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def found(running: Running) -> dict[str, str]:
    """What the driver found, by check."""
    return drive("frameworks", "frameworks", running, {"PYTHONPATH": str(SRC)})


@pytest.mark.timeout(700)
@pytest.mark.parametrize("check", checks("frameworks"))
def test_it_drives_our_primitives(check: str, found: dict[str, str]) -> None:
    assert found[check] == ""
