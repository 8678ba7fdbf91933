"""A server that answers everything from memory, to measure what a client costs by itself.

It passes each request on to a real server once, keeps the answer, and gives the same one from then
on: no decision, no commit, no run. What a client takes against it is the least that it can take
against any server, so a ratio measured on a slow machine can be told from a slow server.

    python bench/_canned.py URL        prints its own port, serves until it is ended
"""

from __future__ import annotations

import asyncio
import re
import sys
import urllib.error
import urllib.request

import uvloop

_JOB = re.compile(r"/jobs/[^/?]+")
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Canned:
    """Remembers answers by method and path; every job is the first one."""

    def __init__(self, real: str) -> None:
        self._real = real
        self._kept: dict[str, bytes] = {}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                lower = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(lower.get("content-length", 0)))
                method, path, _ = head[0].split(" ")
                key = f"{method} {_JOB.sub('/jobs/ID', path)}"
                answer = self._kept.get(key)
                if answer is None:
                    answer = await asyncio.to_thread(self._ask, method, path, headers, body)
                    if b'"Running"' not in answer and b'"Queued"' not in answer:
                        self._kept[key] = answer
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        passed = {n: v for n, v in headers.items() if n.lower() not in {*_HOP, "host"}}
        url = self._real + path
        request = urllib.request.Request(url, body or None, passed, method=method)
        try:
            reply = urllib.request.urlopen(request)
        except urllib.error.HTTPError as refused:
            reply = refused
        content = reply.read()
        lines = [f"HTTP/1.1 {reply.status} Canned"]
        lines += [f"{n}: {v}" for n, v in reply.headers.items() if n.lower() not in _HOP]
        lines += [f"content-length: {len(content)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + content


async def _serve(real: str) -> None:
    server = await asyncio.start_server(Canned(real).talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1].rstrip("/")))
