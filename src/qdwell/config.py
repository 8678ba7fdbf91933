"""Every setting, in one frozen tree. `Config()` is what runs without a file.

Only what an operator will really turn is a setting. Each has its unit in its name and its reason
beside it; the reference page is made from here. Ids such as L6 are rules of the execution model.
Seconds are whole; inside, times are milliseconds.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdwell.config_sign_in import SignIn, check_sign_in
from qdwell.errors import ConfigError
from qdwell.plans import SECONDS_MAX as SECONDS_MAX
from qdwell.plans import Plan as Plan
from qdwell.plans import check_plan, shipped_plans
from qdwell.plans import plan_of as plan_of
from qdwell.settings import read, setting, to_toml

BACKEND_KINDS = ("aer", "ideal", "fake", "qiskit", "scripted")
LOG_FORMATS = ("text", "json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server listens, and what it takes in."""

    host: str = setting("127.0.0.1", "Address to bind; loopback, until told otherwise.")
    port: int = setting(8000, "Port to bind; 0 takes a free one.", least=0, most=65_535)
    tls_cert: str | None = setting(
        None, "PEM file with the certificate and then its chain; with it the server speaks TLS."
    )
    tls_key: str | None = setting(
        None, "PEM file with the certificate's private key, not encrypted; not set: in `tls_cert`."
    )
    plain_http_beyond_loopback: bool = setting(
        False,
        "Bind an address that other machines reach without TLS: only behind a proxy with TLS, or "
        "in a network where nobody listens.",
    )
    public_url: str | None = setting(
        None, "The URL users reach, if not the bound one (behind a proxy); `qdwell env` prints it."
    )
    peer_url: str | None = setting(
        None, "The URL at which a standby reaches this server, if not the bound one."
    )
    stop_grace_seconds: int = setting(
        5,
        "When told to stop: how long running jobs may take to end; the queue is kept.",
        least=0,
        most=3_600,
    )
    body_bytes_max: int = setting(50_000_000, "Largest request body (L13).", least=1_000)
    body_depth_max: int = setting(
        64, "Deepest nesting of a JSON body; deeper ones only serve to exhaust us.", least=8
    )
    old_clients: bool = setting(
        False,
        "Serve the stock client's releases 0.20 to 0.40 too: API tokens in headers, the channel "
        "ibm_quantum, and circuits in QPY 10 to 12, whose formulas are less safe to read.",
    )
    header_bytes_max: int = setting(
        65_536, "Longest request line and headers together.", least=4_096, most=1_048_576
    )
    header_seconds_max: int = setting(
        20, "Time for a request's headers; slower clients only hold connections.", least=1
    )
    idle_seconds_max: int = setting(
        30, "Longest pause inside a body, or inside an answer that is not taken.", least=1
    )
    connections_max: int = setting(
        4_000, "Open connections; beyond it the one silent for longest is closed.", least=16
    )
    status_hold_ms: int = setting(
        500,
        "Longest hold of a status request that is about to change; 0 always answers at once.",
        least=0,
        most=2_000,
    )
    metrics: bool = setting(
        True, "Whether `/metrics` answers: numbers of the whole server, without any user's name."
    )
    log_format: str = setting(
        "text", "Log lines for people (text) or one JSON object each (json).", choices=LOG_FORMATS
    )
    log_jobs: bool = setting(
        False, "Log every move of a job, session, or batch, with their ids in fields of their own."
    )
    traces_url: str | None = setting(
        None, "OpenTelemetry collector (OTLP over HTTP) that gets one trace for each job that ends."
    )

    @property
    def encrypted(self) -> bool:
        """Whether users reach it by HTTPS only: its own, or that of the proxy before it."""
        return self.tls_cert is not None or (self.public_url or "").startswith("https:")


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the state is kept. Without a line here: SQLite and blobs in the data folder."""

    database_url: str | None = setting(
        None, "PostgreSQL, not SQLite: `postgresql://user@host/name`; a password from PGPASSFILE."
    )
    blobs: str | None = setting(
        None, "Where large inputs and results are: a folder, or `s3://bucket/prefix`."
    )
    blob_options: dict[str, Any] = setting(
        dict, "Of the S3 client: `endpoint`, `region`; keys are better kept in AWS_* variables."
    )

    def __repr__(self) -> str:
        return f"Storage(blobs={self.blobs!r}, ...)"  # the rest may hold a password or keys


@dataclass(frozen=True, slots=True)
class Retention:
    """What the server deletes by itself, once an hour. Interim results go after two days, always
    (J32); usage, and the sessions and batches that it is cut out of, stay for ever (J30)."""

    results_days: int | None = setting(
        None,
        "Days after a job's end for which its input and results are kept; not set: until it is "
        "deleted (J32).",
        least=1,
        most=36_500,
    )
    jobs_days: int | None = setting(
        None,
        "The same for the whole job, with its tags, log, and story; usage stays (J30).",
        least=1,
        most=36_500,
    )


@dataclass(frozen=True, slots=True)
class Backend:
    """One machine or simulator. A file with any `[[backends]]` replaces the whole default list."""

    name: str = setting("", "Name that users give; letters, digits, `_`, `.`, `-`.")
    kind: str = setting(
        "aer",
        "What it is: aer = ideal simulator without queue; ideal = 27-qubit machine without noise; "
        "fake = model of a real device; qiskit = your own BackendV2; scripted = for tests.",
        choices=BACKEND_KINDS,
    )
    target: str | None = setting(
        None,
        'For qiskit: "package.module:factory". For fake: the model, if it is not the name.',
    )
    options: dict[str, Any] = setting(dict, "Arguments of the executor or of your factory.")
    lanes: int | None = setting(
        None, "Classical lanes of this backend, if not `scheduler.lanes` (L1).", least=1, most=1_000
    )
    aliases: tuple[str, ...] = setting((), "Further names that users may give.")


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Whose turn it is, and for how long."""

    lanes: int = setting(
        5, "Jobs in classical work at once on a backend (L1).", least=1, most=1_000
    )
    batch_qpu_lock: str = setting(
        "window",
        "Whether an active batch keeps the QPU until its last job left it (window, B5), "
        "or only goes first (priority, B6).",
        choices=("window", "priority"),
    )
    session_default_ttl: str = setting(
        "plan",
        "max_ttl of a session that names none: the plan's, or its first job's limit (S5).",
        choices=("plan", "first_job"),
    )
    default_allocation_seconds: int = setting(
        36_000,
        "Fair-share weight of an instance whose plan has no allocation (Q3).",
        least=1,
        most=SECONDS_MAX,
    )
    window_days: int = setting(
        28, "How long usage counts against an instance (Q3).", least=1, most=3_650
    )
    unused_group_close_seconds: int = setting(
        1_800, "A session or batch never used is closed after this (L9, S31).", least=1
    )


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes that open what users send, and what they may take and touch."""

    sandbox: str = setting(
        "best",
        "Protections of workers by the kernel (Landlock, seccomp): best = those there are, and a "
        "warning for each that is missing; required = all, or no start; off = none.",
        choices=("best", "required", "off"),
    )
    memory_mb_max: int | None = setting(
        None,
        "Memory of one worker, in MB; not set: three quarters of the computer's.",
        least=4_000,
    )
    stage_seconds_max: int = setting(
        300, "Time of one classical stage of a job; what takes longer is a fault.", least=1
    )


def _backends() -> tuple[Backend, ...]:
    return (
        Backend("aer_simulator", "aer", aliases=("ibmq_qasm_simulator",)),
        Backend("ideal_machine", "ideal"),
        Backend("fake_manila", "fake"),
        Backend("fake_sherbrooke", "fake"),
        Backend("fake_torino", "fake"),
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration."""

    server: Server = setting(Server, "Where the server listens.")
    sign_in: SignIn = setting(SignIn, "How people sign in to the console.")
    store: Storage = setting(Storage, "Where the state is kept.")
    retention: Retention = setting(Retention, "What is deleted by itself, and when.")
    scheduler: Scheduler = setting(Scheduler, "Whose turn it is.")
    workers: Workers = setting(Workers, "What worker processes may take and touch.")
    backends: tuple[Backend, ...] = setting(_backends, "The machines, in the order users see.")
    plans: dict[str, Plan] = setting(shipped_plans, "What accounts may do.")

    def __post_init__(self) -> None:
        _check_backends(self.backends)
        for name, plan in self.plans.items():
            check_plan(name, plan)
        _check_storage(self.store)
        check_sign_in(self.sign_in, self.server.public_url)
        _check_retention(self.retention)
        for name in ("public_url", "peer_url"):
            url = getattr(self.server, name)
            if url is not None and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*[^\s/?#])?", url):
                why = f"must be http(s)://host[:port] without end slash, not {url!r}"
                raise ConfigError(f"server.{name}", why)

    @classmethod
    def load(cls, path: Path | str | None = None) -> Config:
        """Read a TOML file over the defaults; without a path, the defaults.

        Raises:
            ConfigError: the file cannot be read, or a line of it cannot be used.
        """
        if path is None:
            return cls()
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(str(path), f"cannot be read: {error}") from error
        return read(cls, table)

    def to_toml(self) -> str:
        """The whole configuration as a TOML file that `load` reads back to an equal one."""
        return to_toml(self) + "\n"

    def backend(self, name: str) -> Backend | None:
        """The backend of this name or alias, or None."""
        return next((it for it in self.backends if name == it.name or name in it.aliases), None)

    def lanes(self, backend: Backend) -> int:
        """How many classical lanes a backend has."""
        return self.scheduler.lanes if backend.lanes is None else backend.lanes


def is_mock(name: str) -> bool:
    """Whether a backend of this name is the mock twin of a machine, for dry runs."""
    return name.split("_")[0] == "mock"


def _check_storage(store: Storage) -> None:
    url, blobs = store.database_url, store.blobs
    if url is not None and not re.match(r"postgres(ql)?://", url):
        # The value is not shown: it may hold a password.
        raise ConfigError("store.database_url", "must begin with postgresql://")
    if blobs is not None and "://" in blobs and not re.fullmatch(r"s3://[^/\s]+(/\S*)?", blobs):
        raise ConfigError("store.blobs", f"must be a folder or s3://bucket/prefix, not {blobs!r}")
    if store.blob_options and not (blobs or "").startswith("s3://"):
        raise ConfigError("store.blob_options", "has no meaning unless store.blobs is an s3:// URL")


def _check_retention(kept: Retention) -> None:
    if kept.results_days and kept.jobs_days and kept.results_days > kept.jobs_days:
        raise ConfigError(
            "retention.results_days",
            f"is {kept.results_days}, but results go with their jobs, after "
            f"retention.jobs_days ({kept.jobs_days}): make it smaller, or leave it out",
        )


def _check_backends(backends: tuple[Backend, ...]) -> None:
    if not backends:
        raise ConfigError("backends", "at least one backend is needed")
    seen: set[str] = set()
    for at, backend in enumerate(backends):
        where = f"backends[{at}]"
        for name in (backend.name, *backend.aliases):
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{where}.name", f"{name!r} is not a name for a backend")
            if is_mock(name):
                raise ConfigError(
                    f"{where}.name", f"{name!r}: names in mock are those of dry runs' twins"
                )
            if name in seen:
                raise ConfigError(f"{where}.name", f"{name!r} is used twice")
            seen.add(name)
        if backend.kind == "qiskit":
            if not backend.target or not _TARGET.fullmatch(backend.target):
                raise ConfigError(
                    f"{where}.target",
                    f'must be "package.module:factory" for kind qiskit, not {backend.target!r}',
                )
        elif backend.target is not None and backend.kind != "fake":
            raise ConfigError(f"{where}.target", f"has no meaning for kind {backend.kind}")
