"""One station for each backend: its row of the config, its workers, and what its device said."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import structlog

from qdwell.config import Backend, Config
from qdwell.core.decisions import Prepare
from qdwell.core.events import BackendMode, PutBackend
from qdwell.core.state import Machine
from qdwell.engine import sandbox
from qdwell.engine.frames import Frame
from qdwell.engine.pools import LocalPool
from qdwell.engine.requests import BackendView
from qdwell.engine.runs import Run
from qdwell.engine.workers import ForkServer, Limits, preload_for
from qdwell.store import Store

log = structlog.get_logger()

MOCK = "mock"  # kind, class, and first word of the name of a twin


@dataclass(eq=False)
class Station:
    """A backend's place in the engine."""

    row: Backend
    simulator: bool
    pool: LocalPool
    repeatable: bool = False  #: False until the device has said otherwise
    outlives: bool = False  #: its runs go on when its process dies, and can be asked for (J5)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    described: bool = False
    unready_because: str = "the device is starting"
    starting: bool = True  #: it has neither started nor failed to, since the server did
    entry: Mapping[str, Any] = field(default_factory=dict)
    configuration: bytes = b"{}"
    properties: bytes | None = None
    qubits: int = 0
    version: str = ""
    inline: Run | None = None  #: the run that its one worker takes through all stages
    held: list[Prepare] = field(default_factory=list)  #: wait until `inline` is prepared
    twin: Station | None = None  #: its mock twin, which shows what it shows
    known: bytes | None = None  #: what other processes may know of a device that one may open

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.row.name

    def describe(self, frame: Frame) -> None:
        """Take in the first frame of a worker."""
        head = frame.head
        self.repeatable = bool(head.get("repeatable", False))
        self.outlives = bool(head.get("outlives", False))
        if len(frame.parts) >= 2:
            self.configuration, self.properties = frame.parts[:2]
            self.known = frame.parts[2] if len(frame.parts) > 2 else None
            self.qubits = int(head.get("qubits", 0))
            self.version = str(head.get("version", ""))
            entry = head.get("entry")
            self.entry = entry if isinstance(entry, dict) else {}
            self.described = True
            if self.twin is not None:
                self.twin.resemble(self)
        self.unready_because, self.starting = "", False
        if not self.ready.is_set():
            log.info("backend is ready", backend=self.name, qubits=self.qubits)
            self.ready.set()

    def resemble(self, device: Station) -> None:
        """Show as its twin what a device shows of itself."""
        self.repeatable = self.described = True
        self.qubits, self.version, self.known = device.qubits, device.version, device.known
        self.properties = device.properties
        shown = orjson.loads(device.configuration) | {"backend_name": self.name}
        self.configuration = orjson.dumps(shown)
        self.entry = {**device.entry, "class": MOCK}
        self.unready_because, self.starting = "", False
        self.ready.set()

    def announced(self, config: Config) -> PutBackend:
        """How the core is told of it now. Simulators start workers as they need them."""
        present = self.simulator or self.pool.present
        return replace(announced(config, self.row), present=present)

    @property
    def must_wait(self) -> bool:
        """Whether an inline run of the machine is still preparing."""
        inline = self.inline
        return inline is not None and inline.preparing and not (inline.over or inline.released)

    @property
    def guarded(self) -> bool:
        """Whether only one process may open the device, so that others must be told of it."""
        of = self.row.options.get("of", {"kind": self.row.kind, "options": self.row.options})
        return sandbox.reaches_out(of["kind"], of["options"])

    def broken(self, why: str) -> None:
        """The device does not start."""
        self.unready_because, self.starting = why, False
        log.error("backend does not start", backend=self.name, why=why)

    def view(self, machine: Machine | None) -> BackendView:
        """The backend as the API shows it. One whose device has never started is offline."""
        mode, reason = BackendMode.OFFLINE, self.unready_because
        if machine is not None and (self.described or machine.mode is BackendMode.OFFLINE):
            mode, reason = machine.mode, machine.mode_reason
        return BackendView(
            name=self.name,
            aliases=self.row.aliases,
            simulator=self.simulator,
            qubits=self.qubits,
            mode=mode,
            mode_reason=reason,
            queue_length=machine.queued_count if machine is not None else 0,
            ready=self.described,
            starting=self.starting and mode is BackendMode.OFFLINE,
            entry=self.entry,
            configuration=self.configuration,
            properties=self.properties,
            version=self.version,
            mock=self.row.kind == MOCK,
            twin=None if self.twin is None else self.twin.name,
        )


def spec_of(row: Backend) -> dict[str, Any]:
    """The row as a worker is told it."""
    return {"name": row.name, "kind": row.kind, "target": row.target, "options": dict(row.options)}


def is_simulator(row: Backend) -> bool:
    """Whether it has no queue (C5). Known from the config, because jobs may wait when we start."""
    return row.kind in ("aer", MOCK) or bool(row.options.get("simulator", False))


def announced(config: Config, row: Backend) -> PutBackend:
    """How the core is told of a backend of the config."""
    return PutBackend(
        row.name, is_simulator(row), config.lanes(row), config.scheduler.batch_qpu_lock == "window"
    )


def stations_of(config: Config, server: ForkServer) -> dict[str, Station]:
    """A station for each row, in order; nothing is started yet."""
    made: dict[str, Station] = {}
    for row in config.backends:
        simulator = is_simulator(row)
        nice = "simulator" if simulator else "machine"
        role = {"name": row.name, "spec": spec_of(row), "nice": nice}
        # One more than one instance may use: whatever it runs, another one finds a worker.
        share = max(1, os.cpu_count() or 1) if simulator else None
        size = share + 1 if share is not None else 1
        pool = LocalPool(server, role, size=size, eager=1, share=share)
        station = Station(row, simulator, pool)
        pool.on_ready = station.describe
        pool.on_unready = station.broken
        made[row.name] = station
    for station in list(made.values()):
        name = twin_name(station.name)
        if not station.simulator and name not in made:  # of two machines the first has the twin
            made[name] = station.twin = _twin(name, station.row, server)
    return made


def _twin(name: str, row: Backend, server: ForkServer) -> Station:
    """The mock twin of a machine. It has no process of its own until a job asks for one."""
    aliases = tuple(twin_name(alias) for alias in row.aliases)
    shown = Backend(name, MOCK, options={"of": spec_of(row)}, aliases=aliases)
    role = {"name": name, "nice": "simulator"}
    return Station(shown, simulator=True, pool=LocalPool(server, role, size=1, eager=0))


def fork_server(config: Config, store: Store) -> ForkServer:
    """The fork server of an engine; its workers are kept out of the store's folder."""
    given = config.workers
    limits = Limits(
        memory_bytes=(given.memory_mb_max or 0) * 1_000_000,
        sandbox=given.sandbox,
        private=tuple(map(str, store.folders)),
    )
    return ForkServer(preload_for([*(row.kind for row in config.backends), MOCK]), limits)


def twin_name(name: str) -> str:
    """What the stock client makes of a backend's name for a dry run (wire-protocol 5.1)."""
    return "_".join([MOCK, *name.split("_")[1:]])


def classical_pool(server: ForkServer) -> LocalPool:
    """The pool for classical stages, of all backends; its workers are forked as they are needed."""
    role = {"name": "classical", "nice": "classical"}
    share = max(1, os.cpu_count() or 1)
    return LocalPool(server, role, size=share + 1, eager=0, share=share)
