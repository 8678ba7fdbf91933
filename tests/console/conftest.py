"""The console in two forms: in this process, short but for HTTP; and as a server with a browser.

The browser is the system's Chromium. Without it the tests that need it are skipped, loudly; where
`CI` is set, or `QDWELL_BROWSER=required`, they fail instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from console.university import World, free_port, started
from qdwell import console
from qdwell.api.app import build
from qdwell.clock import SystemClock
from qdwell.config import Backend, Config, Plan
from qdwell.engine.engine import Engine
from qdwell.store import Store, accounts, new_id, open_store

CONFIG = Config(
    backends=(
        Backend("quick", "scripted"),
        Backend("endless", "scripted", options={"run_ms": 600_000}),
        Backend("line", "fake", target="fake_manila"),
    ),
    plans={
        "default": Plan(session_interactive_ttl_seconds=30),
        "open": Config().plans["open"],
        "limited": Plan(usage_limit_seconds=100),
    },
)


@dataclass
class Reader:
    """Somebody who is signed in to the console, in this process."""

    http: httpx.AsyncClient
    credentials: accounts.Credentials

    @property
    def crn(self) -> str:
        return self.credentials.instance_crn

    async def page(self, path: str, status: int = 200) -> str:
        answer = await self.http.get(path)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:500])
        return answer.text

    async def csrf(self) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', await self.page("/start"))
        assert found
        return found[1]

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of the console's, with its secret."""
        return await self.http.post(path, data={"csrf": await self.csrf(), **fields})


@dataclass
class Site:
    """The server of these tests."""

    store: Store
    engine: Engine
    app: Any
    first: accounts.Credentials

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://qdwell")

    async def reader(
        self, plan: str = "default", who: accounts.Credentials | None = None
    ) -> Reader:
        now = SystemClock().now()
        made = who or accounts.create_account(self.store, f"u-{new_id()}", plan, now)
        http = self.client()
        answer = await http.post("/sign-in", data={"token": made.token})
        assert answer.status_code == 303, answer.text
        return Reader(http, made)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    clock = SystemClock()
    store = open_store(tmp_path_factory.mktemp("console"))
    first = accounts.first_start(store, clock.now())
    assert first is not None
    engine = Engine(CONFIG, store, clock)
    await engine.start()
    await engine.ready()
    app = build(CONFIG, store, engine, clock)
    console.add(app)
    yield Site(store, engine, app, first)
    await engine.stop(0)
    store.close()


# ---- a real server, and a real browser -----------------------------------------------------------

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SERVED = """
[server]
port = 0
[[backends]]
name = "lab"
kind = "scripted"
options = { run_ms = 40 }
[[backends]]
name = "slow"
kind = "scripted"
options = { run_ms = 600000 }
[[backends]]
name = "brief"
kind = "scripted"
options = { run_ms = 6000 }
[[backends]]
name = "manila"
kind = "fake"
target = "fake_manila"
[plans.default]
session_interactive_ttl_seconds = 2
"""


@dataclass
class Served:
    """A server process: its address, and the first user's token and instance."""

    url: str
    token: str
    instance: str


def serve(folder: Path, config: str) -> Iterator[Served]:
    """A server process with this config, until it is told to end."""
    (folder / "qdwell.toml").write_text(config)
    command = [sys.executable, "-m", "qdwell", "serve"]
    process = subprocess.Popen(
        [*command, "--config", "qdwell.toml", "--data-dir", "lab"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url, lines = "", {}
    for line in process.stdout:
        if " serves " in line:
            url = line.split()[-1]
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            lines[name] = value.strip("'")
        if "GLOBAL_CATALOG_URL" in lines:
            break
    yield Served(url, lines["QISKIT_IBM_TOKEN"], lines["QISKIT_IBM_INSTANCE"])
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serve(tmp_path_factory.mktemp("served"), SERVED)


def chromium() -> str | None:
    """Where the system's browser is."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")  # its event loop runs in this thread, and no other can meanwhile
def browser() -> Iterator[Any]:
    path = chromium()
    if path is None:
        required = os.environ.get("CI") or os.environ.get("QDWELL_BROWSER") == "required"
        message = "NO BROWSER: the console was not tested; install Chromium (apt install chromium)"
        (pytest.fail if required else pytest.skip)(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def tab(browser: Any, served: Served) -> Iterator[Any]:
    """A signed-in tab. Whatever its console complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 850}, base_url=served.url)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    page.goto("/")
    page.fill("#token", served.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/jobs")
    yield page
    context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def service(served: Served) -> Any:
    """Our own client, as the first user."""
    from qdwell import QiskitRuntimeService

    return QiskitRuntimeService(url=served.url, token=served.token, instance=served.instance)


# ---- an identity provider ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """Our own provider, which misbehaves when told so."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = started([sys.executable, str(Path(__file__).parent / "provider.py"), str(port)], url)
    yield url
    process.terminate()
    process.wait(10)


@pytest.fixture
def world(tmp_path: Path, issuer: str) -> Iterator[World]:
    made = World(tmp_path, issuer)
    made.tell(claims={"sub": "s-1", "email": "ada@uni.example", "email_verified": True})
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[World]:
    """One for many sign-ins, with a user who is linked."""
    made = World(tmp_path_factory.mktemp("shared"), issuer)
    made.user("ada", "s-1")
    yield made
    made.store.close()
