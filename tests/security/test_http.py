"""Malformed HTTP over raw sockets: each a 4xx or a closed connection, never a 5xx or a hang."""

from __future__ import annotations

import select
import socket
import threading

import pytest

from qdwell.clock import stopwatch_ns
from security.conftest import SECOND, Target, heard, status

GET = b"GET /healthz HTTP/1.1\r\nHost: q\r\n"
POST = b"POST /identity/token HTTP/1.1\r\nHost: q\r\n"

BROKEN: dict[str, bytes] = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
    "binary": bytes(range(256)) * 4,
    "no method": b" / HTTP/1.1\r\nHost: q\r\n\r\n",
    "unknown method": b"EAT /healthz HTTP/1.1\r\nHost: q\r\n\r\n",
    "method in small letters": b"get /healthz HTTP/1.1\r\nHost: q\r\n\r\n",
    "HTTP 9": b"GET /healthz HTTP/9.9\r\nHost: q\r\n\r\n",
    "two content lengths": POST + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
    "two equal content lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "length and chunks": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "hidden transfer encoding": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "length with a plus": POST + b"Content-Length: +5\r\n\r\nhello",
    "length in words": POST + b"Content-Length: five\r\n\r\nhello",
    "length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "length of 9 exabytes": POST + b"Content-Length: 9223372036854775807\r\n\r\n",
    "chunk size in words": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": POST
    + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "negative chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "NUL in a header": GET + b"X: a\x00b\r\n\r\n",
    "NUL in a header's name": GET + b"X\x00: a\r\n\r\n",
    "a line feed in a header": GET + b"X: a\nSet-Cookie: b\r\n\r\n",
    "a folded header": GET + b"X: a\r\n  b\r\n\r\n",
    "a header without colon": GET + b"nonsense\r\n\r\n",
    "a header without name": GET + b": x\r\n\r\n",
    "a target in UTF-8": "GET /ö HTTP/1.1\r\nHost: q\r\n\r\n".encode(),
    "a target in bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: q\r\n\r\n",
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: q\r\n\r\n",
    "a target without a slash": b"GET healthz HTTP/1.1\r\nHost: q\r\n\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\nHost: q\r\n\r\n",
    "a URL that cannot be parsed": b"GET http://[::1 HTTP/1.1\r\nHost: q\r\n\r\n",
    "a target of another host": b"GET http://evil.example/../.. HTTP/1.1\r\nHost: q\r\n\r\n",
    "CONNECT": b"CONNECT internal:22 HTTP/1.1\r\nHost: q\r\n\r\n",
    "TRACE": b"TRACE /healthz HTTP/1.1\r\nHost: q\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long target": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: q\r\n\r\n",
    "a long query": b"GET /healthz?" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: q\r\n\r\n",
    "a long header": GET + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    "a long header's name": GET + b"X" * 200_000 + b": a\r\n\r\n",
    "many headers": GET + b"".join(b"X-%d: a\r\n" % n for n in range(20_000)) + b"\r\n",
    "long trailers": POST
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    + b"".join(b"X-%d: a\r\n" % n for n in range(20_000))
    + b"\r\n",
    "a long chunk extension": POST
    + b"Transfer-Encoding: chunked\r\n\r\n5;"
    + b"a" * 200_000
    + b"\r\nhello\r\n0\r\n\r\n",
    "an upgrade": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}
