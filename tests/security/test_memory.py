"""A server that the operator gave little memory says so, and goes on."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import pytest

from security.conftest import BASE, Person, Target, status

MIB = 2**20
NOTHING = 0  # was answered: the connection ended first

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit and /proc")


def taken(pid: int) -> int:
    """The address space of a process, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def test_a_request_for_which_there_is_no_memory_comes_again(
    target: Target, mallory: Person
) -> None:
    """It is 503, which the stock client repeats: not a fault of the request, nor one of E29."""
    pid = target.process.pid
    content = {"program_id": "none", "params": {"pubs": ["x" * 5_900_000]}}
    body = json.dumps(content).encode()
    head = f"POST {BASE}/jobs HTTP/1.1\r\nHost: q\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in mallory.headers.items())
    asked = head.encode() + b"\r\n" + body
    assert status(target.raw(asked)) == 404
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    told = set()
    for room in (1, 2, 4, 6, 8, 12, 16, 24):
        resource.prlimit(pid, resource.RLIMIT_AS, (taken(pid) + room * MIB, hard))
        try:
            told.add(status(target.raw(asked)))
        finally:
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))
    assert 503 in told
    assert told <= {503, 404, NOTHING}
    assert status(target.raw(asked)) == 404
    target.seen = len(target.log.read_text(errors="replace"))  # it was logged, and rightly
