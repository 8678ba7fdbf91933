"""The outcome that follows on the answer of a submission: one request for a step of a loop."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator

import pytest
from qiskit import QuantumCircuit

from client.running import QUICK, Running
from client.test_transport import TOKEN, Scripted, http
from qdwell import Backend, QiskitRuntimeService, SamplerV2
from qdwell.client.errors import RuntimeJobTimeoutError
from qdwell.client.tail import Tail
from qdwell.client.transport import Request, Response, Transport

FIRST = {"id": "a", "backend": "b"}
SUBMISSION = Request("POST", "/jobs", b"{}", repeat=True, tail_s=5)


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nPreference-Applied: wait\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


LINE = json.dumps(FIRST).encode() + b"\n"


@pytest.fixture
def server() -> Iterator[Scripted]:
    made = Scripted()
    made.answers.append(TOKEN)
    yield made
    made.close()


@pytest.fixture
def transport(server: Scripted) -> Iterator[Transport]:
    made = Transport(f"http://127.0.0.1:{server.port}", "secret", "crn", patience_s=0.2)
    yield made
    made.close()


def ask(transport: Transport) -> tuple[Response, Tail]:
    response = transport.send(SUBMISSION)
    assert response.json() == FIRST
    assert response.tail is not None
    return response, response.tail


# ---- one answer of two lines ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [(LINE, b'{"x": 1}\n'), (LINE + b'{"x"', b": 1}\n"), (LINE[:5], LINE[5:], b'{"x": 1}')],
)
def test_the_second_line_is_found_however_it_is_cut(
    server: Scripted, transport: Transport, parts: tuple[bytes, ...]
) -> None:
    server.answers += [chunked(*parts), http(200, {})]
    _, tail = ask(transport)
    assert len(transport._idle) == 0
    assert tail.line(5) == b'{"x": 1}'
    assert tail.line(5) is None
    transport.send(Request("GET", "/x"))
    assert server.connections == 1


def test_a_line_that_is_missing_is_no_error(server: Scripted, transport: Transport) -> None:
    server.answers += [chunked(LINE), http(200, {})]
    _, tail = ask(transport)
    assert tail.line(5) is None
    transport.send(Request("GET", "/x"))
    assert server.connections == 1


@pytest.mark.parametrize("end", [b"", b"5\r\nab"])
def test_an_answer_that_is_broken_off_is_given_up(
    server: Scripted, transport: Transport, end: bytes
) -> None:
    server.answers += [chunked(LINE, b'{"x', end=end), http(200, {})]
    _, tail = ask(transport)
    assert tail.line(0.1) is None
    assert len(transport._idle) == 0


def test_a_first_line_that_is_broken_off_is_asked_for_again(
    server: Scripted, transport: Transport
) -> None:
    cut = chunked(LINE[:-4]).replace(b"chunked\r\n", b"chunked\r\nConnection: close\r\n")
    server.answers += [cut, chunked(LINE, b"{}")]
    _, tail = ask(transport)
    assert tail.line(5) == b"{}"


def test_an_answer_without_the_promise_is_read_whole(
    server: Scripted, transport: Transport
) -> None:
    server.answers += [http(200, FIRST)]
    response = transport.send(SUBMISSION)
    assert (response.json(), response.tail) == (FIRST, None)
    assert len(transport._idle) == 1


def test_who_closes_or_forgets_leaves_no_connection(server: Scripted, transport: Transport) -> None:
    server.answers += [chunked(LINE, end=b"")]
    _, tail = ask(transport)
    connection = tail._connection
    transport.close()
    assert tail.over
    assert connection.sock is None
    assert tail.line(1) is None


def test_a_tail_that_nobody_keeps_closes_its_connection(
    server: Scripted, transport: Transport
) -> None:
    server.answers += [chunked(LINE, end=b"")]
    response, tail = ask(transport)
    connection = tail._connection
    del response, tail
    gc.collect()
    assert connection.sock is None


# ---- who gets one --------------------------------------------------------------------------------


class Counting:
    """Counts the requests of a transport, and those whose answer had a tail."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.requests = self.tails = 0

    def send(self, request: Request) -> Response:
        response = self.inner.send(request)
        self.requests += 1
        self.tails += response.tail is not None
        return response


@pytest.fixture
def counting(service: QiskitRuntimeService, quick: Backend) -> Counting:
    """The quick machine's service, with what it needs to know of it already asked."""
    inner = service.link.transport
    assert isinstance(inner, Transport)
    made = service.link.transport = Counting(inner)
    return made


def test_a_loop_makes_one_request_for_each_step(
    quick: Backend, bell: QuantumCircuit, counting: Counting
) -> None:
    sampler = SamplerV2(mode=quick)
    sampler.run([bell], shots=3).result()
    before = counting.requests
    for _ in range(5):
        assert sampler.run([bell], shots=3).result()[0].data.meas.num_shots == 3
    assert counting.requests - before == 5
    assert counting.tails == 5
    assert len(counting.inner._idle) == 1


def test_who_submits_again_without_waiting_keeps_no_connection_busy(
    quick: Backend, bell: QuantumCircuit, counting: Counting
) -> None:
    sampler = SamplerV2(mode=quick)
    sampler.run([bell], shots=1).result()
    jobs = [sampler.run([bell], shots=shots) for shots in range(1, 6)]
    assert counting.tails == 1
    assert [job.result()[0].data.meas.num_shots for job in jobs] == [1, 2, 3, 4, 5]
    assert len(counting.inner._idle) <= 2
    assert counting.tails == 1


def test_threads_have_habits_of_their_own(
    quick: Backend, bell: QuantumCircuit, counting: Counting
) -> None:
    sampler = SamplerV2(mode=quick)
    sampler.run([bell], shots=1).result()
    job = sampler.run([bell], shots=1)
    assert counting.tails == 1
    other = threading.Thread(target=lambda: sampler.run([bell], shots=1))
    other.start()
    other.join()
    assert counting.tails == 1
    assert job.result()[0].data.meas.num_shots == 1
    sampler.run([bell], shots=1).result()
    assert counting.tails == 2


def test_a_result_that_is_waited_for_shortly_is_asked_for_later(
    service: QiskitRuntimeService, quick: Backend, bell: QuantumCircuit, counting: Counting
) -> None:
    SamplerV2(mode=quick).run([bell], shots=1).result()
    job = SamplerV2(mode=service.backend("slow_machine")).run([bell], shots=1)
    for _ in range(2):
        with pytest.raises(RuntimeJobTimeoutError):
            job.result(timeout=0.05)
    job.cancel()
    job.wait_for_final_state(timeout=30)


def test_a_server_that_restarts_meanwhile_is_asked_again(
    tmp_path_factory: pytest.TempPathFactory, bell: QuantumCircuit
) -> None:
    running = Running(tmp_path_factory.mktemp("tail"), QUICK)
    running.start()
    try:
        with running.service() as service:
            sampler = SamplerV2(mode=service.backend("quick_machine"))
            sampler.run([bell], shots=1).result()
            job = sampler.run([bell], shots=2)
            running.kill()
            running.start()
            assert job.result(timeout=60)[0].data.meas.num_shots == 2
    finally:
        running.kill()
