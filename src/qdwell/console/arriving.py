"""Signing in by the identity provider: the way there and back, and which user somebody is."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from qdwell.config_sign_in import SECRET_VARIABLE, Oidc
from qdwell.console.oidc import Person, Provider
from qdwell.console.signin import safe_next
from qdwell.console.site import HEADERS, Site
from qdwell.errors import (
    AccountError,
    ConfigError,
    IdentityUnknown,
    NotInBook,
    QdwellError,
    SignInFailed,
)
from qdwell.store import accounts
from qdwell.store.identities import Identity, identity_owner, known
from qdwell.store.people import People

ACTOR = "sign-in"  # as the audit log names it
SECRET_BYTES_MAX = 4_096
_LONG = 24  # characters of an identity's id in the name of a user who has no better one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")

log = structlog.get_logger("qdwell.console")


def read_secret(settings: Oidc) -> str | None:
    """The client's secret, from its file or the environment; None for a client without one.

    Raises:
        ConfigError: the file cannot be read, or has none.
    """
    if settings.client_secret_file is None:
        return os.environ.get(SECRET_VARIABLE) or None
    at = "sign_in.oidc.client_secret_file"
    try:
        with Path(settings.client_secret_file).open(encoding="ascii") as file:
            secret = file.read(SECRET_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(at, f"cannot be read: {type(error).__name__}") from None
    if not secret:
        raise ConfigError(at, "is empty")
    return secret


class Arrivals:
    """The two addresses of a sign-in by the identity provider."""

    def __init__(self, site: Site, provider: Provider) -> None:
        self._site = site
        self._provider = provider

    async def begin(self, request: Request) -> Response:
        """Send the browser to the provider."""
        target = safe_next(request.query_params.get("next"))
        try:
            address, pending = await self._provider.begin(target)
        except QdwellError as error:
            return self._site.sign_in_page(request, error, target)
        response = RedirectResponse(address, 303, headers=HEADERS)
        sign_in = self._site.sign_in
        now = self._site.parts.clock.now() // 1000
        begun = [it for it in sign_in.pending(request) if it.ends > now]
        sign_in.set_pending(response, [*begun, pending])
        return response

    async def back(self, request: Request) -> Response:
        """Let in whom the provider sends back, if all is well."""
        sign_in, provider = self._site.sign_in, self._provider
        begun = sign_in.pending(request)
        try:
            person, target = await provider.finish(request.query_params, begun)
            owner = await asyncio.to_thread(self._owner, person)
            if not owner.instances:
                raise SignInFailed(
                    "Your user is a member of no instance.",
                    solution="Ask the operator to run: qdwell instance add INSTANCE USER",
                )
        except QdwellError as error:
            return self._site.sign_in_page(request, error, "/jobs")
        state = request.query_params["state"]
        response = RedirectResponse(target, 303, headers=HEADERS)
        sign_in.set_cookie(response, owner, owner.instances[0].crn)
        sign_in.set_pending(response, [it for it in begun if it.state != state])
        log.info("signed in", user=owner.user_id, by="identity", identity=owner.identity)
        return response

    # ---- who it is ------------------------------------------------------------------------------

    def _owner(self, person: Person) -> accounts.Owner:
        """The user of somebody who came back.

        Raises:
            SignInFailed: they are none, or may not.
        """
        parts, identity = self._site.parts, person.identity
        now, settings = parts.clock.now(), self._provider.settings
        check_allowed(settings, person)
        owner = identity_owner(parts.store, identity, now)
        if owner is None and not known(parts.store, identity):
            people = People(parts.store, ACTOR, now, parts.config.plans)
            self._take_in(people, identity)
            owner = identity_owner(parts.store, identity, now)
        if owner is None:
            raise SignInFailed("Your user here is shut out.", solution="Ask the operator.")
        return owner

    def _take_in(self, people: People, identity: Identity) -> None:
        settings = self._provider.settings
        shown = identity.email or identity.subject
        if settings.link_by_email and identity.email is not None and identity.email_verified:
            for name in {identity.email, identity.email.lower()}:
                try:
                    people.link_identity(name, identity, first=True)
                    return
                except NotInBook:
                    continue
        if settings.new_user_instance is None:
            raise IdentityUnknown(shown, identity.subject)
        try:
            people.admit(
                self._name(people, identity),
                settings.new_user_instance,
                settings.new_user_role,
                identity,
            )
        except AccountError as error:
            log.error("a new user could not be made", error=str(error))
            raise SignInFailed("No user could be made for you.") from None

    def _name(self, people: People, identity: Identity) -> str:
        """A free name: the verified address, or letters of the identity's id."""
        name = identity.email if identity.email_verified and identity.email else ""
        taken = {it["name"] for it in people.users()}
        fits = _NAME.fullmatch(name) and name not in taken
        return name if fits else f"user-{identity.id[:_LONG]}"


def check_allowed(settings: Oidc, person: Person) -> None:
    """Refuse those whom the operator does not want.

    Raises:
        SignInFailed: their address or groups are not among those of the config.
    """
    email = person.identity.email or ""
    if settings.email_domains:
        if not person.identity.email_verified:
            raise SignInFailed("The identity provider vouches for no e-mail address of yours.")
        if email.rpartition("@")[2].lower() not in settings.email_domains:
            raise SignInFailed(
                f"{email} is not of a domain that may sign in here.",
                solution="Sign out there, and come back with another account.",
            )
    if settings.groups and not set(settings.groups) & set(person.groups):
        raise SignInFailed(
            "You are in none of the groups that may sign in here.", solution="Ask the operator."
        )
