"""A sign-in by the identity provider while it is under way, as the browser's cookie carries it.

Apart from `oidc`, which makes and ends it: the libraries that speak to a provider are loaded only
by a server that has one.
"""

from __future__ import annotations

from dataclasses import dataclass

PENDING_PATH = "/sign-in/oidc"
CALLBACK = PENDING_PATH + "/callback"
PENDING_SECONDS = 600  # to sign in over there


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that has begun."""

    state: str
    nonce: str
    verifier: str
    target: str  #: where to go afterwards
    ends: int  #: in seconds
