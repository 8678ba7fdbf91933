"""A real browser, a real server, and a real identity provider: people sign in and are managed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from console.conftest import Served, serve
from console.provider import CLIENT, SECRET
from console.test_browser import check_axe, check_page
from console.university import HTTP, free_port
from qdwell.clock import SystemClock
from qdwell.config import Config
from qdwell.store import open_store
from qdwell.store.identities import Identity
from qdwell.store.people import People
from qdwell.store.plan_book import PlanBook

pytestmark = pytest.mark.timeout(300)  # a server, a provider, and a browser start first

PHONE, DESKTOP = {"width": 390, "height": 800}, {"width": 1280, "height": 850}
MINE = ("/instances", "/instances/members", "/instances/tokens", "/start")
OPERATORS = (
    "/admin", "/admin/accounts", "/admin/instances", "/admin/instances/team", "/admin/users",
    "/admin/tokens", "/admin/plans", "/admin/plans/default", "/admin/plans/course", "/admin/audit",
)  # fmt: skip


@dataclass
class Campus:
    """A server that has a provider, and the commands beside it."""

    served: Served
    folder: Path
    issuer: str

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "qdwell", *words, "--data-dir", "lab"],
            cwd=self.folder, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    @contextmanager
    def people(self) -> Iterator[People]:
        """What the commands do, without their start."""
        with closing(open_store(self.folder / "lab")) as store:
            yield People(store, "test", SystemClock().now(), Config().plans)

    def person(self, subject: str, email: str) -> None:
        """Who sits before the browser."""
        claims = {"sub": subject, "email": email, "email_verified": True}
        HTTP.put(f"{self.issuer}/told", json={"claims": claims}).raise_for_status()


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[Campus]:
    folder, port = tmp_path_factory.mktemp("campus"), free_port()
    (folder / "secret").write_text(SECRET)
    config = f"""
        [server]
        port = {port}
        public_url = "http://127.0.0.1:{port}"
        [sign_in.oidc]
        issuer = "{issuer}"
        client_id = "{CLIENT}"
        client_secret_file = "{folder / "secret"}"
        title = "Example University"
        [[backends]]
        name = "lab"
        kind = "scripted"
    """
    for served in serve(folder, config):
        made = Campus(served, folder, issuer)
        with made.people() as people:
            people.create_instance("physics", "team", "default")
            for name, role in (("ada", "admin"), ("bob", "member")):
                people.create_user("physics", name)
                people.set_member("team", name, role)
                people.link_identity(name, Identity(issuer, f"s-{name}"))
            people.create_user("physics", "eve")
        with closing(open_store(folder / "lab")) as store:
            PlanBook(store, "test", SystemClock().now(), Config().plans).create("course", {})
        yield made


@pytest.fixture
def tab_of(browser: Any, campus: Campus) -> Iterator[Callable[..., Any]]:
    """A tab, signed in by the provider as somebody, or by the operator's token."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def opened(who: str | None, **more: Any) -> Any:
        context = browser.new_context(viewport=DESKTOP, base_url=campus.served.url, **more)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto("/instances")
        if who is None:
            tab.fill("#token", campus.served.token)
            tab.get_by_role("button", name="Sign in with the token").click()
        else:
            campus.person(f"s-{who}", f"{who}@uni.example")
            tab.get_by_role("link", name="Sign in with Example University").click()
        expect(tab).to_have_url(re.compile("/instances$"))
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def test_somebody_unknown_is_turned_away_kindly_and_let_in_when_linked(
    browser: Any, campus: Campus
) -> None:
    context = browser.new_context(viewport=PHONE, base_url=campus.served.url)
    tab = context.new_page()
    campus.person("s-new", "new@uni.example")
    tab.goto("/")
    check_axe(tab)
    tab.get_by_role("link", name="Sign in with Example University").click()
    expect(tab.get_by_role("alert")).to_contain_text("knows you as new@uni.example")
    expect(tab.get_by_role("alert")).to_contain_text("qdwell user link USER s-new")
    check_axe(tab)
    campus.command("user", "link", "eve", "s-new")
    campus.command("instance", "add", "team", "eve", "--role", "viewer")
    tab.get_by_role("link", name="Sign in with Example University").click()
    expect(tab).to_have_url(re.compile("/jobs$"))
    context.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_token_is_made_used_by_a_program_and_revoked(
    campus: Campus, tab_of: Callable[..., Any], scripts: bool
) -> None:
    """With scripts and without."""
    tab, name = tab_of("bob", java_script_enabled=scripts), f"notebook-{scripts}"
    tab.get_by_role("link", name="Tokens", exact=True).click()
    tab.get_by_label("Name").fill(name)
    tab.get_by_label("Ends").select_option("30")
    tab.get_by_role("button", name="Make").click()
    token = tab.locator("#made").text_content()
    if scripts:
        check_axe(tab)

    def signs_in() -> int:
        where = f"{campus.served.url}/identity/token"
        return httpx.post(where, data={"apikey": token}).status_code

    assert signs_in() == 200
    tab.goto("/instances/tokens")
    expect(tab.locator("#made")).to_have_count(0)
    row = tab.get_by_role("row").filter(has_text=name)
    expect(row).not_to_contain_text("never")  # it was used
    tab.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Revoke").click()
    expect(tab.get_by_role("status").filter(has_text="Done")).to_be_visible()
    expect(tab.get_by_role("row").filter(has_text=name)).to_have_count(0)
    assert signs_in() == 401


