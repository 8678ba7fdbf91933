"""What goes wrong around a program: forks, interrupted waits, cut connections, a stale token."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
from qiskit import QuantumCircuit

from client.running import Running
from qdwell import (
    Backend,
    QiskitRuntimeService,
    RuntimeInvalidStateError,
    RuntimeJob,
    RuntimeJobTimeoutError,
    SamplerV2,
    Session,
)
from qdwell.client.transport import Transport
from qdwell.clock import stopwatch_ns

FORKS = """
import os, sys
from qdwell import QiskitRuntimeService, SamplerV2
from qiskit import QuantumCircuit

service = QiskitRuntimeService(filename=sys.argv[1])
circuit = QuantumCircuit(1)
circuit.measure_all()
sampler = SamplerV2(mode=service.backend("quick_machine"))
heard = []
sampler.run([circuit], shots=1).result()
shared = sampler.run([circuit], shots=2)  # its outcome is under way on a connection
streamed = service.run(
    "sampler", {"pubs": [[circuit, None, 3]], "version": 2}, {"backend": "quick_machine"},
    callback=lambda job_id, result: heard.append(os.getpid()),
)
service.wait([shared, streamed])  # so that there is a watcher, with its thread

children = []
for _ in range(3):
    child = os.fork()
    if not child:
        try:
            mine = [sampler.run([circuit], shots=shots) for shots in range(4, 8)]
            service.wait(mine, timeout=60)
            got = [job.result()[0].data.meas.num_shots for job in (shared, streamed, *mine)]
            streamed.wait_for_final_state(timeout=60)
            os._exit(0 if got == [2, 3, 4, 5, 6, 7] else 1)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(2)
    children.append(child)
