"""TLS as an operator switches it on: both clients, the files that it changes, and hostile peers."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from qdwell import QiskitRuntimeService, SamplerV2
from qdwell.client.errors import InvalidAccountError, ServerUnreachable
from qdwell.client.transport import Request, Transport
from qdwell.clock import stopwatch_ns
from security.conftest import SECOND
from security.payloads import bell
from security.served import ONE_MACHINE, Certificates, Served, certificates, served

CONFIG = "[server]\nheader_seconds_max = 2\n" + ONE_MACHINE

STOCK = """
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import QiskitRuntimeService, SamplerV2
service = QiskitRuntimeService()
circuit = QuantumCircuit(1)
circuit.x(0)
circuit.measure_all()
job = SamplerV2(service.backend("machine")).run([circuit], shots=7)
print(sum(job.result()[0].data.meas.get_counts().values()))
"""


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(trust: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    files = ("--tls-cert", str(trust.chain), "--tls-key", str(trust.key))
    with served(tmp_path_factory.mktemp("tls"), CONFIG, *files) as made:
        yield made


def test_every_address_that_is_told_is_https(server: Served) -> None:
    """On the screen, in the credentials file, and by `qdwell env`."""
    assert server.url.startswith("https://127.0.0.1:")
    lines = server.lines()
    assert lines["IAM_URL"] == server.url
    assert all(lines[it].startswith(server.url) for it in lines if it.endswith("_URL"))
    command = [sys.executable, "-m", "qdwell", "env", "--data-dir", str(server.folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert told == (server.folder / "credentials.env").read_text()


def test_the_stock_client_runs_unmodified(server: Served, trust: Certificates) -> None:
    """With the lines, and REQUESTS_CA_BUNDLE for an authority of one's own."""
    told = subprocess.run(
        [sys.executable, "-c", STOCK],
        env={**os.environ, **server.lines(), "REQUESTS_CA_BUNDLE": str(trust.bundle)},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert told.stdout.strip() == "7", told.stderr[-3000:]


@pytest.mark.parametrize("named", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_our_client_runs(
    server: Served, trust: Certificates, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With either name of the authority's file."""
    monkeypatch.setenv(named, str(trust.bundle))
    lines = server.lines()
    service = QiskitRuntimeService(
        url=lines["QISKIT_IBM_URL"],
        token=lines["QISKIT_IBM_TOKEN"],
        instance=lines["QISKIT_IBM_INSTANCE"],
    )
    try:
        job = SamplerV2(service.backend("machine")).run([bell()], shots=9)
        assert job.result()[0].data.meas.num_shots == 9
    finally:
        service.close()


def test_a_certificate_that_is_not_trusted_is_told_at_once(
    server: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is no server that restarts, so nobody waits; and the token was not sent."""
    asked = Request("GET", "/jobs")
    with pytest.raises(ServerUnreachable, match="REQUESTS_CA_BUNDLE"):
        Transport(server.url, "token").send(asked)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        port = plain.getsockname()[1]
        url = f"https://127.0.0.1:{port}"
        transport = Transport(url, "token", patience_s=0.0)
        with pytest.raises(ServerUnreachable):
            _against_http(plain, transport, asked)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(InvalidAccountError, match="REQUESTS_CA_BUNDLE names"):
        Transport(server.url, "token")


def _against_http(plain: socket.socket, transport: Transport, asked: Request) -> None:
    import threading

    def answer() -> None:
        peer, _ = plain.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        transport.send(asked)
    finally:
        thread.join()


def test_browsers_are_told_to_come_back_encrypted(server: Served, trust: Certificates) -> None:
    """HSTS on pages and on the API, and a cookie that never travels in the clear."""
    with httpx.Client(base_url=server.url, verify=trust.context()) as http:
        for path in ("/healthz", "/sign-in", "/api/v1/jobs", "/nothing"):
            assert "max-age=" in http.get(path).headers["strict-transport-security"], path
        form = {"token": server.lines()["QISKIT_IBM_TOKEN"]}
        cookie = http.post("/sign-in", data=form).headers["set-cookie"]
    assert "; Secure" in cookie
    assert "; HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_old_protocols_and_plain_http_get_nothing(server: Served, trust: Certificates) -> None:
    """Neither an answer in the clear, nor a handshake that is known to be weak."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: q\r\n\r\n")
        assert b"HTTP" not in _all(plain)
    weak = trust.context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        weak.minimum_version = ssl.TLSVersion.TLSv1
        weak.maximum_version = ssl.TLSVersion.TLSv1_1
    weak.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as plain,
        pytest.raises(OSError, match="(?i)alert|protocol|version|EOF|reset"),
    ):
        weak.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_handshake_that_does_not_come_is_cut_off(server: Served) -> None:
    """As headers are, after `header_seconds_max`: silence, half a hello, and rubbish."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    for sent in (b"", hello, b"\x00" * 100, hello + b"\xff" * 600):
        began = stopwatch_ns()
        with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
            sock.sendall(sent)
            _all(sock)
        assert stopwatch_ns() - began < 12 * SECOND, sent


def test_bounds_of_connections_hold_inside_of_tls(server: Served, trust: Certificates) -> None:
    """Headers that never end are cut off, and what is no HTTP gets a 400."""
    for sent, code in ((b"GET /healthz HTTP/1.1\r\nX: ", b"408"), (b"\x00\x01\r\n\r\n", b"400")):
        began = stopwatch_ns()
        with (
            socket.create_connection(("127.0.0.1", server.port), 20) as plain,
            trust.context().wrap_socket(plain, server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall(sent)
            assert code in _all(sock).split(b"\r\n")[0]
        assert stopwatch_ns() - began < 12 * SECOND


def test_a_hangup_renews_the_certificate(server: Served, trust: Certificates) -> None:
    """New connections see it, open ones go on, and a broken file changes nothing."""
    before = _certificate(server, trust)
    with httpx.Client(base_url=server.url, verify=trust.context()) as open_one:
        assert open_one.get("/healthz").status_code == 200
        trust.issue()
        assert _certificate(server, trust) == before
        _hang_up(server, "certificate renewed")
        after = _certificate(server, trust)
        assert after != before
        assert open_one.get("/healthz").status_code == 200
    good = trust.key.read_bytes()
    trust.key.write_text("half a fi")
    _hang_up(server, "certificate not renewed")
    trust.key.write_bytes(good)
    assert _certificate(server, trust) == after


def _hang_up(server: Served, words: str) -> None:
    """Send the signal, and wait until the server has said what came of it."""
    server.process.send_signal(signal.SIGHUP)
    began = stopwatch_ns()
    while words not in server.log.read_text():
        assert stopwatch_ns() - began < 20 * SECOND
        with socket.create_connection(("127.0.0.1", server.port), 10):
            pass  # the loop takes a turn


def _certificate(server: Served, trust: Certificates) -> bytes | None:
    with (
        socket.create_connection(("127.0.0.1", server.port), 10) as plain,
        trust.context().wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        return sock.getpeercert(binary_form=True)


def _all(sock: socket.socket) -> bytes:
    found = b""
    try:
        while piece := sock.recv(65_536):
            found += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return found
