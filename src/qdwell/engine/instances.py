"""The instances that the core knows, with what their plans give them."""

from __future__ import annotations

from qdwell.config import Config, Plan
from qdwell.core.events import Event, PutInstance
from qdwell.store import Store, accounts


class InstanceBook:
    """Instances by CRN, as they were read last."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._plans: dict[str, str] = {}
        self._events: dict[str, PutInstance] = {}
        self._told: dict[str, PutInstance] = {}

    def load(self) -> None:
        """Read all instances; blocks.

        Raises:
            UnknownPlan: an instance has a plan that the config lacks.
        """
        known = accounts.apply_plans(self._store, self._config.plans)
        self._plans = {it.crn: it.plan for it in known}
        self._events = {
            it.crn: _event(
                it.crn, it.account_id, it.terms(self._config.plans[it.plan]), self._config
            )
            for it in known
        }

    def has(self, instance: str) -> bool:
        """Whether the instance is known."""
        return instance in self._events

    def events(self) -> list[Event]:
        """All instances, for a new scheduler."""
        self._told = dict(self._events)
        return list(self._events.values())

    def news(self) -> list[Event]:
        """Instances that the core has not heard of, or knows otherwise."""
        new = [event for crn, event in self._events.items() if self._told.get(crn) != event]
        self._told = dict(self._events)
        return list(new)

    def executions_max(self, instance: str) -> int:
        """Most executions of one job of this instance (L14)."""
        return self._config.plans[self._plans[instance]].executions_max


def _event(crn: str, account: str, plan: Plan, config: Config) -> PutInstance:
    return PutInstance(
        instance=crn,
        account=account,
        allocation_ms=1000
        * (
            plan.usage_allocation_seconds
            or plan.usage_limit_seconds
            or config.scheduler.default_allocation_seconds
        ),
        limit_ms=_ms(plan.usage_limit_seconds),
        spend_limit_ms=_ms(plan.spend_limit_seconds),
        pending_max=plan.pending_jobs_max,
    )


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000
