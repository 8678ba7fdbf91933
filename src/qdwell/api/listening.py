"""Where a server listens: the address, its certificate, and the rule about plain HTTP.

A token that crosses a network in the clear is anybody's. So an address that other machines reach
is served with TLS, or not at all, unless the operator says that something else encrypts: a proxy
before it, or a network of its own.

Nothing heavy is imported here: the command checks with it before it loads Qiskit.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from pathlib import Path

from qdwell.config import Server
from qdwell.errors import ConfigError


def check(server: Server) -> None:
    """Say in a sentence what is wrong with the address or the certificate, before it matters.

    Raises:
        ConfigError: names the setting.
    """
    context_of(server)
    bind(server).close()


def bind(server: Server) -> socket.socket:
    """The socket, bound and not yet listening.

    Raises:
        ConfigError: the address cannot be bound, or is not to be served in the clear.
    """
    host, port = server.host, server.port
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        _check_exposed(server, str(info[4][0]))
        listener = socket.socket(info[0], info[1])
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(info[4])
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        why = f"cannot bind {host} port {port}: {error.strerror or error}; try another, or --port 0"
        raise ConfigError("server.port", why) from None
    return listener


def _check_exposed(server: Server, address: str) -> None:
    allowed = server.tls_cert is not None or server.plain_http_beyond_loopback
    if allowed or ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return
    raise ConfigError(
        "server.host",
        f"{server.host} is reached from other machines, and without TLS everybody on the way reads "
        "the tokens. Give a certificate (--tls-cert FILE --tls-key FILE), or bind 127.0.0.1 and "
        "put a proxy with TLS before it; if something else encrypts already, say "
        "--plain-http-beyond-loopback",
    )


def context_of(server: Server) -> ssl.SSLContext | None:
    """What encrypts, TLS 1.2 or newer; None if the server is to speak plain HTTP.

    Raises:
        ConfigError: a file cannot be read, is no certificate or key, or they do not belong
            together.
    """
    if server.tls_cert is None:
        if server.tls_key is not None:
            raise ConfigError("server.tls_key", "has no meaning without server.tls_cert")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, server)
    return context


def load_certificate(context: ssl.SSLContext, server: Server) -> None:
    """Take the certificate and the key from their files; new connections are served with them.

    Raises:
        ConfigError: as `context_of`; the context goes on with what it had.
    """
    assert server.tls_cert is not None
    certificate = _pem("server.tls_cert", server.tls_cert)
    key = certificate
    if server.tls_key is not None:
        key = _pem("server.tls_key", server.tls_key)
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for it in (trial, context):  # a failure leaves a context without its certificate
        try:
            it.load_cert_chain(certificate, key, password=_no_password)
        except _Encrypted:
            raise ConfigError(
                "server.tls_key",
                f"{key} is encrypted, and nobody is there to ask for its password at a restart; "
                "decrypt it (openssl pkey), and protect it by its mode",
            ) from None
        except ssl.SSLError as error:
            raise _not_loaded(certificate, key, error) from None


def _not_loaded(certificate: Path, key: Path, error: ssl.SSLError) -> ConfigError:
    if error.reason == "KEY_VALUES_MISMATCH":
        why = f"the key in {key} does not belong to the certificate in {certificate}"
        return ConfigError("server.tls_key", why)
    if "BEGIN CERTIFICATE" not in certificate.read_text(encoding="latin-1"):
        return ConfigError("server.tls_cert", f"{certificate} holds no certificate in PEM form")
    if "PRIVATE KEY" not in key.read_text(encoding="latin-1"):
        return ConfigError("server.tls_key", f"{key} holds no private key in PEM form")
    told = f"{certificate} with {key} cannot be used: {error.reason or error}"
    return ConfigError("server.tls_cert", told)


class _Encrypted(Exception):
    """OpenSSL would ask the terminal for a password."""


def _no_password() -> str:
    raise _Encrypted


def _pem(setting: str, name: str) -> Path:
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(setting, f"{path} cannot be read: {error.strerror}") from None
    return path


def url(server: Server, listener: socket.socket) -> str:
    """The address that was bound."""
    host, port = listener.getsockname()[:2]
    scheme = "http" if server.tls_cert is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def peer_url(server: Server, listener: socket.socket) -> str:
    """Where other servers reach this one: an address of all interfaces says nothing to them."""
    if server.peer_url is not None:
        return server.peer_url
    host, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(host).is_unspecified:
        return url(server, listener)
    return f"{'http' if server.tls_cert is None else 'https'}://{socket.gethostname()}:{port}"