mine = [sampler.run([circuit], shots=shots).result()[0].data.meas.num_shots for shots in (8, 9)]
assert mine == [8, 9], mine
assert shared.result()[0].data.meas.num_shots == 2
streamed.wait_for_final_state()
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
print(set(heard) == {os.getpid()}, len(heard))
"""


def test_a_fork_shares_no_connection_and_loses_no_thread(running: Running) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKS, running.credentials]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 0, 0]\nTrue 2\n", done.stderr


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Interrupts as in a terminal; a shell's background process is born without them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("waits", ["with its submission", "alone", "with the watcher"])
def test_an_interrupted_wait_leaves_everything_usable(
    waits: str, service: QiskitRuntimeService, quick: Backend, bell: QuantumCircuit
) -> None:
    sampler = SamplerV2(mode=quick)
    if waits == "with its submission":
        sampler.run([bell], shots=1).result()  # who waits at once is answered with the submission
    job = SamplerV2(mode=service.backend("slow_machine")).run([bell], shots=1)
    if waits == "alone":
        job.status()
    waiting = threading.Thread(target=_interrupt_when_waiting, args=(service,))
    waiting.start()
    began = stopwatch_ns()
    with pytest.raises(KeyboardInterrupt):
        service.wait([job, job]) if waits == "with the watcher" else job.result()
    waiting.join()
    assert stopwatch_ns() - began < 30e9
    assert job.status() in ("QUEUED", "RUNNING")
    assert sampler.run([bell], shots=3).result()[0].data.meas.num_shots == 3
    job.cancel()
    with pytest.raises(RuntimeInvalidStateError):
        job.result()


def _interrupt_when_waiting(service: QiskitRuntimeService) -> None:
    """What Ctrl-C does, as soon as the job is at work and so is waited for."""
    while not service.jobs(pending=True, backend_name="slow_machine"):
        pass
    threading.Event().wait(0.3)  # the other thread is on its way into its wait
    os.kill(os.getpid(), signal.SIGINT)


class Cutting:
    """A proxy that cuts each connection after so many bytes of answers, in the middle of one."""

    def __init__(self, port: int, after: int) -> None:
        self._to = ("127.0.0.1", port)
        self._after = after
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._to)
            threading.Thread(target=self._out, args=(near, far), daemon=True).start()
            threading.Thread(target=self._back, args=(far, near), daemon=True).start()

    def _out(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := near.recv(65_536):
                far.sendall(part)
        _end(near, far)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        left = self._after
        with contextlib.suppress(OSError):
            while left and (part := far.recv(min(left, 65_536))):
                near.sendall(part)
                left -= len(part)
        self.cuts += not left
        _end(near, far)

    def close(self) -> None:
        _end(self._listener)


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@pytest.fixture
def cutting(running: Running, service: QiskitRuntimeService) -> Iterator[Cutting]:
    proxy = Cutting(running.port, after=7_777)
    yield proxy
    proxy.close()


def test_a_proxy_that_cuts_connections_costs_only_time(
    service: QiskitRuntimeService, cutting: Cutting, bell: QuantumCircuit
) -> None:
    account = service.active_account()
    url, tags = f"http://127.0.0.1:{cutting.port}", {"environment": {"job_tags": ["cut"]}}
    with QiskitRuntimeService(
        url=url, token=account["token"], instance=account["instance"]
    ) as through:
        # A backend's description is longer than what gets through: it was read elsewhere.
        through._backends["quick_machine"] = Backend(
            through, service.backend("quick_machine")._configuration, {}
        )
        sampler = SamplerV2(mode=through.backend("quick_machine"), options=tags)
        for shots in range(1, 21):
            assert sampler.run([bell], shots=shots).result()[0].data.meas.num_shots == shots
        crowd = [sampler.run([bell], shots=1) for _ in range(20)]
        through.wait(crowd, timeout=60)
    assert cutting.cuts > 3
    assert len(service.jobs(limit=None, job_tags=["cut"])) == 40  # none was made twice


def test_a_session_whose_answer_was_cut_off_is_opened_once(service: QiskitRuntimeService) -> None:
    inner = service.link.transport
    assert isinstance(inner, Transport)
    before = {it.session_id for it in service.sessions(open=True)}
    once, lost = inner._once, []

    def losing(request, headers):  # type: ignore[no-untyped-def]
        answer = once(request, headers)
        if request.path == "/sessions" and request.method == "POST" and not lost:
            lost.append(answer)
            raise ConnectionResetError("cut")
        return answer

    inner._once = losing  # type: ignore[method-assign]
    with Session(service=service, backend="quick_machine") as session:
        opened = {it.session_id for it in service.sessions(open=True)} - before
    assert lost
    assert opened == {session.session_id}


def test_a_token_that_is_over_is_renewed_on_the_way(
    service: QiskitRuntimeService, quick: Backend, bell: QuantumCircuit
) -> None:
    transport = service.link.transport
    assert isinstance(transport, Transport)
    transport._token.text = "eyJhbGciOiJIUzI1NiJ9.e30.stale"  # as if its hour had passed
    job = SamplerV2(mode=quick).run([bell], shots=2)
    transport._token.text = "eyJhbGciOiJIUzI1NiJ9.e30.stale"
    assert job.result()[0].data.meas.num_shots == 2


WAITS: dict[str, Callable[[QiskitRuntimeService, RuntimeJob, float], Any]] = {
    "result": lambda service, job, timeout: job.result(timeout),
    "wait": lambda service, job, timeout: service.wait([job, job], timeout),
    "result_async": lambda service, job, timeout: asyncio.run(job.result_async(timeout)),
}


@pytest.mark.parametrize("how", WAITS)
@pytest.mark.parametrize("server", ["is away", "hangs"])
def test_a_callers_timeout_holds_also_for_a_server_that_does_not_answer(
    server: str,
    how: str,
    service: QiskitRuntimeService,
    bell: QuantumCircuit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ours for a server that restarts is a minute; a caller who gave two tenths gets those."""
    monkeypatch.setattr("qdwell.client.link.SHORT_MARGIN_S", 0.2)
    job = SamplerV2(mode=service.backend("slow_machine")).run([bell], shots=1)
    transport = service.link.transport
    assert isinstance(transport, Transport)
    with socket.create_server(("127.0.0.1", 0)) as silent, monkeypatch.context() as moved:
        moved.setattr(transport, "_port", silent.getsockname()[1])
        moved.setattr(transport, "_idle", [])
        if server == "is away":
            silent.close()
        began = stopwatch_ns()
        with pytest.raises(RuntimeJobTimeoutError, match=r"not ended within 0\.2 s"):
            WAITS[how](service, job, 0.2)
        assert stopwatch_ns() - began < 20e9
    job.cancel()


@pytest.mark.parametrize("how", WAITS)
def test_infinity_is_for_ever(
    how: str, service: QiskitRuntimeService, quick: Backend, bell: QuantumCircuit
) -> None:
    job = SamplerV2(mode=quick).run([bell], shots=1)
    WAITS[how](service, job, inf)
    assert job.done()
