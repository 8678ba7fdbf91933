"""Accounts and tokens: who may sign in, and that the store gives no secret away."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdwell.config import Plan
from qdwell.errors import AccountExists, UnknownAccount, UnknownPlan
from qdwell.store import Store, accounts

NOW = 1_767_225_600_000


def test_the_first_start_makes_one_account_and_only_once(store: Store) -> None:
    """First start: one account, one instance, one token; later starts make none."""
    made = accounts.first_start(store, NOW)
    assert made is not None
    assert accounts.first_start(store, NOW) is None
    owner = accounts.token_owner(store, made.token, NOW)
    assert owner is not None
    assert (owner.user_id, owner.account_id, owner.admin) == (made.user_id, made.account_id, True)
    assert [(it.crn, it.plan) for it in owner.instances] == [(made.instance_crn, "default")]
    assert accounts.first_account(store) == made.account_id


def test_the_crn_has_the_parts_that_the_client_parses(store: Store) -> None:
    """Wire protocol 1: `crn:` first, six colons, and a region that changes no URL."""
    made = accounts.create_account(store, "lab", "default", NOW)
    parts = made.instance_crn.split(":")
    assert (parts[0], parts[4], parts[5], len(parts)) == ("crn", "quantum-computing", "us-east", 10)
    assert parts[6] == f"a/{made.account_id}"


def test_a_second_account_is_no_administrator_and_sees_its_own_instance(store: Store) -> None:
    """I1: users act in their own instances."""
    first = accounts.create_account(store, "one", "default", NOW)
    second = accounts.create_account(store, "two", "open", NOW + 1)
    owner = accounts.token_owner(store, second.token, NOW)
    assert owner is not None
    assert (owner.admin, owner.account_name) == (False, "two")
    assert [it.crn for it in owner.instances] == [second.instance_crn]
    assert accounts.first_account(store) == first.account_id
    found = [(it.crn, it.plan) for it in accounts.all_instances(store)]
    assert found == [(first.instance_crn, "default"), (second.instance_crn, "open")]


def test_more_tokens_leave_the_older_ones_good(store: Store) -> None:
    """Both tokens are the same user's."""
    first = accounts.create_account(store, "lab", "default", NOW)
    second = accounts.create_token(store, "lab", NOW + 1)
    assert first.token != second.token
    assert accounts.token_owner(store, first.token, NOW) == accounts.token_owner(
        store, second.token, NOW
    )
    assert second.instance_crn == first.instance_crn


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "é", "0" * 64])
def test_a_wrong_token_is_nobodys(store: Store, token: str) -> None:
    """E1."""
    accounts.create_account(store, "lab", "default", NOW)
    assert accounts.token_owner(store, token, NOW) is None
    assert accounts.user_owner(store, token, token, NOW) is None


def test_a_token_is_in_no_file_and_in_no_repr(store: Store, folder: Path) -> None:
    """Who reads the database or a log cannot sign in, not even with the hash from there."""
    made = accounts.create_account(store, "lab", "default", NOW)
    assert made.token not in repr(made)
    store.close()
    for path in folder.rglob("*"):
        if path.is_file():
            assert made.token.encode() not in path.read_bytes()


def test_others_on_the_machine_may_not_read_the_store(store: Store, folder: Path) -> None:
    """The database holds users' work, and the key of the access tokens."""
    accounts.signing_key(store)
    modes = {path.name: path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())}
    assert set(modes.values()) == {0}, modes


def test_impossible_accounts_are_refused_by_name(store: Store) -> None:
    """Errors teach: which account, which plan, and what there is."""
    accounts.create_account(store, "lab", "default", NOW)
    with pytest.raises(AccountExists, match="lab"):
        accounts.create_account(store, "lab", "default", NOW)
    with pytest.raises(UnknownAccount, match="nobody"):
        accounts.create_token(store, "nobody", NOW)
    with pytest.raises(UnknownPlan, match="gold.*default"):
        accounts.create_account(store, "rich", "gold", NOW, {"default": Plan()})
    with pytest.raises(UnknownPlan, match="default.*gold"):
        accounts.apply_plans(store, {"gold": Plan()})
    assert len(accounts.all_instances(store)) == 1


def test_the_signing_key_is_made_once(store: Store) -> None:
    """Access tokens stay good over a restart."""
    key = accounts.signing_key(store)
    assert len(key) == 32
    assert accounts.signing_key(store) == key
