"""Sign-in by an identity provider: who is who, and who may."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from console.provider import CLIENT, SECRET
from console.university import PUBLIC, World, told
from qdwell import console
from qdwell.api.app import build
from qdwell.config import Config, Server
from qdwell.config_sign_in import Oidc, SignIn
from qdwell.engine.engine import Engine
from qdwell.errors import ConfigError
from qdwell.settings import read
from qdwell.store.identities import Identity, identity_id


async def test_a_linked_user_signs_in_and_is_out_when_it_is_unlinked(world: World) -> None:
    user = world.user("ada", "s-1")
    browser, answer = await world.sign_in("?next=/machines%3Fa%3D1")
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == "/machines?a=1"
    assert "ada" in (await browser.get("/start")).text
    (shown,) = world.people.identities("ada")
    assert (shown["user_id"], shown["email"]) == (user, "ada@uni.example")
    assert shown["used_at"] == world.clock.now()
    world.people.unlink_identity(shown["id"])
    assert (await browser.get("/start")).status_code == 303
    world.people.link_identity("ada", Identity(world.issuer, "s-1"))
    assert (await browser.get("/start")).status_code == 200
    world.people.disable_user("ada")
    assert (await browser.get("/start")).status_code == 303
    _, answer = await world.sign_in()
    assert "shut out" in told(answer)


async def test_an_unknown_person_is_told_what_the_operator_has_to_do(world: World) -> None:
    _, answer = await world.sign_in()
    text = told(answer)
    assert "knows you as ada@uni.example, but no user here" in text
    assert "qdwell user link USER s-1" in text
    assert world.people.identities() == []
    world.tell(claims={"sub": "<b>s</b>", "email": "<i>@x"})
    _, answer = await world.sign_in()
    assert "<b>s</b>" not in answer.text
    assert "<i>@x" not in answer.text
    world.user("bob", "s-bob")
    world.people.remove_member("bob", "bob")
    world.tell(claims={"sub": "s-bob"})
    assert "member of no instance" in told((await world.sign_in())[1])


async def test_an_address_identifies_nobody_unless_the_operator_says_so(
    tmp_path: Path, issuer: str
) -> None:
    """Linked once, by a verified address; later it is the subject that counts."""
    world = World(tmp_path, issuer, link_by_email=True)
    world.user("ada@uni.example")
    told_of = {"sub": "s-1", "email": "ada@uni.example"}
    for verified in (False, None, "no", 1):
        world.tell(claims=told_of | {"email_verified": verified})
        assert "no user here" in told((await world.sign_in())[1])
    world.tell(claims=told_of | {"email": "Ada@Uni.Example", "email_verified": True})
    assert (await world.sign_in())[1].status_code == 303
    world.tell(claims=told_of | {"email": "new@uni.example"})  # it was renamed
    assert (await world.sign_in())[1].status_code == 303
    world.tell(claims={**told_of, "sub": "s-2", "email_verified": True})  # who got the old address
    assert "no user here" in told((await world.sign_in())[1])
    (line,) = (it for it in world.people.audit(action="user link"))
    assert (line["actor"], line["subject"]) == ("sign-in", "ada@uni.example")
    world.store.close()


async def test_new_people_get_what_the_operator_says(tmp_path: Path, issuer: str) -> None:
    world = World(tmp_path, issuer, new_user_instance="lab", new_user_role="viewer")
    world.tell(claims={"sub": "s-1", "email": "ada@uni.example", "email_verified": True})
    assert "No user could be made" in told((await world.sign_in())[1])  # there is no lab yet
    world.people.create_instance("uni", "lab", "default")
    assert (await world.sign_in())[1].status_code == 303
    assert (await world.sign_in())[1].status_code == 303
    world.tell(claims={"sub": "s-2", "email": "ada@uni.example", "email_verified": True})
    assert (await world.sign_in())[1].status_code == 303  # the same address, and another person
    shown = {(it["name"], it["role"]) for it in world.people.members("lab")}
    other = f"user-{identity_id(issuer, 's-2')[:24]}"
    assert shown == {("ada@uni.example", "viewer"), (other, "viewer")}
    actors = {it["actor"] for it in world.people.audit(action="user create")}
    assert actors == {"sign-in"}
    world.store.close()


async def test_only_some_domains_and_groups_may_sign_in(tmp_path: Path, issuer: str) -> None:
    world = World(tmp_path, issuer, email_domains=("uni.example",), groups=("quantum",))
    world.user("ada", "s-1")
    right = {"sub": "s-1", "email": "ada@UNI.example", "email_verified": True}
    for claims, userinfo, word in (
        (right | {"groups": ["quantum"]}, {}, ""),
        (right, {"groups": ["other", "quantum"]}, ""),  # told to those who ask
        (right | {"groups": "quantum"}, {}, ""),
        (right, {"groups": ["other"]}, "none of the groups"),
        (right | {"groups": [["quantum"]]}, {}, "none of the groups"),
        (right, {}, "none of the groups"),
        (right, {"sub": "s-9", "groups": ["quantum"]}, "two persons"),
        (right | {"email_verified": False, "groups": ["quantum"]}, {}, "vouches for no"),
        (
            {"sub": "s-1", "email": "ada@uni.example"},  # not the userinfo's word for this address
            {"email": "x@uni.example", "email_verified": True, "groups": ["quantum"]},
            "vouches for no",
        ),
        ({"sub": "s-1"}, {**right, "groups": ["quantum"]}, ""),
        (right | {"email": "ada@uni.example.evil", "groups": ["quantum"]}, {}, "not of a domain"),
        (right | {"email": "uni.example", "groups": ["quantum"]}, {}, "vouches for no"),
    ):
        world.tell(claims=claims, userinfo=userinfo)
        _, answer = await world.sign_in()
        if word:
            assert word in told(answer)
        else:
            assert answer.status_code == 303, told(answer)
    world.tell(claims={"sub": "s-1"}, faults={"userinfo": 500})
    assert "fails: HTTP 500" in told((await world.sign_in())[1])
    world.store.close()


async def test_the_secret_may_go_in_the_body_or_come_from_the_environment(
    tmp_path: Path, issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDWELL_OIDC_CLIENT_SECRET", SECRET)
    world = World(tmp_path, issuer, client_secret_file=None)
    world.user("ada", "s-1")
    world.tell(claims={"sub": "s-1"}, auth="client_secret_post")
    _, answer = await world.sign_in()
    assert answer.status_code == 303, told(answer)
    world.store.close()
    with pytest.raises(ConfigError, match="cannot be read"):
        World(tmp_path / "b", issuer, client_secret_file=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("oidc", "server", "word"),
    [
        (Oidc(client_id="x"), Server(), "without sign_in.oidc.issuer"),
        (Oidc("http://id.example", "x"), Server(public_url=PUBLIC), "must be https"),
        (Oidc("https://id.example?x=1", "x"), Server(public_url=PUBLIC), "must be https"),
        (Oidc("https://id.example"), Server(public_url=PUBLIC), "client_id"),
        (Oidc("https://id.example", "x"), Server(), "server.public_url"),
        (Oidc("https://id.example", "x", scopes=("email",)), Server(public_url=PUBLIC), "openid"),
        (Oidc("https://a.example", "x", email_domains=("@",)), Server(public_url=PUBLIC), "domain"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(oidc: Oidc, server: Server, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        replace(Config(), server=server, sign_in=SignIn(oidc))


def test_nobody_becomes_an_admin_by_signing_in(tmp_path: Path) -> None:
    text = '[sign_in.oidc]\nissuer = "https://id.example"\nnew_user_role = "admin"\n'
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match="new_user_role"):
        Config.load(tmp_path / "c.toml")


async def test_a_cookie_of_an_identity_ends_with_the_provider(tmp_path: Path, issuer: str) -> None:
    """The operator takes the provider away, or another: who came by it is out."""
    world = World(tmp_path, issuer)
    world.user("ada", "s-1")
    world.tell(claims={"sub": "s-1"})
    browser, _ = await world.sign_in()
    cookies = dict(browser.cookies)
    assert (await browser.get("/start")).status_code == 200
    for url in (None, "https://another.example"):
        oidc = Oidc() if url is None else Oidc(url, CLIENT)
        config = replace(Config(), server=Server(public_url=PUBLIC), sign_in=SignIn(oidc))
        app = build(config, world.store, Engine(config, world.store, world.clock), world.clock)
        console.add(app)
        later = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=PUBLIC)
        later.cookies.update(cookies)
        assert (await later.get("/start")).status_code == 303
        assert ((await later.get("/sign-in/oidc")).status_code == 404) is (url is None)
    world.store.close()


def test_the_settings_of_the_page_about_sign_in_work() -> None:
    text = (Path(__file__).parents[2] / "docs/operate/sign-in.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    config = read(Config, tomllib.loads(block))
    assert config.sign_in.oidc.title == "Example University"
    assert config.sign_in.oidc.email_domains == ("example.edu",)
