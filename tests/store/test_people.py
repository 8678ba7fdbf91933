"""The book of people: roles, tokens with ends, and a log that nobody can change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import delete, select, update

from qdwell.config import Plan
from qdwell.errors import BadRows, InBook, NotInBook, StoreError
from qdwell.store import Store, accounts
from qdwell.store.people import People, Row
from qdwell.store.tables_who import audit, tokens

NOW = 1_767_225_600_000
PLANS = {"default": Plan(), "open": Plan(modes=("job",))}


@pytest.fixture
def people(store: Store) -> People:
    """Operators of a store that has its first account."""
    accounts.first_start(store, NOW)
    return People(store, "tester", NOW + 1, PLANS)


def test_a_class_list_is_made_whole_or_not_at_all(store: Store, people: People) -> None:
    """200 students: each is a member of their own instance alone."""
    made = people.import_class("course", [Row(f"s{n}", "open") for n in range(200)])
    owner = accounts.token_owner(store, made[7].token, NOW)
    assert owner is not None
    assert [(it.name, it.plan, it.role) for it in owner.instances] == [("s7", "open", "member")]
    assert not owner.admin
    for rows, error in (
        ([Row("new", "open", 2), Row("s7", "open", 3)], "line 3: there is instance 's7' already"),
        (
            [Row("../x", "open", 2), Row("new", "open", 3)],
            "line 2: instance '../x' must be letters",
        ),
        ([Row("new", "gold", 2), Row("new", "open", 3)], "line 2: there is no plan 'gold'"),
        ([Row("new", "open", 2), Row("new", "open", 4)], "line 4: 'new' is on line 2 too"),
    ):
        with pytest.raises(BadRows, match=error):
            people.import_class("course", rows)

    def full(_: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        people.import_class("course", [Row("new", "open", 2)], full)
    assert len(people.instances()) == 201
    assert len(people.users()) == 201


def test_a_token_ends_by_time_by_hand_and_with_its_user(store: Store, people: People) -> None:
    """Expiring, revocable; its last use is known."""
    token = people.create_token("default", "brief", lasts_ms=999)
    assert accounts.token_owner(store, token, NOW + 999) is not None
    assert accounts.token_owner(store, token, NOW + 1_000) is None
    for lasts_ms, end in ((500, NOW + 501), (2_000, NOW + 999), (None, NOW + 999)):
        bound = people.create_token("default", "bound", lasts_ms=lasts_ms, latest=NOW + 999)
        assert accounts.token_owner(store, bound, end - 1) is not None
        assert accounts.token_owner(store, bound, end) is None
    other = people.create_token("default", "other")
    owner = accounts.token_owner(store, other, NOW + 5)
    assert owner is not None
    shown = {it["id"]: it for it in people.tokens("default")}[owner.token]
    assert (shown["name"], shown["used_at"]) == ("other", NOW + 5)
    assert "hash" not in shown
    people.disable_user("default")
    assert accounts.token_owner(store, other, NOW) is None
    people.disable_user("default", disabled=False)
    people.revoke_token(owner.token)
    assert accounts.token_owner(store, other, NOW) is None
    assert accounts.user_owner(store, owner.user_id, owner.token, NOW) is None
    with pytest.raises(NotInBook):
        people.revoke_token(owner.token)


def test_a_token_may_be_for_one_instance_and_for_reading(store: Store, people: People) -> None:
    """Scopes; and a role is per instance."""
    people.create_instance("default", "second", "open", spend_seconds=5)
    people.set_member("second", "default", "viewer")
    both = accounts.token_owner(store, people.create_token("default", "all"), NOW)
    token = people.create_token("default", "narrow", "read", "second")
    narrow = accounts.token_owner(store, token, NOW)
    assert both is not None
    assert narrow is not None
    assert [(it.name, it.role) for it in both.instances] == [
        ("default", "admin"),
        ("second", "viewer"),
    ]
    assert both.admin
    assert both.may_change
    assert [it.name for it in narrow.instances] == ["second"]
    assert not narrow.admin
    assert not narrow.may_change
    assert narrow.instances[0].terms(Plan()) == replace(Plan(), spend_limit_seconds=5)
    people.change_instance("second", {"backends": ["a"], "spend_seconds": None})
    second = accounts.all_instances(store)[1]
    assert (second.backends, second.terms(Plan())) == (("a",), Plan())
    people.remove_member("second", "default")
    assert accounts.token_owner(store, token, NOW).instances == ()  # type: ignore[union-attr]


def test_the_audit_log_is_only_ever_added_to(store: Store, people: People) -> None:
    """Each change has its line; the database refuses to change one; no token is in it."""
    token = people.create_token("default", "mine")
    people.create_user("default", "eve")
    assert [(it["actor"], it["action"], it["subject"]) for it in people.audit()] == [
        ("tester", "user create", "eve"),
        ("tester", "token create", "default"),
    ]
    assert token not in str(people.audit())
    for change in (update(audit).values(actor="x"), delete(audit)):
        with pytest.raises(StoreError, match="append-only"), store.database.writing() as connection:
            connection.execute(change)
    assert len(people.audit()) == 2
    with pytest.raises(InBook):
        people.create_user("default", "eve")
    assert len(people.audit()) == 2
    with store.database.reading() as connection:
        assert token not in str(connection.execute(select(tokens)).all())
