"""Whose certificates a client believes, and what to say when it believes none."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from qdwell.client.errors import InvalidAccountError

BUNDLE = "REQUESTS_CA_BUNDLE"  # what the stock client is told with, so that one line serves both


def trusted() -> ssl.SSLContext:
    """The system's authorities, those of SSL_CERT_FILE, and those of REQUESTS_CA_BUNDLE.

    Raises:
        InvalidAccountError: the bundle cannot be read.
    """
    context = ssl.create_default_context()
    if named := os.environ.get(BUNDLE):
        try:
            if Path(named).is_dir():
                context.load_verify_locations(capath=named)
            else:
                context.load_verify_locations(cafile=named)
        except OSError as error:
            raise InvalidAccountError(f"{BUNDLE} names {named}: {error}.") from error
    return context


def distrust(error: OSError, url: str) -> str | None:
    """What a connection's failure says of the server's certificate; None if it says nothing, and
    the connection may be tried again.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {url} is not trusted: {error.verify_message}. If an authority of "
            f"your own signed it, name its file in {BUNDLE}; the stock client reads it too."
        )
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return f"{url} does not speak TLS. Is its URL http:// ?"
    return None
