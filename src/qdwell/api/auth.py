"""Who is asking: the exchange of an API token for an access token, and its check on each request.

The stock client posts its API token to `/identity/token` and sends the access token that it gets as
`Authorization: Bearer`. The access token is a JWT with integer `iat` and `exp`, signed with a key
that only our store has, and which changes twice a day; it speaks for one user, by the API token
that it was given for, and ends with that. `Service-CRN` names the instance that a request
acts in: by CRN, or by the instance's name, as clients without discovery send it. It must belong to
the user; one that does not is answered alike whether it exists or not.

The client never checks the signature; we do, on each request. A token that was found good is
remembered for `FRESH_MS`, so that a hot request pays a dictionary look-up; so long, at most, what
another process has changed of users, roles, and tokens has no effect here.

Viewers, and tokens of scope `read`, may ask for everything in their instances and change nothing.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qs

import jwt
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from qdwell.api.body import read_body
from qdwell.api.edge import reply
from qdwell.api.turns import ADDRESS
from qdwell.clock import Clock, passed_ms
from qdwell.errors import BadInput, NotAllowed, NotAuthenticated
from qdwell.store import Store, accounts

TOKEN_SECONDS = 3_600  # the stock client renews at 80 % of it, in the foreground
BODY_BYTES_MAX = 16_384  # a form with a key
GRANT = "urn:ibm:params:oauth:grant-type:apikey"
ALGORITHM = "HS256"
ISSUER = "qdwell"
KEY_SECONDS = 43_200  # how long a key signs; it is good as long again
FRESH_MS = 2_000
READING = ("GET", "HEAD")
REMEMBERED = 10_000  # access tokens found good
FIRST_VERSION = "2024-01-01"  # the first IBM-API-Version
HUB, GROUP = "qdwell", "main"  # of an instance's classic name, hub/group/project


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in which instance, and with which client."""

    user_id: str
    account_id: str
    instance: accounts.Instance
    owner: accounts.Owner


