"""A server that may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.served import Served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A folder to serve; nothing is started yet, and whatever is started ends with the test."""
    it = Served(tmp_path)
    yield it
    it.kill()
