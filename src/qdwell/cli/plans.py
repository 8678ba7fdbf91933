"""The commands for operators: plans. Those of the config file are shown and not changed here."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from qdwell.cli.admin import DATA_DIR, DataDir, in_book, show_list, show_one
from qdwell.cli.asking import AsJson
from qdwell.errors import ConfigError

if TYPE_CHECKING:
    from qdwell.store.plan_book import PlanBook

T = TypeVar("T")

PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="Name of a plan.")]
SETTING = "KEY=VALUE"
_SHOWN = ("modes", "pending_jobs_max", "usage_limit_seconds", "job_limit_seconds")

plan = typer.Typer(no_args_is_help=True, help="Plans: what the instances of each may do.")


def _plans(data_dir: Path, work: Callable[[PlanBook], T]) -> T:
    from qdwell.store.plan_book import PlanBook

    return in_book(data_dir, PlanBook, work)


@plan.command("list")
def list_plans(data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """List the plans: the config file's, and those made by command."""
    found = _plans(data_dir, lambda it: it.plans())
    if as_json:
        show_list(found, (), as_json=True)
        return
    rows = [{**it, **it["settings"]} for it in found]
    show_list(rows, ("name", "of_file", *_SHOWN), as_json=False)


@plan.command("show")
def show_plan(name: PlanName, data_dir: DataDir = DATA_DIR, as_json: AsJson = False) -> None:
    """Show a plan with all its settings."""
    found = _plans(data_dir, lambda it: it.show(name))
    shown = {"name": found["name"], "of_file": found["of_file"], **found["settings"]}
    show_one(found if as_json else shown, as_json)


@plan.command("create")
def create_plan(
    name: Annotated[str, typer.Argument(metavar="PLAN", help="Name of the new plan.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar=SETTING, help="What is not as in a new plan; KEY= alone is."),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Begin with this plan's settings, as they are now.")
    ] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make a plan, such as `qdwell plan create course modes=job,batch pending_jobs_max=5`."""
    made = _settings(settings or [])
    _plans(data_dir, lambda it: it.create(name, made, like))
    typer.echo(f"Plan {name} is made; `qdwell instance change` gives it.", err=True)


@plan.command("change")
def change_plan(
    name: PlanName,
    settings: Annotated[
        list[str], typer.Argument(metavar=SETTING, help="KEY= alone: as in a new plan.")
    ],
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Change settings of a plan that was made by command, for all its instances."""
    changes = _settings(settings)
    _plans(data_dir, lambda it: it.change(name, changes))
    typer.echo(f"Plan {name} is changed.", err=True)


@plan.command("remove")
def remove_plan(name: PlanName, data_dir: DataDir = DATA_DIR) -> None:
    """Remove a plan that was made by command and that no instance has."""
    _plans(data_dir, lambda it: it.remove(name))
    typer.echo(f"Plan {name} is removed.", err=True)


def _settings(words: list[str]) -> dict[str, Any]:
    """The settings of KEY=VALUE words; a value is as the config file has it, or plain words."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(word, "must be KEY=VALUE; `qdwell plan show` lists the keys")
        found[key] = _value(key, value)
    return found


def _value(key: str, value: str) -> Any:
    if not value:
        return None
    try:
        return tomllib.loads(f"it = {value}")["it"]
    except tomllib.TOMLDecodeError:
        words = [it.strip() for it in value.split(",")]
        return words if key == "modes" else value