class Auth:
    """Checks tokens against the store."""

    def __init__(self, store: Store, clock: Clock, *, old_clients: bool = False) -> None:
        self._store = store
        self._clock = clock
        self._old_clients = old_clients
        self._key = accounts.signing_key(store)
        self._good: OrderedDict[str, tuple[accounts.Owner, int, int]] = OrderedDict()
        self._asking: dict[str, asyncio.Future[accounts.Owner | None]] = {}
        self._changes = 0  #: how often something was forgotten

    # ---- the exchange ---------------------------------------------------------------------------

    async def exchange(self, request: Request) -> Response:
        """Give an access token for an API token (wire-protocol 3.1)."""
        body = await read_body(request, BODY_BYTES_MAX)
        try:
            form = parse_qs(body.decode("ascii"), max_num_fields=20)
        except (UnicodeDecodeError, ValueError):
            raise BadInput("The body is not a form.") from None
        if form.get("grant_type", [GRANT]) != [GRANT]:
            raise BadInput(f"grant_type must be {GRANT}.", field="grant_type")
        token = form.get("apikey", [""])[0]
        if not token:
            raise BadInput("Field 'apikey' is missing.", field="apikey")
        access, owner = await self.access(token)
        now = self._clock.now() // 1000
        expires = _end(owner, now)
        return reply(
            {
                "access_token": access,
                "refresh_token": "not_supported",
                "token_type": "Bearer",
                "expires_in": expires - now,
                "expiration": expires,
                "scope": "ibm openid",
            }
        )

    async def access(self, token: str) -> tuple[str, accounts.Owner]:
        """Return an access token for an API token, and whose it is.

        Raises:
            NotAuthenticated: the API token is unknown.
        """
        owner = await self._api_token(token)
        issued = self._clock.now() // 1000
        expires = _end(owner, issued)
        claims = {"iss": ISSUER, "sub": owner.user_id, "tok": owner.token}
        turn = issued // KEY_SECONDS
        access = jwt.encode(
            claims | {"iat": issued, "exp": expires},
            self._signing_key(turn),
            algorithm=ALGORITHM,
            headers={"kid": str(turn)},
        )
        self._remember(access, owner, expires * 1000)
        return access, owner

    async def _api_token(self, token: str) -> accounts.Owner:
        owner = await asyncio.to_thread(accounts.token_owner, self._store, token, self._clock.now())
        if owner is None:
            raise NotAuthenticated("Unknown API token.")
        return owner

    # ---- each request ---------------------------------------------------------------------------

    async def owner(self, request: Request) -> accounts.Owner:
        """Return the user whose access token the request carries.

        Raises:
            NotAuthenticated: there is none, or it is not one of ours, or it has expired.
        """
        scheme, token = self._carried(request)
        if scheme.lower() == "apikey":
            if self._old_clients:  # asked each time, so that a token that is revoked ends at once
                return await self._api_token(token)
            raise NotAuthenticated(
                "API tokens are not accepted here; the client did not exchange its token.",
                solution="Set IAM_URL to this server; `qdwell env` prints it. Clients before 0.39 "
                "need the server's setting old_clients.",
            )
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated("No access token.")
        now = self._clock.now()
        known = self._good.get(token)
        if known is not None and known[1] > now and _recent(known[2], passed_ms(self._clock)):
            return known[0]
        asking = self._asking.get(token)
        if asking is None:  # one look for all requests that wait for it: a crowd comes at once
            user_id, token_id, expires_at = self._verify(token)
            look = partial(accounts.user_owner, self._store, user_id, token_id, now)
            asking = asyncio.ensure_future(self._asked(token, expires_at, look))
            self._asking[token] = asking
        owner = await asyncio.shield(asking)
        if owner is None:
            self._good.pop(token, None)
            raise NotAuthenticated("The API token behind this access token, or its user, is gone.")
        return owner

    async def _asked(
        self, token: str, expires_at: int, look: Callable[[], accounts.Owner | None]
    ) -> accounts.Owner | None:
        try:
            owner = await asyncio.to_thread(look)
            if owner is not None:
                self._remember(token, owner, expires_at)
            return owner
        finally:
            del self._asking[token]

    async def operator(self, request: Request) -> accounts.Owner:
        """Return the operator who asks.

        Raises:
            NotAuthenticated: see `owner`.
            NotAllowed: they are none, or their token is for reading.
        """
        owner = await self.owner(request)
        if not owner.admin or not (owner.may_change or request.method in READING):
            raise NotAllowed()
        return owner

    def forget(self) -> None:
        """Users, roles, or tokens have changed: believe nothing that was read before."""
        self._good.clear()
        self._changes += 1

    def moment(self) -> tuple[int, int]:
        """This moment, for `fresh`."""
        return self._changes, passed_ms(self._clock)

    def fresh(self, read: tuple[int, int]) -> bool:
        """Whether who was found good at that moment may still be believed to be."""
        return read[0] == self._changes and _recent(read[1], passed_ms(self._clock))

    def who(self, scope: Scope) -> str:
        """Whose turn a request takes: its user's, or as long as that is not known, its address's.

        Only an access token that was found good before names a user: others cost nothing to make.
        """
        for name, value in scope["headers"]:
            if name == b"authorization":
                known = self._good.get(value.decode("latin-1").partition(" ")[2])
                if known is not None:
                    return known[0].user_id
        client = scope.get("client")
        return ADDRESS + (client[0] if client else "nowhere")

    def _carried(self, request: Request) -> tuple[str, str]:
        """Scheme and token of a request."""
        header = request.headers.get("authorization", "")
        if not header and self._old_clients:  # the channel ibm_quantum
            return "Bearer", request.headers.get("x-access-token", "")
        scheme, _, token = header.partition(" ")
        return scheme, token.strip()

    async def caller(self, request: Request) -> Caller:
        """Return who asks, and in which of their instances.

        Raises:
            NotAuthenticated: see `owner`.
            NotAllowed: the instance is not one of the user's.
            BadInput: no instance is named, and the user has several.
        """
        owner = await self.owner(request)
        named = request.headers.get("service-crn", "")
        instance = _choose(owner, named)
        if instance is None and named:
            # It may have been made after the token was checked, by a command in another process.
            owner = await self._read_again(request, owner)
            instance = _choose(owner, named)
        if instance is None:
            if not named:
                raise BadInput(
                    "No instance is named.",
                    field="Service-CRN",
                    solution="Send the header Service-CRN with an instance of yours.",
                )
            raise NotAllowed()
        if request.method not in READING and not (owner.may_change and instance.role != "viewer"):
            raise NotAllowed("This token, or your role in this instance, is for reading only.")
        return Caller(owner.user_id, owner.account_id, instance, owner)

    async def _read_again(self, request: Request, owner: accounts.Owner) -> accounts.Owner:
        now = self._clock.now()
        fresh = await asyncio.to_thread(
            accounts.user_owner, self._store, owner.user_id, owner.token, now
        )
        if fresh is None:
            raise NotAuthenticated("The user of this access token is no more.")
        _, token = self._carried(request)
        known = self._good.get(token)
        if known is not None:
            self._remember(token, fresh, known[1])
        return fresh

    def _signing_key(self, turn: int) -> bytes:
        return hmac.digest(self._key, b"access %d" % turn, "sha256")

    def _verify(self, token: str) -> tuple[str, str, int]:
        """Return the user, the API token's id, and the end of an access token that we signed."""
        now = self._clock.now()
        turn = now // 1000 // KEY_SECONDS
        try:
            signed_in = jwt.get_unverified_header(token).get("kid")
            if signed_in not in (str(turn), str(turn - 1)):
                raise jwt.InvalidKeyError
            claims = jwt.decode(
                token,
                self._signing_key(int(signed_in)),
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                # Times are checked against our own clock, below.
                options={
                    "require": ["exp", "iat", "sub", "tok"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError:
            raise NotAuthenticated("The access token is not one of this server's.") from None
        expires_at = int(claims["exp"]) * 1000
        if expires_at <= now:
            raise NotAuthenticated("The access token has expired.")
        return str(claims["sub"]), str(claims["tok"]), expires_at

    def _remember(self, token: str, owner: accounts.Owner, expires_at: int) -> None:
        self._good[token] = (owner, expires_at, passed_ms(self._clock))
        self._good.move_to_end(token)
        if len(self._good) > REMEMBERED:
            self._good.popitem(last=False)


def _recent(read: int, now: int) -> bool:
    """Whether what was read then is still believed."""
    return 0 <= now - read < FRESH_MS


def _end(owner: accounts.Owner, now: int) -> int:
    """When an access token ends, in seconds: never after the API token that it is given for."""
    end = now + TOKEN_SECONDS
    return end if owner.expires_at is None else min(end, owner.expires_at // 1000)


def check_instance(caller: Caller, **named: str | None) -> None:
    """Refuse a request of which a field names another instance than `Service-CRN` does.

    An instance has three names: its CRN, its name, and hub/group/project, as older clients call it.

    Raises:
        NotAllowed: names the field. An instance that is not theirs is told like one that is not.
    """
    own = caller.instance
    for field, name in named.items():
        if name and name not in (own.crn, own.name, f"{HUB}/{GROUP}/{own.name}"):
            raise NotAllowed(
                f"{field} names {name[:200]!r}, but this request acts in {own.name!r}.", field=field
            )


def _choose(owner: accounts.Owner, named: str) -> accounts.Instance | None:
    if not named:
        return owner.instances[0] if len(owner.instances) == 1 else None
    for instance in owner.instances:
        if named in (instance.crn, instance.name):
            return instance
    return None


def api_version(headers: Mapping[str, str]) -> str | None:
    """The dialect that the client speaks, such as 2026-04-15, or None for the oldest."""
    version = headers.get("ibm-api-version", "")
    return version if version >= FIRST_VERSION else None
