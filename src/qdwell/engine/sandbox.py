"""What a worker may touch: almost nothing. It opens what strangers send.

A circuit is decoded by a large library, and one day some bytes will find a fault in it. Whoever
then runs their own code in a worker finds:

- limits on memory, open files, and core dumps; the kernel's OOM killer takes workers first;
- by *Landlock*: no file but Python's and the system's libraries can be read, none written; no TCP;
  no signal and no debugger reaches a process outside. So neither the data folder nor another
  worker's memory is in reach;
- by *seccomp* (libseccomp): no new socket, no new process, no program started, none of the calls
  that only system software needs.

Both are given up by a process for itself and for good, need no privileges, and are Linux's. Where
the kernel or the library lacks one, the server runs all the same and says so in its log at each
start; `[workers] sandbox = "required"` makes it refuse instead.

The process that holds a device of the operator's own making (`reaches_out`) is not sandboxed: it
may need files, drivers, and a network. It is never given users' bytes to decode; see `actions`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ADDRESS_BYTES_MIN = 4 << 30  # below this, OpenMP's and numpy's reservations alone would not fit
OPENING_BYTES_MAX = 6 << 30  # what preparing the largest body that is accepted may need, and more
NOFILE_MAX = 512
NICE = {"machine": 0, "simulator": 5, "classical": 5}  # who waits for a machine has waited enough

_statm: list[int] = []  # the open file that tells this process's size

_PR_SET_NO_NEW_PRIVS = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
#: Rights on files that each version of Landlock can take away: the count of bits.
_FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_SYSTEM = ("/usr", "/lib", "/lib64", "/opt", "/sys/devices/system")
_FILES = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/timezone",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
)
_CLONE_THREAD = 0x10000
_DENIED = (
    "socket",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "fork",
    "vfork",
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "setns",
    "unshare",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "keyctl",
    "add_key",
    "request_key",
    "kexec_load",
    "init_module",
    "finit_module",
    "delete_module",
    "reboot",
    "swapon",
    "swapoff",
    "open_by_handle_at",
    "setuid",
    "setgid",
    "setresuid",
    "setresgid",
)


def is_labs_own(role: Mapping[str, Any]) -> bool:
    """Whether a worker of this role holds a device of the operator's own making."""
    spec = role.get("spec")
    return spec is not None and reaches_out(spec["kind"], spec["options"])


def reaches_out(kind: str, options: Mapping[str, Any]) -> bool:
    """Whether the process of such a device needs more than a worker may touch."""
    return kind == "qiskit" or (kind == "scripted" and "runs" in options)


def missing() -> list[str]:
    """The protections that this computer cannot give, each with the reason, for the log."""
    lacks = []
    version = _landlock_version()
    if version < 1:
        lacks.append("landlock: this kernel has none, so workers can read and write files")
    elif version < 6:
        lacks.append(f"landlock: version {version} of 6; workers can send signals")
    if _seccomp() is None:
        lacks.append("seccomp: libseccomp is not installed, so workers can open network sockets")
    return lacks


def limit(memory_bytes: int) -> None:
    """Bound memory, open files, and core dumps; be the first to go when memory runs out."""
    _lower(resource.RLIMIT_AS, max(memory_bytes, ADDRESS_BYTES_MIN))
    _lower(resource.RLIMIT_NOFILE, NOFILE_MAX)
    _lower(resource.RLIMIT_CORE, 0)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _address_bytes()  # now, because that file is out of reach once we are confined


@contextmanager
def opening() -> Iterator[None]:
    """Bound what the opening of a user's bytes may add to this process's memory.

    A few hundred bytes can say that they hold a hundred million qubits, in more places than anybody
    can look at before the loader believes them. What a simulation may take is no measure for that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = _address_bytes()
    most = used + OPENING_BYTES_MAX
    lower = used > 0 and (soft == resource.RLIM_INFINITY or most < soft)
    if lower:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        if lower:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_bytes() -> int:
    """How much address space this process has; 0 where nobody tells (only Linux does)."""
    if not _statm:
        try:
            _statm.append(os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return 0
    return int(os.pread(_statm[0], 100, 0).split()[0]) * resource.getpagesize()


def budget_cpu(seconds: int | None) -> None:
    """Let this process use so many further seconds of CPU; the kernel ends it after that.

    It is a second line: the server's own clock ends work that takes too long before.
    """
    if seconds is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + max(1, seconds)
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


def confine(private: Iterable[str]) -> None:
    """Give up files, network, signals, and new processes, as far as this computer can.

    `private` are folders of the server's, which stay closed even if the search path for modules
    leads through them. Call it before any thread is started.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return
    _landlock(libc, list(private))
    _no_calls()


def _lower(which: int, most: int) -> None:
    _soft, hard = resource.getrlimit(which)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


# ---- landlock ------------------------------------------------------------------------------------


def _landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG))


def _landlock(libc: Any, private: list[str]) -> None:
    version = _landlock_version()
    if version < 1:
        return
    files = (1 << _FILE_BITS.get(version, 16)) - 1
    tcp = 0b11 if version >= 4 else 0  # bind, connect
    scopes = 0b11 if version >= 6 else 0  # abstract sockets, signals
    size = 8 if version < 4 else 16 if version < 6 else 24
    wanted = struct.pack("QQQ", files, tcp, scopes)[:size]
    ruleset = libc.syscall(_CREATE_RULESET, wanted, len(wanted), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock refuses its rules")
    try:
        for path in _readable(private):
            folder = Path(path).is_dir()
            _allow(libc, ruleset, path, _READ_FILE | (_EXECUTE | _READ_DIR if folder else 0))
        _allow(libc, ruleset, "/dev/null", _READ_FILE | _WRITE_FILE)
        if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock does not take effect")
    finally:
        os.close(ruleset)


def _readable(private: list[str]) -> list[str]:
    """Where Python, its modules, and the system's libraries are; nothing that holds `private`."""
    closed = [Path(it).resolve() for it in private]
    found = dict.fromkeys([*_SYSTEM, *_FILES, sys.prefix, sys.base_prefix, *sys.path])
    return [
        path
        for path in found
        if path
        and Path(path).exists()
        and not any(it.is_relative_to(Path(path).resolve()) for it in closed)
    ]


def _allow(libc: Any, ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there need not be read
    try:
        rule = struct.pack("=Qi", rights, place)
        if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"landlock refuses {path}")
    finally:
        os.close(place)


# ---- seccomp -------------------------------------------------------------------------------------


def _seccomp() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError):  # the module, or the library under it
        return None
    return pyseccomp


def _no_calls() -> None:
    library = _seccomp()
    if library is None:
        return
    rules = library.SyscallFilter(library.ALLOW)
    refuse = library.ERRNO(errno.EPERM)
    for name in _DENIED:
        with suppress(OSError, ValueError, RuntimeError):  # not a call of this architecture
            rules.add_rule(refuse, name)
    # Threads may be made, processes may not. The flags of clone3 are in memory, where a filter
    # cannot look; without it the C library falls back on clone, whose flags are an argument.
    rules.add_rule(library.ERRNO(errno.ENOSYS), "clone3")
    thread = library.Arg(0, library.MASKED_EQ, _CLONE_THREAD, 0)
    rules.add_rule(refuse, "clone", thread)
    rules.load()


def describe(limits: Mapping[str, Any]) -> list[str]:
    """What `missing` says, or nothing if the operator has switched the sandbox off."""
    return [] if limits.get("sandbox") == "off" else missing()
