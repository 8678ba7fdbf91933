"""The server's side of its worker processes: the fork server's handle, and one worker's.

A worker's socket is read by the event loop itself, with no thread between. Its closing is how the
death of a worker is noticed, within a turn of the loop; and where the kernel has handles of
processes, so is the death itself: a process that a lab's device has forked, and that lives on,
keeps the socket open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import structlog

from qdwell.engine.frames import Decoder, Frame, encode
from qdwell.engine.sandbox import is_labs_own
from qdwell.errors import WorkerLost

log = structlog.get_logger()

PRELOAD = (
    "qdwell.engine.child",
    "qdwell.programs.stages",
    "qiskit.primitives",
    "qiskit.qpy",
)
#: Programs import these when the first job needs them, and a QPU should not wait for that. A
#: scripted device is none: a server that has no other starts its workers sooner without them.
_FOR_QPUS = (
    "qiskit_ibm_runtime.fake_provider.executor.broadcast_sample",
    "qiskit_ibm_runtime.quantum_program.params_converters",
    "qiskit_noise_learning.protocols",
)
#: By kind of backend: what its executor imports when it is made, and what its programs do.
PRELOAD_BY_KIND = {
    "aer": (*_FOR_QPUS, "qdwell.executors.aer"),
    "ideal": (*_FOR_QPUS, "qdwell.executors.aer", "qdwell.executors.ideal"),
    "fake": (
        *_FOR_QPUS,
        "qdwell.executors.aer",
        "qdwell.executors.fake",
        "qiskit_ibm_runtime.fake_provider",
    ),
    "qiskit": (*_FOR_QPUS, "qdwell.executors.qiskit"),
    "scripted": ("qdwell.executors.scripted",),
    "mock": ("qdwell.executors.mock",),
}
START_S_MAX = 300  # for its imports, which take a second or two where nothing is starved
FORK_S_MAX = 30  # for a fork, which takes milliseconds: one that takes longer hangs
#: What a worker may see of the environment. Secrets of the server are not among it; the prefix is
#: for what the factory of a lab's own device needs.
ENVIRONMENT = frozenset(
    {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"}
)
ENVIRONMENT_PREFIX = "QDWELL_DEVICE_"
_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Limits:
    """What every worker is given and denied; see `sandbox` and the settings of `[workers]`."""

    memory_bytes: int = 0  #: 0: three quarters of the computer's
    sandbox: str = "best"
    private: tuple[str, ...] = ()  #: folders that no worker may open

    def told(self) -> str:
        """As the fork server is told."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
        given = {**asdict(self), "memory_bytes": self.memory_bytes or memory}
        return json.dumps(given)


def preload_for(kinds: Iterable[str]) -> tuple[str, ...]:
    """What to import once for workers of backends of these kinds."""
    extra = (module for kind in kinds for module in PRELOAD_BY_KIND.get(kind, ()))
    return tuple(dict.fromkeys((*PRELOAD, *extra)))


def worker_environment() -> dict[str, str]:
    """The environment of workers: few names, bounded thread pools, no spinning threads."""
    cores = str(os.cpu_count() or 1)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ENVIRONMENT or name.startswith(ENVIRONMENT_PREFIX)
    }
    return {
        **kept,
        # Aer's OpenMP threads spin while they wait, and halve each other's speed on shared cores.
        "OMP_WAIT_POLICY": "passive",
        "OMP_NUM_THREADS": cores,
        "RAYON_NUM_THREADS": cores,
        "OPENBLAS_NUM_THREADS": "1",  # numpy starts these at import, and a fork must meet no thread
        "QISKIT_IN_PARALLEL": "TRUE",  # no process pools inside of workers
        # A worker's folder is not the server's, but it finds the same modules.
        "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path),
    }


