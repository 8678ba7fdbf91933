"""A server whose people sign in at a provider, and the browsers of those people."""

from __future__ import annotations

import re
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from console.provider import CLIENT, SECRET
from qdwell import console
from qdwell.api.app import build
from qdwell.clock import ManualClock, SystemClock
from qdwell.config import Config, Server
from qdwell.config_sign_in import Oidc, SignIn
from qdwell.engine.engine import Engine
from qdwell.store import Store, accounts, open_store
from qdwell.store.identities import Identity
from qdwell.store.people import People

PUBLIC = "http://qdwell.test"
MINUTES = 60_000
HTTP = httpx.Client(verify=False)  # plain: to make it costs less


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return int(it.getsockname()[1])


def started(command: list[str], url: str) -> subprocess.Popen[bytes]:
    """Start a provider; return when it describes itself."""
    process = subprocess.Popen(command)
    for _ in range(600):
        assert process.poll() is None
        try:
            if HTTP.get(f"{url}/.well-known/openid-configuration").is_success:
                return process
        except httpx.ConnectError:
            process_waits(process)
    raise AssertionError("the provider does not start")


def process_waits(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(0.1)
    except subprocess.TimeoutExpired:
        return


def elsewhere(address: str, **form: str) -> str:
    """What the browser does at the provider; return where that sends it to."""
    answer = HTTP.post(address, data=form) if form else HTTP.get(address)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


def tell_users(url: str, subject: str, claims: dict[str, Any]) -> None:
    HTTP.put(f"{url}/users/{subject}", json=claims).raise_for_status()


class World:
    """A server whose people sign in at a provider."""

    def __init__(self, folder: Path, issuer: str, **settings: Any) -> None:
        self.issuer = issuer
        self.clock = ManualClock(SystemClock().now())
        self.store: Store = open_store(folder)
        first = accounts.first_start(self.store, self.clock.now())
        assert first is not None
        self.first = first
        (folder / "secret").write_text(SECRET + "\n")
        oidc = Oidc(
            issuer,
            CLIENT,
            **{"client_secret_file": str(folder / "secret"), "title": "the university", **settings},
        )
        config = replace(Config(), server=Server(public_url=PUBLIC), sign_in=SignIn(oidc))
        engine = Engine(config, self.store, self.clock)
        self.app = build(config, self.store, engine, self.clock)
        console.add(self.app)
        self.people = People(self.store, "test", self.clock.now(), config.plans)

    def user(self, name: str, subject: str | None = None) -> str:
        """A user with an instance of the same name, linked to a subject."""
        self.people.create_instance("uni", name, "default")
        made = self.people.create_user("uni", name)
        self.people.set_member(name, name, "member")
        if subject is not None:
            self.people.link_identity(name, Identity(self.issuer, subject))
        return made

    def browser(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url=PUBLIC)

    def tell(self, **told: Any) -> None:
        assert HTTP.put(f"{self.issuer}/told", json=told).status_code == 204

    def rotate(self) -> None:
        assert HTTP.post(f"{self.issuer}/rotate").status_code == 204

    def asked(self) -> list[str]:
        return list(HTTP.get(f"{self.issuer}/asked").json())

    async def there(self, browser: httpx.AsyncClient, query: str = "") -> str:
        """Go to the provider and consent; return the address that it sends the browser back to."""
        self.clock.hold(max(self.clock.now(), SystemClock().now()))
        begun = await browser.get(f"/sign-in/oidc{query}")
        assert begun.status_code == 303, begun.text
        return elsewhere(begun.headers["location"])

    async def sign_in(self, query: str = "", browser: httpx.AsyncClient | None = None) -> Any:
        browser = browser or self.browser()
        back = await self.there(browser, query)
        return browser, await browser.get(back)


def told(answer: httpx.Response) -> str:
    """What the sign-in page complains of. It is never a fault of ours."""
    assert answer.status_code < 500, answer.text
    assert "qdwell_console" not in answer.cookies
    found = re.search(r'role="alert">(.*?)</div>', answer.text, re.DOTALL)
    assert found, answer.text
    assert 'id="token"' in answer.text  # the other way in is always there
    return re.sub(r"<[^>]+>|\s+", " ", found[1]).strip()
