"""Requests without a pause, from a process of its own; what it is told comes on standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import httpx


async def main() -> None:
    """Ask until told to stop; print how often each status was answered."""
    told = json.loads(sys.stdin.readline())
    seen: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=told["url"], timeout=60) as http:
        wanted = [each for each in told["asked"] for _ in range(told["connections"])]
        begun = asyncio.Barrier(len(wanted) + 1)
        asking = [
            asyncio.ensure_future(_ask(http, told["headers"], each, seen, begun)) for each in wanted
        ]
        await begun.wait()
        _say("going")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        _say(json.dumps(seen))
        for each in asking:
            each.cancel()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _ask(
    http: httpx.AsyncClient,
    headers: dict[str, str],
    asked: Any,
    seen: Counter[int],
    begun: asyncio.Barrier,
) -> None:
    method, path, body = asked
    first = True
    while True:
        answer = await http.request(method, path, headers=headers, content=body.encode())
        seen[answer.status_code] += 1
        if first:  # all have had an answer when the flood is said to be going
            await begun.wait()
        first = False


if __name__ == "__main__":
    asyncio.run(main())