class ForkServer:
    """Starts the fork server on first need, and asks it for workers; started again if it dies."""

    def __init__(self, preload: Sequence[str] = PRELOAD, limits: Limits | None = None) -> None:
        self._preload = tuple(preload)
        self._limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None
        self._lock = threading.Lock()  # the door takes one request at a time
        # A thread of its own: while it waits for a process that hangs, the API's threads are free.
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="fork-server")
        self._closed = False

    async def fork(self, role: Mapping[str, Any]) -> tuple[socket.socket, int, int | None]:
        """A new worker: our end of its socket, its pid, and its handle if there is one.

        Raises:
            WorkerLost: the fork server cannot be started, or was closed.
        """
        if self._closed:
            raise WorkerLost("the fork server was closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._asker, self._fork, dict(role))

    async def worker(
        self,
        role: Mapping[str, Any],
        on_frame: Callable[[Worker, Frame], None],
        on_lost: Callable[[Worker], None],
    ) -> Worker:
        """Fork a worker and listen to it. A simulation gives workers of its own kind here.

        Raises:
            WorkerLost: no process could be had.
        """
        return await Worker.start(self, role, on_frame, on_lost)

    async def warm(self) -> None:
        """Start it now, so that the first worker does not wait for imports."""
        await asyncio.get_running_loop().run_in_executor(self._asker, self._warm)

    def close(self) -> None:
        """End it for good; its workers end with it."""
        self._closed = True
        self._asker.shutdown(wait=False, cancel_futures=True)
        self._end()

    def _end(self) -> None:
        if self._process is not None:  # first, so that whoever waits for its answer hears the end
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._door is not None:
            self._door.close()
            self._door = None

    def _fork(self, role: dict[str, Any]) -> tuple[socket.socket, int, int | None]:
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                try:
                    reply, fds = self._ask(role, theirs)
                except OSError as error:  # it has died, or hangs: its workers with it; a new try
                    if self._closed:
                        raise
                    log.warning("the fork server is replaced", why=str(error) or "it has ended")
                    self._end()
                    reply, fds = self._ask(role, theirs)
        except (OSError, ValueError) as error:
            ours.close()
            raise WorkerLost(f"the fork server does not answer: {error}") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        return ours, int(reply["pid"]), fds[0] if fds else None

    def _warm(self) -> None:
        with self._lock:
            self._ensure()

    def _ask(self, role: dict[str, Any], theirs: socket.socket) -> tuple[dict[str, Any], list[int]]:
        door = self._ensure()
        door.settimeout(FORK_S_MAX)
        socket.send_fds(door, [json.dumps(role).encode() + b"\n"], [theirs.fileno()])
        return _answer(door)

    def _ensure(self) -> socket.socket:
        if self._closed:
            raise ConnectionError("it was closed")
        if self._door is None:
            ours, theirs = socket.socketpair()
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "qdwell.engine.forkserver",
                    str(theirs.fileno()),
                    self._limits.told(),
                    *self._preload,
                ],
                pass_fds=[theirs.fileno()],
                env=worker_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is for the server alone
            )
            theirs.close()
            self._door = ours
            ours.settimeout(START_S_MAX)
            ready, _ = _answer(ours)
            for module, why in ready["failed"].items():
                log.warning("module not preloaded", module=module, why=why)
            self._judge(ready["missing"])
        return self._door

    def _judge(self, missing: list[str]) -> None:
        """Say loudly which protections workers lack, or refuse to go on without them."""
        for lack in missing:
            log.warning("workers are less protected", missing=lack)
        if missing and self._limits.sandbox == "required":
            self._end()
            lacks = "; ".join(missing)
            raise WorkerLost(f'workers.sandbox is "required", but this is missing: {lacks}')


def _answer(door: socket.socket) -> tuple[dict[str, Any], list[int]]:
    line, fds = b"", []
    while not line.endswith(b"\n"):
        data, more, _flags, _address = socket.recv_fds(door, 65_536, 1)
        if not data:
            raise ConnectionError("it has ended")
        line += data
        fds += more
    return json.loads(line), fds


class Worker(asyncio.Protocol):
    """One worker process. `on_frame` gets what it says; `on_lost` is called once, when it ends."""

    def __init__(
        self,
        pid: int,
        handle: int | None,
        on_frame: Callable[[Worker, Frame], None],
        on_lost: Callable[[Worker], None],
    ) -> None:
        self.pid = pid
        self._handle = handle
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._sock: socket.socket | None = None  #: that of the transport
        self._leads_group = False
        self.ended = asyncio.Event()  #: set when its socket is closed

    @classmethod
    async def start(
        cls,
        server: ForkServer,
        role: Mapping[str, Any],
        on_frame: Callable[[Worker, Frame], None],
        on_lost: Callable[[Worker], None],
    ) -> Worker:
        """Fork a worker and listen to it.

        Raises:
            WorkerLost: no process could be had.
        """
        sock, pid, handle = await server.fork(role)
        worker = cls(pid, handle, on_frame, on_lost)
        worker._leads_group = is_labs_own(role)
        worker._sock = sock
        await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=sock)
        return worker

    def send(self, head: Mapping[str, Any], parts: Sequence[bytes] = ()) -> None:
        """Queue one frame; a worker that has died drops it, and `on_lost` tells."""
        if self._transport is not None:
            self._transport.writelines(encode(head, parts))

    def kill(self) -> None:
        """End it at once; `on_lost` follows when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            elif self._transport is not None:
                os.kill(self.pid, signal.SIGKILL)

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop listens now."""
        self._transport = cast(asyncio.Transport, transport)
        if self._handle is not None:
            asyncio.get_running_loop().add_reader(self._handle, self._died)

    def data_received(self, data: bytes) -> None:
        """Bytes came; hand on the frames that are whole."""
        try:
            for frame in self._decoder.feed(data):
                self._on_frame(self, frame)
        except WorkerLost:
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, or nearly: its socket is closed."""
        self._transport = self._sock = None
        self.kill()  # a process that closed its socket, but lives, is of no use
        if self._leads_group:  # what a lab's device has forked must not keep the hardware
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        if self._handle is not None:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = None
        self.ended.set()
        self._on_lost(self)

    def _died(self) -> None:
        """The process has ended. What it said before is heard first, then its socket is closed."""
        if self._handle is not None:
            asyncio.get_running_loop().remove_reader(self._handle)
        if self._transport is None or self._sock is None or self._transport.is_closing():
            return
        self._transport.pause_reading()
        with contextlib.suppress(OSError):  # nothing more, though others keep it open
            while data := self._sock.recv(_READ_BYTES):
                self.data_received(data)
        self._transport.abort()
