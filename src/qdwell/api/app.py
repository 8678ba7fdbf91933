"""The application: every route on one screen.

The routes of the Runtime dialect are under `/api/v1`, and by `Edge` also under
`/experimental/api/v1`, which is where the stock client is pointed. Token exchange, search, and
catalog are beside them, at the addresses where that client expects them (wire-protocol 1, 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as PlainRoute
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from qdwell import __version__
from qdwell.api.admin import Admin
from qdwell.api.auth import Auth
from qdwell.api.backends import BACKENDS_QUERY, Backends
from qdwell.api.body import check_query
from qdwell.api.discovery import Discovery
from qdwell.api.docs import docs_page
from qdwell.api.edge import EXPERIMENTAL, HANDLERS, Edge, Endpoint, Hot, guards_of, reply
from qdwell.api.feed import Feed
from qdwell.api.jobs import LIST_QUERY, Jobs
from qdwell.api.ledger import LEDGER_QUERY, LedgerRoute
from qdwell.api.metrics import Metrics
from qdwell.api.older import QUANTUM, Older
from qdwell.api.outcomes import Outcomes
from qdwell.api.parts import Parts
from qdwell.api.people import AUDIT_QUERY, PeopleRoutes
from qdwell.api.plans import PlanRoutes
from qdwell.api.push import Push
from qdwell.api.queue import QueueRoutes
from qdwell.api.sessions import SESSION_QUERY, Sessions
from qdwell.api.submission import Submission
from qdwell.api.tokens import TokenRoutes
from qdwell.api.usage import WORKLOAD_QUERY, UsageRoutes
from qdwell.clock import Clock
from qdwell.config import Config
from qdwell.engine.engine import Engine
from qdwell.store import Store
from qdwell.wire import administration as a
from qdwell.wire import messages as m

BASE = "/api/v1"
HEALTH = "/healthz"
RUNTIME = "Runtime dialect"
BESIDE = "Beside it, for the stock client"
ADDED = "Added by qdwell"
OPERATORS = "For operators"
OLDER = "For clients from 0.20 to 0.40"
REPEATED = {"tags", "status"}
_TEXT = {"schema": {"type": "string"}}


@dataclass(frozen=True, slots=True)
class Route:
    """One route, and what its description says of it."""

    method: str
    path: str
    endpoint: Endpoint
    answers: type[BaseModel] | str | None = None  #: a JSON model, or the media type of other text
    takes: type[BaseModel] | None = None
    query: tuple[str, ...] | None = ()  #: what it may be asked with; None: not ours to say
    section: str = RUNTIME
    hot: bool = False  #: each step of a session asks it


def routes(parts: Parts, metrics: Metrics) -> list[Route]:
    """All routes."""
    feed = Feed(parts.engine, parts.closing)
    outcomes = Outcomes(parts, feed)
    jobs, submission = Jobs(parts), Submission(parts, outcomes)
    sessions, backends = Sessions(parts), Backends(parts)
    usage, discovery = UsageRoutes(parts), Discovery(parts)
    push = Push(parts, feed, outcomes)
    job, session, backend = f"{BASE}/jobs", f"{BASE}/sessions", f"{BASE}/backends"
    one, machine = f"{job}/{{job_id}}", f"{backend}/{{name}}"
    which = ("calibration_id",)
    text, blob = "text/plain", "application/json"
    R = Route  # noqa: N806  so that the table keeps to one line for each route
    # fmt: off
    table = [
        R("GET", f"{BASE}/instances/usage", usage.instance, m.Usage, hot=True),
        R("GET", f"{machine}/status", backends.status, m.BackendStatus, hot=True),
        R("POST", job, submission.create, m.Accepted, m.JobRequest, hot=True),
        R("GET", f"{one}/outcome", push.outcome, m.Outcome, query=("wait_ms", "result"),
          section=ADDED, hot=True),
        R("GET", f"{BASE}/events", push.events, m.EventPage, query=("after", "wait_ms", "all"),
          section=ADDED),
        R("GET", one, jobs.read, m.JobDocument, query=("exclude_params",), hot=True),
        R("GET", f"{one}/results", jobs.results, blob, hot=True),
        R("GET", job, jobs.list, m.JobList, query=LIST_QUERY),
        R("DELETE", one, jobs.delete),
        R("POST", f"{one}/cancel", jobs.cancel),
        R("GET", f"{one}/logs", jobs.logs, text),
        R("GET", f"{one}/metrics", jobs.metrics, m.JobMetrics),
        R("PUT", f"{one}/tags", jobs.put_tags, takes=m.TagsRequest),
        R("GET", f"{one}/interim_results", jobs.interim_results, blob),
        R("POST", session, sessions.create, m.SessionDocument, m.SessionRequest),
        R("GET", session, sessions.list, m.SessionList, query=SESSION_QUERY, section=ADDED),
        R("GET", f"{session}/{{session_id}}", sessions.read, m.SessionDocument),
        R("PATCH", f"{session}/{{session_id}}", sessions.change, takes=m.SessionChange),
        R("POST", f"{session}/{{session_id}}/keep_alive", sessions.keep_alive, m.SessionDocument,
          m.KeepAliveRequest, section=ADDED),
        R("DELETE", f"{session}/{{session_id}}/close", sessions.cancel),
        R("GET", backend, backends.list, m.DeviceList, query=BACKENDS_QUERY),
        R("GET", f"{machine}/configuration", backends.configuration, blob, query=which),
        R("GET", f"{machine}/properties", backends.properties, blob,
          query=(*which, "updated_before")),
        R("GET", f"{BASE}/usage", usage.classic, m.UsageByInstance),
        R("GET", f"{BASE}/usage/ledger", LedgerRoute(parts).read, m.UsageLedger,
          query=LEDGER_QUERY, section=ADDED),
        R("GET", f"{BASE}/workloads", usage.workloads, m.WorkloadList, query=WORKLOAD_QUERY),
        R("POST", "/identity/token", parts.auth.exchange, m.Token, query=None, section=BESIDE),
        R("POST", "/v3/resources/search", discovery.search, m.SearchPage, m.SearchRequest,
          query=None, section=BESIDE),
        R("GET", "/catalog/{plan_id}", discovery.plan, m.CatalogEntry, query=None, section=BESIDE),
        R("GET", HEALTH, health(parts), m.Health, section=ADDED),
        R("GET", "/metrics", metrics.answer, text, section=ADDED),
        R("GET", f"{BASE}/instances", discovery.instances, m.InstanceList, section=ADDED),
        R("GET", f"{BASE}/admin/queue", QueueRoutes(parts).queue, m.QueueList, query=("backend",),
          section=ADDED),
    ]
    # fmt: on
    older = older_routes(parts) if parts.config.server.old_clients else []
    return [*table, *token_routes(parts), *admin_routes(parts), *older]


def token_routes(parts: Parts) -> list[Route]:
    """What anybody may do with their own tokens."""
    own, R, tokens = TokenRoutes(parts), Route, f"{BASE}/tokens"  # noqa: N806  as above
    return [
        R("GET", tokens, own.list, a.TokenList, section=ADDED),
        R("POST", tokens, own.create, a.NewToken, a.OwnTokenRequest, section=ADDED),
        R("GET", f"{tokens}/{{token_id}}", own.show, a.TokenEntry, section=ADDED),
        R("DELETE", f"{tokens}/{{token_id}}", own.revoke, section=ADDED),
    ]


def admin_routes(parts: Parts) -> list[Route]:
    """Who may use the server, under which plan, on which machine: for operators."""
    people, plan, admin = PeopleRoutes(parts), PlanRoutes(parts), Admin(parts)
    R = Route  # noqa: N806  as above
    accounts, instances, users, identities, tokens, plans, backends = (
        f"{BASE}/admin/{it}"
        for it in ("accounts", "instances", "users", "identities", "tokens", "plans", "backends")
    )
    one, member = f"{instances}/{{name}}", f"{instances}/{{name}}/members/{{user}}"
    # fmt: off
    table = [
        R("GET", accounts, people.accounts, a.AccountList),
        R("POST", accounts, people.create_account, a.Credentials, a.NewAccountRequest),
        R("GET", f"{accounts}/{{name}}", people.account, a.AccountEntry),
        R("PATCH", f"{accounts}/{{name}}", people.change_account, takes=a.ClosedChange),
        R("GET", instances, people.instances, a.InstanceEntries),
        R("POST", instances, people.create_instance, a.Made, a.NewInstanceRequest),
        R("POST", f"{instances}/import", people.import_class, a.ClassList, a.ClassRequest),
        R("GET", one, people.instance, a.InstanceEntry),
        R("PATCH", one, people.change_instance, takes=a.InstanceChange),
        R("GET", f"{one}/members", people.members, a.MemberList),
        R("PUT", member, people.put_member, takes=a.MemberRequest),
        R("DELETE", member, people.delete_member),
        R("GET", users, people.users, a.UserList),
        R("POST", users, people.create_user, a.Made, a.NewUserRequest),
        R("GET", f"{users}/{{name}}", people.user, a.UserEntry),
        R("PATCH", f"{users}/{{name}}", people.change_user, takes=a.UserChange),
        R("GET", identities, people.identities, a.IdentityList, query=("user",)),
        R("POST", identities, people.link_identity, a.Made, a.NewIdentityRequest),
        R("DELETE", f"{identities}/{{identity_id}}", people.unlink_identity),
        R("GET", tokens, people.tokens, a.TokenList, query=("user",)),
        R("POST", tokens, people.create_token, a.Credentials, a.NewTokenRequest),
        R("GET", f"{tokens}/{{token_id}}", people.token, a.TokenEntry),
        R("DELETE", f"{tokens}/{{token_id}}", people.revoke_token),
        R("GET", plans, plan.list, a.PlanList),
        R("POST", plans, plan.create, a.Made, a.NewPlanRequest),
        R("GET", f"{plans}/{{name}}", plan.show, a.PlanEntry),
        R("PATCH", f"{plans}/{{name}}", plan.change, takes=a.PlanChange),
        R("DELETE", f"{plans}/{{name}}", plan.remove),
        R("GET", backends, admin.backends, a.BackendEntries),
        R("GET", f"{backends}/{{name}}", admin.backend, a.BackendEntry),
        R("PUT", f"{backends}/{{name}}", admin.set_mode, m.Device, a.BackendModeRequest),
        R("GET", f"{BASE}/admin/audit", people.audit, a.AuditLines, query=AUDIT_QUERY),
    ]
    # fmt: on
    return [replace(it, section=OPERATORS) for it in table]


def older_routes(parts: Parts) -> list[Route]:
    """What clients before 0.41 ask for besides."""
    older, blob, R = Older(parts), "application/json", Route  # noqa: N806  as above
    # fmt: off
    table = [
        R("GET", f"{BASE}/backends/{{name}}/defaults", older.defaults, blob),
        R("GET", f"{BASE}/instance", older.instance, blob),
        R("GET", f"{QUANTUM}/version", older.version, blob),
        R("POST", f"{QUANTUM}/users/loginWithToken", older.login, blob, m.LoginRequest),
        R("GET", f"{QUANTUM}/users/me", older.me, blob),
        R("GET", f"{QUANTUM}/Network", older.network, blob),
    ]
    # fmt: on
    return [replace(it, query=None, section=OLDER) for it in table]


class _Application(FastAPI):
    """The framework's application with our edge before all of its layers, not behind them.

    Its description is made when somebody asks for it: the models of all routes cost half a second,
    which no start and no takeover shall wait for. What serves are plain routes, since each of our
    endpoints reads its request itself.
    """

    edge: ASGIApp
    described: Sequence[Route] = ()

    def openapi(self) -> dict[str, Any]:
        """The description of all routes (OpenAPI), made once."""
        if self.openapi_schema is None:
            full = FastAPI(
                title=self.title, version=self.version, summary=self.summary, servers=self.servers
            )
            for route in self.described:
                _describe(full, route)
            self.openapi_schema = full.openapi()
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.edge(scope, receive, send)

    async def behind_edge(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one that the edge has let through."""
        await super().__call__(scope, receive, send)


