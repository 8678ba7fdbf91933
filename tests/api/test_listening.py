"""The address and the certificate: every mistake is a sentence at the start, and names its file."""

from __future__ import annotations

import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from qdwell.api import listening
from qdwell.config import Config, Server
from qdwell.errors import ConfigError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good.pem and good.key, other.key, both.pem, locked.key, junk.pem."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    good, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("localhost")
    (folder / "good.pem").write_bytes(b"".join(it.bytes() for it in good.cert_chain_pems))
    (folder / "good.key").write_bytes(good.private_key_pem.bytes())
    (folder / "both.pem").write_bytes(good.private_key_and_cert_chain_pem.bytes())
    (folder / "other.key").write_bytes(other.private_key_pem.bytes())
    (folder / "junk.pem").write_text("hello\n")
    key = serialization.load_pem_private_key(good.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (folder / "locked.key").write_bytes(locked)
    return folder


@pytest.mark.parametrize(
    ("certificate", "key", "setting", "words"),
    [
        ("none.pem", "good.key", "tls_cert", "none.pem cannot be read: No such file"),
        ("good.pem", "none.key", "tls_key", "none.key cannot be read: No such file"),
        (".", "good.key", "tls_cert", "cannot be read: Is a directory"),
        ("good.pem", "other.key", "tls_key", "other.key does not belong to the certificate in"),
        ("good.pem", "locked.key", "tls_key", "locked.key is encrypted"),
        ("junk.pem", "good.key", "tls_cert", "junk.pem holds no certificate in PEM form"),
        ("good.pem", "junk.pem", "tls_key", "junk.pem holds no private key in PEM form"),
        ("good.pem", None, "tls_key", "good.pem holds no private key in PEM form"),
        (None, "good.key", "tls_key", "has no meaning without server.tls_cert"),
    ],
)
def test_a_bad_certificate_is_named(
    files: Path, certificate: str | None, key: str | None, setting: str, words: str
) -> None:
    """Which file, of which setting, and why; and nobody is asked for a password."""
    named = [it and str(files / it) for it in (certificate, key)]
    with pytest.raises(ConfigError) as caught:
        listening.context_of(Server(tls_cert=named[0], tls_key=named[1]))
    assert caught.value.key == f"server.{setting}"
    assert words in caught.value.why


def test_a_good_certificate_speaks_tls_from_1_2_on(files: Path) -> None:
    """In two files or in one."""
    for server in (
        Server(tls_cert=str(files / "good.pem"), tls_key=str(files / "good.key")),
        Server(tls_cert=str(files / "both.pem")),
    ):
        context = listening.context_of(server)
        assert context is not None
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert listening.context_of(Server()) is None


def test_a_renewal_that_fails_leaves_the_certificate_that_is_there(
    files: Path, tmp_path: Path
) -> None:
    """The context still serves; the next renewal may be better."""
    kept = tmp_path / "both.pem"
    kept.write_bytes((files / "both.pem").read_bytes())
    server = Server(tls_cert=str(kept))
    context = listening.context_of(server)
    assert context is not None
    kept.write_text("half a fi")
    with pytest.raises(ConfigError):
        listening.load_certificate(context, server)
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    asked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asked.check_hostname, asked.verify_mode = False, ssl.CERT_NONE
    client = asked.wrap_bio(ours, theirs)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(theirs, ours, server_side=True).do_handshake()
    with pytest.raises(ssl.SSLWantReadError):  # it has the certificate, and waits for the rest
        client.do_handshake() or client.read()


EVERYWHERE = ("0.0.0.0", "::", "::ffff:0.0.0.0")


@pytest.mark.parametrize("host", EVERYWHERE)
def test_beyond_loopback_plain_http_is_refused(files: Path, host: str) -> None:
    """Unless there is TLS, or the operator says that something else encrypts."""
    server = Server(host=host, port=0)
    with pytest.raises(ConfigError, match="--plain-http-beyond-loopback") as caught:
        listening.bind(server)
    assert (caught.value.key, "tokens" in caught.value.why) == ("server.host", True)
    for allowed in (
        replace(server, plain_http_beyond_loopback=True),
        replace(server, tls_cert=str(files / "both.pem")),
    ):
        listening.bind(allowed).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.8.8", "::1"])
def test_loopback_needs_nothing(host: str) -> None:
    """Nobody else hears what is said there."""
    with listening.bind(Server(host=host, port=0)) as listener:
        assert listener.getsockname()[1] > 0


def test_an_address_that_is_taken_or_unknown_is_a_sentence() -> None:
    """With the setting, and what to try."""
    with listening.bind(Server(port=0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="try another"):
            listening.bind(Server(port=port))
    with pytest.raises(ConfigError, match="cannot bind no.such.host.invalid"):
        listening.bind(Server(host="no.such.host.invalid"))


def test_urls_say_https_with_a_certificate(files: Path) -> None:
    """The one that users are told, and the one for other servers."""
    server = Server(host="0.0.0.0", port=0, tls_cert=str(files / "both.pem"))
    with listening.bind(server) as listener:
        assert listening.url(server, listener).startswith("https://0.0.0.0:")
        assert listening.peer_url(server, listener).startswith("https://")
        named = replace(server, peer_url="https://a.lab:1")
        assert listening.peer_url(named, listener) == "https://a.lab:1"


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--tls-cert", "none.pem"]])
def test_the_command_refuses_at_once_with_one_line(tmp_path: Path, arguments: list[str]) -> None:
    """Before anything is loaded or made."""
    told = subprocess.run(
        [sys.executable, "-m", "qdwell", "serve", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert told.returncode == 1, told
    assert len(told.stderr.splitlines()) == 1
    assert "setting server." in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_setting_is_read_from_the_file(tmp_path: Path) -> None:
    """By the same name as the option."""
    path = tmp_path / "q.toml"
    path.write_text("[server]\nplain_http_beyond_loopback = true\n")
    assert Config.load(path).server.plain_http_beyond_loopback
