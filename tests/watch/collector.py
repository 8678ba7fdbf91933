"""A receiver of OTLP over HTTP: a process of its own that prints each span as a line of JSON.

It reads the published protobuf messages, and refuses what a real collector refuses: other paths,
other content types, bodies that are no `ExportTraceServiceRequest`.
"""

from __future__ import annotations

import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


def spans_of(body: bytes) -> list[dict[str, object]]:
    """Every span of a request, with what a test asks of it.

    Raises:
        DecodeError: it is not one.
    """
    found: list[dict[str, object]] = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = {it.key: it.value.string_value for it in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {
                    it.key: it.value.int_value
                    if it.value.HasField("int_value")
                    else it.value.string_value
                    for it in span.attributes
                }
                found.append(
                    {
                        "service": service.get("service.name"),
                        "name": span.name,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                        "attributes": attributes,
                        "status": span.status.code,
                        "said": span.status.message,
                    }
                )
    return found


class Receiver(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_POST(self) -> None:
        """Take spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        kind = self.headers.get("Content-Type")
        if self.path != "/v1/traces" or kind != "application/x-protobuf":
            self.send_error(404 if self.path != "/v1/traces" else 415)
            return
        try:
            spans = spans_of(body)
        except DecodeError:
            self.send_error(400)
            return
        for span in spans:
            sys.stdout.write(json.dumps(span) + "\n")
            sys.stdout.flush()
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing: what is printed are spans."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