def test_an_admin_adds_a_member_who_then_sees_the_instance(
    campus: Campus, tab_of: Callable[..., Any]
) -> None:
    with campus.people() as people:
        people.create_user("physics", "zoe")
        people.link_identity("zoe", Identity(campus.issuer, "s-zoe"))
    ada = tab_of("ada")
    ada.get_by_role("link", name="Members").click()
    ada.get_by_label("User", exact=True).fill("zoe")
    ada.get_by_role("button", name="Add").click()
    row = ada.get_by_role("row").filter(has_text="zoe")
    expect(row.get_by_role("combobox")).to_have_value("member")
    row.get_by_role("combobox").select_option("viewer")
    row.get_by_role("button", name="Change").click()
    expect(row.get_by_role("combobox")).to_have_value("viewer")
    zoe = tab_of("zoe")
    expect(zoe.get_by_role("heading", name="team")).to_be_visible()
    zoe.goto("/instances/members")
    expect(zoe.get_by_text("You are viewer here")).to_be_visible()
    expect(zoe.get_by_role("button", name="Add")).to_have_count(0)
    expect(zoe.get_by_role("row").filter(has_text="bob")).to_have_count(0)
    ada.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Remove").click()
    expect(ada.get_by_role("row").filter(has_text="zoe")).to_have_count(0)
    zoe.goto("/jobs")
    expect(zoe).to_have_url(re.compile("/sign-in"))


def test_a_wrong_form_says_so_where_it_was_sent(tab_of: Callable[..., Any]) -> None:
    ada = tab_of("ada")
    ada.goto("/instances/members")
    ada.get_by_label("User", exact=True).fill("nobody")
    ada.get_by_role("button", name="Add").click()
    expect(ada.get_by_role("alert")).to_contain_text("there is no user 'nobody'")
    check_axe(ada)


def test_an_operator_pauses_makes_and_finds_it_in_the_log(tab_of: Callable[..., Any]) -> None:
    tab = tab_of(None)
    tab.goto("/admin")
    row = tab.get_by_role("row").filter(has_text="lab")
    row.get_by_role("textbox").fill("new cryostat")
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("new cryostat")
    row.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("online")
    tab.get_by_role("link", name="Users").click()
    tab.get_by_label("Name").fill("max")
    tab.get_by_label("Account").fill("physics")
    tab.get_by_role("button", name="Make").click()
    expect(tab.get_by_role("row").filter(has_text="max")).to_be_visible()
    tab.get_by_role("link", name="Audit log").click()
    rows = tab.locator("tbody tr")
    expect(rows.nth(0)).to_contain_text("user create")
    expect(rows.nth(1)).to_contain_text("backend online")
    tab.get_by_label("Did what").fill("backend")
    tab.get_by_role("button", name="Filter").click()
    expect(rows).to_have_count(2)


def test_pages_about_people_are_accessible_and_fit_a_phone(tab_of: Callable[..., Any]) -> None:
    for who, paths in (("ada", MINE), (None, OPERATORS)):
        tab = tab_of(who)
        for path in paths:
            check_page(tab, path)


def test_a_member_is_added_by_keyboard_alone(tab_of: Callable[..., Any]) -> None:
    ada = tab_of("ada")
    ada.goto("/instances/members")
    ada.get_by_role("link", name="Tokens", exact=True).focus()
    ada.keyboard.press("Tab")
    expect(ada.get_by_label("User", exact=True)).to_be_focused()
    ada.keyboard.type("eve")
    ada.keyboard.press("Tab")
    ada.keyboard.type("viewer")
    ada.keyboard.press("Enter")
    expect(ada.get_by_role("row").filter(has_text="eve")).to_be_visible()