MAY_BE_SERVED = {  # each is legal, and means something harmless
    "an upgrade",
    "length of 9 exabytes",
    "two equal content lengths",
    "a folded header",
    "a target of another host",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_http_is_refused(target: Target, name: str) -> None:
    """One answer at most, with a 4xx; what the server cannot read it closes."""
    answer = target.raw(BROKEN[name])
    code = status(answer)
    if name in MAY_BE_SERVED:
        assert code == 200 or 400 <= code < 500, answer[:300]
    else:
        assert code == 0 or 400 <= code < 500, answer[:300]
    assert answer.count(b"HTTP/1.1") <= 1, "a second request was smuggled in"
    assert b"Traceback" not in answer


def test_headers_that_never_end_are_cut_off(target: Target) -> None:
    """A client that dribbles its headers is closed after `header_seconds_max`."""
    began = stopwatch_ns()
    with target.connect() as sock:
        sock.sendall(GET)
        for n in range(100):
            try:
                sock.sendall(b"X-%d: a\r\n" % n)
            except OSError:
                break
            if select.select([sock], [], [], 0.1)[0]:
                break
        sock.settimeout(5)
        answer = heard(sock)
    assert stopwatch_ns() - began < 8 * SECOND
    assert status(answer) in (0, 408)


def test_a_body_that_never_ends_is_cut_off(target: Target) -> None:
    """A body of which nothing comes for `idle_seconds_max` is closed, with a 408."""
    with target.connect() as sock:
        sock.sendall(POST + b"Content-Length: 1000\r\n\r\napi")
        began = stopwatch_ns()
        answer = heard(sock)
    assert stopwatch_ns() - began < 8 * SECOND
    assert status(answer) in (0, 408)


def test_a_body_that_comes_byte_by_byte_is_cut_off(target: Target) -> None:
    """One that keeps coming, but far too slowly, ends as well."""
    with target.connect() as sock:
        sock.sendall(POST + b"Content-Length: 16000\r\n\r\n")
        began = stopwatch_ns()
        while stopwatch_ns() - began < 20 * SECOND:
            try:
                sock.sendall(b"a")
            except OSError:
                break
            if select.select([sock], [], [], 0.2)[0]:
                break
        answer = heard(sock)
    assert stopwatch_ns() - began < 20 * SECOND
    assert status(answer) in (0, 408)


def test_connections_that_say_nothing_keep_nobody_out(target: Target) -> None:
    """Hundreds of silent connections: others are served meanwhile, and the silent are closed."""
    idle = []
    try:
        for _ in range(600):
            try:
                idle.append(target.connect(5))
            except OSError:
                break
        target.well()
        began = stopwatch_ns()
        for sock in idle:
            sock.settimeout(10)
            assert heard(sock) == b""
        assert stopwatch_ns() - began < 15 * SECOND
    finally:
        for sock in idle:
            sock.close()


def test_a_reader_that_does_not_read_is_cut_off(target: Target) -> None:
    """Answers that nobody takes do not pile up: the connection ends."""
    with target.connect(90) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: q\r\n\r\n" * 2_000
        ended = threading.Event()

        def push() -> None:
            try:
                sock.sendall(asked)
                while True:
                    sock.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: q\r\n\r\n")
            except (ConnectionResetError, BrokenPipeError):  # our own patience ends nothing
                ended.set()

        threading.Thread(target=push, daemon=True).start()
        assert ended.wait(60), "the server keeps the connection"


def test_a_client_that_leaves_in_the_middle_costs_nothing(target: Target) -> None:
    """Connections reset in the middle of a request or of an answer."""
    for n in range(200):
        with target.connect() as sock:
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )
            sock.sendall((GET + b"\r\n")[: 5 + n % 40])
    assert status(target.raw(GET + b"\r\n")) == 200


def test_a_flood_of_pipelined_requests_is_served_in_order(target: Target) -> None:
    """A thousand requests in one packet get a thousand answers, or a closed connection."""
    with target.connect(20) as sock:
        sock.sendall((GET + b"\r\n") * 1_000)
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while piece := sock.recv(1 << 20):
            found += piece
    assert b" 5" not in found.split(b"\r\n", 1)[0]


def test_a_long_pipeline_is_not_a_long_head(target: Target) -> None:
    """A piece of many whole requests that ends within a head is none of 64 kB (431)."""
    request, count = GET + b"X: " + b"a" * 967 + b"\r\n\r\n", 1_000
    with target.connect(60) as sock:
        sender = threading.Thread(target=sock.sendall, args=(request * count,))
        sender.start()
        found = b""
        while found.count(b"HTTP/1.1 200 ") < count and (piece := sock.recv(1 << 20)):
            found += piece
        sender.join(60)
    assert found.count(b"HTTP/1.1 200 ") == count
