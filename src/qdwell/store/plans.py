"""Plans that operators have made by command, beside those of the config file.

A plan of the file is the file's: no command changes it. A plan of the store has only the settings
that differ from what a new plan has, and is changed and removed by command while the server runs.
If the file later gets a plan of the same name, the file's is the one that counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, select

from qdwell.config import Plan, plan_of
from qdwell.store import Store
from qdwell.store.tables_who import plans


def stored(connection: Connection) -> dict[str, dict[str, Any]]:
    """The plans that were made by command, by name: the settings that each has of its own."""
    query = select(plans.c.name, plans.c.settings).order_by(plans.c.created, plans.c.name)
    return {name: json.loads(settings) for name, settings in connection.execute(query)}


def all_plans(store: Store, file_plans: Mapping[str, Plan]) -> dict[str, Plan]:
    """All plans by name, the file's first.

    Raises:
        ConfigError: one of the store's has a setting that this release has no longer.
    """
    with store.database.reading() as connection:
        own = stored(connection)
    made = {name: plan_of(name, it) for name, it in own.items() if name not in file_plans}
    return {**file_plans, **made}


def as_json(plan: Plan) -> dict[str, Any]:
    """All settings of a plan, by name."""
    return {name: list(it) if isinstance(it, tuple) else it for name, it in asdict(plan).items()}
