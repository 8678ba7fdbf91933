"""B8: a device's process is killed; how long until another one holds the device.

Against the way without a fork server: a new Python, which imports and builds the same from cold.
Both hold the same device: the model of a 127-qubit machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys

import structlog
from bench._lib import interleaved, print_ratio

from qdwell.config import Backend
from qdwell.engine.frames import Channel, Frame
from qdwell.engine.pools import LocalPool
from qdwell.engine.stations import spec_of
from qdwell.engine.workers import ForkServer, preload_for, worker_environment

LIMIT = 0.1
ROW = Backend("fake_sherbrooke", "fake")
SAMPLES = 20

_COLD = """
import json, socket, sys
from qdwell.engine.child import serve
serve(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
"""


def run() -> bool:
    """Print B8; return if the target is met."""
    # Each death is a warning in the log, and here they are the measurement.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    loop = asyncio.new_event_loop()
    server = ForkServer(preload_for([ROW.kind]))
    pool = LocalPool(server, {"name": ROW.name, "spec": spec_of(ROW)})
    ready = asyncio.Event()

    def on_ready(_: Frame) -> None:
        ready.set()

    pool.on_ready = on_ready

    async def wait_ready() -> None:
        await ready.wait()
        ready.clear()

    async def first() -> None:
        pool.start()
        await wait_ready()

    def replaced() -> None:
        (pid,) = pool.pids()
        os.kill(pid, signal.SIGKILL)
        loop.run_until_complete(wait_ready())

    try:
        loop.run_until_complete(first())
        met = True
        title = "B8 device process killed: noticed and replaced / cold spawn"
        for _ in range(2):
            ways = {"replaced from the fork server": replaced, "cold spawn": _cold_spawn}
            replacing, cold = interleaved(ways, samples=SAMPLES, warm=1).values()
            met = print_ratio(title, replacing, cold, LIMIT) and met
        return met
    finally:
        loop.run_until_complete(pool.close())
        server.close()
        loop.close()


def _cold_spawn() -> None:
    """A new process from nothing, until it says that it holds the device."""
    ours, theirs = socket.socketpair()
    role = {"name": ROW.name, "spec": spec_of(ROW), "describe": False}
    with ours:
        process = subprocess.Popen(
            [sys.executable, "-c", _COLD, str(theirs.fileno()), json.dumps(role)],
            pass_fds=[theirs.fileno()],
            env=worker_environment(),
            cwd="/",
        )
        theirs.close()
        frame = Channel(ours).receive()
        assert frame is not None
        assert frame.op == "ready"
    process.kill()
    process.wait()
