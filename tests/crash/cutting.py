"""A proxy between the stock client and a server, that cuts connections as badly run ones do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Cutting(ThreadingHTTPServer):
    """Passes requests on to a port. The first submission is sent, its connection is closed before
    its answer is there, and the client is told 502.

    Args:
        port: of the server.
        before, after: called before it is sent, and when its connection is closed.
    """

    daemon_threads = True

    def __init__(self, port: int, before: Callable[[], Any], after: Callable[[], Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = port
        self.before, self.after = before, after
        self.posts = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cutting

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name: it for name, it in self.headers.items() if name.lower() not in _HOP}
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        try:
            submission = self.command == "POST" and self.path.rstrip("/").endswith("/jobs")
            self.server.posts += submission
            first = submission and self.server.posts == 1
            if first:
                self.server.before()
            upstream.request(self.command, self.path, body=body, headers=headers)
            if first:
                threading.Event().wait(0.5)  # it is to be read; its commit waits
                upstream.close()
                self.server.after()
                self._answer(502, {}, b"bad gateway")
                return
            answer = upstream.getresponse()
            kept = {name: it for name, it in answer.getheaders() if name.lower() not in _HOP}
            self._answer(answer.status, kept, answer.read())
        finally:
            upstream.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, it in headers.items():
            self.send_header(name, it)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _pass  # noqa: N815  the base names them
