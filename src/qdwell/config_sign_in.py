"""Settings of how people sign in to the console, and what must hold between them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from qdwell.errors import ConfigError
from qdwell.settings import setting

NEW_USER_ROLES = ("member", "viewer")  # an operator is made by operators alone
SECRET_VARIABLE = "QDWELL_OIDC_CLIENT_SECRET"  # noqa: S105  the name of a place, not a secret


@dataclass(frozen=True, slots=True)
class Oidc:
    """The identity provider (OpenID Connect) of a university or company. Without `issuer` people
    sign in with API tokens alone; these are good beside it as well. With it, `server.public_url`
    is needed. The client's secret is in a file or in `QDWELL_OIDC_CLIENT_SECRET`, never here."""

    issuer: str | None = setting(
        None,
        "URL of the provider, as it calls itself; `/.well-known/openid-configuration` is there.",
    )
    client_id: str | None = setting(None, "Name under which the provider knows this server.")
    client_secret_file: str | None = setting(
        None, "File with the client's secret; a client without a secret has PKCE alone."
    )
    title: str = setting("your organisation", "Whose account it is, as the sign-in page says it.")
    scopes: tuple[str, ...] = setting(
        ("openid", "email", "profile"), "What the provider is asked for; `openid` must be there."
    )
    email_domains: tuple[str, ...] = setting(
        (), "Domains of verified e-mail addresses that may sign in; empty: any address, or none."
    )
    groups_claim: str = setting("groups", "The claim that lists a person's groups.")
    groups: tuple[str, ...] = setting(
        (), "Groups of which a person must be in one to sign in; empty: any."
    )
    link_by_email: bool = setting(
        False,
        "Whether a user who has no identity yet gets the one whose verified e-mail address is the "
        "user's name; not set: an operator links each (`qdwell user link`).",
    )
    new_user_instance: str | None = setting(
        None,
        "Instance that people get who are no users yet; not set: they must be made by an operator.",
    )
    new_user_role: str = setting(
        "member", "Their role in it: member, or viewer.", choices=NEW_USER_ROLES
    )


@dataclass(frozen=True, slots=True)
class SignIn:
    """How people sign in to the console."""

    oidc: Oidc = setting(Oidc, "The identity provider of a university or company.")


def check_sign_in(sign_in: SignIn, public_url: str | None) -> None:
    """Refuse settings that could not work, or that would not be safe.

    Raises:
        ConfigError: names the setting.
    """
    oidc, at = sign_in.oidc, "sign_in.oidc"
    if oidc.issuer is None:
        for name in ("client_id", "client_secret_file", "new_user_instance"):
            if getattr(oidc, name) is not None:
                raise ConfigError(f"{at}.{name}", f"has no meaning without {at}.issuer")
        return
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", oidc.issuer):
        raise ConfigError(f"{at}.issuer", f"must be https://host[/path], not {oidc.issuer!r}")
    if not is_safe(oidc.issuer):
        raise ConfigError(f"{at}.issuer", "must be https: over http anyone between could sign in")
    if not oidc.client_id:
        raise ConfigError(f"{at}.client_id", "must be given: the provider's name for this server")
    if public_url is None:
        why = f"must be given with {at}.issuer: the provider sends people back to it"
        raise ConfigError("server.public_url", why)
    if "openid" not in oidc.scopes:
        raise ConfigError(f"{at}.scopes", "must contain openid")
    for domain in oidc.email_domains:
        if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain):
            why = f"{domain!r} is not a domain such as example.edu, in small letters"
            raise ConfigError(f"{at}.email_domains", why)


def is_safe(url: str) -> bool:
    """Whether what is sent to an address cannot be read on the way: https, or this computer."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return parts.scheme == "http" and host == "localhost"
