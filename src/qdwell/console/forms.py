"""What pages with forms share: an act that may be refused, lists in pages, fields of forms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from qdwell.console.signin import Visitor
from qdwell.console.site import Page, back_to
from qdwell.errors import BadInput, NotAllowed, NotAuthenticated, RequestError

T = TypeVar("T")

PAGE_SIZE = 50
LABEL_MAX = 200
SECONDS_MAX = 2_147_483_647
DAY_MS = 86_400_000
PROBLEM = "problem"  # where a request keeps what its act was refused for
MADE = "made"  # where it keeps a token that is shown once
DAYS = (7, 30, 90, 365)


async def acted(
    request: Request,
    visitor: Visitor,
    act: Callable[[], Awaitable[dict[str, str] | None]],
    show: Page,
    place: str,
) -> Response:
    """Do what a form asks. What is refused is told on its own page, which `show` makes; what is
    done leads to `place`, unless it made something that is shown only now.
    """
    try:
        made = await act()
    except RequestError as error:
        if isinstance(error, NotAllowed | NotAuthenticated):
            raise
        setattr(request.state, PROBLEM, error)
        return await show(request, visitor)
    if made is not None:
        setattr(request.state, MADE, made)
        return await show(request, visitor)
    return back_to(f"{place}{'&' if '?' in place else '?'}done=1")


def told(request: Request) -> dict[str, Any]:
    """What became of the form, for the page that shows it."""
    problem = getattr(request.state, PROBLEM, None)
    return {
        "problem": problem,
        "made": getattr(request.state, MADE, None),
        "done": request.query_params.get("done") == "1",
        "status": 200 if problem is None else problem.status,
    }


def paged(request: Request, rows: Sequence[Mapping[str, Any]], *search: str) -> dict[str, Any]:
    """One page of rows of those that have the text of the query in a column: newest first, and
    what was made at once, such as a class, by name."""
    text = request.query_params.get("q", "").strip().lower()
    found = [it for it in rows if any(text in str(it[name] or "").lower() for name in search)]
    given = request.query_params.get("page", "")
    page = int(given) if given.isascii() and given.isdigit() and len(given) < 7 else 1
    page = max(1, page)
    found.sort(key=lambda it: (-it["created"], str(it["name"])))
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return {"rows": shown, "count": len(found), "page": page, "size": PAGE_SIZE, "q": text}


def label(fields: Mapping[str, str], name: str, word: str) -> str:
    """A short text that must be there."""
    text = fields.get(name, "").strip()
    if not 0 < len(text) <= LABEL_MAX or not text.isprintable():
        raise BadInput(f"{word} must have 1 to {LABEL_MAX} characters.", field=name)
    return text


def seconds(fields: Mapping[str, str], name: str, word: str) -> int | None:
    """A number of seconds, or None if the field is empty."""
    text = fields.get(name, "").strip()
    if not text:
        return None
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0
    if not 1 <= number <= SECONDS_MAX:
        raise BadInput(f"{word} must be 1 to {SECONDS_MAX} seconds, or empty.", field=name)
    return number


def lasts_ms(fields: Mapping[str, str]) -> int | None:
    """How long a token is good: the days of the form, or None for always."""
    days = fields.get("days", "")
    if days == "never":
        return None
    if days not in map(str, DAYS):
        raise BadInput(f"days must be {', '.join(map(str, DAYS))}, or never.", field="days")
    return int(days) * DAY_MS


def segment(text: str) -> str:
    """A name as a part of a path."""
    return quote(text, safe="")
