"""Plans made by command beside the config file's; accounts and instances that are closed."""

from __future__ import annotations

import pytest

from qdwell.config import Plan
from qdwell.errors import BadName, ConfigError, FirstAccount, InBook, InUse, NotInBook, PlanOfFile
from qdwell.store import Store, accounts
from qdwell.store.people import People
from qdwell.store.plan_book import PlanBook
from qdwell.store.plans import all_plans

NOW = 1_767_225_600_000
FILE = {"default": Plan(), "open": Plan(modes=("job",), pending_jobs_max=3)}


@pytest.fixture
def plans(store: Store) -> PlanBook:
    accounts.first_start(store, NOW)
    return PlanBook(store, "tester", NOW, FILE)


def test_a_plan_is_made_changed_and_removed(store: Store, plans: PlanBook) -> None:
    """It begins as another one is, has what was given, and gives back what is unset."""
    plans.create("course", {"tags_max": 2}, like="open")
    made = all_plans(store, FILE)["course"]
    assert made == Plan(modes=("job",), pending_jobs_max=3, tags_max=2)
    plans.change("course", {"pending_jobs_max": None, "tags_max": 1})
    assert all_plans(store, FILE)["course"] == Plan(modes=("job",), tags_max=1)
    assert [(it["name"], it["of_file"]) for it in plans.plans()] == [
        ("default", True), ("open", True), ("course", False),
    ]  # fmt: skip
    assert plans.show("course")["settings"]["modes"] == ["job"]
    plans.remove("course")
    assert "course" not in all_plans(store, FILE)
    assert [it["action"] for it in plans.audit()] == [
        "plan remove", "plan change", "plan create",
    ]  # fmt: skip


def test_a_plan_is_made_like_another_without_a_limit_of_it(store: Store, plans: PlanBook) -> None:
    """What is unset at its making is as in a new plan, and what there is not cannot be unset."""
    plans.create("free", {"pending_jobs_max": None}, like="open")
    assert all_plans(store, FILE)["free"] == Plan(modes=("job",))
    with pytest.raises(ConfigError, match="pending_jobs_max"):
        plans.create("typo", {"pending_job_max": None})


def test_a_plan_that_cannot_be_is_refused_and_not_logged(store: Store, plans: PlanBook) -> None:
    """Names and values are checked like the file's; those of the file are left alone."""
    plans.create("mine", {})
    for error, said, work in (
        (PlanOfFile, "config file's", lambda: plans.change("open", {"tags_max": 1})),
        (PlanOfFile, "config file's", lambda: plans.remove("default")),
        (InBook, "already", lambda: plans.create("open", {})),
        (InBook, "already", lambda: plans.create("mine", {})),
        (BadName, "must be", lambda: plans.create("a.b", {})),
        (ConfigError, "did you mean 'tags_max'", lambda: plans.create("x", {"tag_max": 1})),
        (ConfigError, "0 or more, not -1", lambda: plans.change("mine", {"tags_max": -1})),
        (ConfigError, "no such setting", lambda: plans.change("mine", {"gold": None})),
        (ConfigError, "2147483647 or less", lambda: plans.change("mine", {"tags_max": 2**40})),
        (ConfigError, "must be from", lambda: plans.change("mine", {"active_ttl_seconds": 1})),
        (NotInBook, "no plan 'none'", lambda: plans.change("none", {})),
    ):
        with pytest.raises(error, match=said):
            work()
    people = People(store, "tester", NOW, FILE)
    people.create_instance("default", "lab", "mine")
    with pytest.raises(InUse, match="1 instance, such as 'lab'"):
        plans.remove("mine")
    assert [it["action"] for it in plans.audit()] == ["instance create", "plan create"]
    assert all_plans(store, {**FILE, "mine": Plan(tags_max=7)})["mine"].tags_max == 7


def test_who_is_closed_out_and_let_in_again(store: Store, plans: PlanBook) -> None:
    """Of a closed account nobody signs in; in a closed instance nobody acts."""
    people = People(store, "tester", NOW, FILE)
    made = people.create_account("alice", "open")
    people.close_instance("alice")
    owner = accounts.token_owner(store, made.token, NOW)
    assert owner is not None
    assert owner.instances == ()
    closed = {it.name: it.closed for it in accounts.all_instances(store)}
    assert closed == {"default": False, "alice": True}
    people.close_instance("alice", closed=False)
    people.close_account("alice")
    assert accounts.token_owner(store, made.token, NOW) is None
    people.set_member("alice", "default", "viewer")
    first = accounts.token_owner(store, people.token_of_account("default").token, NOW)
    assert first is not None
    assert [it.name for it in first.instances] == ["default"]
    people.close_account("alice", closed=False)
    assert accounts.token_owner(store, made.token, NOW) is not None
    assert people.account("alice")["instances"] == ["alice"]
    assert {it["role"] for it in people.instance("alice")["members"]} == {"admin", "viewer"}
    assert {it["name"] for it in people.user("default")["instances"]} == {"default", "alice"}
    (token,) = people.tokens("alice")
    assert people.token(token["id"]) == token
    with pytest.raises(FirstAccount):
        people.close_account("default")
