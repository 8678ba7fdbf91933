"""B6, B9, the second half of B7, and long queues: what others cost somebody in a session.

B6: accepted and durable submissions each second at 32 connections, against an echo of the same body
on the same framework. B7: a step of a session with 100,000 jobs queued behind it, against an empty
queue. B9: the same with 32 clients that ask for the state of their jobs without a pause. Then the
long queue by itself: memory for each job, the start, submissions beside it; and 500 pollers and
1,000 listeners at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench._crowd import crowd
from bench._lib import Samples, interleaved, print_ratio, print_samples
from bench._queue import fill
from bench._server import server
from bench._work import SHOTS, vqe
from bench.bench_peers import Http

MACHINE = "ideal_machine"
QUEUED = 100_000
CONFIG = (
    f'[[backends]]\nname = "{MACHINE}"\nkind = "ideal"\n'
    '[[backends]]\nname = "endless"\nkind = "scripted"\noptions = { run_ms = 3600000 }\n'
    "[plans.default]\nsession_interactive_ttl_seconds = 3600\n"
)
CONNECTIONS = 32
CROWD_S = 6.0
POLLERS, LISTENERS = 500, 1_000
MEMORY_MAX = 3_000  # bytes of each queued job
START_MAX_S = 10.0
_NEVER = threading.Event()  # waited for while a crowd is at work


def run() -> bool:
    """Print the figures; return if their targets are met."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    return all([_submissions(), _pollers(), *_long_queue()])


# ---- B6 ------------------------------------------------------------------------------------------