def build(config: Config, store: Store, engine: Engine, clock: Clock) -> FastAPI:
    """Return the application. The engine must be started before requests arrive."""
    auth = Auth(store, clock, old_clients=config.server.old_clients)
    parts = Parts(config, store, engine, clock, auth)
    app = _Application(
        title="qdwell",
        version=__version__,
        summary="A self-hosted quantum runtime.",
        servers=[{"url": "/"}, {"url": "/experimental", "description": "for the stock client"}],
        docs_url=None,  # the framework's page loads its scripts from a public server
        redoc_url=None,
        exception_handlers=HANDLERS,
        redirect_slashes=False,
    )
    metrics = Metrics(parts)
    table = routes(parts, metrics)
    for route in table:
        _serve(app, route)
    app.described = table
    hot = [Hot(it.method, tuple(it.path.split("/")), strict(it)) for it in table if it.hot]
    app.add_route("/docs", docs_page(app))
    if config.server.old_clients:
        for base in (BASE, EXPERIMENTAL + BASE):
            waiting = WebSocketRoute(f"{base}/stream/jobs/{{job_id}}", Older(parts).stream)
            app.router.routes.append(waiting)
    guards = guards_of(config.server)
    app.edge = Edge(app.behind_edge, auth.who, clock, hot=hot, told=metrics.request, guards=guards)
    app.state.parts = parts
    return app


