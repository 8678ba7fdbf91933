"""The instances that the core knows, with what their plans give them."""

from __future__ import annotations

from qdwell.config import Config, Plan
from qdwell.core.events import Event, PutInstance
from qdwell.store import Store, accounts
from qdwell.store.plans import all_plans


class InstanceBook:
    """Instances by CRN, as they were read last."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self.plans: dict[str, Plan] = dict(config.plans)  #: the config file's, and the store's
        self._plans: dict[str, str] = {}
        self._events: dict[str, PutInstance] = {}
        self._told: dict[str, PutInstance] = {}

    def load(self) -> None:
        """Read all instances; blocks.

        Raises:
            UnknownPlan: an instance has a plan that there is not.
            ConfigError: a plan made by command has a setting that this release has no longer.
        """
        found = all_plans(self._store, self._config.plans)
        known = accounts.apply_plans(self._store, found)
        self.plans, self._plans = found, {it.crn: it.plan for it in known}
        self._events = {it.crn: _event(it, found[it.plan], self._config) for it in known}

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
        return self.plans[self._plans[instance]].executions_max


def _event(instance: accounts.Instance, plan: Plan, config: Config) -> PutInstance:
    terms = instance.terms(plan)
    # A closed one is held as one whose limit is reached: its jobs wait until it is opened again.
    limit = 0 if instance.closed else _ms(terms.usage_limit_seconds)
    return PutInstance(
        instance=instance.crn,
        account=instance.account_id,
        allocation_ms=1000
        * (
            terms.usage_allocation_seconds
            or terms.usage_limit_seconds
            or config.scheduler.default_allocation_seconds
        ),
        limit_ms=limit,
        spend_limit_ms=_ms(terms.spend_limit_seconds),
        pending_max=terms.pending_jobs_max,
    )


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000
