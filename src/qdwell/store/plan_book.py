"""What operators do with plans: list, show, make, change, remove."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, select, update

from qdwell.config import Plan, plan_of
from qdwell.errors import BadName, InBook, InUse, NotInBook, PlanOfFile
from qdwell.store.book import Book
from qdwell.store.plans import all_plans, as_json, stored
from qdwell.store.tables_who import instances, plans

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class PlanBook(Book):
    """What operators do with plans.

    Besides what every book raises:
        ConfigError: a setting is none, or cannot be so.
        PlanOfFile: the plan is the config file's.
        InUse: instances have the plan.
    """

    def plans(self) -> list[dict[str, Any]]:
        """All plans, the file's first."""
        found = all_plans(self._store, self._file_plans)
        return [self._described(name, plan) for name, plan in found.items()]

    def show(self, name: str) -> dict[str, Any]:
        """One plan."""
        found = all_plans(self._store, self._file_plans).get(name)
        if found is None:
            raise NotInBook("plan", name)
        return self._described(name, found)

    def create(self, name: str, settings: Mapping[str, Any], like: str | None = None) -> None:
        """Make a plan: as `like` is now, or as a new plan is, but for `settings`; None: as a new
        plan has it, whatever `like` has.
        """
        base = {} if like is None else _differing(self.show(like)["settings"])
        whole = _set(name, base, settings)
        with self._changing("plan create", name, settings=whole) as it:
            if not _NAME.fullmatch(name):
                raise BadName("plan", name)
            if name in self._file_plans or name in stored(it):
                raise InBook("plan", name)
            row = {"name": name, "settings": _checked(name, whole), "created": self._now}
            it.execute(plans.insert().values(**row))

    def change(self, name: str, settings: Mapping[str, Any]) -> None:
        """Change settings of a plan, at once for all its instances; None: as a new plan has it."""
        with self._changing("plan change", name, settings=dict(settings)) as it:
            text = _checked(name, _set(name, self._mine(it, name), settings))
            it.execute(update(plans).where(plans.c.name == name).values(settings=text))

    def remove(self, name: str) -> None:
        """Remove a plan that no instance has."""
        with self._changing("plan remove", name) as it:
            self._mine(it, name)
            used = it.execute(select(instances.c.name).where(instances.c.plan == name)).scalars()
            if names := list(used):
                raise InUse(name, len(names), names[0])
            it.execute(delete(plans).where(plans.c.name == name))

    def _mine(self, connection: Connection, name: str) -> dict[str, Any]:
        if name in self._file_plans:
            raise PlanOfFile(name)
        found = stored(connection).get(name)
        if found is None:
            raise NotInBook("plan", name)
        return found

    def _described(self, name: str, plan: Plan) -> dict[str, Any]:
        return {"name": name, "of_file": name in self._file_plans, "settings": as_json(plan)}


def _checked(name: str, settings: Mapping[str, Any]) -> str:
    plan_of(name, settings)
    return json.dumps(settings)


def _set(name: str, base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with these settings; None takes one away.

    Raises:
        ConfigError: there is no such setting, though it is only to be taken away.
    """
    for key in settings:
        if key not in as_json(Plan()):
            plan_of(name, {key: 0})  # raises, and names what is near
    whole = {**base, **settings}
    return {key: value for key, value in whole.items() if value is not None}


def _differing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as in a new plan."""
    new = as_json(Plan())
    return {key: value for key, value in settings.items() if value != new[key]}
