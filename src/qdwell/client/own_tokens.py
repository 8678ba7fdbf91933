"""A user's own API tokens: what the console's page does, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from qdwell.client.errors import IBMInputValueError, RequestsApiError
from qdwell.client.transport import Request, path_of

if TYPE_CHECKING:
    from qdwell.client.link import Link


class OwnTokens:
    """The part of a service that knows the tokens of its user."""

    link: Link

    def tokens(self) -> list[dict[str, Any]]:
        """Your own tokens in use, oldest first, without what signs in.

        Each has `id`, `name`, `scope` ("full" or "read"), `instance` (the CRN of the only one that
        it is for, or None), and `created`, `expires_at`, `used_at` in milliseconds since 1970, None
        for never.
        """
        found: list[dict[str, Any]] = self.link.send(Request("GET", "/tokens")).json()["tokens"]
        return found

    def create_token(
        self,
        name: str,
        scope: str = "full",
        instance: str | None = None,
        expires_in_seconds: int | None = None,
    ) -> dict[str, Any]:
        """Make a token for yourself; the answer's `token` signs in, and is never shown again.

        It is good for no more than the one of this service: see the answer's `instance` and
        `expires_at`.

        Args:
            name: what the token is for.
            scope: "full", or "read": it changes nothing.
            instance: CRN or name of the only one that it is for; default: all of yours.
            expires_in_seconds: it ends then; default: never.

        Raises:
            RequestsApiError: a value cannot be used (400), or this service's token is for reading,
                or the instance is not yours (403).
        """
        asked = {"name": name, "scope": scope, "instance": instance}
        body = orjson.dumps({**asked, "expires_in_seconds": expires_in_seconds})
        made: dict[str, Any] = self.link.send(Request("POST", "/tokens", body)).json()
        return made

    def revoke_token(self, token_id: str) -> None:
        """End one of your own tokens: whoever signed in with it is out.

        Raises:
            IBMInputValueError: you have none of this id in use.
            RequestsApiError: this service's token is for reading (403).
        """
        try:
            self.link.send(Request("DELETE", path_of("tokens", token_id)))
        except RequestsApiError as error:
            if error.status_code == 404:
                raise IBMInputValueError(f"You have no token {token_id!r} in use.") from error
            raise
