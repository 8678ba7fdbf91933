"""The process that workers are forked from: it has imported the heavy modules once.

A worker that dies is replaced in milliseconds instead of the second or more that importing Qiskit
takes. `multiprocessing` has a fork server too, but on Python 3.11 each of its children runs the
server's main module again, it speaks pickle, and it hands on the server's whole environment. This
one is small, because it does one thing: on request, with one end of a socket pair, fork.

It starts no thread (a fork must not meet one), and ends when the server does: its socket closes.
Its children end with it, by the kernel's parent-death signal, even after `kill -9`. A lab's own
device is the leader of a process group, which ends as a whole: what its control software has forked
must not hold the hardware when the next process opens it.

Each child gives up what it does not need before it does anything else (see `sandbox`).

Run as `python -m qdwell.engine.forkserver FD LIMITS MODULE...`; FD is its end of the socket pair,
LIMITS a JSON object of what `workers.Limits` says.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from qdwell.engine import sandbox

_PR_SET_PDEATHSIG = 1
_LINE_BYTES_MAX = 65_536


def main(argv: list[str]) -> None:
    """Import, say so, then fork on request until the server is gone."""
    door = socket.socket(fileno=int(argv[0]))
    limits = json.loads(argv[1])
    failed = {}
    for module in argv[2:]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            failed[module] = str(error)
    gc.collect()
    gc.freeze()  # collections in a child then leave the shared pages alone
    # The kernel reaps children that nobody waits for; the server learns of an end from its socket.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    ready = {"ready": os.getpid(), "failed": failed, "missing": sandbox.describe(limits)}
    door.sendall(json.dumps(ready).encode() + b"\n")
    groups: list[int] = []
    while True:
        request, fds = _receive(door)
        if not request:
            end_groups(groups)
            return
        role = json.loads(request)
        pid = _fork(door, role, fds[0], limits)
        if sandbox.is_labs_own(role):
            groups = [*filter(_is_ours, groups), pid]  # those that have ended need nothing


def end_groups(groups: Iterable[int]) -> None:
    """End the processes of labs' own devices that still live, with all that they have forked.

    Of one that has ended, the server ended the group then; its number may be another one's now.
    """
    for pid in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == pid != os.getpid() and _is_ours(pid):
                os.killpg(pid, signal.SIGKILL)


def _is_ours(pid: int) -> bool:
    """Whether a process was forked by this one and lives, where the kernel tells it (Linux)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return int(stat.rpartition(")")[2].split()[1]) == os.getpid()


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


def _fork(door: socket.socket, role: dict[str, Any], fd: int, limits: dict[str, Any]) -> int:
    """Fork one worker; tell the server its process id, with a handle that cannot be mistaken."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        door.close()
        _work(role, fd, parent, limits)
    os.close(fd)
    handles = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
    socket.send_fds(door, [json.dumps({"pid": pid}).encode() + b"\n"], handles)
    for handle in handles:
        os.close(handle)
    return pid


def _work(role: dict[str, Any], fd: int, parent: int, limits: dict[str, Any]) -> NoReturn:
    """Be a worker, then leave without running the fork server's own cleanup."""
    code = 1
    try:
        die_with_parent(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if sandbox.is_labs_own(role):
            os.setsid()  # what its control software forks is in its group, and ends with it
        os.nice(sandbox.NICE[role.get("nice", "machine")])
        sandbox.limit(int(limits["memory_bytes"]))
        if limits["sandbox"] != "off" and not sandbox.is_labs_own(role):
            sandbox.confine(limits["private"])
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


if __name__ == "__main__":
    main(sys.argv[1:])
