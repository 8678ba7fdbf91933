"""The head of an answer and what follows it at once leave together, and in order."""

from __future__ import annotations

import asyncio

import pytest

from qdwell.api.protocol import JOINED_BYTES_MAX, Joining

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Line(asyncio.Transport):
    """A connection that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
def line() -> Line:
    return Line()


async def test_a_small_answer_is_one_write(line: Line) -> None:
    joined = Joining(line)
    joined.write(HEAD)
    assert line.sent == []
    joined.write(b"{}")
    assert line.sent == [HEAD + b"{}"]
    joined.write(b"more")
    await asyncio.sleep(0)
    assert line.sent == [HEAD + b"{}", b"more"]


async def test_a_head_that_nothing_follows_leaves_in_the_next_step(line: Line) -> None:
    """A stream of events is seen to be open before its first event."""
    Joining(line).write(HEAD)
    await asyncio.sleep(0)
    assert line.sent == [HEAD]


async def test_what_is_long_is_not_copied(line: Line) -> None:
    joined, body = Joining(line), bytes(JOINED_BYTES_MAX + 1)
    joined.write(HEAD)
    joined.write(body)
    assert [len(it) for it in line.sent] == [len(HEAD), len(body)]
    assert line.sent[1] is body


async def test_closing_sends_what_is_kept_and_nothing_is_written_behind_it(line: Line) -> None:
    joined = Joining(line)
    joined.write(HEAD)
    joined.close()
    assert (line.sent, line.closed) == ([HEAD], True)
    await asyncio.sleep(0)
    assert line.sent == [HEAD]


async def test_a_connection_that_broke_is_not_written_to(line: Line) -> None:
    joined = Joining(line)
    joined.write(HEAD)
    line.closed = True
    await asyncio.sleep(0)
    assert line.sent == []


async def test_a_body_that_looks_like_a_head_is_sent_whole(line: Line) -> None:
    """Keeping it is harmless: it leaves in the next step, in its place."""
    joined = Joining(line)
    joined.write(HEAD)
    joined.write(HEAD)
    joined.write(HEAD)
    joined.write(b"end")
    assert b"".join(line.sent) == HEAD * 3 + b"end"


async def test_everything_else_is_the_transports(line: Line) -> None:
    assert Joining(line).is_closing() is False
