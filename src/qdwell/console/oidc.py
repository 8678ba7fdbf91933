"""Sign-in by an identity provider (OpenID Connect): the authorization-code flow, with PKCE.

Authlib makes the requests' parameters and checks the claims, joserfc checks signatures; what is
here is the order of things, and what must hold besides. A sign-in begins with a `Pending`: a state,
a nonce, and a verifier, all from Authlib's generator. The browser carries it in a signed cookie and
comes back with a code. What comes back is believed if all of this holds:

- the state is one that this browser began with, within ten minutes, and was not used before;
- the issuer that the answer names (RFC 9207) is ours, as is the one that the provider's own
  description names, so that no other provider's answer is taken for it;
- the token has a signature by one of the provider's keys, of a kind with public keys only;
- its issuer, audience, nonce, and times are right, with a minute for clocks that differ.

Keys are read again when a token has none that is known: so a provider may change them. Nobody else
than the provider itself, over TLS, is asked for anything, and nothing is asked at the server's
start: a provider that is down keeps nobody with a token out.
"""

from __future__ import annotations

import hmac
import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from authlib.common.security import generate_token
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.datastructures import QueryParams

from qdwell.clock import Clock
from qdwell.config_sign_in import Oidc, is_safe
from qdwell.console.pending import CALLBACK, PENDING_SECONDS, Pending
from qdwell.errors import ProviderUnavailable, SignInFailed
from qdwell.store.identities import EMAIL_MAX, SUBJECT_MAX, Identity

SKEW_SECONDS = 60
DESCRIBED_MS = 3_600_000  # how long the provider's description is believed
TIMEOUT_SECONDS = 10
ANSWER_BYTES_MAX = 1_000_000
USED_MAX = 10_000  # states remembered as used; they end after ten minutes anyway
# Keys that only the provider has: never `none`, nor what a client's secret could sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
              "EdDSA", "Ed25519")  # fmt: skip
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")

