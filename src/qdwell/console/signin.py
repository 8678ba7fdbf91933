"""Who looks at the console: a signed cookie, made from an API token or an identity.

The token itself is not kept: the cookie names the user, the instance, and by which token or
identity they came, and is signed with the server's key. It is HttpOnly and SameSite, so that no
script reads it and no other site sends it along with a form; each form carries a second secret
derived from it (CSRF), and the origin of each POST is compared with our own. A user who is gone is
out with the next click.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

import jwt
from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.auth import Caller
from qdwell.clock import Clock
from qdwell.console.pending import PENDING_PATH, PENDING_SECONDS, Pending
from qdwell.errors import NotAllowed
from qdwell.store import Store, accounts, identities

COOKIE = "qdwell_console"
PENDING_COOKIE = "qdwell_sign_in"
PENDING_MAX = 3  # tabs in which somebody signs in at once
HOURS = 12
NEXT_MAX = 600  # characters of a path to go to; a cookie carries it
_ISSUER = "qdwell-console"
_PENDING = "qdwell-sign-in"
_ALGORITHM = "HS256"


class NotSignedIn(Exception):
    """There is no cookie, or it is not good any more: show the sign-in page."""


class FormRefused(NotAllowed):
    """The form did not come from a page of ours; nothing was done.

    Open the page again and repeat.
    """


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks, in which of their instances, and the secret of their forms."""

    caller: Caller
    csrf: str

    @property
    def crn(self) -> str:
        """The instance."""
        return self.caller.instance.crn

    @property
    def may_change(self) -> bool:
        """Whether they may do more than look."""
        return self.caller.owner.may_change and self.caller.instance.role != "viewer"

    @property
    def admin(self) -> bool:
        """Whether they may see and do what is the operator's."""
        return self.caller.owner.admin


class SignIn:
    """Makes and reads the cookie."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        secure: bool,
        public: str | None = None,
        issuer: str | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._secure = secure
        self._public = urlsplit(public).netloc if public else None
        self._issuer = issuer  #: of identities that are good here
        key = accounts.signing_key(store)
        # A key of its own: an access token is no cookie, and a cookie is no access token.
        self._key = hmac.new(key, b"console", hashlib.sha256).digest()

    def by_token(self, token: str) -> accounts.Owner | None:
        """The owner of an API token, or None."""
        return accounts.token_owner(self._store, token.strip(), self._clock.now())

    def set_cookie(self, response: Response, owner: accounts.Owner, crn: str) -> None:
        """Let the browser of this answer in."""
        now = self._clock.now() // 1000
        claims = {"iss": _ISSUER, "sub": owner.user_id, "crn": crn, "exp": now + HOURS * 3600}
        claims |= {"tok": owner.token, "idn": owner.identity}
        cookie = jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        self._set(response, COOKIE, cookie, HOURS * 3600, "/")

    def _set(self, response: Response, name: str, value: str, seconds: int, path: str) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            httponly=True,
            secure=self._secure,
            samesite="lax",
            path=path,
        )

    def set_pending(self, response: Response, pending: list[Pending]) -> None:
        """Let the browser carry the sign-ins that it has begun with an identity provider."""
        claims = {"iss": _PENDING, "all": [dataclasses.asdict(it) for it in pending[-PENDING_MAX:]]}
        cookie = jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        self._set(response, PENDING_COOKIE, cookie, PENDING_SECONDS, PENDING_PATH)

    def pending(self, request: Request) -> list[Pending]:
        """The sign-ins that this browser has begun; whether they have ended is not looked at."""
        cookie = request.cookies.get(PENDING_COOKIE, "")
        try:
            claims = jwt.decode(cookie, self._key, algorithms=[_ALGORITHM], issuer=_PENDING)
        except jwt.PyJWTError:
            return []
        return [Pending(**it) for it in claims["all"]]

    def clear_cookie(self, response: Response) -> None:
        """Let it out again."""
        response.delete_cookie(COOKIE, path="/", secure=self._secure, httponly=True)

    def visitor(self, request: Request) -> Visitor:
        """Return who looks.

        Raises:
            NotSignedIn: nobody we know.
        """
        cookie = request.cookies.get(COOKIE, "")
        try:
            claims = jwt.decode(
                cookie,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                options={"require": ["exp", "sub", "crn", "tok"], "verify_exp": False},
            )
        except jwt.PyJWTError:
            raise NotSignedIn from None
        if int(claims["exp"]) * 1000 <= self._clock.now():
            raise NotSignedIn
        owner = self._owner(str(claims["sub"]), str(claims["tok"]), str(claims.get("idn", "")))
        if owner is None:
            raise NotSignedIn
        instance = next((it for it in owner.instances if it.crn == claims["crn"]), None)
        if instance is None:
            raise NotSignedIn
        caller = Caller(owner.user_id, owner.account_id, instance, owner)
        return Visitor(caller, self._csrf(cookie))

    def _owner(self, user_id: str, token: str, identity: str) -> accounts.Owner | None:
        now = self._clock.now()
        if not identity:
            return accounts.user_owner(self._store, user_id, token, now)
        if self._issuer is None:
            return None
        return identities.signed_in_owner(self._store, identity, user_id, self._issuer, now)

    def _csrf(self, cookie: str) -> str:
        return hmac.new(self._key, cookie.encode(), hashlib.sha256).hexdigest()

    def check_form(self, request: Request, visitor: Visitor, given: str) -> None:
        """Refuse a form that another site made.

        Raises:
            FormRefused: it lacks the secret of this visitor's pages.
        """
        self.check_origin(request)
        if not hmac.compare_digest(visitor.csrf.encode(), given.encode()):
            raise FormRefused

    def check_origin(self, request: Request) -> None:
        """Refuse a POST that a page of another site sent. Ours is at the address that the browser
        asked for, or, behind a proxy that tells another, at `server.public_url`.

        Raises:
            FormRefused: the browser says that it did.
        """
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise FormRefused
        origin = request.headers.get("origin")
        ours = (request.headers.get("host"), self._public)
        if origin and (origin == "null" or urlsplit(origin).netloc not in ours):
            raise FormRefused


def safe_next(target: str | None) -> str:
    """Where to go after signing in: a path of ours, never another site.

    Browsers read `\\` as `/`, and drop tabs and line ends, before they look where a path leads.
    """
    text = target or ""
    ours = text.startswith("/") and not text.startswith("//") and "\\" not in text
    return text if ours and text.isprintable() and len(text) <= NEXT_MAX else "/jobs"
