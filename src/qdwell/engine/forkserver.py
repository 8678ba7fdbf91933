"""The process that workers are forked from: it has imported the heavy modules once.

A worker that dies is replaced in milliseconds instead of the second or more that importing Qiskit
takes. `multiprocessing` has a fork server too, but on Python 3.11 each of its children runs the
server's main module again, it speaks pickle, and it hands on the server's whole environment. This
one is small, because it does one thing: on request, with one end of a socket pair, fork.

It starts no thread (a fork must not meet one), and ends when the server does: its socket closes.
Its children end with it, by the kernel's parent-death signal, even after `kill -9`.

Run as `python -m qdwell.engine.forkserver FD MODULE...`; FD is its end of the socket pair.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import socket
import sys
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_NOFILE_MAX = 512
_LINE_BYTES_MAX = 65_536
ADDRESS_BYTES_MIN = 4 << 30  # below this, OpenMP's and numpy's reservations alone would not fit


def main(argv: list[str]) -> None:
    """Import, say so, then fork on request until the server is gone."""
    door = socket.socket(fileno=int(argv[0]))
    failed = {}
    for module in argv[1:]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            failed[module] = str(error)
    gc.collect()
    gc.freeze()  # collections in a child then leave the shared pages alone
    # The kernel reaps children that nobody waits for; the server learns of an end from its socket.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    door.sendall(json.dumps({"ready": os.getpid(), "failed": failed}).encode() + b"\n")
    while True:
        request, fds = _receive(door)
        if not request:
            return
        _fork(door, json.loads(request), fds[0])


def _receive(door: socket.socket) -> tuple[bytes, list[int]]:
    """One line and the descriptor that came with it; an empty line when the server is gone."""
    line, fds = b"", []
    while not line.endswith(b"\n"):
        data, more, _flags, _address = socket.recv_fds(door, _LINE_BYTES_MAX, 1)
        if not data:
            return b"", []
        line += data
        fds += more
    return line, fds


def _fork(door: socket.socket, role: dict[str, Any], fd: int) -> None:
    """Fork one worker and tell the server its process id, with a handle that cannot be mistaken."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        door.close()
        _work(role, fd, parent)
    os.close(fd)
    handles = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
    socket.send_fds(door, [json.dumps({"pid": pid}).encode() + b"\n"], handles)
    for handle in handles:
        os.close(handle)


def _work(role: dict[str, Any], fd: int, parent: int) -> NoReturn:
    """Be a worker, then leave without running the fork server's own cleanup."""
    code = 1
    try:
        die_with_parent(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        limit_resources()
        from qdwell.engine.child import serve

        serve(socket.socket(fileno=fd), role)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # the last stop of a process: say why, then end
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request was in place
        os._exit(1)


def limit_resources() -> None:
    """Bound what a hostile circuit can take: memory, files, and no core dumps."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _lower(resource.RLIMIT_AS, max(memory, ADDRESS_BYTES_MIN))
    _lower(resource.RLIMIT_NOFILE, _NOFILE_MAX)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(which: int, limit: int) -> None:
    _soft, hard = resource.getrlimit(which)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(which, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1:])