log = structlog.get_logger("qdwell.console")


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider has told of: an identity, and the groups."""

    identity: Identity
    groups: tuple[str, ...]


class Provider:
    """The identity provider of the config."""

    def __init__(self, settings: Oidc, secret: str | None, public_url: str, clock: Clock) -> None:
        assert settings.issuer is not None
        self.settings = settings
        self.issuer = settings.issuer
        self.host = urlsplit(settings.issuer).netloc
        self._secret = secret
        self._back = public_url + CALLBACK
        self._clock = clock
        self._described: tuple[int, dict[str, Any]] | None = None
        self._keys: KeySet | None = None
        self._used: dict[str, int] = {}
        self._tls: ssl.SSLContext | None = None

    # ---- the two steps --------------------------------------------------------------------------

    async def begin(self, target: str) -> tuple[str, Pending]:
        """Return the address to send a browser to, and what it has to bring back.

        Raises:
            ProviderUnavailable: it does not answer.
        """
        described = await self._description()
        ends = self._now() + PENDING_SECONDS
        state, nonce, verifier = (generate_token(48) for _ in range(3))
        pending = Pending(state, nonce, verifier, target, ends)
        address = prepare_grant_uri(
            described["authorization_endpoint"],
            self.settings.client_id,
            "code",
            redirect_uri=self._back,
            scope=" ".join(self.settings.scopes),
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=create_s256_code_challenge(pending.verifier),
            code_challenge_method="S256",
        )
        return str(address), pending

    async def finish(self, query: QueryParams, pending: list[Pending]) -> tuple[Person, str]:
        """Return who came back, and where to. `pending`: what the browser began.

        Raises:
            SignInFailed: what it brings is not good.
            ProviderUnavailable: the provider does not answer, or not as one.
        """
        begun = self._begun(query.get("state", ""), pending)
        described = await self._description()
        named = query.get("iss")
        must_name = described.get("authorization_response_iss_parameter_supported") is True
        if named != self.issuer and (named is not None or must_name):
            raise SignInFailed("The answer is from another identity provider than the one asked.")
        if "error" in query:
            raise SignInFailed(f"The identity provider says: {_word(query['error'])}.")
        if not query.get("code"):
            raise SignInFailed("The identity provider sent no code.")
        token = await self._exchange(described, query["code"], begun)
        claims = await self._claims(token, begun.nonce)
        return await self._person(described, token, claims), begun.target

    def _begun(self, state: str, pending: list[Pending]) -> Pending:
        """The sign-in that this browser began, once."""
        now, given = self._now(), state.encode()
        begun = next((it for it in pending if hmac.compare_digest(it.state.encode(), given)), None)
        if begun is None:
            raise SignInFailed("This browser began no such sign-in, or it has cleared its cookies.")
        if begun.ends <= now:
            raise SignInFailed("Ten minutes have passed since the sign-in began.")
        self._used = {it: ends for it, ends in self._used.items() if ends > now}
        if begun.state in self._used or len(self._used) >= USED_MAX:
            raise SignInFailed("This sign-in has been completed already.")
        self._used[begun.state] = begun.ends
        return begun

    # ---- what the provider is asked -------------------------------------------------------------

    async def _description(self) -> dict[str, Any]:
        """Where the provider's parts are, as it describes itself."""
        known, now = self._described, self._clock.now()
        if known is not None and now - known[0] < DESCRIBED_MS:
            return known[1]
        place = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = await self._json("GET", place)
        if found.get("issuer") != self.issuer:
            log.error("sign_in.oidc.issuer is not what the provider calls itself",
                      issuer=self.issuer, told=str(found.get("issuer"))[:200])  # fmt: skip
            raise ProviderUnavailable(f"{self.host} describes another identity provider.")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(found.get(name), str) or not is_safe(found[name]):
                raise ProviderUnavailable(f"{self.host} does not tell a safe {name}.")
        self._described = now, found
        return found

    async def _exchange(
        self, described: dict[str, Any], code: str, begun: Pending
    ) -> dict[str, Any]:
        """The tokens that a code is good for."""
        body = prepare_token_request(
            "authorization_code", "", self._back, code=code, code_verifier=begun.verifier
        )
        known = described.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = "client_secret_basic" if "client_secret_basic" in known else "client_secret_post"
        if self._secret is None:
            method = "none"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        sign = ClientAuth(self.settings.client_id, self._secret, method)
        place, headers, body = sign.prepare("POST", described["token_endpoint"], headers, body)
        return await self._json("POST", place, headers, body)

    async def _claims(self, token: dict[str, Any], nonce: str) -> dict[str, Any]:
        """What the ID token says, if it is good."""
        text = token.get("id_token")
        if not isinstance(text, str):
            raise SignInFailed("The identity provider sent no ID token.")
        try:
            decoded = self._decoded(text, await self._key_set())
        except (JoseError, ValueError):
            # The key may be newer than what we have read; if it is not, this fails alike.
            decoded = self._tried(text, await self._key_set(fresh=True))
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": self.settings.client_id},
                "sub": {"essential": True},
                "nonce": {"essential": True, "value": nonce},
            },
            {
                "client_id": self.settings.client_id,
                "nonce": nonce,
                "access_token": token.get("access_token"),
            },
        )
        try:
            claims.validate(self._now(), SKEW_SECONDS)
        except JoseError as error:
            raise SignInFailed(f"The ID token is not good: {error.description}") from None
        except (TypeError, ValueError):
            raise SignInFailed("The ID token is not good: a claim has a strange value.") from None
        return dict(claims)

    def _decoded(self, text: str, keys: KeySet) -> jwt.Token:
        return jwt.decode(text, keys, algorithms=list(ALGORITHMS))

    def _tried(self, text: str, keys: KeySet) -> jwt.Token:
        try:
            return self._decoded(text, keys)
        except (JoseError, ValueError) as error:
            log.warning("an ID token is not signed as it must be", error=repr(error)[:200])
            raise SignInFailed("The ID token is not signed by the identity provider.") from None

    async def _key_set(self, *, fresh: bool = False) -> KeySet:
        if self._keys is None or fresh:
            found = await self._json("GET", (await self._description())["jwks_uri"])
            keys = found.get("keys")
            try:
                # What is not for public-key signatures is left out, as is what is not known.
                mine = [it for it in keys or () if it.get("kty") in ("RSA", "EC", "OKP")]
                self._keys = KeySet.import_key_set({"keys": mine})
            except (JoseError, ValueError, TypeError, AttributeError) as error:
                log.error("the keys of the identity provider cannot be read", error=repr(error))
                raise ProviderUnavailable(f"{self.host} has keys that cannot be read.") from None
        return self._keys

    async def _person(
        self, described: dict[str, Any], token: dict[str, Any], claims: dict[str, Any]
    ) -> Person:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX:
            raise SignInFailed("The ID token is not good: its subject is none.")
        more = await self._more(described, token, claims)
        # An address and whether it is verified are of one source.
        source = claims if "email" in claims else more
        email, told = source.get("email"), source.get("email_verified")
        if not isinstance(email, str) or not email.isprintable() or len(email) > EMAIL_MAX:
            email = None
        verified = (told is True or told == "true") and "@" in (email or "")
        groups = {**more, **claims}.get(self.settings.groups_claim, ())
        groups = [groups] if isinstance(groups, str) else groups
        listed = groups if isinstance(groups, list | tuple) else ()
        return Person(
            Identity(self.issuer, subject, email, verified),
            tuple(it for it in listed if isinstance(it, str)),
        )

    async def _more(
        self, described: dict[str, Any], token: dict[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """What the provider keeps for those who ask with the access token, if it is wanted."""
        wanted = {"email"} | ({self.settings.groups_claim} if self.settings.groups else set())
        place = described.get("userinfo_endpoint")
        if not wanted - set(claims) or not isinstance(place, str) or not is_safe(place):
            return {}
        headers = {"Authorization": f"Bearer {token.get('access_token')}"}
        try:
            more = await self._json("GET", place, headers)
        except ProviderUnavailable:
            if self.settings.groups or self.settings.email_domains:
                raise
            return {}  # an address would only have been shown
        if more.get("sub") != claims["sub"]:
            raise SignInFailed("The identity provider told of two persons at once.")
        return more

    async def _json(
        self,
        method: str,
        place: str,
        headers: dict[str, str] | None = None,
        body: str | None = None,
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", **(headers or {})}
        try:
            self._tls = self._tls or httpx.create_ssl_context()  # which reads a large file
            async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, verify=self._tls) as http:
                answer = await http.request(method, place, headers=headers, content=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.error("the identity provider does not answer", place=place, error=repr(error))
            raise ProviderUnavailable(f"{self.host} does not answer.") from None
        try:
            found = answer.json() if len(answer.content) <= ANSWER_BYTES_MAX else None
        except ValueError:
            found = None
        if method == "POST" and answer.status_code < 500 and answer.is_error:
            why = _word(found.get("error")) if isinstance(found, dict) else answer.status_code
            log.warning("the identity provider refuses a code", error=why)
            raise SignInFailed(f"The identity provider refused the code: {why}.")
        if not answer.is_success or not isinstance(found, dict):
            log.error("the identity provider fails", place=place, status=answer.status_code)
            raise ProviderUnavailable(f"{self.host} fails: HTTP {answer.status_code}.")
        return found

    def _now(self) -> int:
        return self._clock.now() // 1000


def _word(given: Any) -> str:
    """A word of the provider's protocol, and nothing else that somebody put there."""
    return given if isinstance(given, str) and _WORD.fullmatch(given) else "an unknown error"
