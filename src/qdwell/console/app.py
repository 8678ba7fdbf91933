"""Every page of the console on one screen."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from qdwell.api.feed import Feed
from qdwell.api.parts import Parts
from qdwell.console.admin import AdminPages, for_operators
from qdwell.console.admin_people import AdminPeoplePages
from qdwell.console.admin_plans import AdminPlanPages
from qdwell.console.entry import Entry
from qdwell.console.groups import GroupPages
from qdwell.console.instances import InstancePages
from qdwell.console.jobs import JobPages
from qdwell.console.live import Live
from qdwell.console.machines import MachinePages
from qdwell.console.members import MemberPages
from qdwell.console.pending import CALLBACK, PENDING_PATH
from qdwell.console.signin import SignIn
from qdwell.console.site import Page, Site
from qdwell.console.start import StartPages
from qdwell.console.timeline import TimelinePages
from qdwell.console.tokens import TokenPages

KEPT_SECONDS = 86_400
STATIC = Path(str(resources.files("qdwell.console"))) / "static"


def pages(site: Site) -> list[tuple[str, str, Page]]:
    """Method, path, and page, for those who are signed in."""
    return [*_work(site), *_people(site), *_operators(site)]


def _work(site: Site) -> list[tuple[str, str, Page]]:
    jobs, groups, machines = JobPages(site), GroupPages(site), MachinePages(site)
    timeline, start, entry = TimelinePages(site), StartPages(site), Entry(site)
    return [
        ("GET", "/", entry.home),
        ("GET", "/jobs", jobs.list),
        ("GET", "/jobs/{job_id}", jobs.show),
        ("GET", "/jobs/{job_id}/picture", jobs.picture),
        ("POST", "/jobs/{job_id}/cancel", jobs.cancel),
        ("GET", "/sessions", groups.list),
        ("GET", "/sessions/{group_id}", groups.show),
        ("POST", "/sessions/{group_id}/close", groups.close),
        ("POST", "/sessions/{group_id}/cancel", groups.cancel),
        ("GET", "/machines", machines.list),
        ("GET", "/machines/{name}", machines.show),
        ("POST", "/machines/{name}/mode", machines.set_mode),
        ("GET", "/timeline", timeline.show),
        ("GET", "/timeline.svg", timeline.export),
        ("GET", "/start", start.show),
        ("POST", "/sign-out", entry.sign_out),
    ]


def _people(site: Site) -> list[tuple[str, str, Page]]:
    instances, members, tokens = InstancePages(site), MemberPages(site), TokenPages(site)
    return [
        ("GET", "/instances", instances.show),
        ("POST", "/instances/choose", instances.choose),
        ("GET", "/instances/members", members.show),
        ("POST", "/instances/members", members.put),
        ("POST", "/instances/members/remove", members.remove),
        ("GET", "/instances/tokens", tokens.show),
        ("POST", "/instances/tokens", tokens.make),
        ("POST", "/instances/tokens/revoke", tokens.revoke),
    ]


def _operators(site: Site) -> list[tuple[str, str, Page]]:
    admin, people, plans = AdminPages(site), AdminPeoplePages(site), AdminPlanPages(site)
    table = [
        ("GET", "/admin", admin.show),
        ("GET", "/admin/accounts", admin.accounts),
        ("POST", "/admin/accounts", admin.make_account),
        ("POST", "/admin/accounts/close", admin.close_account),
        ("GET", "/admin/instances", admin.instances),
        ("POST", "/admin/instances", admin.make_instance),
        ("GET", "/admin/instances/{name}", admin.instance),
        ("POST", "/admin/instances/{name}", admin.change_instance),
        ("POST", "/admin/instances/{name}/close", admin.close_instance),
        ("POST", "/admin/instances/{name}/members", admin.put_member),
        ("POST", "/admin/instances/{name}/members/remove", admin.remove_member),
        ("GET", "/admin/users", people.users),
        ("POST", "/admin/users", people.change_user),
        ("GET", "/admin/tokens", people.tokens),
        ("POST", "/admin/tokens", people.change_token),
        ("GET", "/admin/plans", plans.plans),
        ("POST", "/admin/plans", plans.make),
        ("GET", "/admin/plans/{name}", plans.plan),
        ("POST", "/admin/plans/{name}", plans.change),
        ("POST", "/admin/plans/{name}/remove", plans.remove),
        ("GET", "/admin/audit", people.audit),
    ]
    return [(method, path, for_operators(site, page)) for method, path, page in table]


class Files(StaticFiles):
    """Files that a browser may keep: their addresses change with what is in them."""

    def file_response(self, *args: Any, **more: Any) -> Response:
        """One of them."""
        response = super().file_response(*args, **more)
        response.headers["Cache-Control"] = f"public, max-age={KEPT_SECONDS}"
        return response


def add(app: FastAPI) -> None:
    """Put the console at `/` of an application made by `api.app.build`."""
    parts: Parts = app.state.parts
    server, oidc = parts.config.server, parts.config.sign_in.oidc
    sign_in = SignIn(
        parts.store,
        parts.clock,
        secure=server.encrypted,
        public=server.public_url,
        issuer=oidc.issuer,
    )
    feed = Feed(parts.engine, parts.closing)
    site = Site(parts, sign_in, feed, None if oidc.issuer is None else oidc.title)
    app.state.console = site
    entry = Entry(site)
    routes: list[Route | Mount] = [
        Route(path, site.shown(page), methods=[method], include_in_schema=False)
        for method, path, page in pages(site)
    ]
    routes += [
        Route("/live", site.shown(Live(site).stream), include_in_schema=False),
        Route("/sign-in", entry.form, methods=["GET"], include_in_schema=False),
        Route("/sign-in", entry.sign_in, methods=["POST"], include_in_schema=False),
        Mount("/static", Files(directory=STATIC)),
    ]
    if oidc.issuer is not None and server.public_url is not None:
        from qdwell.console.arriving import Arrivals, read_secret
        from qdwell.console.oidc import Provider

        arrivals = Arrivals(site, Provider(oidc, read_secret(oidc), server.public_url, parts.clock))
        routes += [
            Route(PENDING_PATH, arrivals.begin, methods=["GET"], include_in_schema=False),
            Route(CALLBACK, arrivals.back, methods=["GET"], include_in_schema=False),
        ]
    app.router.routes.extend(routes)
