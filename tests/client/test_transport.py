"""The transport against a server that misbehaves: each of its answers is scripted."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qdwell import IBMNotAuthorizedError, InvalidAccountError, RequestsApiError, ServerUnreachable
from qdwell.client.transport import Request, Transport, loads, path_of

Answer = bytes | None  #: what is sent; None hangs up instead


def http(status: int, body: Any = None, **headers: str) -> bytes:
    text = b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(text)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


class Cut(bytes):
    """The beginning of an answer; then the server hangs up."""


TOKEN = http(200, {"access_token": "a", "expires_in": 3600})


class Scripted:
    """A server that gives these answers, one after the other, and notes what it was asked."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.answers: list[Answer] = []
        self.asked: list[str] = []
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with link:
                self._talk(link)

    def _talk(self, link: socket.socket) -> None:
        while True:
            request = b""
            while b"\r\n\r\n" not in request:
                part = link.recv(65_536)
                if not part:
                    return
                request += part
            head, _, body = request.partition(b"\r\n\r\n")
            length = int(dict(_headers(head)).get("content-length", 0))
            while len(body) < length:
                body += link.recv(65_536)
            self.asked.append(head.decode().split("\r\n")[0])
            answer = self.answers.pop(0) if self.answers else http(500)
            if answer is None:
                return
            link.sendall(answer)
            if isinstance(answer, Cut) or b"Connection: close" in answer:
                return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends a wait for the next connection
        self._listener.close()


def _headers(head: bytes) -> Iterator[tuple[str, str]]:
    for line in head.decode().split("\r\n")[1:]:
        name, _, value = line.partition(":")
        yield name.lower(), value.strip()


@pytest.fixture
def server() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.close()


@pytest.fixture
def transport(server: Scripted) -> Iterator[Transport]:
    made = Transport(f"http://127.0.0.1:{server.port}/lab/", "secret", "crn", patience_s=3)
    server.answers.append(TOKEN)
    yield made
    made.close()


def test_a_request_carries_the_prefix_and_asks_for_a_token_once(
    server: Scripted, transport: Transport
) -> None:
    server.answers += [http(200, {"n": 1}), http(200, {"n": 2})]
    assert transport.send(Request("GET", "/x", query=(("a", "b c"),))).json() == {"n": 1}
    assert transport.send(Request("GET", path_of("y", "a/b"))).json() == {"n": 2}
    assert server.asked == [
        "POST /lab/identity/token HTTP/1.1",
        "GET /lab/api/v1/x?a=b+c HTTP/1.1",
        "GET /lab/api/v1/y/a%2Fb HTTP/1.1",
    ]
    assert server.connections == 1


@pytest.mark.parametrize("bad", [None, http(503), http(502), http(429, Retry_After="0")])
def test_what_only_reads_is_repeated(server: Scripted, transport: Transport, bad: Answer) -> None:
    server.answers += [bad, bad, http(200, {})]
    assert transport.send(Request("GET", "/x")).status == 200
    assert len(server.asked) == 4


def test_an_answer_that_was_cut_anywhere_is_none(
    server: Scripted, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its head too, where the end of the stream could be taken for the end of the head."""
    monkeypatch.setattr("qdwell.client.transport.PAUSES_S", (0.0,))
    whole = http(200, {"a": 1}, Content_Type="application/json")
    server.answers = [TOKEN]
    for length in range(len(whole)):
        server.answers += [Cut(whole[:length]), whole]
        assert transport.send(Request("GET", "/jobs")).json() == {"a": 1}
    assert server.connections == len(whole) + 1


def test_what_changes_something_is_not_repeated_unless_it_may_be(
    server: Scripted, transport: Transport
) -> None:
    server.answers += [None]
    with pytest.raises(ServerUnreachable, match="Is the server running"):
        transport.send(Request("POST", "/x", b"{}"))
    assert len(server.asked) == 2
    server.answers += [None, http(200, {})]
    assert transport.send(Request("POST", "/x", b"{}", repeat=True)).status == 200


def test_a_connection_that_was_closed_meanwhile_is_not_used(
    server: Scripted, transport: Transport
) -> None:
    server.answers += [http(200, {}, Connection="close"), http(200, {})]
    transport.send(Request("POST", "/x", b"{}"))
    assert transport.send(Request("POST", "/x", b"{}")).status == 200
    assert server.connections == 2


def test_patience_ends(server: Scripted) -> None:
    server.close()
    transport = Transport(f"http://127.0.0.1:{server.port}", "secret", patience_s=0.2)
    with pytest.raises(ServerUnreachable, match="No answer") as failed:
        transport.send(Request("GET", "/x"))
    assert failed.value.status_code == -1


def test_who_cannot_serve_now_is_quoted(server: Scripted) -> None:
    """A full disk is not a server that does not run: its words are passed on."""
    transport = Transport(f"http://127.0.0.1:{server.port}", "secret", patience_s=0)
    item = {"message": "The disk is full.", "code": 9999, "solution": "Tell the operator."}
    server.answers += [TOKEN, http(503, {"errors": [item]})]
    with pytest.raises(ServerUnreachable, match="status 503. The disk is full. Tell") as failed:
        transport.send(Request("GET", "/x"))
    assert "running" not in str(failed.value)


def test_a_refused_token_is_renewed_once(server: Scripted, transport: Transport) -> None:
    server.answers += [http(401, {}), TOKEN.replace(b'"a"', b'"b"'), http(200, {})]
    assert transport.send(Request("GET", "/x")).status == 200
    server.answers += [http(401, {}), TOKEN, http(401, {"errors": [{"message": "No."}]})]
    with pytest.raises(IBMNotAuthorizedError, match="No."):
        transport.send(Request("GET", "/x"))


def test_an_error_carries_what_the_server_says(server: Scripted, transport: Transport) -> None:
    item = {"message": "Bad thing.", "code": 1208, "solution": "Do better."}
    server.answers += [http(400, {"errors": [item]}), http(404, "plain")]
    with pytest.raises(RequestsApiError, match="Bad thing. Do better. Error code: 1208") as failed:
        transport.send(Request("GET", "/x"))
    assert (failed.value.status_code, failed.value.code) == (400, 1208)
    assert failed.value.solution == "Do better."
    with pytest.raises(RequestsApiError, match="plain") as failed:
        transport.send(Request("GET", "/x"))
    assert failed.value.status_code == 404


def test_threads_have_connections_of_their_own(server: Scripted, transport: Transport) -> None:
    server.answers += [http(200, {})]
    transport.send(Request("GET", "/x"))
    idle = transport._idle.pop()  # as if another thread were waiting on it
    server.answers += [http(200, {})]
    done = threading.Thread(target=transport.send, args=(Request("GET", "/x"),))
    done.start()
    idle.close()
    done.join(5)
    assert not done.is_alive()
    assert server.connections == 2


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://"])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(InvalidAccountError, match="http"):
        Transport(url, "t")


def test_numbers_that_json_has_not_are_read() -> None:
    read: Callable[[bytes], Any] = loads
    assert read(b'{"a": Infinity}') == {"a": float("inf")}
