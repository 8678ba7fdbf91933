"""A crowd of clients in a process of its own: `python -m bench._crowd`, told what to do on stdin.

It speaks just enough HTTP to cost little: requests are bytes made beforehand, answers are counted
by their length. Each connection asks again as soon as it is answered, or after a pause; one that
listens to events notes when they come. What it has seen is printed as one line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvloop


class _Asker(asyncio.Protocol):
    """One connection that asks, and asks again."""

    def __init__(self, requests: Sequence[bytes], pause_s: float, seen: dict[str, Any]) -> None:
        self._requests = requests
        self._pause_s = pause_s
        self._seen = seen
        self._turn = 0
        self._asked_at = 0
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        """Ask for the first time."""
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if self._transport.is_closing():
            return
        self._asked_at = time.perf_counter_ns()
        self._transport.write(self._requests[self._turn % len(self._requests)])
        self._turn += 1

    def data_received(self, data: bytes) -> None:
        """Count an answer when it is whole."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        self._seen["ms"].append((time.perf_counter_ns() - self._asked_at) / 1e6)
        self._seen["failed"] += not head.startswith(b"HTTP/1.1 200")
        if self._pause_s:
            asyncio.get_running_loop().call_later(self._pause_s, self._ask)
        else:
            self._ask()


class _Listener(asyncio.Protocol):
    """One connection that listens, and notes when each job's end is told."""

    def __init__(self, request: bytes, seen: dict[str, Any]) -> None:
        self._request = request
        self._seen = seen

    def connection_made(self, transport: Any) -> None:
        """Ask once."""
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note what has ended."""
        for line in data.split(b"\n"):
            if line.startswith(b"data: ") and b'"Completed"' in line:
                ended = json.loads(line[6:])["id"]
                self._seen["ends"].setdefault(ended, []).append(time.perf_counter_ns())


async def _main() -> None:
    told = json.loads(sys.stdin.readline())
    loop = asyncio.get_running_loop()
    seen: dict[str, Any] = {"ms": [], "failed": 0, "ends": {}}
    for texts in told["askers"]:
        requests = [base64.b64decode(text) for text in texts]
        await loop.create_connection(
            lambda requests=requests: _Asker(requests, told["pause_s"], seen),
            told["host"],
            told["port"],
        )
    for text in told["listeners"]:
        request = base64.b64decode(text)
        await loop.create_connection(
            lambda request=request: _Listener(request, seen), told["host"], told["port"]
        )
    began = time.perf_counter_ns()
    seen["ms"].clear()
    print("going", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    took = (time.perf_counter_ns() - began) / 1e9
    times = sorted(seen["ms"])
    shares = (
        {f"p{p}": times[min(len(times) - 1, len(times) * p // 100)] for p in (50, 90, 99)}
        if times
        else {}
    )
    result = {"per_s": len(times) / took, "failed": seen["failed"], "ends": seen["ends"], **shares}
    print(json.dumps(result), flush=True)


@contextmanager
def crowd(
    host: str,
    port: int,
    *,
    askers: Sequence[Sequence[bytes]] = (),
    listeners: Sequence[bytes] = (),
    pause_s: float = 0.0,
) -> Iterator[dict[str, Any]]:
    """Let a crowd loose for as long as the block lasts; what it has seen is in the dict then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench._crowd"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    told = {
        "host": host,
        "port": port,
        "askers": [[text(raw) for raw in each] for each in askers],
        "listeners": [text(raw) for raw in listeners],
        "pause_s": pause_s,
    }
    seen: dict[str, Any] = {}
    try:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        if process.stdout.readline() != "going\n":
            raise RuntimeError("the crowd could not connect")
        yield seen
        process.stdin.write("stop\n")
        process.stdin.flush()
        seen.update(json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    uvloop.run(_main())
