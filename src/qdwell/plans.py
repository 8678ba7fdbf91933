"""Plans: what the instances of each may do. A part of `config`, which most import it from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdwell.errors import ConfigError
from qdwell.settings import read, setting

MODES = ("job", "batch", "session")
SECONDS_MAX = 2**31 - 1  # L7: the wire's integers are 32 bits wide
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the instances of a plan may do. `[plans.default]` and `[plans.open]` change the shipped
    plans key by key; any other name is a new plan, with the defaults shown here."""

    modes: tuple[str, ...] = setting(MODES, "Execution modes allowed (I3).", choices=MODES)
    session_interactive_ttl_seconds: int = setting(
        60,
        "Idle time after which a session gives the machine back (L20, S23).",
        least=1,
        most=SECONDS_MAX,
    )
    batch_interactive_ttl_seconds: int = setting(
        1, "Idle time after which a batch is inactive (L21, B9).", least=1, most=SECONDS_MAX
    )
    session_keep_alive_max_seconds: int = setting(
        3_600,
        "Longest time that one request may keep an idle session active.",
        least=1,
        most=SECONDS_MAX,
    )
    max_ttl_seconds: int = setting(
        28_800, "Longest life of a session, and its default (L6).", least=1, most=SECONDS_MAX
    )
    batch_max_ttl_seconds: int = setting(
        28_800, "Longest life of a batch, and its default (L8, B10).", least=1, most=SECONDS_MAX
    )
    active_ttl_seconds: int | None = setting(
        None,
        "Longest single active window; not set: as long as the life (S26).",
        least=1,
        most=SECONDS_MAX,
    )
    pending_jobs_max: int | None = setting(
        None,
        "Queued and running jobs of an instance; not set: any number (L11).",
        least=1,
        most=SECONDS_MAX,
    )
    sessions_max: int | None = setting(
        None,
        "Sessions and batches of an instance open at once; not set: any number (L25).",
        least=1,
        most=SECONDS_MAX,
    )
    usage_allocation_seconds: int | None = setting(
        None,
        "Usage meant for an instance per window; beyond it only priority falls (I7).",
        least=1,
        most=SECONDS_MAX,
    )
    usage_limit_seconds: int | None = setting(
        None,
        "Usage per window after which jobs stay queued until time frees up (I8).",
        least=1,
        most=SECONDS_MAX,
    )
    spend_limit_seconds: int | None = setting(
        None,
        "Usage per window after which submissions are refused (I9).",
        least=1,
        most=SECONDS_MAX,
    )
    job_limit_seconds: int = setting(
        10_800, "Most quantum time of one job (L2).", least=1, most=SECONDS_MAX
    )
    simulator_job_limit_seconds: int = setting(
        1_800,
        "Most time of one job on a simulator (J15); others share its processes.",
        least=1,
        most=SECONDS_MAX,
    )
    executions_max: int = setting(
        10_000_000, "Most executions of one job (L14).", least=1, most=10**12
    )
    submissions_per_minute: int | None = setting(
        None, "Submissions of one account; not set: any number (L12).", least=1, most=SECONDS_MAX
    )
    tags_max: int = setting(8, "Tags of a job (L17).", least=0, most=SECONDS_MAX)
    tag_length_max: int = setting(86, "Characters of a tag (L17).", least=1, most=SECONDS_MAX)


def shipped_plans() -> dict[str, Plan]:
    """The plans that a config has without a line about plans."""
    return {
        "default": Plan(),
        # The free plan as users of 2025 know it: L10, L11, I3, B10.
        "open": Plan(
            modes=("job", "batch"),
            batch_max_ttl_seconds=600,
            pending_jobs_max=3,
            usage_limit_seconds=600,
        ),
    }


def plan_of(name: str, settings: Mapping[str, Any]) -> Plan:
    """The plan that has these settings, as `[plans.NAME]` of a file would give them.

    Raises:
        ConfigError: names the setting that there is not, or that cannot be so.
    """
    plan = read(Plan, settings, f"plans.{name}")
    check_plan(name, plan)
    return plan


def check_plan(name: str, plan: Plan) -> None:
    """Check what single settings cannot say.

    Raises:
        ConfigError: the name is none, or two settings contradict each other.
    """
    if not _NAME.fullmatch(name) or "." in name:  # a dot would be a table in the file
        raise ConfigError(f"plans.{name}", "is not a name for a plan")
    if not plan.modes:
        raise ConfigError(f"plans.{name}.modes", "at least one mode is needed")
    interactive = plan.session_interactive_ttl_seconds
    active = plan.active_ttl_seconds
    if active is not None and not interactive <= active <= plan.max_ttl_seconds:
        # S7: interactive_ttl <= active_ttl <= max_ttl, else one of them could never bind.
        raise ConfigError(
            f"plans.{name}.active_ttl_seconds",
            f"must be from session_interactive_ttl_seconds ({interactive}) "
            f"to max_ttl_seconds ({plan.max_ttl_seconds}), not {active}",
        )
