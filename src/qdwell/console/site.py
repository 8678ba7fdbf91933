"""What every page is given, and how it is shown: templates, filters, forms, errors as pages."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlencode

import jinja2
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from qdwell import __version__
from qdwell.api.body import read_body
from qdwell.api.feed import Feed
from qdwell.api.parts import BackendView, Parts
from qdwell.console import words
from qdwell.console.signin import NotSignedIn, SignIn, Visitor
from qdwell.errors import BadInput, NotAllowed, QdwellError, RequestError

BODY_BYTES_MAX = 65_536
NAVIGATION = (
    ("/jobs", "Jobs", "jobs"),
    ("/sessions", "Sessions & batches", "sessions"),
    ("/machines", "Machines", "machines"),
    ("/timeline", "Timeline", "timeline"),
    ("/instances", "Instances", "instances"),
    ("/admin", "Admin", "admin"),
    ("/start", "Get started", "start"),
)
# Nothing runs but our own script file, nothing is loaded from elsewhere, no page frames ours.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

log = structlog.get_logger("qdwell.console")

Page = Callable[[Request, Visitor], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Site:
    """The console's belongings; one of each."""

    parts: Parts
    sign_in: SignIn
    feed: Feed
    organisation: str | None = None  #: whose account signs in, if there is an identity provider

    @cached_property
    def templates(self) -> jinja2.Environment:
        """The pages, escaped by default; a name that is not given is an error."""
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("qdwell.console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(words.FILTERS)
        environment.globals.update(
            version=__version__,
            asset=asset,
            navigation=NAVIGATION,
            with_query=with_query,
        )
        return environment

    def machines(self) -> list[BackendView]:
        """Machines and simulators in the order of the config, without the twins for dry runs."""
        return [view for view in self.parts.engine.backends() if not view.mock]

    def origin(self, request: Request) -> str:
        """Where users reach this server."""
        public = self.parts.config.server.public_url
        return public or f"{request.url.scheme}://{request.url.netloc}"

    def page(
        self, request: Request, template: str, visitor: Visitor | None, **more: Any
    ) -> Response:
        """Fill a template."""
        status = int(more.pop("status", 200))
        html = self.templates.get_template(template).render(
            request=request,
            here=request.url.path,
            visitor=visitor,
            now=self.parts.clock.now(),
            **more,
        )
        return HTMLResponse(html, status, headers=HEADERS)

    def shown(self, page: Page) -> Endpoint:
        """A page for those who are signed in; errors become pages, too."""

        async def endpoint(request: Request) -> Response:
            visitor: Visitor | None = None
            try:
                visitor = await asyncio.to_thread(self.sign_in.visitor, request)
                return await page(request, visitor)
            except NotSignedIn:
                return self._to_sign_in(request)
            except QdwellError as error:
                return self.failed(request, visitor, error)

        return endpoint

    def _to_sign_in(self, request: Request) -> Response:
        path = request.url.path
        if request.url.query:
            path += "?" + request.url.query
        target = "/sign-in" if path == "/" else "/sign-in?" + urlencode({"next": path})
        return RedirectResponse(target, 303, headers=HEADERS)

    def failed(self, request: Request, visitor: Visitor | None, error: QdwellError) -> Response:
        """An error as a page: what happened, and what to do next."""
        if not isinstance(error, RequestError):
            log.error("page failed", path=request.url.path, error=repr(error))
            error = RequestError("The page could not be made.", solution="Try again in a moment.")
            error.status = 503
        return self.page(request, "error.html", visitor, status=error.status, error=error)

    def sign_in_page(self, request: Request, error: QdwellError | None, target: str) -> Response:
        """Ask for a token, or to go to the identity provider; and say what went wrong before."""
        if error is not None and not isinstance(error, RequestError):
            return self.failed(request, None, error)
        return self.page(
            request,
            "sign_in.html",
            None,
            problem=error,
            target=target,
            organisation=self.organisation,
            status=200 if error is None else error.status,
        )

    async def form(
        self, request: Request, visitor: Visitor, *, changes: bool = True
    ) -> dict[str, str]:
        """The fields of a form of ours. `changes`: it is for more than the reader's own view.

        Raises:
            FormRefused: it is not one of ours.
            NotAllowed: it changes something, and the reader may only look.
            BadInput: it is not a form.
        """
        fields = await read_form(request)
        self.sign_in.check_form(request, visitor, fields.get("csrf", ""))
        if changes and not visitor.may_change:
            raise NotAllowed
        return fields


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, the first value of each.

    Raises:
        BadInput: it is not a form.
    """
    body = await read_body(request, BODY_BYTES_MAX)
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=50)
    except (UnicodeDecodeError, ValueError):
        raise BadInput("The body is not a form.") from None
    return {name: values[0] for name, values in fields.items()}


def back_to(target: str) -> Response:
    """Show another page after something was done."""
    return RedirectResponse(target, 303, headers=HEADERS)


def with_query(request: Request, **changes: object) -> str:
    """The address of this page with some of its query changed; None takes a name away."""
    query = {**request.query_params, **changes}
    left = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return request.url.path + ("?" + urlencode(left) if left else "")


_ASSETS: dict[str, str] = {}


def asset(name: str) -> str:
    """The address of a static file, which changes with its content, so that it may be kept."""
    if name not in _ASSETS:
        content = resources.files("qdwell.console").joinpath("static", name).read_bytes()
        _ASSETS[name] = f"/static/{name}?{hashlib.sha256(content).hexdigest()[:12]}"
    return _ASSETS[name]
