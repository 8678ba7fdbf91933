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
from qdwell.console.admin import AdminPages
from qdwell.console.entry import Entry
from qdwell.console.groups import GroupPages
from qdwell.console.instances import InstancePages
from qdwell.console.jobs import JobPages
from qdwell.console.live import Live
from qdwell.console.machines import MachinePages
from qdwell.console.signin import SignIn
from qdwell.console.site import Page, Site
from qdwell.console.start import StartPages
from qdwell.console.timeline import TimelinePages

KEPT_SECONDS = 86_400
STATIC = Path(str(resources.files("qdwell.console"))) / "static"


def pages(site: Site) -> list[tuple[str, str, Page]]:
    """Method, path, and page, for those who are signed in."""
    jobs, groups, machines = JobPages(site), GroupPages(site), MachinePages(site)
    timeline, instances = TimelinePages(site), InstancePages(site)
    admin, start, entry = AdminPages(site), StartPages(site), Entry(site)
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
        ("GET", "/instances", instances.show),
        ("POST", "/instances/choose", instances.choose),
        ("GET", "/admin", admin.show),
        ("GET", "/start", start.show),
        ("POST", "/sign-out", entry.sign_out),
    ]


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
    server = parts.config.server
    sign_in = SignIn(parts.store, parts.clock, secure=server.encrypted, public=server.public_url)
    site = Site(parts, sign_in, Feed(parts.engine, parts.closing))
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
    app.router.routes.extend(routes)
