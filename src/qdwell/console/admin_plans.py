"""Admin: the plans. Those of the config file are shown; others are made, changed, and removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qdwell.api.operators import changed, taught
from qdwell.config import Plan
from qdwell.console.admin import operators_form
from qdwell.console.forms import acted, label, segment, told
from qdwell.console.signin import Visitor
from qdwell.console.site import Site
from qdwell.errors import BadInput
from qdwell.store.plan_book import PlanBook
from qdwell.store.plans import as_json

PLANS = "/admin/plans"
DIGITS_MAX = 13
_NEW = as_json(Plan())
_MODES = next(it for it in fields(Plan) if it.name == "modes").metadata["choices"]


@dataclass(frozen=True, slots=True)
class Term:
    """One setting of a plan, for its line of the form."""

    name: str
    reason: str
    value: Any
    new: Any  #: what a new plan has

    @property
    def words(self) -> str:
        """The name, to be read."""
        return self.name.replace("_", " ").replace(" max", " at most").replace("ttl", "TTL")


class AdminPlanPages:
    """The operator's pages about plans."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def plans(self, request: Request, visitor: Visitor) -> Response:
        """All plans; make one."""
        found = await taught(self._book(visitor).plans)
        return self._site.page(request, "admin_plans.html", visitor, plans=found, **told(request))

    async def make(self, request: Request, visitor: Visitor) -> Response:
        """Make a plan, as another one is or as a new one is."""
        fields = await operators_form(self._site, request, visitor)

        async def act() -> None:
            book, like = self._book(visitor), fields.get("like") or None
            name = label(fields, "name", "Name")
            await changed(self._site.parts, lambda: book.create(name, {}, like))

        return await acted(request, visitor, act, self.plans, PLANS)

    async def plan(self, request: Request, visitor: Visitor) -> Response:
        """One plan with all its settings."""
        book, name = self._book(visitor), request.path_params["name"]
        found = await taught(lambda: book.show(name))
        return self._site.page(
            request,
            "admin_plan.html",
            visitor,
            it=found,
            terms=_terms(found["settings"]),
            modes=_MODES,
            place=_place(name),
            **told(request),
        )

    async def change(self, request: Request, visitor: Visitor) -> Response:
        """Change a plan: all of its settings, as the form has them."""
        fields, name = (
            await operators_form(self._site, request, visitor),
            request.path_params["name"],
        )
        book = self._book(visitor)
        found = await taught(lambda: book.show(name))

        async def act() -> None:
            wanted = _settings(fields)
            present = found["settings"]
            changes = {
                key: value
                for key, value in wanted.items()
                if present[key] != (_NEW[key] if value is None else value)
            }
            if changes:
                await changed(self._site.parts, lambda: book.change(name, changes))

        return await acted(request, visitor, act, self.plan, _place(name))

    async def remove(self, request: Request, visitor: Visitor) -> Response:
        """Remove a plan that no instance has."""
        await operators_form(self._site, request, visitor)
        book, name = self._book(visitor), request.path_params["name"]

        async def act() -> None:
            await changed(self._site.parts, lambda: book.remove(name))

        return await acted(request, visitor, act, self.plan, PLANS)

    def _book(self, visitor: Visitor) -> PlanBook:
        parts = self._site.parts
        user_id = visitor.caller.owner.user_id
        return PlanBook(parts.store, user_id, parts.clock.now(), parts.config.plans)


def _terms(settings: Mapping[str, Any]) -> list[Term]:
    return [
        Term(it.name, it.metadata["reason"], settings[it.name], _NEW[it.name])
        for it in fields(Plan)
        if it.name != "modes"
    ]


def _settings(form: Mapping[str, str]) -> dict[str, Any]:
    """What the form says; an empty field, or one that is not there, is None: as a new plan has it.

    Raises:
        BadInput: a field is not a number.
    """
    found: dict[str, Any] = {"modes": [it for it in _MODES if form.get(f"mode-{it}")]}
    for term in _terms(_NEW):
        text = form.get(term.name, "").strip()
        if text and not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
            raise BadInput(f"{term.name} must be a whole number, or empty.", field=term.name)
        found[term.name] = int(text) if text else None
    return found


def _place(name: str) -> str:
    return f"{PLANS}/{segment(name)}"
