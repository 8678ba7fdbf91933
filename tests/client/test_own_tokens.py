"""A user's own tokens through the client: made, used by another client, and ended."""

from __future__ import annotations

import pytest

from client.running import Running
from qdwell import (
    IBMInputValueError,
    IBMNotAuthorizedError,
    QiskitRuntimeService,
    RequestsApiError,
)


def test_a_token_is_made_used_and_revoked(running: Running, service: QiskitRuntimeService) -> None:
    """Another client signs in with it; when it is revoked, its next request is refused."""
    before = service.tokens()
    made = service.create_token("notebook", expires_in_seconds=3_600)
    assert made["expires_at"] - made["created"] == 3_600_000
    secret = made.pop("token")
    assert service.tokens() == [*before, made]
    with QiskitRuntimeService(url=running.url, token=secret) as other:
        assert other.active_instance() == service.active_instance()
        assert other.create_token("child")["expires_at"] == made["expires_at"]
        service.revoke_token(made["id"])
        with pytest.raises(IBMNotAuthorizedError):
            other.jobs()
    with pytest.raises(IBMInputValueError, match=made["id"]):
        service.revoke_token(made["id"])
    for it in service.tokens():
        if it["name"] == "child":
            service.revoke_token(it["id"])
    assert service.tokens() == before


def test_what_cannot_be_made_is_refused(running: Running, service: QiskitRuntimeService) -> None:
    before = service.tokens()
    for asked, status, said in (
        ({"name": ""}, 400, "name"),
        ({"name": "x", "scope": "all"}, 400, "scope"),
        ({"name": "x", "expires_in_seconds": 0}, 400, "expires_in_seconds"),
        ({"name": "x", "instance": "others"}, 403, "Not authorised"),
    ):
        with pytest.raises(RequestsApiError, match=said) as refused:
            service.create_token(**asked)  # type: ignore[arg-type]
        assert refused.value.status_code == status
    assert service.tokens() == before
    reading = service.create_token("reading", "read", service.active_instance())
    assert reading["instance"] == service.active_instance()
    with QiskitRuntimeService(url=running.url, token=reading["token"]) as reader:
        for ask in (reader.create_token, reader.revoke_token):
            with pytest.raises(RequestsApiError, match="reading") as refused:
                ask(reading["id"])
            assert refused.value.status_code == 403
    service.revoke_token(reading["id"])