def strict(route: Route) -> Endpoint:
    """Return the endpoint of a route, asked with nothing that it does not know."""
    endpoint, query = route.endpoint, route.query
    if query is None:
        return endpoint

    async def asked(request: Request, **path: str) -> Response:
        if request.scope["query_string"]:
            check_query(request, query)
        return await endpoint(request, **path)

    return asked


def _serve(app: FastAPI, route: Route) -> None:
    endpoint = strict(route)

    async def answered(request: Request) -> Response:
        return await endpoint(request, **request.path_params)

    served = PlainRoute(route.path, answered)
    # Not HEAD with every GET, which no client of ours asks; monitors ask it of one.
    served.methods = {route.method, "HEAD"} if route.path == HEALTH else {route.method}
    app.router.routes.append(served)


def _describe(app: FastAPI, route: Route) -> None:
    responses: dict[int | str, dict[str, Any]] = {"default": {"model": m.ErrorBody}}
    if isinstance(route.answers, str):
        responses[200] = {"content": {route.answers: _TEXT}}
    elif route.answers is not None:
        responses[200] = {"model": route.answers}
    extra: dict[str, Any] = {}
    if route.takes is not None:
        schema = route.takes.model_json_schema()
        extra["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    if route.query:
        extra["parameters"] = [_parameter(name) for name in route.query]
    app.add_api_route(
        route.path,
        route.endpoint,
        methods=[route.method],
        tags=[route.section],
        summary=(route.endpoint.__doc__ or "").strip().split("\n")[0],
        status_code=200 if route.answers is not None else 204,
        response_model=None,
        response_class=Response,
        responses=responses,
        operation_id=f"{route.method.lower()}_{route.path.strip('/').replace('/', '_')}",
        openapi_extra=extra or None,
    )


def _parameter(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name in REPEATED:
        schema = {"type": "array", "items": schema}
    return {"name": name, "in": "query", "required": False, "schema": schema}


def health(parts: Parts) -> Callable[[Request], Any]:
    """Return the route that tells whether the server is ready."""

    async def healthz(_: Request) -> Response:
        """Tell whether the server is ready: 200 when every backend is, 503 until then."""
        views = [view for view in parts.engine.backends() if not view.mock]
        ready = parts.engine.is_ready and not parts.closing.is_set()
        body = {
            "status": "ok" if ready else "starting",
            "version": __version__,
            "backends": {it.name: "ready" if it.ready else it.mode_reason for it in views},
        }
        return reply(body, 200 if ready else 503)

    return healthz
