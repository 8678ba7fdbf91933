"""An identity provider that can be told to misbehave, as a process of its own over HTTP.

It does what a real one does: discovery, keys, codes that are good once and only with the right
verifier, client secret, and redirect address, ID tokens, userinfo. `PUT /told` sets claims, and
faults by name; `POST /rotate` takes another key. Run it as `python provider.py PORT`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import sys
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from qdwell.clock import SystemClock

CLIENT, SECRET = "qdwell-tests", "a secret of the tests"


class Provider:
    """Its state: keys, codes, and what it was told."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.rotate_key()
        self.told: dict[str, Any] = {}

    def rotate_key(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"})

    def fault(self, name: str) -> Any:
        return self.told.get("faults", {}).get(name)

    async def describe(self, request: Request) -> Response:
        self.asked.append("description")
        if self.fault("broken_description"):
            return Response("<html>no provider</html>", self.fault("broken_description"))
        told = {
            "issuer": self.fault("other_issuer") or self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": [self.told.get("auth", "client_secret_basic")],
            "authorization_response_iss_parameter_supported": True,
        }
        return JSONResponse(told)

    async def keys(self, request: Request) -> Response:
        self.asked.append("keys")
        return JSONResponse(KeySet([self.key]).as_dict())

    async def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        back = {"state": asked["state"], "iss": self.issuer}
        back |= {"error": self.fault("refuse")} if self.fault("refuse") else {"code": code}
        back |= self.fault("back") or {}
        back = {name: it for name, it in back.items() if it is not None}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        asked = self.codes.pop(str(form.get("code")), None)
        verifier = str(form.get("code_verifier")).encode()
        challenge = _base64(hashlib.sha256(verifier).digest())
        if not self._client(request, form):
            return JSONResponse({"error": "invalid_client"}, 401)
        right = asked is not None and asked["redirect_uri"] == form.get("redirect_uri")
        if not right or asked["code_challenge"] != challenge:
            return JSONResponse({"error": "invalid_grant"}, 400)
        access = secrets.token_urlsafe(16)
        now = SystemClock().now() // 1000
        claims = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], **self.told.get("claims", {"sub": "s-1"}),
        }  # fmt: skip
        self.tokens[access] = {"sub": claims.get("sub"), **self.told.get("userinfo", {})}
        claims |= {name: now + it for name, it in (self.fault("times") or {}).items()}
        claims |= self.fault("claims") or {}
        claims = {name: it for name, it in claims.items() if it is not None}
        body = {"access_token": access, "token_type": "Bearer", "id_token": self._signed(claims)}
        body |= self.fault("token") or {}
        return JSONResponse(body, self.fault("token_status") or 200)

    def _client(self, request: Request, form: dict[str, Any]) -> bool:
        if self.told.get("auth") == "client_secret_post":
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        given = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {given}"

    def _signed(self, claims: dict[str, Any]) -> str:
        how, key, kid = self.fault("signed"), self.key, self.key.kid
        if how in ("none", "public"):
            header = {"alg": "none"} if how == "none" else {"alg": "HS256", "kid": kid}
            parts = [_base64(json.dumps(it).encode()) for it in (header, claims)]
            # The public key's bytes as if they were a shared secret: no library would do it.
            seal = hmac.digest(key.as_pem(private=False), ".".join(parts).encode(), "sha256")
            return ".".join([*parts, "" if how == "none" else _base64(seal)])
        if how == "secret":
            return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))
        if how == "other":
            key = RSAKey.generate_key(2048)
        header = {"alg": "RS256"} if self.told.get("no_kid") else {"alg": "RS256", "kid": kid}
        return jwt.encode(header, claims, key)

    async def userinfo(self, request: Request) -> Response:
        self.asked.append("userinfo")
        if self.fault("userinfo"):
            return JSONResponse({}, self.fault("userinfo"))
        access = request.headers.get("authorization", "").removeprefix("Bearer ")
        return JSONResponse(self.tokens.get(access) or {}, 200 if access in self.tokens else 401)

    async def tell(self, request: Request) -> Response:
        self.told = await request.json()
        self.asked.clear()
        return Response(status_code=204)

    async def rotate(self, request: Request) -> Response:
        self.rotate_key()
        return Response(status_code=204)

    async def was_asked(self, request: Request) -> Response:
        return JSONResponse(self.asked)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def app(issuer: str) -> Starlette:
    it = Provider(issuer)
    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", it.describe),
            Route("/keys", it.keys),
            Route("/authorize", it.authorize),
            Route("/token", it.token, methods=["POST"]),
            Route("/userinfo", it.userinfo),
            Route("/told", it.tell, methods=["PUT"]),
            Route("/rotate", it.rotate, methods=["POST"]),
            Route("/asked", it.was_asked),
        ]
    )


if __name__ == "__main__":
    port = int(sys.argv[1])
    uvicorn.run(app(f"http://127.0.0.1:{port}"), port=port, log_level="warning")