def _submissions() -> bool:
    with server(CONFIG) as settings, _echo() as port:
        body = sampler_body()
        ours = _post(settings, "/jobs", body)
        url = urlsplit(settings["QISKIT_IBM_URL"])
        head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        echoed = head.encode() + body
        rates: dict[str, list[float]] = {"submissions": [], "echo": []}
        for _ in range(4):
            for name, where, request in (
                ("submissions", url.port, ours),
                ("echo", port, echoed),
            ):
                with crowd("127.0.0.1", int(where or 0), askers=[[request]] * CONNECTIONS) as seen:
                    _NEVER.wait(CROWD_S / 2)
                assert not seen["failed"], seen
                rates[name].append(seen["per_s"])
                print(f"  {name:<44} {seen['per_s']:10.0f} per s   p50 {seen['p50']:8.2f} ms")
    middle = {name: sorted(each)[len(each) // 2] for name, each in rates.items()}
    ratio = middle["submissions"] / middle["echo"]
    print("B6 durable submissions per second at 32 connections / plain echo")
    print(f"  ratio {ratio:.4f}   target >= 0.5   {_verdict(ratio >= 0.5)}   {_load()}")
    return ratio >= 0.5


def sampler_body(backend: str = "endless") -> bytes:
    """A submission of one qubit, one shot."""
    from qiskit import QuantumCircuit

    from qdwell.client.values import circuit_text

    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    params = {
        "pubs": [[{"__type__": "QuantumCircuit", "__value__": circuit_text(circuit)}, None, 1]],
        "version": 2,
        "options": {},
    }
    return json.dumps({"program_id": "sampler", "backend": backend, "params": params}).encode()


@contextmanager
def _echo() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench._echo"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


# ---- B9 ------------------------------------------------------------------------------------------


def _pollers() -> bool:
    with server(CONFIG) as settings, _session(settings) as step:
        call = Http(settings)
        queued = [
            json.loads(call("POST", "/jobs", sampler_body()))["id"] for _ in range(CONNECTIONS)
        ]
        asks = [[_get(settings, f"/jobs/{job}?exclude_params=true")] for job in queued]
        met = []
        for _ in range(2):
            idle = interleaved({"idle": step}, samples=60)["idle"]
            with _crowd_at(settings, askers=asks) as seen:
                busy = interleaved({"with 32 pollers": step}, samples=60)["with 32 pollers"]
            print(f"  pollers were answered {seen['per_s']:.0f} times a second")
            title = "B9 in-session VQE-12 with 32 saturating pollers / idle"
            met.append(print_ratio(title, busy, idle, 1.3))
    return all(met)


# ---- B7, and the long queue ----------------------------------------------------------------------


def _long_queue() -> list[bool]:
    met = []
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qdwell-bench-")))
        with server(CONFIG, place) as first, _session(first, keep=True) as step:
            step()
            session_id, empty_kb = step.session_id, _memory_kb(first)  # type: ignore[attr-defined]
        fill(place / "data", MACHINE, QUEUED)
        full = stack.enter_context(server(CONFIG, place))
        start_s = float(full["START_S"])
        print(
            f"start with {QUEUED:,} queued jobs: {start_s:.2f} s   target <= {START_MAX_S}   "
            f"{_verdict(start_s <= START_MAX_S)}"
        )
        each = (_memory_kb(full) - empty_kb) * 1024 / QUEUED
        print(
            f"memory of a queued job: {each:.0f} bytes   target < {MEMORY_MAX}   "
            f"{_verdict(each < MEMORY_MAX)}"
        )
        met += [start_s <= START_MAX_S, each < MEMORY_MAX]
        empty = stack.enter_context(server(CONFIG))
        ways = {
            f"{QUEUED:,} queued": stack.enter_context(_session(full, session_id)),
            "empty": stack.enter_context(_session(empty)),
        }
        for _ in range(2):
            taken = interleaved(ways, samples=60, block=10)
            title = f"B7 in-session iteration at {QUEUED:,} queued / empty"
            met.append(print_ratio(title, taken[f"{QUEUED:,} queued"], taken["empty"], 1.1))
        met.append(_submitting(full, empty))
        met.append(_many(full, ways[f"{QUEUED:,} queued"]))
    return met


def _submitting(full: dict[str, str], empty: dict[str, str]) -> bool:
    """A submission into the long queue, which decides and stores it, against an empty one."""
    body = sampler_body().replace(b'"endless"', b'"' + MACHINE.encode() + b'"')
    ways: dict[str, Callable[[], object]] = {}
    for name, settings in (("full", full), ("empty", empty)):
        call = Http(settings)
        ways[name] = lambda call=call: call("POST", "/jobs", body)
    taken = interleaved(ways, samples=100, block=10)
    return print_ratio("a submission at 100,000 queued / empty", taken["full"], taken["empty"], 1.2)


def _many(settings: dict[str, str], step: Callable[[], object]) -> bool:
    """500 pollers at the stock client's pace, and 1,000 listeners, beside a session."""
    call = Http(settings)
    body = sampler_body()
    jobs = [json.loads(call("POST", "/jobs", body))["id"] for _ in range(POLLERS)]
    asks = [[_get(settings, f"/jobs/{job}?exclude_params=true")] for job in jobs]
    stream = _get(settings, "/events", Accept="text/event-stream")
    alone = interleaved({"alone": step}, samples=40)["alone"]
    ends = []
    with _crowd_at(settings, askers=asks, listeners=[stream] * LISTENERS, pause_s=0.5) as seen:
        _NEVER.wait(1)
        beside = interleaved({"beside": step}, samples=40)["beside"]
        for _ in range(5):
            step()
            ends.append((step.last.job_id(), time.perf_counter_ns()))  # type: ignore[attr-defined]
            _NEVER.wait(0.3)
    told = sorted(
        (at - ended) / 1e6 for job_id, ended in ends for at in seen["ends"].get(job_id, [])
    )
    whole = len(told) == LISTENERS * len(ends)
    print(f"{POLLERS} pollers and {LISTENERS} listeners at once")
    print(f"  polls: {seen['per_s']:.0f} per s, p50 {seen['p50']:.1f} ms, p99 {seen['p99']:.1f} ms")
    if told:
        print(
            f"  an end is told after its result: p50 {told[len(told) // 2]:.1f} ms, "
            f"p99 {told[len(told) * 99 // 100]:.1f} ms; {len(told)} of "
            f"{LISTENERS * len(ends)} told"
        )
    print_samples(Samples("in-session VQE-12 alone", alone.times_ms))
    print_samples(Samples("in-session VQE-12 beside them", beside.times_ms))
    return whole and not seen["failed"]


# ---- common --------------------------------------------------------------------------------------


class _Step:
    """A step of a session: VQE-12, from `run` to the result."""

    def __init__(self, session: Any, backend: Any) -> None:
        from qdwell import EstimatorV2

        self._pub = vqe(12, backend)
        self._estimator = EstimatorV2(mode=session, options={"default_shots": SHOTS})
        self.session_id = session.session_id
        self.last: Any = None

    def __call__(self) -> object:
        self.last = self._estimator.run([self._pub])
        return self.last.result()


@contextmanager
def _session(
    settings: dict[str, str], session_id: str | None = None, *, keep: bool = False
) -> Iterator[_Step]:
    from qdwell import QiskitRuntimeService, Session

    with QiskitRuntimeService(
        url=settings["QISKIT_IBM_URL"],
        token=settings["QISKIT_IBM_TOKEN"],
        instance=settings["QISKIT_IBM_INSTANCE"],
    ) as service:
        backend = service.backend(MACHINE)
        if session_id is None:
            session = Session(backend=backend)
        else:
            session = Session.from_id(session_id, service=service)
        yield _Step(session, backend)
        if not keep:
            session.close()


@contextmanager
def _crowd_at(settings: dict[str, str], **more: Any) -> Iterator[dict[str, Any]]:
    url = urlsplit(settings["QISKIT_IBM_URL"])
    with crowd(str(url.hostname), int(url.port or 80), **more) as seen:
        yield seen


def _get(settings: dict[str, str], path: str, **headers: str) -> bytes:
    return request_bytes("GET", settings, path, b"", headers)


def _post(settings: dict[str, str], path: str, body: bytes) -> bytes:
    return request_bytes("POST", settings, path, body, {})


def request_bytes(
    method: str, settings: dict[str, str], path: str, body: bytes, headers: dict[str, str]
) -> bytes:
    """A whole request of a signed-in user."""
    call = Http(settings)
    lines = [f"{method} {call.base}{path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in {**call.headers, **headers}.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _memory_kb(settings: dict[str, str]) -> int:
    text = Path(f"/proc/{settings['PID']}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _load() -> str:
    return "load " + " ".join(f"{each:.2f}" for each in os.getloadavg())
