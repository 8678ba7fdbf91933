"""The interpreter of a server: it changes hands quickly, and seldom looks for garbage."""

from __future__ import annotations

import gc
import inspect
import sys

from qdwell.api import server, sharing


def test_a_server_sets_its_interpreter() -> None:
    """A commit of ten statements would wait ten times five milliseconds for a busy loop."""
    before, threshold = sys.getswitchinterval(), gc.get_threshold()
    try:
        server.tune()
        assert sys.getswitchinterval() <= 0.001
        assert gc.get_threshold()[0] >= 10_000
    finally:
        sys.setswitchinterval(before)
        gc.set_threshold(*threshold)
    # It concerns the whole process, so a server in a test's process must not do it.
    assert "    tune()\n" in inspect.getsource(server.serve)
    assert "gc.freeze()" in inspect.getsource(sharing)
